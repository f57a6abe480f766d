package simdisk

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvd/internal/vfs"
)

// disk is a Disk with the calls of a test that expects no errors.
type disk struct {
	*Disk
	t testing.TB
}

func newDisk(t testing.TB) disk { return disk{New(), t} }

func (d disk) create(path string) vfs.File {
	d.t.Helper()
	f, err := d.Open(path, vfs.Create)
	must(d.t, err)
	return f
}

// stored makes a file whose name and content are durable.
func (d disk) stored(path, content string) vfs.File {
	d.t.Helper()
	must(d.t, d.WriteFile(path, []byte(content)))
	f, err := d.Open(path, vfs.ReadWrite)
	must(d.t, err)
	return f
}

func (d disk) syncDir(path string) {
	d.t.Helper()
	must(d.t, vfs.SyncDir(d, path))
}

func (d disk) crash(c Choice) disk { return disk{d.Crash(c), d.t} }

// text returns a file's content, runs of zeros shown as "·", or "-" without it.
func (d disk) text(path string) string {
	d.t.Helper()
	b, err := d.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	must(d.t, err)
	var s strings.Builder
	for _, part := range bytes.SplitAfter(b, []byte{0}) {
		if len(part) == 1 && part[0] == 0 && strings.HasSuffix(s.String(), "·") {
			continue
		}
		s.WriteString(strings.ReplaceAll(string(part), "\x00", "·"))
	}
	return s.String()
}

// want checks the content of a file as text shows it.
func (d disk) want(path, content string) {
	d.t.Helper()
	if got := d.text(path); got != content {
		d.t.Errorf("%s contains %q, want %q", path, short(got), short(content))
	}
}

func short(s string) string {
	if len(s) > 60 {
		return s[:30] + "…" + s[len(s)-30:]
	}
	return s
}

// outcomes returns the content of a file after each choice that loses or keeps one
// item, and after each prefix: sorted and without duplicates.
func (d disk) outcomes(path string) []string {
	d.t.Helper()
	var found []string
	for k := range d.Pending() + 1 {
		for _, c := range []Choice{Prefix(k), Only(k), AllBut(k)} {
			found = append(found, d.crash(c).text(path))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (d disk) wantOutcomes(path string, want ...string) {
	d.t.Helper()
	slices.Sort(want)
	if got := d.outcomes(path); !slices.Equal(got, want) {
		d.t.Errorf("after a power cut %s is one of %q, want one of %q", path, got, want)
	}
}

func sector(s string) string { return strings.Repeat(s, SectorSize) }

func TestDiskBytes(t *testing.T) {
	t.Run("written_bytes_may_be_lost", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "old")
		writeAt(t, f, "new", 0)
		d.want("f", "new")
		d.wantOutcomes("f", "old", "new")
	})
	t.Run("synced_bytes_survive_any_power_cut", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "old")
		writeAt(t, f, "new and longer", 0)
		must(t, f.Sync())
		d.wantOutcomes("f", "new and longer")
		if n := d.Pending(); n != 0 {
			t.Errorf("%d items pending", n)
		}
	})
	t.Run("synced_sectors_without_later_writes_keep_their_bytes", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", sector("a")+sector("b")+sector("c"))
		writeAt(t, f, sector("X"), SectorSize)
		d.wantOutcomes("f", sector("a")+sector("b")+sector("c"), sector("a")+sector("X")+sector("c"))
	})
	t.Run("sectors_of_one_write_are_lost_in_any_order", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", sector("a")+sector("b"))
		writeAt(t, f, sector("A")+sector("B"), 0)
		d.wantOutcomes("f", sector("a")+sector("b"), sector("A")+sector("b"), sector("a")+sector("B"), sector("A")+sector("B"))
	})
	t.Run("a_later_write_may_be_kept_and_an_earlier_one_lost", func(t *testing.T) {
		d := newDisk(t)
		f, g := d.stored("f", "old"), d.stored("g", "old")
		writeAt(t, f, "new", 0)
		writeAt(t, g, "new", 0)
		image := d.crash(Only(1))
		image.want("f", "old")
		image.want("g", "new")
	})
	t.Run("any_version_of_a_sector_since_the_sync_may_survive", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "0 ")
		writeAt(t, f, "1", 0)
		writeAt(t, f, "2", 0)
		writeAt(t, f, "3", 1)
		d.wantOutcomes("f", "0 ", "1 ", "2 ", "23")
	})
	t.Run("a_sector_is_torn_at_any_byte", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", sector("a")+sector("b"))
		writeAt(t, f, sector("X"), SectorSize)
		for cut := range SectorSize + 1 {
			image := d.crash(Choice{Decide: func(Item) Verdict { return Torn(0, cut) }})
			image.want("f", sector("a")+strings.Repeat("X", cut)+strings.Repeat("b", SectorSize-cut))
			image = d.crash(Choice{Decide: func(Item) Verdict { return Torn(cut, SectorSize) }})
			image.want("f", sector("a")+strings.Repeat("b", cut)+strings.Repeat("X", SectorSize-cut))
		}
	})
	t.Run("a_ruined_sector_has_none_of_its_former_bytes", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", sector("a")+sector("b")+sector("c"))
		writeAt(t, f, "X", SectorSize+7)
		image := d.crash(Choice{Decide: func(Item) Verdict { return Ruin }})
		image.want("f", sector("a")+strings.Repeat(string([]byte{ruin}), SectorSize)+sector("c"))
	})
	t.Run("the_rest_of_a_torn_sector_is_the_version_before", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "000")
		writeAt(t, f, "111", 0)
		writeAt(t, f, "222", 0)
		image := d.crash(Choice{Decide: func(it Item) Verdict {
			if it.Index == 1 {
				return Torn(0, 1)
			}
			return Keep
		}})
		image.want("f", "211")
	})
	t.Run("zeros_are_lost_and_torn_like_other_bytes", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", strings.Repeat("a", 2*pageSize))
		writeAt(t, f, strings.Repeat("\x00", pageSize), 0)
		d.crash(Choice{Decide: func(it Item) Verdict {
			switch it.Sector {
			case 0:
				return Keep
			case 1:
				return Torn(100, 200)
			}
			return Lose
		}}).want("f", "·"+strings.Repeat("a", 100)+"·"+strings.Repeat("a", 2*pageSize-SectorSize-200))
		must(t, f.Sync())
		d.wantOutcomes("f", "·"+strings.Repeat("a", pageSize))
	})
	t.Run("the_same_bytes_are_on_the_disk_after_a_second_cut", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", sector("a")+sector("b"))
		writeAt(t, f, sector("A")+sector("B"), 0)
		d.crash(Only(1)).wantOutcomes("f", sector("a")+sector("B"))
	})
}

