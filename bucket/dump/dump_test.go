package dump_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/bucket/dump"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/digest"
	"kvd/kv/msglog"
)

var (
	seed   = flag.Uint64("kvd.seed", 1, "seed of the random histories")
	effort = flag.Int("kvd.effort", 1, "how many times as many histories")
)

const dir = "data"

// clock is a wall clock that the test moves.
type clock struct{ now time.Time }

func options(disk vfs.FS, c *clock) bucket.Options {
	salt := uint64(0)
	return environment.With(bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1, SegmentSize: 4096, CompactionRate: -1}, environment.Env{
		FS: disk, Manual: true, Now: func() time.Time { return c.now }, LargeValue: 8192,
		Random: func() uint64 { salt += 0x9e3779b97f4a7c15; return salt },
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// all returns everything that a store's files hold.
func all(t testing.TB, disk vfs.FS, o dump.Options) (items []dump.Item) {
	t.Helper()
	check(t, dump.Store(dir, environment.With(o, environment.Env{FS: disk}), func(i *dump.Item) error {
		items = append(items, *i)
		return nil
	}))
	return items
}

// history writes a random history to a store and returns the store, open.
func history(t testing.TB, r *rand.Rand, disk vfs.FS, c *clock) *bucket.Store {
	t.Helper()
	s, err := bucket.Open(dir, options(disk, c))
	check(t, err)
	ctx := t.Context()
	for i, config := range []kv.Config{
		{Bucket: "a", History: 1 + r.IntN(4)},
		{Bucket: "ttl", History: 1 + r.IntN(3), TTL: time.Hour},
		{Bucket: "log", Kind: msglog.Kind, History: 2, TTL: time.Hour},
		{Bucket: "z", History: 3, Compression: true},
	} {
		if i == 2 {
			config.Bucket = msglog.ReservedBucket + config.Bucket
		}
		_, err := s.CreateBucket(ctx, config)
		check(t, err)
	}
	for n := range 60 + r.IntN(60) {
		step(t, r, s, c)
		if n%50 == 10 {
			beginImport(t, r, s, fmt.Sprintf("import%d", n), c.now)
		}
	}
	return s
}

// beginImport imports a bucket, and commits that or not.
func beginImport(t testing.TB, r *rand.Rand, s *bucket.Store, name string, now time.Time) {
	t.Helper()
	im, err := s.ImportBucket(t.Context(), kv.Config{Bucket: name, History: 2}, 100)
	check(t, err)
	var sum kv.Digest
	for n := range kv.Revision(3) {
		e := kv.Entry{Key: "k", Revision: 10 + n, Created: now, Operation: kv.Put, Value: []byte(name)}
		check(t, im.Write(t.Context(), []kv.Entry{e}))
		if n > 0 { // the history is two
			sum = sum.Add(digest.OfEntry(&e))
		}
		if r.IntN(3) == 0 {
			check(t, s.Checkpoint(t.Context()))
		}
	}
	if r.IntN(2) == 0 {
		check(t, im.Commit(t.Context(), sum))
	}
}

// step takes one random step.
func step(t testing.TB, r *rand.Rand, s *bucket.Store, c *clock) {
	t.Helper()
	ctx := t.Context()
	c.now = c.now.Add(time.Duration(r.IntN(5)) * time.Minute)
	names := []string{"a", "ttl", msglog.ReservedBucket + "log", "z"}
	b, err := s.Bucket(ctx, names[r.IntN(len(names))])
	if errors.Is(err, kv.ErrBucketNotFound) {
		return
	}
	check(t, err)
	key := fmt.Sprintf("k%d", r.IntN(6))
	var options []kv.WriteOption
	if b.Name() == "a" && r.IntN(3) == 0 {
		options = append(options, kv.KeyTTL(time.Duration(1+r.IntN(20))*time.Minute))
	}
	switch r.IntN(24) {
	case 0:
		check(t, b.PurgeDeletes(ctx, time.Duration(r.IntN(3)-1)*time.Minute))
	case 1:
		_, err = b.Purge(ctx, key)
	case 2, 3:
		_, err = b.Delete(ctx, key)
	case 4:
		err = s.Checkpoint(ctx)
	case 5:
		_, err = s.Reclaim(ctx, func(kv.Reclaimed) {})
	case 6:
		if l, ok := kv.As[msglog.Log](b); ok && r.IntN(2) == 0 {
			_, err = l.Erase(ctx, key, 0, uint64(r.IntN(2)))
		}
	case 7:
		if b.Name() == "z" && r.IntN(4) == 0 {
			err = s.DeleteBucket(ctx, "z")
		}
	case 8:
		_, err = s.UpdateBucket(ctx, kv.Config{Bucket: "a", History: 1 + r.IntN(4)})
	default:
		_, err = b.Put(ctx, key, []byte(strings.Repeat(key, 1+r.IntN(60)*r.IntN(2)+r.IntN(40)/39*5000)), options...)
	}
	check(t, err)
}

// kept returns the records that a store keeps, by its own account.
func kept(t testing.TB, s *bucket.Store) map[string]bool {
	t.Helper()
	ctx := kv.WithStale(context.Background())
	found := map[string]bool{}
	for name, err := range s.BucketNames(ctx) {
		check(t, err)
		b, err := s.Bucket(ctx, name)
		check(t, err)
		l, ok := kv.As[msglog.Log](b)
		if !ok {
			t.Fatalf("bucket %s cannot be scanned", name)
		}
		for from, newest := kv.Revision(1), lastOf(t, b); from <= newest; {
			from, err = l.Scan(ctx, ">", from, newest, func(e *kv.Entry) bool {
				found[fmt.Sprintf("%s %s %d %v", name, e.Key, e.Revision, e.Operation)] = true
				return true
			})
			check(t, err)
		}
	}
	return found
}

func lastOf(t testing.TB, b kv.Bucket) kv.Revision {
	t.Helper()
	status, err := b.Status(context.Background())
	check(t, err)
	return status.Revision
}

// live returns the records whose verdict is that they are live.
func live(items []dump.Item) map[string]bool {
	found := map[string]bool{}
	for _, i := range items {
		if r := i.Record; r != nil && i.Verdict.State == dump.StateLive && r.Operation != "ERASE" {
			found[fmt.Sprintf("%s %s %d %s", r.Name, r.Key, r.Revision, r.Operation)] = true
		}
	}
	return found
}

// The records that a dump calls live are those that the store keeps once it is opened.
func TestLiveRecordsAreThoseThatTheStoreKeeps(t *testing.T) {
	rules := map[string]int{}
	for n := range uint64(60 * *effort) {
		r := rand.New(rand.NewPCG(*seed, n))
		disk, c := simdisk.New(), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		s := history(t, r, disk, c)
		if n%2 == 0 {
			check(t, s.Close())
		}
		image := disk.Clone() // closed, or killed
		items := all(t, image, dump.Options{})
		for _, i := range items {
			switch {
			case i.Kind == dump.KindUnknown && !strings.Contains(i.Text, "no frame of this use"), i.Kind == dump.KindHole:
				t.Errorf("-kvd.seed=%d, history %d: %+v", *seed, n, i)
			case i.Record != nil && i.Verdict.State == "":
				t.Errorf("-kvd.seed=%d, history %d: no verdict on %+v", *seed, n, *i.Record)
			case i.Record != nil:
				rules[i.Verdict.Rule]++
			}
			for _, sum := range i.Sums {
				if !sum.Matches() {
					t.Errorf("-kvd.seed=%d, history %d: %+v", *seed, n, i)
				}
			}
		}
		again, err := bucket.Open(dir, options(image, c))
		check(t, err)
		want, got, old := kept(t, again), live(items), hidden(items, c.now)
		for name := range want {
			if !got[name] {
				t.Errorf("-kvd.seed=%d, history %d: the store keeps %s, and the dump does not call it live", *seed, n, name)
			}
		}
		for name := range got {
			if !want[name] && !old[name] {
				t.Errorf("-kvd.seed=%d, history %d: the dump calls %s live, and the store does not keep it", *seed, n, name)
			}
		}
		check(t, again.Close())
		if n%2 != 0 {
			check(t, s.Close())
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	for _, rule := range []string{"", "floor", "expired", "cut", "forgotten", "deleted"} {
		if rules[rule] == 0 {
			t.Errorf("no record was removed by rule %q: %v", rule, rules)
		}
	}
}

// hidden returns the records that the store keeps and does not show, because their time has
// passed: their own, or that of the newest record of their key.
func hidden(items []dump.Item, now time.Time) map[string]bool {
	newest := map[string]*dump.Record{}
	for _, i := range items {
		if r := i.Record; r != nil && i.Verdict.State == dump.StateLive && r.Operation != "ERASE" {
			if n := newest[r.Name+r.Key]; n == nil || n.Revision < r.Revision {
				newest[r.Name+r.Key] = r
			}
		}
	}
	passed := func(r *dump.Record) bool {
		hasTTL := r.Name == "ttl" || strings.HasPrefix(r.Name, msglog.ReservedBucket)
		return r.Deadline != nil && !r.Deadline.After(now) || hasTTL && !r.Created.Add(time.Hour).After(now)
	}
	found := map[string]bool{}
	for _, i := range items {
		if r := i.Record; r != nil && i.Verdict.State == dump.StateLive && r.Operation != "ERASE" && (passed(r) || passed(newest[r.Name+r.Key])) {
			found[fmt.Sprintf("%s %s %d %s", r.Name, r.Key, r.Revision, r.Operation)] = true
		}
	}
	return found
}

// closedStore makes a store with one of everything, and returns its disk, with the log of a
// process that was killed.
func closedStore(t testing.TB) (*simdisk.Disk, *bucket.Store) {
	t.Helper()
	disk, c := simdisk.New(), &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	s, err := bucket.Open(dir, options(disk, c))
	check(t, err)
	b, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b", History: 2})
	check(t, err)
	for _, v := range []string{"one", "two", "three", strings.Repeat("large", 3000)} {
		_, err := b.PutString(t.Context(), "k", v)
		check(t, err)
	}
	check(t, s.Checkpoint(t.Context()))
	_, err = b.Delete(t.Context(), "k")
	check(t, err)
	_, err = b.PutString(t.Context(), "other", "value")
	check(t, err)
	return disk, s
}

// The biography of a key answers who deleted it.
func TestBiographyOfAKey(t *testing.T) {
	disk, s := closedStore(t)
	var got []string
	for _, i := range all(t, disk.Clone(), dump.Options{Bucket: "b", Key: "k", Values: dump.ValuesPrefix}) {
		if r := i.Record; r != nil && i.Verdict.State != dump.StateCovered && i.Verdict.State != dump.StateIgnored {
			value := ""
			if r.Value != nil {
				value = *r.Value
			}
			got = append(got, fmt.Sprintf("%s %d %.6q %v %v %s %s", r.Operation, r.Revision, value, r.Cut, i.Verdict.State, i.Verdict.Rule, i.Verdict.By))
		}
	}
	slices.Sort(got)
	want := []string{
		`DEL 5 "" false live  `,
		`PUT 1 "one" false dead floor the PUT with revision 3 keeps nothing below 2`,
		`PUT 2 "two" false dead floor the PUT with revision 4 keeps nothing below 3`,
		`PUT 3 "three" false dead floor the DEL with revision 5 keeps nothing below 4`,
		`PUT 4 "largel" true live  `,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	check(t, s.Close())
}

// A dump changes no byte, makes no file, and needs no lock if somebody has it and the dump is told
// to read all the same.
func TestADumpChangesNothing(t *testing.T) {
	disk, s := closedStore(t)
	check(t, s.Close())
	before := contents(t, disk)
	if items := all(t, disk, dump.Options{Values: dump.ValuesFull}); len(items) < 20 {
		t.Errorf("%d parts", len(items))
	}
	if !maps.Equal(before, contents(t, disk)) {
		t.Error("the files have changed")
	}
}

func contents(t testing.TB, disk *simdisk.Disk) map[string]string {
	t.Helper()
	found, err := disk.Contents(dir)
	check(t, err)
	return found
}

// A real lock: the store is open in this process.
func TestAnOpenStoreIsReadAsASnapshotAlone(t *testing.T) {
	real := t.TempDir()
	s, err := bucket.Open(real, bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1})
	check(t, err)
	_, err = s.CreateBucket(t.Context(), kv.Config{Bucket: "b"})
	check(t, err)
	items := 0
	count := func(*dump.Item) error { items++; return nil }
	if err := dump.Store(real, dump.Options{}, count); !errors.Is(err, kv.ErrLocked) || items > 0 {
		t.Errorf("%d parts, %v", items, err)
	}
	if err := dump.Store(real, dump.Options{Snapshot: true}, count); err != nil || items == 0 {
		t.Errorf("%d parts, %v", items, err)
	}
	check(t, s.Close())
	if err := dump.Store(real, dump.Options{}, count); err != nil {
		t.Error(err)
	}
	if err := dump.Store(t.TempDir(), dump.Options{}, count); !errors.Is(err, kv.ErrNotStore) {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestFilters(t *testing.T) {
	disk, s := closedStore(t)
	image := disk.Clone()
	check(t, s.Close())
	for _, i := range all(t, image, dump.Options{First: 3, Last: 4}) {
		if f := i.Frame; f != nil && (f.LSN < 3 || f.LSN > 4) || i.Edit != nil || i.Page != nil {
			t.Errorf("frames 3 to 4 alone: %+v", i)
		}
	}
	for _, i := range all(t, image, dump.Options{Bucket: "none"}) {
		t.Errorf("a bucket that does not exist: %+v", i)
	}
	for _, i := range all(t, image, dump.Options{What: dump.Manifest}) {
		if i.Record != nil || i.Frame != nil {
			t.Errorf("the manifest alone: %+v", i)
		}
	}
	bad := environment.With(dump.Options{First: 4, Last: 3}, environment.Env{FS: image})
	if err := dump.Store(dir, bad, func(*dump.Item) error { return nil }); !errors.Is(err, kv.ErrInvalidOption) {
		t.Error(err)
	}
}

// A file tells the same without its store, but no verdict. The records of a log are read without
// the seed, too.
func TestALoneFile(t *testing.T) {
	disk, s := closedStore(t)
	image := disk.Clone()
	check(t, s.Close())
	want := map[string]int{}
	for _, i := range all(t, image, dump.Options{}) {
		if i.Offset >= 0 {
			want[i.File]++
		}
	}
	for file, n := range want {
		got, records := 0, 0
		err := dump.File(file, environment.With(dump.Options{}, environment.Env{FS: image}), func(i *dump.Item) error {
			got++
			if i.Verdict.State == dump.StateLive {
				t.Errorf("%s: a verdict without a store: %+v", file, i)
			}
			if i.Record != nil {
				records++
			}
			return nil
		})
		if err != nil || got != n || path.Ext(file) == ".wal" && records == 0 {
			t.Errorf("%s: %d parts with %d records, %v; want %d", file, got, records, err, n)
		}
	}
	at := int64(100)
	err := dump.File(path.Join(dir, "manifest.1"), environment.With(dump.Options{Offset: &at}, environment.Env{FS: image}), func(i *dump.Item) error {
		if i.Kind != dump.KindFile && (i.Kind != dump.KindEdit || at < i.Offset || at >= i.Offset+i.Size) {
			t.Errorf("the part at %d alone: %+v", at, i)
		}
		return nil
	})
	check(t, err)
}

// Whatever a bit of a store is, a dump ends, and tells a damage for every bit that a checksum covers.
func TestEveryDamagedByteIsTold(t *testing.T) {
	disk, s := closedStore(t)
	check(t, s.Close())
	r := rand.New(rand.NewPCG(*seed, 0))
	told := 0
	for name, content := range contents(t, disk) {
		if path.Base(name) == "LOCK" || len(content) == 0 {
			continue
		}
		for range 40 * *effort {
			at := int64(r.IntN(len(content)))
			if r.IntN(2) == 0 {
				at = int64(r.IntN(min(len(content), 300)))
			}
			damaged := disk.Clone()
			check(t, damaged.Corrupt(name, at, 1, func(b []byte) { b[0] ^= 1 << r.IntN(8) }))
			found := false
			err := dump.Store(dir, environment.With(dump.Options{Values: dump.ValuesFull}, environment.Env{FS: damaged}), func(i *dump.Item) error {
				found = found || i.Kind == dump.KindUnknown && i.Verdict.State == dump.StateDamaged || i.Verdict.State == dump.StateDamaged ||
					slices.ContainsFunc(i.Sums, func(s dump.Sum) bool { return !s.Matches() })
				return nil
			})
			if err != nil {
				t.Fatalf("-kvd.seed=%d, %s at %d: %v", *seed, name, at, err)
			}
			if found {
				told++
			}
		}
	}
	if told < 50 {
		t.Errorf("%d damages were told", told)
	}
}

// FuzzFile dumps a file of any bytes under the name of each kind of file, and stores in which such
// a file replaces a part of one.
func FuzzFile(f *testing.F) {
	disk, s := closedStore(f)
	check(f, s.Close())
	files := contents(f, disk)
	names := slices.Sorted(maps.Keys(files))
	for i, name := range names {
		f.Add([]byte(files[name][:min(len(files[name]), 9000)]), uint8(i), uint32(i)*100)
	}
	f.Fuzz(func(t *testing.T, b []byte, which uint8, at uint32) {
		name := names[int(which)%len(names)]
		lone := simdisk.New()
		check(t, lone.Mkdir("x"))
		check(t, lone.WriteFile("x/"+path.Base(name), b))
		tell := func(i *dump.Item) error {
			if i.Offset < -1 || i.Size < 0 {
				t.Fatalf("%+v", i)
			}
			return nil
		}
		_ = dump.File("x/"+path.Base(name), environment.With(dump.Options{Values: dump.ValuesFull}, environment.Env{FS: lone}), tell)
		image := disk.Clone()
		content := []byte(files[name])
		if len(content) > 0 {
			copy(content[int(at)%len(content):], b)
			check(t, image.Corrupt(name, 0, int64(len(content)), func(old []byte) { copy(old, content) }))
		}
		_ = dump.Store(dir, environment.With(dump.Options{Values: dump.ValuesFull}, environment.Env{FS: image}), tell)
	})
}
