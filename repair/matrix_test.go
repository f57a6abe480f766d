package repair

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"testing"

	"kvd/bucket"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// damagedNames returns the files of a store that damage may hit.
func damagedNames(files map[string]string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(name string) bool {
		return path.Base(name) == "LOCK" || len(files[name]) == 0
	})
}

// Two files are damaged at once.
func TestTwoDamages(t *testing.T) {
	for _, x := range samples(t) {
		files := contents(t, x.disk)
		names := damagedNames(files)
		for n := range uint64(150 * *effort) {
			r := rand.New(rand.NewPCG(*seed, n))
			disk := x.disk.Clone()
			what := ""
			for range 2 {
				name, d := names[r.IntN(len(names))], damages[r.IntN(len(damages))]
				b, err := disk.ReadFile(name)
				if err != nil || len(b) == 0 {
					continue // lost by the first
				}
				what += d.name + " of " + name + "; "
				b = d.do(r, b)
				check(t, disk.Remove(name))
				if b != nil {
					check(t, disk.WriteFile(name, b))
				}
			}
			got := run(t, disk, Options{})
			if problem := x.judge(got); problem != "" {
				t.Fatalf("-kvd.seed=%d: %s store, try %d, %s: %s\n%s", *seed, x.name, n, what, problem, got.describe())
			}
		}
	}
}

// A sector or a page has its content of an earlier moment: each by itself is sound.
func TestStaleSectors(t *testing.T) {
	disk := simdisk.New()
	s, err := bucket.Open(dir, storeOptions(disk))
	check(t, err)
	written := map[string]bool{}
	fillStore(t, rand.New(rand.NewPCG(*seed, 9)), s, written)
	earlier := contents(t, disk)
	b, err := s.Bucket(t.Context(), "a")
	check(t, err)
	for n := range 40 {
		e := kv.Entry{Key: []string{"key1", "key2", "key3", "later"}[n%4], Operation: kv.Put, Value: []byte{byte(n), 'v'}}
		e.Revision, err = b.Put(t.Context(), e.Key, e.Value)
		check(t, err)
		written[writtenAs("a", &e)] = true
		if n == 20 {
			check(t, s.Checkpoint(t.Context()))
		}
	}
	check(t, s.Close())
	x := sample{name: "closed", disk: disk, written: written}
	x.want = run(t, disk, Options{})
	check(t, x.want.err)
	files := contents(t, disk)
	tried := 0
	for _, name := range damagedNames(files) {
		old := earlier[name]
		for _, size := range []int{512, 4096} {
			for at := 0; at < min(len(old), len(files[name])); at += size {
				end := min(at+size, len(old), len(files[name]))
				if old[at:end] == files[name][at:end] || rand.New(rand.NewPCG(*seed, uint64(at))).IntN(4**effort+8) > 8 {
					continue
				}
				tried++
				content := []byte(files[name])
				copy(content[at:end], old[at:end])
				got := run(t, x.apply(t, name, content), Options{})
				if problem := x.judge(got); problem != "" {
					t.Fatalf("-kvd.seed=%d: %d bytes of %s at %d are older: %s\n%s", *seed, size, name, at, problem, got.describe())
				}
			}
		}
	}
	if tried < 5 {
		t.Errorf("%d places were older", tried)
	}
}

// Files under the name of another one, as a careless copy leaves them.
func TestFilesOfOthers(t *testing.T) {
	for _, x := range samples(t) {
		files := contents(t, x.disk)
		names := damagedNames(files)
		for _, name := range names {
			for _, instead := range names {
				if path.Ext(name) != path.Ext(instead) || name == instead {
					continue
				}
				got := run(t, x.apply(t, name, []byte(files[instead])), Options{})
				if problem := x.judge(got); problem != "" {
					t.Fatalf("%s store, %s in place of %s: %s\n%s", x.name, instead, name, problem, got.describe())
				}
			}
			if path.Ext(name) == ".seg" || path.Ext(name) == ".wal" { // one more file, under a name that is free
				disk := x.disk.Clone()
				copied := path.Join(path.Dir(name), "00000000000fffff"+path.Ext(name))
				check(t, disk.WriteFile(copied, []byte(files[name])))
				got := run(t, disk, Options{})
				if problem := x.judge(got); problem != "" {
					t.Fatalf("%s store, a copy of %s: %s\n%s", x.name, name, problem, got.describe())
				}
			}
		}
	}
}