func TestDiskSizes(t *testing.T) {
	t.Run("a_size_is_kept_or_lost_independently_of_the_bytes", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "ab")
		writeAt(t, f, "cd", 2)
		d.wantOutcomes("f", "ab", "ab·", "abcd")
		if d.Pending() != 2 {
			t.Fatalf("%d items pending, want a sector and a size", d.Pending())
		}
		d.crash(Only(0)).want("f", "ab")
		d.crash(Only(1)).want("f", "ab·")
	})
	t.Run("lost_bytes_below_a_kept_size_read_as_zeros", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "")
		writeAt(t, f, sector("a")+sector("b"), 0)
		d.crash(Choice{Decide: func(it Item) Verdict {
			if it.Kind == SectorItem && it.Sector == 0 {
				return Lose
			}
			return Keep
		}}).want("f", "·"+sector("b"))
	})
	t.Run("bytes_kept_beyond_a_lost_size_are_not_visible", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "ab")
		writeAt(t, f, strings.Repeat("x", 3*pageSize), 2)
		image := d.crash(Choice{Decide: func(it Item) Verdict {
			if it.Kind == SizeItem {
				return Lose
			}
			return Keep
		}})
		image.want("f", "ab")
		g, err := image.Open("f", vfs.ReadWrite)
		must(t, err)
		must(t, g.Truncate(3*pageSize))
		image.want("f", "ab·")
	})
	t.Run("lost_bytes_below_a_kept_size_read_as_stale_bytes_with_Stale", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "head")
		writeAt(t, f, sector("a")+sector("b")+sector("c"), 0)
		stale := func(_ Item, b []byte) { copy(b, sector("?")) }
		d.crash(Choice{Stale: stale, Decide: func(it Item) Verdict {
			switch {
			case it.Kind == SizeItem, it.Kind == SectorItem && it.Sector == 2:
				return Keep
			case it.Sector == 1:
				return Torn(0, 1)
			}
			return Lose
		}}).want("f", "head·"+"b"+strings.Repeat("?", SectorSize-1)+sector("c"))
	})
	t.Run("stale_bytes_never_hide_a_kept_version", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "")
		writeAt(t, f, sector("a"), 0)
		writeAt(t, f, sector("b"), 0)
		d.crash(Choice{Stale: func(_ Item, b []byte) { copy(b, sector("?")) }, Decide: func(it Item) Verdict {
			if it.Call == 1 {
				return Lose
			}
			return Keep
		}}).want("f", sector("a"))
	})
	t.Run("a_truncation_may_be_lost", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "abcdef")
		must(t, f.Truncate(3))
		d.wantOutcomes("f", "abcdef", "abc")
		must(t, f.Sync())
		d.wantOutcomes("f", "abc")
	})
	t.Run("growing_again_shows_zeros", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", sector("a")+sector("b"))
		must(t, f.Truncate(3))
		must(t, f.Truncate(2*SectorSize))
		d.want("f", "aaa·")
		must(t, f.Sync())
		d.wantOutcomes("f", "aaa·")
	})
	t.Run("the_bytes_of_an_allocation_are_zeros", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "ab")
		must(t, f.Allocate(0, 10000))
		d.wantOutcomes("f", "ab", "ab·")
		must(t, f.Sync())
		if size, err := f.Size(); size != 10000 || err != nil {
			t.Errorf("size %d, %v", size, err)
		}
		d.wantOutcomes("f", "ab·")
	})
}

func TestDiskNames(t *testing.T) {
	t.Run("a_created_and_synced_file_is_lost_without_SyncDir", func(t *testing.T) {
		d := newDisk(t)
		f := d.create("f")
		writeAt(t, f, "x", 0)
		must(t, f.Sync())
		d.wantOutcomes("f", "-", "x")
		d.syncDir("/")
		d.wantOutcomes("f", "x")
	})
	t.Run("SyncDir_does_not_sync_the_files", func(t *testing.T) {
		d := newDisk(t)
		writeAt(t, d.create("f"), "x", 0)
		d.syncDir("/")
		d.wantOutcomes("f", "", "·", "x")
	})
	t.Run("a_removed_file_may_come_back", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "x")
		must(t, d.Remove("f"))
		writeAt(t, f, "y", 0) // it is still open, and this write may come back with it
		d.want("f", "-")
		d.wantOutcomes("f", "-", "x", "y")
		d.syncDir("/")
		d.wantOutcomes("f", "-")
		if n := d.Pending(); n != 0 {
			t.Errorf("%d items pending for a removed file", n)
		}
		writeAt(t, f, "z", 0)
		if n := d.Pending(); n != 0 {
			t.Errorf("%d items pending for a removed file", n)
		}
	})
	t.Run("a_rename_leaves_the_old_name_or_the_new_one", func(t *testing.T) {
		d := newDisk(t)
		d.stored("a", "x")
		must(t, d.Rename("a", "b"))
		d.wantOutcomes("a", "-", "x")
		d.wantOutcomes("b", "-", "x")
		for _, c := range []Choice{KeepNone(), Prefix(1)} {
			if image := d.crash(c); (image.text("a") == "-") == (image.text("b") == "-") {
				t.Errorf("a contains %q and b contains %q", image.text("a"), image.text("b"))
			}
		}
		d.syncDir("/")
		d.wantOutcomes("a", "-")
		d.wantOutcomes("b", "x")
	})
	t.Run("a_replaced_file_is_back_if_the_rename_is_lost", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "old")
		d.stored("f.tmp", "new")
		writeAt(t, f, "O", 0)
		must(t, d.Rename("f.tmp", "f"))
		d.want("f", "new")
		d.wantOutcomes("f", "old", "Old", "new")
		d.wantOutcomes("f.tmp", "new", "-")
		d.syncDir("/")
		d.wantOutcomes("f", "new")
		if n := d.Pending(); n != 0 {
			t.Errorf("%d items pending for a removed file", n)
		}
	})
	t.Run("a_rename_may_be_kept_although_the_creation_before_it_is_lost", func(t *testing.T) {
		d := newDisk(t)
		f := d.create("f.tmp")
		must(t, d.Rename("f.tmp", "f"))
		writeAt(t, f, "x", 0)
		must(t, f.Sync())
		d.wantOutcomes("f", "-", "x")
		image := d.crash(Only(1))
		image.want("f", "x")
		image.want("f.tmp", "-")
	})
	t.Run("either_of_two_renames_may_be_lost_and_one_name_remains", func(t *testing.T) {
		d := newDisk(t)
		d.stored("a", "x")
		must(t, d.Rename("a", "b"))
		must(t, d.Rename("b", "c"))
		for k, want := range [][]string{{"-", "x", "-"}, {"-", "-", "x"}} {
			image := d.crash(Only(k))
			for i, name := range []string{"a", "b", "c"} {
				image.want(name, want[i])
			}
		}
	})
	t.Run("a_removal_does_not_remove_a_file_whose_move_to_the_name_was_lost", func(t *testing.T) {
		d := newDisk(t)
		d.stored("a", "x")
		must(t, d.Rename("a", "b"))
		must(t, d.Remove("b"))
		image := d.crash(Only(1))
		image.want("a", "x")
		image.want("b", "-")
	})
	t.Run("the_loss_of_one_name_does_not_change_the_next", func(t *testing.T) {
		d := newDisk(t)
		d.stored("a", "a")
		must(t, d.Remove("a"))
		d.create("b")
		image := d.crash(AllBut(0))
		image.want("a", "a")
		image.want("b", "")
	})
	t.Run("a_file_keeps_a_name_that_was_used_again_if_its_move_away_was_lost", func(t *testing.T) {
		d := newDisk(t)
		d.stored("log", "1")
		d.stored("next", "2")
		must(t, d.Rename("log", "old"))
		must(t, d.Rename("next", "log"))
		image := d.crash(Only(1))
		image.want("log", "2")
		image.want("old", "-")
	})
	t.Run("a_name_used_again_has_the_old_file_or_the_new_one_or_none", func(t *testing.T) {
		d := newDisk(t)
		d.stored("f", "old")
		must(t, d.Remove("f"))
		f := d.create("f")
		writeAt(t, f, "new", 0)
		must(t, f.Sync())
		d.wantOutcomes("f", "old", "-", "new")
	})
	t.Run("the_files_of_a_lost_directory_are_lost", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		f := d.create("d/f")
		writeAt(t, f, "x", 0)
		must(t, f.Sync())
		d.syncDir("d")
		d.wantOutcomes("d/f", "-", "x")
		d.syncDir("/")
		d.wantOutcomes("d/f", "x")
	})
	t.Run("a_removed_directory_may_come_back_with_its_files", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		d.syncDir("/")
		d.stored("d/f", "x")
		must(t, d.Remove("d/f"))
		must(t, d.Remove("d"))
		d.wantOutcomes("d/f", "-", "x")
		d.syncDir("/")
		d.wantOutcomes("d/f", "-")
		if n := d.Pending(); n != 0 {
			t.Errorf("%d items pending in a removed directory", n)
		}
	})
	t.Run("a_file_moved_out_of_a_removed_directory_waits_for_the_other", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		d.syncDir("/")
		d.stored("d/f", "x")
		must(t, d.Rename("d/f", "f"))
		must(t, d.Remove("d"))
		d.wantOutcomes("d/f", "-", "x")
		d.syncDir("/")
		d.wantOutcomes("d/f", "-")
		d.wantOutcomes("f", "x")
		if n := d.Pending(); n != 0 {
			t.Errorf("%d items pending", n)
		}
	})
	t.Run("files_that_were_not_removed_durably_are_removed_with_their_directory", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		d.syncDir("/")
		f := d.stored("d/f", "x")
		must(t, d.Mkdir("e"))
		must(t, d.Rename("d/f", "e/f"))
		writeAt(t, f, "y", 0)
		must(t, d.Remove("d"))
		d.syncDir("/")
		d.wantOutcomes("e/f", "-", "x", "y") // e itself was not synced
		d.syncDir("e")
		d.wantOutcomes("e/f", "x", "y")
	})
	t.Run("a_rename_between_directories_waits_for_both", func(t *testing.T) {
		for _, order := range [][2]string{{"/", "d"}, {"d", "/"}} {
			d := newDisk(t)
			must(t, d.Mkdir("d"))
			d.syncDir("/")
			d.stored("f", "x")
			must(t, d.Rename("f", "d/g"))
			d.syncDir(order[0])
			d.wantOutcomes("f", "-", "x")
			d.wantOutcomes("d/g", "-", "x")
			d.syncDir(order[1])
			d.wantOutcomes("f", "-")
			d.wantOutcomes("d/g", "x")
		}
	})
	t.Run("a_rename_between_directories_does_not_wait_if_a_durable_name_depends_on_it", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		d.syncDir("/")
		d.stored("f", "old")
		must(t, d.Rename("f", "d/g"))
		f := d.create("f")
		writeAt(t, f, "new", 0)
		must(t, f.Sync())
		d.syncDir("/")
		d.wantOutcomes("f", "new")
		d.wantOutcomes("d/g", "old")
	})
	t.Run("a_directory_is_renamed_with_its_entries", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		d.syncDir("/")
		d.stored("d/f", "x")
		must(t, d.Rename("d", "e"))
		d.want("e/f", "x")
		d.wantOutcomes("d/f", "-", "x")
		d.syncDir("/")
		d.wantOutcomes("e/f", "x")
	})
}

func TestDiskFailedSync(t *testing.T) {
	start := func(t *testing.T) (disk, vfs.File) {
		d := newDisk(t)
		d.stored("f", sector("a")+sector("b"))
		fault := NewFault(d.Disk)
		f, err := fault.Open("f", vfs.ReadWrite)
		must(t, err)
		writeAt(t, f, "lost", 0)
		fault.Inject(func(op Op) Action { return Action{Err: syscall.EIO, DropSync: op.Kind == OpSync} })
		wantErr(t, f.Sync(), syscall.EIO)
		fault.Inject(nil)
		return d, f
	}
	lost := "lost" + sector("a")[4:]
	t.Run("the_bytes_stay_readable", func(t *testing.T) {
		d, _ := start(t)
		d.want("f", lost+sector("b"))
	})
	t.Run("the_bytes_are_lost_in_every_power_cut", func(t *testing.T) {
		d, _ := start(t)
		d.wantOutcomes("f", sector("a")+sector("b"))
	})
	t.Run("a_later_sync_does_not_make_the_bytes_durable", func(t *testing.T) {
		d, f := start(t)
		writeAt(t, f, "kept", SectorSize)
		must(t, f.Sync())
		d.wantOutcomes("f", sector("a")+"kept"+sector("b")[4:])
		d.want("f", lost+"kept"+sector("b")[4:])
	})
	t.Run("writing_the_sector_again_makes_it_durable", func(t *testing.T) {
		d, f := start(t)
		writeAt(t, f, "!", 4)
		must(t, f.Sync())
		d.wantOutcomes("f", "lost!"+sector("a")[5:]+sector("b"))
	})
	t.Run("a_killed_process_leaves_them_readable", func(t *testing.T) {
		d, _ := start(t)
		d.crash(KeepAll()).want("f", lost+sector("b"))
		clone := disk{d.Clone(), t}
		clone.want("f", lost+sector("b"))
		clone.wantOutcomes("f", sector("a")+sector("b"))
	})
	t.Run("a_size_is_not_lost_with_the_bytes", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "")
		writeAt(t, f, "abc", 0)
		must(t, f.Truncate(2))
		f.(*openFile).dropSync()
		if d.Pending() != 2 {
			t.Errorf("%d items pending, want two sizes", d.Pending())
		}
		d.wantOutcomes("f", "", "·")
		must(t, f.Sync())
		d.wantOutcomes("f", "·")
		d.want("f", "ab")
	})
	t.Run("without_DropSync_the_bytes_stay_pending", func(t *testing.T) {
		d := newDisk(t)
		d.stored("f", "old")
		fault := NewFault(d.Disk)
		f, err := fault.Open("f", vfs.ReadWrite)
		must(t, err)
		writeAt(t, f, "new", 0)
		fault.Inject(FailKind(OpSync, syscall.EIO))
		wantErr(t, f.Sync(), syscall.EIO)
		d.wantOutcomes("f", "old", "new")
	})
}

func TestDiskImages(t *testing.T) {
	t.Run("KeepNone_keeps_what_was_synced_and_KeepAll_what_could_be_read", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "old")
		writeAt(t, f, "newer", 0)
		d.create("g")
		none, all := d.crash(KeepNone()), d.crash(KeepAll())
		none.want("f", "old")
		none.want("g", "-")
		all.want("f", "newer")
		all.want("g", "")
		if none.Pending() != 0 || all.Pending() != 0 {
			t.Error("something is pending on an image")
		}
	})
	t.Run("an_image_and_its_source_are_independent", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", strings.Repeat("a", 3*pageSize))
		for _, make := range []func() *Disk{func() *Disk { return d.Crash(KeepAll()) }, d.Clone, func() *Disk { return d.Crash(Random(1)) }} {
			image := disk{make(), t}
			g, err := image.Open("f", vfs.ReadWrite)
			must(t, err)
			writeAt(t, g, "image", 0)
			writeAt(t, f, "source", pageSize)
			must(t, image.Mkdir("d"))
			d.want("f", strings.Repeat("a", pageSize)+"source"+strings.Repeat("a", 2*pageSize-6))
			image.want("f", "image"+strings.Repeat("a", 3*pageSize-5))
			d.want("d", "-")
			must(t, f.Truncate(0))
			writeAt(t, f, strings.Repeat("a", 3*pageSize), 0)
			must(t, f.Sync())
		}
	})
	t.Run("a_clone_has_the_same_pending_items", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		d.syncDir("/")
		f := d.stored("f", sector("a"))
		writeAt(t, f, sector("b")+sector("c"), 0)
		must(t, f.Truncate(3*SectorSize))
		must(t, d.Rename("f", "d/g"))
		d.syncDir("d")
		d.stored("h", "")
		must(t, d.Remove("h"))
		clone := disk{d.Clone(), t}
		if d.Pending() != clone.Pending() || d.Pending() != 6 {
			t.Fatalf("%d items pending and %d on the clone, want 6", d.Pending(), clone.Pending())
		}
		compare := func() {
			t.Helper()
			for _, path := range []string{"f", "d/g", "h"} {
				if got, want := clone.outcomes(path), d.outcomes(path); !slices.Equal(got, want) {
					t.Errorf("%s: %q on the clone, want %q", path, got, want)
				}
			}
		}
		compare()
		d.syncDir("/")
		clone.syncDir("/")
		compare()
	})
	t.Run("locks_end_with_the_process", func(t *testing.T) {
		d := newDisk(t)
		_, err := d.Lock("LOCK")
		must(t, err)
		for _, image := range []*Disk{d.Crash(KeepAll()), d.Clone()} {
			if _, err := image.Lock("LOCK"); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("images_can_be_made_and_used_at_the_same_time", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", strings.Repeat("a", 4*pageSize))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for seed := range uint64(50) {
					writeAt(t, f, "x", int64(i*pageSize))
					image := disk{d.Crash(Random(seed)), t}
					g, err := image.Open("f", vfs.ReadWrite)
					if err != nil {
						t.Error(err)
						return
					}
					writeAt(t, g, "yy", int64(i*pageSize))
					if b, err := image.ReadFile("f"); err != nil || !strings.HasPrefix(string(b[i*pageSize:]), "yya") {
						t.Errorf("image %d of %d: %v", seed, i, err)
					}
				}
			})
		}
		wg.Wait()
		d.want("f", strings.Repeat("x"+strings.Repeat("a", pageSize-1), 4))
	})
	t.Run("random_choices_repeat_and_differ", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", strings.Repeat("a", 128*SectorSize))
		writeAt(t, f, strings.Repeat("b", 128*SectorSize), 0)
		seen := map[string]bool{}
		for seed := range uint64(200) {
			text := d.crash(Random(seed)).text("f")
			seen[text] = true
			if again := d.crash(Random(seed)).text("f"); again != text {
				t.Fatalf("seed %d gives two different images", seed)
			}
		}
		if len(seen) < 100 {
			t.Errorf("200 seeds make %d different images", len(seen))
		}
	})
	t.Run("a_block_of_4_KiB_is_kept_lost_or_torn_as_one", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", strings.Repeat("a", 4*pageSize))
		writeAt(t, f, strings.Repeat("b", 4*pageSize), 0)
		var kept, lost, first, last int
		for seed := range uint64(100) {
			text := d.crash(Odds{Keep: 0.5, Torn: 0.3, Block: pageSize}.Choice(seed)).text("f")
			for i := range 4 {
				block := text[i*pageSize : (i+1)*pageSize]
				switch changes := strings.Count(block, "ab") + strings.Count(block, "ba"); {
				case changes == 1 && block[0] == 'b':
					first++
				case changes == 1:
					last++
				case changes > 1:
					t.Fatalf("seed %d: a block changes sides %d times", seed, changes)
				case block[0] == 'a':
					lost++
				default:
					kept++
				}
			}
		}
		if kept < 80 || lost < 120 || first < 10 || last < 10 {
			t.Errorf("%d blocks kept, %d lost, of %d the first bytes kept, of %d the last", kept, lost, first, last)
		}
	})
	t.Run("random_stale_bytes_replace_lost_bytes", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "")
		writeAt(t, f, sector("a"), 0)
		stale := Odds{Stale: true}.Choice(1).Stale
		d.crash(Choice{Stale: stale}).want("f", "") // without the size nothing shows
		image := d.crash(Choice{Stale: stale, Decide: Only(1).Decide})
		b, err := image.ReadFile("f")
		if err != nil || len(b) != SectorSize || bytes.Contains(b, make([]byte, 8)) || bytes.Contains(b, []byte("aaaa")) {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("an_impossible_tear_panics", func(t *testing.T) {
		for _, c := range [][2]int{{-1, 2}, {3, 2}, {0, SectorSize + 1}} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("Torn(%d, %d) did not panic", c[0], c[1])
					}
				}()
				Torn(c[0], c[1])
			}()
		}
	})
	t.Run("items_describe_themselves", func(t *testing.T) {
		d := newDisk(t)
		writeAt(t, d.create("f"), "x", SectorSize)
		var got []string
		d.Crash(Choice{Decide: func(it Item) Verdict { got = append(got, it.String()); return Lose }})
		if want := []string{"0: name f", "1: sector 1 of f", "2: size 513 of f"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestDiskSpace(t *testing.T) {
	t.Run("a_write_without_room_is_short", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(2 * pageSize)
		f := d.create("f")
		n, err := f.WriteAt(make([]byte, 3*pageSize), 100)
		wantErr(t, err, vfs.ErrNoSpace)
		wantErr(t, err, syscall.ENOSPC)
		if size, _ := f.Size(); n != 2*pageSize-100 || size != 2*pageSize || d.Used() != 2*pageSize {
			t.Errorf("%d bytes written, size %d, %d in use", n, size, d.Used())
		}
	})
	t.Run("an_allocation_without_room_does_nothing", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(2*pageSize + 1)
		f := d.create("f")
		pending := d.Pending()
		wantErr(t, f.Allocate(0, 2*pageSize+1), vfs.ErrNoSpace)
		if size, _ := f.Size(); size != 0 || d.Used() != 0 || d.Pending() != pending {
			t.Errorf("size %d, %d in use, %d items pending", size, d.Used(), d.Pending())
		}
		must(t, f.Allocate(0, 2*pageSize))
	})
	t.Run("writing_allocated_or_written_bytes_never_fails", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(4 * pageSize)
		f, g := d.create("f"), d.create("g")
		must(t, f.Allocate(0, 3*pageSize))
		writeAt(t, g, "x", 0)
		_, err := g.WriteAt([]byte("x"), pageSize)
		wantErr(t, err, vfs.ErrNoSpace)
		for range 3 {
			writeAt(t, f, strings.Repeat("y", 3*pageSize), 0)
			writeAt(t, f, strings.Repeat("\x00", 3*pageSize), 0)
			must(t, f.Sync())
		}
		writeAt(t, g, strings.Repeat("z", pageSize), 0)
		must(t, f.Allocate(0, 3*pageSize))
		if d.Used() != 4*pageSize {
			t.Errorf("%d in use", d.Used())
		}
	})
	t.Run("on_a_copying_disk_overwriting_needs_free_pages", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(4 * pageSize)
		d.SetCopyOnWrite(true)
		f := d.stored("f", strings.Repeat("x", 3*pageSize))
		n, err := f.WriteAt([]byte(strings.Repeat("y", 2*pageSize)), 10)
		wantErr(t, err, vfs.ErrNoSpace)
		if n != pageSize-10 || d.Used() != 3*pageSize {
			t.Errorf("%d bytes written with one free page, %d in use", n, d.Used())
		}
		image := d.Clone()
		must(t, f.Allocate(3*pageSize, 1))
		_, err = f.WriteAt([]byte("z"), 3*pageSize)
		wantErr(t, err, vfs.ErrNoSpace)
		g, err := image.Open("f", vfs.ReadWrite)
		must(t, err)
		n, err = g.WriteAt(make([]byte, 2*pageSize), 0)
		if wantErr(t, err, vfs.ErrNoSpace); n != pageSize {
			t.Errorf("an image writes %d bytes with one free page", n)
		}
	})
	t.Run("holes_use_no_space", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(pageSize)
		f := d.create("f")
		must(t, f.Truncate(1<<30))
		writeAt(t, f, "x", 1<<29)
		_, err := f.WriteAt([]byte("x"), 0)
		wantErr(t, err, vfs.ErrNoSpace)
	})
	t.Run("truncating_and_removing_free_space", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(2 * pageSize)
		f := d.create("f")
		must(t, f.Allocate(0, 2*pageSize))
		must(t, f.Truncate(pageSize-1))
		if d.Used() != pageSize {
			t.Errorf("%d in use after the truncation", d.Used())
		}
		m := mapFile(t, f, 10)
		must(t, d.Remove("f"))
		must(t, f.Close())
		if d.Used() != pageSize {
			t.Errorf("%d in use, although a mapping still uses the file", d.Used())
		}
		must(t, m.Close())
		if d.Used() != 0 {
			t.Errorf("%d in use after the removal", d.Used())
		}
		d.stored("a", "x")
		d.stored("b", "x")
		must(t, d.Rename("a", "b"))
		if d.Used() != 2*pageSize {
			t.Errorf("%d in use, although the replaced file is open", d.Used())
		}
		must(t, d.WriteFile("c", []byte("x")))
		must(t, d.WriteFile("d", []byte("x")))
		must(t, d.Rename("c", "d"))
		if d.Used() != 3*pageSize {
			t.Errorf("%d in use, although no handle of the replaced file is open", d.Used())
		}
	})
	t.Run("a_full_disk_refuses_and_recovers", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "x")
		d.SetCapacity(0)
		_, err := f.WriteAt([]byte("x"), pageSize)
		wantErr(t, err, vfs.ErrNoSpace)
		writeAt(t, f, "y", 0)
		d.create("g")
		d.SetCapacity(-1)
		writeAt(t, f, "x", pageSize)
	})
	t.Run("an_image_has_the_limit_and_its_own_use", func(t *testing.T) {
		d := newDisk(t)
		d.SetCapacity(2 * pageSize)
		f := d.stored("f", "x")
		writeAt(t, f, "y", pageSize)
		for _, c := range []struct {
			image *Disk
			used  int64
		}{{d.Crash(KeepNone()), pageSize}, {d.Crash(KeepAll()), 2 * pageSize}, {d.Clone(), 2 * pageSize}} {
			if got := c.image.Used(); got != c.used {
				t.Errorf("%d in use, want %d", got, c.used)
			}
			g, err := c.image.Open("f", vfs.ReadWrite)
			must(t, err)
			if err := g.Allocate(2*pageSize, 2*pageSize); !errors.Is(err, vfs.ErrNoSpace) {
				t.Errorf("Allocate: %v", err)
			}
		}
	})
	t.Run("offsets_are_bounded", func(t *testing.T) {
		f := newDisk(t).create("f")
		for _, off := range []int64{maxFileSize, 1<<63 - 1} {
			_, err := f.WriteAt([]byte("x"), off)
			wantErr(t, err, syscall.EFBIG)
			wantErr(t, f.Truncate(maxFileSize+1), syscall.EFBIG)
			wantErr(t, f.Allocate(maxFileSize, 1), syscall.EFBIG)
		}
	})
}

func TestAtRest(t *testing.T) {
	t.Run("WriteFile_leaves_nothing_pending", func(t *testing.T) {
		d := newDisk(t)
		f := d.create("f")
		writeAt(t, f, "pending", 0)
		must(t, d.WriteFile("f", []byte("one")))
		must(t, d.WriteFile("g", []byte("two")))
		d.wantOutcomes("g", "two")
		d.wantOutcomes("f", "-", "one") // its name is still pending
		d.want("f", "one")
		wantErr(t, d.WriteFile("no/f", nil), fs.ErrNotExist)
		wantErr(t, d.WriteFile("/", nil), fs.ErrExist)
	})
	t.Run("Corrupt_changes_disk_and_page_cache", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "abcd")
		writeAt(t, f, "A", 0)
		must(t, d.Corrupt("f", 1, 2, func(b []byte) { b[0] ^= 1; b[1] = 'x' }))
		d.want("f", "Acxd")
		d.crash(KeepNone()).want("f", "acxd")
		for _, r := range [][2]int64{{4, 1}, {0, 5}, {-1, 1}, {0, 0}} {
			wantErr(t, d.Corrupt("f", r[0], r[1], func([]byte) {}), fs.ErrInvalid)
		}
	})
	t.Run("Corrupt_of_a_clone_does_not_change_the_original", func(t *testing.T) {
		d := newDisk(t)
		d.stored("f", "abcd")
		must(t, d.Clone().Corrupt("f", 0, 1, func(b []byte) { b[0] = 'X' }))
		d.want("f", "abcd")
	})
	t.Run("a_directory_has_no_bytes", func(t *testing.T) {
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		_, err := d.ReadFile("d")
		wantErr(t, err, syscall.EISDIR)
		wantErr(t, d.WriteFile("d", nil), syscall.EISDIR)
		wantErr(t, d.Corrupt("d", 0, 1, func([]byte) {}), syscall.EISDIR)
	})
}

func TestPaths(t *testing.T) {
	d := newDisk(t)
	d.stored("f", "x")
	must(t, d.Mkdir("d"))
	for name, c := range map[string]struct {
		err  func() error
		want error
	}{
		"the_root_cannot_be_made":        {func() error { return d.Mkdir("/") }, fs.ErrExist},
		"nor_opened":                     {func() error { _, err := d.Open(".", vfs.ReadOnly); return err }, fs.ErrExist},
		"an_empty_path_is_none":          {func() error { _, err := d.Stat(""); return err }, fs.ErrNotExist},
		"and_no_name_for_a_file":         {func() error { _, err := d.Open("", vfs.Create); return err }, fs.ErrNotExist},
		"a_parent_must_exist":            {func() error { return d.Mkdir("no/d") }, fs.ErrNotExist},
		"and_be_a_directory":             {func() error { return d.Mkdir("f/d") }, syscall.ENOTDIR},
		"an_unknown_mode_is_invalid":     {func() error { _, err := d.Open("f", 0); return err }, fs.ErrInvalid},
		"a_directory_is_not_locked":      {func() error { _, err := d.Lock("d"); return err }, syscall.EISDIR},
		"a_directory_is_not_its_own_son": {func() error { return d.Rename("d", "d/e") }, syscall.EINVAL},
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, c.err(), c.want) })
	}
	t.Run("all_spellings_of_a_path_are_equal", func(t *testing.T) {
		for _, path := range []string{"f", "/f", "./f", "//d/../f"} {
			if d.text(path) != "x" {
				t.Errorf("%s names another file", path)
			}
		}
	})
}

func TestHandles(t *testing.T) {
	t.Run("calls_that_change_nothing_leave_nothing_pending", func(t *testing.T) {
		d := newDisk(t)
		f := d.stored("f", "abc")
		m := mapFile(t, f, 3)
		n, err := f.WriteAt(nil, 5)
		must(t, err)
		must(t, f.Truncate(3))
		must(t, f.Allocate(0, 2))
		read, err := m.ReadAt(nil, 3)
		must(t, err)
		if n != 0 || read != 0 || d.Pending() != 0 {
			t.Errorf("%d bytes written, %d read, %d items pending", n, read, d.Pending())
		}
	})
	t.Run("calls_of_a_closed_file_return_ErrClosed", func(t *testing.T) {
		f := newDisk(t).create("f")
		must(t, f.Close())
		_, read := f.ReadAt(make([]byte, 1), 0)
		_, size := f.Size()
		_, mapped := f.Map(1)
		for _, err := range []error{read, size, mapped, f.Truncate(1), f.Allocate(0, 1), f.Sync(), f.Close()} {
			wantErr(t, err, fs.ErrClosed)
		}
	})
	t.Run("a_mapping_ends_where_the_file_ends_now", func(t *testing.T) {
		f := newDisk(t).stored("f", "abc")
		m := mapFile(t, f, 100)
		p := make([]byte, 4)
		if n, err := m.ReadAt(p, 0); n != 0 || !errors.Is(err, vfs.ErrFault) {
			t.Errorf("%d, %v; want ErrFault", n, err)
		}
		writeAt(t, f, "d", 3)
		if n, err := m.ReadAt(p, 0); n != 4 || err != nil || string(p) != "abcd" {
			t.Errorf("%d, %v, %q", n, err, p)
		}
		must(t, m.Close())
		_, err := m.ReadAt(p, 0)
		wantErr(t, err, fs.ErrClosed)
	})
	t.Run("a_lock_is_released_once", func(t *testing.T) {
		d := newDisk(t)
		l, err := d.Lock("LOCK")
		must(t, err)
		_, err = d.Lock("LOCK")
		var locked *vfs.LockedError
		if !errors.As(err, &locked) || locked.PID != syscall.Getpid() {
			t.Errorf("a second lock: %v", err)
		}
		must(t, l.Close())
		wantErr(t, l.Close(), fs.ErrClosed)
		_, err = d.Lock("LOCK")
		must(t, err)
	})
}

func writeAt(t testing.TB, f vfs.File, s string, off int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(s), off); n != len(s) || err != nil {
		t.Fatalf("WriteAt of %d bytes at %d: %d, %v", len(s), off, n, err)
	}
}

func mapFile(t testing.TB, f vfs.File, n int64) vfs.Mapping {
	t.Helper()
	m, err := f.Map(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that matches %v", err, want)
	}
}
