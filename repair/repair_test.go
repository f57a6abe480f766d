package repair

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/kv/digest"
)

var (
	seed   = flag.Uint64("kvd.seed", 1, "seed of the random damages")
	effort = flag.Int("kvd.effort", 1, "how many times as many damages")
)

const dir = "data"

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func storeOptions(disk vfs.FS) bucket.Options {
	salt, now := uint64(0), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return environment.With(bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1, SegmentSize: 8192, CompactionRate: -1, ImageKeys: -1}, environment.Env{
		FS: disk, Manual: true, Now: func() time.Time { now = now.Add(time.Millisecond); return now }, LargeValue: 8192,
		Random: func() uint64 { salt += 0x9e3779b97f4a7c15; return salt },
	})
}

// imports is a store that takes imports, and holds them to the rules.
type imports struct {
	t       testing.TB
	buckets map[string]map[string][]kv.Entry // records by bucket and key, ascending
	next    map[string]kv.Revision
}

func newImports(t testing.TB) *imports {
	return &imports{t, map[string]map[string][]kv.Entry{}, map[string]kv.Revision{}}
}

func (s *imports) ImportBucket(_ context.Context, cfg kv.Config, next kv.Revision) (kv.Importer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if s.buckets[cfg.Bucket] != nil {
		return nil, fmt.Errorf("%w: %s", kv.ErrBucketExists, cfg.Bucket)
	}
	return &importedBucket{store: s, config: cfg, next: next, keys: map[string][]kv.Entry{}}, nil
}

type importedBucket struct {
	store  *imports
	config kv.Config
	next   kv.Revision
	last   kv.Revision
	keys   map[string][]kv.Entry
	sum    kv.Digest
}

func (b *importedBucket) Write(_ context.Context, records []kv.Entry) error {
	for _, e := range records {
		switch {
		case e.Revision <= b.last, e.Revision >= b.next, kv.CheckKey(e.Key) != nil,
			e.Operation.IsMarker() && (len(e.Value) > 0 || e.Reason == kv.ReasonNone), !e.Operation.IsMarker() && e.Reason != kv.ReasonNone,
			int64(len(e.Value)) > b.config.MaxValueSize, e.Operation == kv.Delete && !e.Deadline.IsZero():
			b.store.t.Errorf("record %+v behind revision %d", e, b.last)
			return kv.ErrInvalidRecord
		}
		b.last = e.Revision
		e.Value = slices.Clone(e.Value)
		b.keys[e.Key] = append(b.keys[e.Key], e)
		b.sum = b.sum.Add(digest.OfEntry(&e))
		if len(b.keys[e.Key]) > b.config.History {
			b.store.t.Errorf("key %q has %d records, and the history is %d", e.Key, len(b.keys[e.Key]), b.config.History)
		}
	}
	return nil
}

func (b *importedBucket) Commit(_ context.Context, d kv.Digest) error {
	if d != b.sum {
		return &kv.DigestError{Bucket: b.config.Bucket, Want: d, Got: b.sum}
	}
	b.store.buckets[b.config.Bucket], b.store.next[b.config.Bucket] = b.keys, b.next
	return nil
}

func (*importedBucket) Discard(context.Context) error { return nil }

// outcome is the result of a repair.
type outcome struct {
	*imports
	Report
	findings []Finding
	saved    string // LostFile
	err      error
}

// named reports whether the report has a line about a key, or about its whole bucket.
func (o *outcome) named(bucket, key string) bool {
	return slices.ContainsFunc(o.findings, func(f Finding) bool {
		return f.Bucket == bucket && (f.Key == key || f.Key == "" && f.Kind == KindLeftOut)
	})
}

// missing reports whether records of unknown keys are missing in a bucket, or of unknown buckets.
func (o *outcome) missing(bucket string) bool {
	return slices.ContainsFunc(o.findings, func(f Finding) bool {
		return f.Kind == KindMissing && (f.Bucket == bucket || f.Bucket == "")
	})
}

// run repairs the store on a disk, and checks that the disk stays as it is.
func run(t testing.TB, disk *simdisk.Disk, opts Options) *outcome {
	t.Helper()
	o := &outcome{imports: newImports(t)}
	opts.env.FS = disk
	opts.Found = func(f *Finding) error { o.findings = append(o.findings, *f); return nil }
	before := contents(t, disk)
	s, err := openSource(dir, &opts, opts.Found)
	if err != nil {
		o.err = err
		return o
	}
	ram := vfs.NewRAM()
	r := repair{opts: &opts, source: s, report: &o.Report, target: &target{importer: o.imports, fs: ram, name: LostFile}}
	o.err = r.buckets(t.Context())
	s.close()
	if f := r.target.file; f != nil {
		b := make([]byte, r.target.end)
		_, err := f.ReadAt(b, 0)
		check(t, err)
		o.saved = string(b)
	}
	if !maps.Equal(before, contents(t, disk)) {
		t.Error("the damaged store was changed")
	}
	return o
}

func contents(t testing.TB, disk *simdisk.Disk) map[string]string {
	t.Helper()
	found, err := disk.Contents(dir)
	check(t, err)
	return found
}

// sample is a store whose damage is repaired.
type sample struct {
	name    string
	disk    *simdisk.Disk
	want    *outcome // of a repair before any damage
	written map[string]bool
}

// writtenAs names a record with its value, for sample.written.
func writtenAs(bucket string, e *kv.Entry) string {
	return fmt.Sprintf("%s %s %d %v %s", bucket, e.Key, e.Revision, e.Operation, e.Value)
}

// samples makes stores with histories, deletes, purges, shorter histories, purge-deletes, large
// and compressed values: closed, and killed.
func samples(t testing.TB) (list []sample) {
	t.Helper()
	for n, killed := range []bool{false, true} {
		r := rand.New(rand.NewPCG(*seed, uint64(n)))
		disk := simdisk.New()
		s, err := bucket.Open(dir, storeOptions(disk))
		check(t, err)
		written := map[string]bool{}
		fillStore(t, r, s, written)
		image := disk.Clone()
		check(t, s.Close())
		if !killed {
			image = disk
		}
		x := sample{name: "closed", disk: image, written: written}
		if killed {
			x.name = "killed"
		}
		x.want = run(t, image, Options{})
		check(t, x.want.err)
		if !x.want.Sound() || x.want.Damages > 0 {
			t.Fatalf("%s: the repair of a sound store reports %+v", x.name, x.want.findings)
		}
		list = append(list, x)
	}
	return list
}

func fillStore(t testing.TB, r *rand.Rand, s *bucket.Store, written map[string]bool) {
	t.Helper()
	ctx := t.Context()
	for _, c := range []kv.Config{{Bucket: "a", History: 5}, {Bucket: "b", Compression: true}, {Bucket: "gone"}} {
		_, err := s.CreateBucket(ctx, c)
		check(t, err)
	}
	ttls := [][]kv.WriteOption{nil, {kv.KeyTTL(time.Hour)}}
	for n := range 240 {
		b, err := s.Bucket(ctx, []string{"a", "a", "b", "gone"}[r.IntN(4)])
		if errors.Is(err, kv.ErrBucketNotFound) {
			continue
		}
		check(t, err)
		key := fmt.Sprintf("key%d", r.IntN(12))
		e := kv.Entry{Key: key}
		switch r.IntN(12) {
		case 0:
			e.Operation = kv.Delete
			e.Revision, err = b.Delete(ctx, key)
		case 1:
			e.Operation = kv.Purge
			e.Revision, err = b.Purge(ctx, key)
		case 2:
			if n%3 == 0 {
				err = s.Checkpoint(ctx)
			}
		case 3:
			if n%5 == 0 {
				err = b.PurgeDeletes(ctx, -1)
			}
		default:
			e.Operation, e.Value = kv.Put, []byte(strings.Repeat(fmt.Sprint(key, n), 1+r.IntN(40)+r.IntN(30)/29*1200))
			e.Revision, err = b.Put(ctx, key, e.Value, ttls[r.IntN(2)]...)
		}
		check(t, err)
		written[writtenAs(b.Name(), &e)] = true
		switch n {
		case 100:
			_, err = s.Reclaim(ctx, func(kv.Reclaimed) {})
		case 150:
			_, err = s.UpdateBucket(ctx, kv.Config{Bucket: "a", History: 3})
		case 170:
			err = s.DeleteBucket(ctx, "gone")
		case 200:
			err = s.Checkpoint(ctx)
		}
		check(t, err)
	}
}

// judge compares a repair with that of the same store before the damage. Every record that came
// back is one that was written, and a key that the report does not name has what it had.
func (x *sample) judge(got *outcome) (problem string) {
	if got.err != nil {
		return "repair: " + got.err.Error()
	}
	for _, f := range got.findings {
		if f.Kind == KindLeftOut && f.Key != "" && len(got.buckets[f.Bucket][f.Key]) > 0 {
			return fmt.Sprintf("%s > %s is there, and the report says that it is left out", f.Bucket, f.Key)
		}
	}
	for name, keys := range got.buckets {
		for key, records := range keys {
			for i := range records {
				if !x.written[writtenAs(name, &records[i])] && !strings.HasPrefix(name, "recovered-") {
					return fmt.Sprintf("%s > %s has a record that nobody wrote: %+v", name, key, records[i])
				}
			}
		}
	}
	for name, keys := range x.want.buckets {
		if got.buckets[name] == nil && !got.named(name, "") && !got.missing("") && !got.Rebuilt {
			return fmt.Sprintf("bucket %s is gone, and the report does not say so", name)
		}
		for key, records := range keys {
			have := got.buckets[name][key]
			if sameRecords(have, records) || got.named(name, key) || got.buckets[name] == nil || got.Rebuilt {
				continue
			}
			if got.missing(name) && (len(have) == 0 || sameRecords(have[len(have)-1:], records[len(records)-1:]) && isPart(have, records)) {
				continue // nobody knows the keys of missing records
			}
			return fmt.Sprintf("%s > %s has %d records instead of %d, and the report does not name it", name, key, len(have), len(records))
		}
		for key := range got.buckets[name] {
			if keys[key] == nil && !got.named(name, key) && !got.Rebuilt {
				return fmt.Sprintf("%s > %s is back, and the report does not name it", name, key)
			}
		}
	}
	return ""
}

func sameRecords(a, b []kv.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y kv.Entry) bool {
		return x.Revision == y.Revision && x.Operation == y.Operation && x.Created.Equal(y.Created) && string(x.Value) == string(y.Value) && x.Deadline.Equal(y.Deadline)
	})
}

// isPart reports whether all records of a are among those of b.
func isPart(a, b []kv.Entry) bool {
	for i := range a {
		if !slices.ContainsFunc(b, func(e kv.Entry) bool { return sameRecords(a[i:i+1], []kv.Entry{e}) }) {
			return false
		}
	}
	return true
}

// describe tells a repair, for a failure.
func (o *outcome) describe() string {
	var lines []string
	for _, f := range o.findings {
		lines = append(lines, fmt.Sprintf("%s %s %s %d-%d %d %s", f.Kind, f.Bucket, f.Key, f.After, f.UpTo, f.Revision, f.Text))
	}
	return strings.Join(lines, "\n")
}

// damages are what may happen to a file; each returns the new content, nil for no file.
var damages = []struct {
	name string
	do   func(r *rand.Rand, b []byte) []byte
}{
	{"a flipped bit", func(r *rand.Rand, b []byte) []byte { b[usedByte(r, b)] ^= 1 << r.IntN(8); return b }},
	{"a zeroed sector", func(r *rand.Rand, b []byte) []byte {
		at := usedByte(r, b) &^ 511
		clear(b[at:min(at+512, len(b))])
		return b
	}},
	{"a zeroed page", func(r *rand.Rand, b []byte) []byte {
		at := usedByte(r, b) &^ 4095
		clear(b[at:min(at+4096, len(b))])
		return b
	}},
	{"swapped sectors", func(r *rand.Rand, b []byte) []byte {
		x, y := usedByte(r, b)&^511, usedByte(r, b)&^511
		if max(x, y)+512 <= len(b) {
			old := slices.Clone(b[x : x+512])
			copy(b[x:x+512], b[y:y+512])
			copy(b[y:], old)
		}
		return b
	}},
	{"a cut", func(r *rand.Rand, b []byte) []byte { return b[:usedByte(r, b)] }},
	{"a lost file", func(*rand.Rand, []byte) []byte { return nil }},
}

// usedByte returns the place of a random byte, mostly one that is not zero.
func usedByte(r *rand.Rand, b []byte) int {
	at := r.IntN(len(b))
	for range 50 {
		if b[at] != 0 {
			break
		}
		at = r.IntN(len(b))
	}
	return at
}

// apply damages a file on a copy of the disk.
func (x *sample) apply(t testing.TB, name string, content []byte) *simdisk.Disk {
	t.Helper()
	disk := x.disk.Clone()
	check(t, disk.Remove(name))
	if content != nil {
		check(t, disk.WriteFile(name, content))
	}
	return disk
}

// The damage matrix: whatever happens to one file, the new store has what the report does not name.
func TestDamageMatrixOfRepair(t *testing.T) {
	for _, x := range samples(t) {
		files := contents(t, x.disk)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if path.Base(name) == "LOCK" || len(files[name]) == 0 {
				continue
			}
			for _, d := range damages {
				for n := range uint64(3 * *effort) {
					r := rand.New(rand.NewPCG(*seed, n))
					disk := x.apply(t, name, d.do(r, []byte(files[name])))
					got := run(t, disk, Options{})
					if problem := x.judge(got); problem != "" {
						t.Fatalf("-kvd.seed=%d: %s store, %s of %s, try %d: %s\n%s", *seed, x.name, d.name, name, n, problem, got.describe())
					}
				}
			}
		}
	}
}

// A flipped bit costs the record that it hits, and nothing else: not even that in an index page, in
// one copy of the manifest, in a log that a clean close has made superfluous.
func TestAFlippedBitCostsOneRecord(t *testing.T) {
	x := samples(t)[0]
	files := contents(t, x.disk)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) == "LOCK" || len(files[name]) == 0 {
			continue
		}
		for n := range uint64(20 * *effort) {
			r := rand.New(rand.NewPCG(*seed, n))
			got := run(t, x.apply(t, name, damages[0].do(r, []byte(files[name]))), Options{})
			if problem := x.judge(got); problem != "" {
				t.Fatalf("-kvd.seed=%d: %s, try %d: %s\n%s", *seed, name, n, problem, got.describe())
			}
			other := 0
			for bucket, keys := range x.want.buckets {
				for key, records := range keys {
					if !sameRecords(got.buckets[bucket][key], records) {
						other++
					}
				}
			}
			if other > 1 || other > 0 && path.Ext(name) != ".seg" && path.Ext(name) != ".val" {
				t.Errorf("-kvd.seed=%d: a flipped bit of %s, try %d, costs %d keys\n%s", *seed, name, n, other, got.describe())
			}
		}
	}
}

// With both copies of the manifest lost, all records are there: their revisions, times and values.
// Keys that a rule may have ended are named.
func TestBothManifestsLost(t *testing.T) {
	for _, x := range samples(t) {
		for _, how := range []string{"removed", "damaged", "one each"} {
			disk := x.disk.Clone()
			for i, name := range []string{"manifest.1", "manifest.2"} {
				name = path.Join(dir, name)
				if how == "damaged" || how == "one each" && i == 0 {
					check(t, disk.Corrupt(name, 0, 200, func(b []byte) { clear(b) }))
				} else {
					check(t, disk.Remove(name))
				}
			}
			got := run(t, disk, Options{})
			if problem := x.judge(got); problem != "" || !got.Rebuilt || got.Sound() {
				t.Fatalf("%s store, manifests %s: %s %+v\n%s", x.name, how, problem, got.Report, got.describe())
			}
			for id, bucket := range []string{1: "a", 2: "b"} {
				if bucket == "" {
					continue
				}
				name := fmt.Sprintf("recovered-%d", id)
				if got.buckets[bucket] != nil {
					name = bucket
				}
				for key, records := range x.want.buckets[bucket] {
					have := got.buckets[name][key]
					if !isPart(records, have) && got.buckets[bucket] == nil || len(have) == 0 || !sameRecords(have[len(have)-1:], records[len(records)-1:]) {
						t.Errorf("%s store, manifests %s: %s > %s has %d records, want %d", x.name, how, name, key, len(have), len(records))
					}
					if e := have[len(have)-1]; e.Operation == kv.Put && !got.named(name, key) {
						t.Errorf("%s store: %s > %s may have been ended by a rule, and the report does not name it", x.name, name, key)
					}
				}
			}
		}
	}
}

// Repaired twice is repaired once.
func TestARepairIsRepeatable(t *testing.T) {
	x := samples(t)[1]
	disk := x.disk.Clone()
	check(t, disk.Corrupt(path.Join(dir, "wal/0000000000000001.wal"), 9000, 4096, func(b []byte) { clear(b) }))
	one, two := run(t, disk, Options{}), run(t, disk, Options{})
	if one.describe() != two.describe() || !slices.Equal(slices.Sorted(maps.Keys(one.buckets)), slices.Sorted(maps.Keys(two.buckets))) {
		t.Errorf("first\n%s\nthen\n%s", one.describe(), two.describe())
	}
	for bucket, keys := range one.buckets {
		for key, records := range keys {
			if !sameRecords(records, two.buckets[bucket][key]) {
				t.Errorf("%s > %s: %v, then %v", bucket, key, records, two.buckets[bucket][key])
			}
		}
	}
}

// lostStore has keys whose records are damaged on purpose: the newest value of one, an older value
// of another, and a marker.
func lostStore(t testing.TB) *simdisk.Disk {
	t.Helper()
	disk := simdisk.New()
	s, err := bucket.Open(dir, storeOptions(disk))
	check(t, err)
	b, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b", History: 5})
	check(t, err)
	put := func(key, value string) {
		t.Helper()
		_, err := b.PutString(t.Context(), key, value)
		check(t, err)
	}
	put("newest", "old")
	put("newest", "hit this one")
	put("older", "hit this too")
	put("older", "new")
	put("deleted", "value")
	_, err = b.Delete(t.Context(), "deleted")
	check(t, err)
	put("whole", "whole")
	check(t, s.Close())
	for name, content := range contents(t, disk) {
		for _, text := range []string{"hit this one", "hit this too"} {
			if at := strings.Index(content, text); at >= 0 && path.Ext(name) == ".seg" {
				check(t, disk.Corrupt(name, int64(at), 1, func(b []byte) { b[0] ^= 1 }))
			}
		}
		if at := strings.LastIndex(content, "deleted\x00"); at >= 0 && path.Ext(name) == ".seg" && at < 4096 { // the padding of the marker
			check(t, disk.Corrupt(name, int64(at)+7, 1, func(b []byte) { b[0] ^= 1 }))
		}
	}
	return disk
}

func TestLostValues(t *testing.T) {
	disk := lostStore(t)
	got := run(t, disk, Options{})
	check(t, got.err)
	s := got.Buckets[0]
	if s.Lost != 2 || s.LeftOut != 1 || s.Missing != 0 || s.AtRisk != 0 || got.Sound() {
		t.Errorf("%+v\n%s", s, got.describe())
	}
	b := got.buckets["b"]
	if len(b["newest"]) != 0 || len(b["older"]) != 1 || string(b["older"][0].Value) != "new" || len(b["whole"]) != 1 {
		t.Errorf("%+v", b)
	}
	if d := b["deleted"]; len(d) != 2 || d[1].Operation != kv.Delete {
		t.Errorf("a damaged marker is no loss: %+v", d)
	}
	if want := `{"bucket":"b","key":"newest","rev":1,"op":"put",`; !strings.HasPrefix(got.saved, want) || !strings.HasSuffix(got.saved, `"value":"old"}`+"\n") {
		t.Errorf("saved: %s", got.saved)
	}
	if got.next["b"] != 8+RevisionGap {
		t.Errorf("the next revision is %d", got.next["b"])
	}
	older := run(t, disk, Options{PreferOlder: true})
	check(t, older.err)
	if s, b := older.Buckets[0], older.buckets["b"]; s.LeftOut != 0 || s.AtRisk != 1 || len(b["newest"]) != 1 || string(b["newest"][0].Value) != "old" || older.saved != "" || !older.named("b", "newest") {
		t.Errorf("%+v, %+v", s, b)
	}
}

// Pages that the disk does not give back are damage like any other.
func TestAPageThatTheDiskDoesNotGiveBack(t *testing.T) {
	for _, x := range samples(t) {
		for n := range uint64(10 * *effort) {
			r := rand.New(rand.NewPCG(*seed, n))
			files := contents(t, x.disk)
			names := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(name string) bool { return path.Base(name) == "LOCK" || len(files[name]) == 0 })
			name := names[r.IntN(len(names))]
			page := int64(usedByte(r, []byte(files[name]))) &^ 4095
			fault := simdisk.NewFault(x.disk.Clone())
			fault.Inject(func(op simdisk.Op) simdisk.Action {
				if (op.Kind == simdisk.OpReadAt || op.Kind == simdisk.OpReadMapping) && op.Path == name && op.Offset < page+4096 && op.Offset+int64(op.Len) > page {
					return simdisk.Action{Err: errors.New("bad sector")}
				}
				return simdisk.Action{}
			})
			got := &outcome{imports: newImports(t)}
			opts := Options{Found: func(f *Finding) error { got.findings = append(got.findings, *f); return nil }}
			opts.env.FS = fault
			s, err := openSource(dir, &opts, opts.Found)
			if err == nil {
				rep := repair{opts: &opts, source: s, report: &got.Report, target: &target{importer: got.imports, fs: vfs.NewRAM(), name: LostFile}}
				err = rep.buckets(t.Context())
				s.close()
			}
			if got.err = err; x.judge(got) != "" {
				t.Errorf("-kvd.seed=%d: %s store, page %d of %s: %s\n%s", *seed, x.name, page, name, x.judge(got), got.describe())
			}
		}
	}
}

func TestTargetsThatAreRefused(t *testing.T) {
	disk := lostStore(t)
	check(t, disk.Mkdir("full"))
	check(t, disk.WriteFile("full/file", []byte("x")))
	check(t, disk.Mkdir("begun.partial"))
	opts := environment.With(Options{}, environment.Env{FS: disk})
	for _, into := range []string{"full", "begun"} {
		if _, err := Store(t.Context(), dir, into, opts); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", into, err)
		}
	}
	check(t, disk.Mkdir("empty"))
	if _, err := Store(t.Context(), "empty", "", opts); !errors.Is(err, kv.ErrNotStore) {
		t.Error(err)
	}
	if _, err := Store(t.Context(), "nothing", "", opts); !errors.Is(err, kv.ErrNotStore) {
		t.Error(err)
	}
	report, err := Store(t.Context(), dir, "", opts)
	if err != nil || len(report.Buckets) != 1 || report.Buckets[0].Lost != 2 {
		t.Errorf("%+v, %v", report, err)
	}
}

// A new store whose name ends with a slash is made beside its place all the same.
func TestTargetWithASlash(t *testing.T) {
	disk := lostStore(t)
	check(t, disk.Mkdir("new"))
	if _, err := Store(t.Context(), dir, "new/", environment.With(Options{}, environment.Env{FS: disk})); err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open("new", storeOptions(disk))
	check(t, err)
	check(t, s.Close())
}

// wantNew fails the test unless the new store has what the repair of a sound store recovers.
func wantNew(t testing.TB, disk vfs.FS, x *sample) {
	t.Helper()
	s, err := bucket.Open("new", storeOptions(disk))
	check(t, err)
	for name, keys := range x.want.buckets {
		b, err := s.Bucket(t.Context(), name)
		check(t, err)
		got := map[string][]kv.Entry{}
		check(t, b.(*bucket.Bucket).Records(t.Context(), func(k *bucket.Kept) error {
			check(t, k.Damage)
			e := k.Entry
			e.Value = slices.Clone(e.Value)
			got[e.Key] = append(got[e.Key], e)
			return nil
		}))
		for key, records := range keys {
			if !sameRecords(got[key], records) {
				t.Errorf("%s > %s has %d records, want %d", name, key, len(got[key]), len(records))
			}
		}
		if len(got) != len(keys) {
			t.Errorf("bucket %s has %d keys, want %d", name, len(got), len(keys))
		}
		revision, err := b.PutString(t.Context(), "next", "")
		if check(t, err); revision != x.want.next[name] {
			t.Errorf("bucket %s goes on with revision %d, want %d", name, revision, x.want.next[name])
		}
	}
	check(t, s.Close())
}

// The new store has every record of a sound one, by the engine's own import.
func TestANewStore(t *testing.T) {
	for _, x := range samples(t) {
		disk := x.disk.Clone()
		before := contents(t, disk)
		report, err := Store(t.Context(), dir, "new", environment.With(Options{}, environment.Env{FS: disk, Manual: true})) // no sweep of what has expired since
		if err != nil || !report.Sound() {
			t.Fatalf("%s store: %+v, %v", x.name, report, err)
		}
		if !maps.Equal(before, contents(t, disk)) {
			t.Error("the damaged store was changed")
		}
		wantNew(t, disk, &x)
	}
}

// A crash leaves the damaged store as it was, and the new one whole or not there at all.
func TestARepairThatIsCutShort(t *testing.T) {
	x := samples(t)[0]
	before := contents(t, x.disk.Clone().Crash(simdisk.KeepNone()))
	for n := int64(1); ; n += 1 + n/6 {
		disk := x.disk.Clone()
		fault := simdisk.NewFault(disk)
		fault.Inject(func(op simdisk.Op) simdisk.Action { return simdisk.Action{Stop: op.N >= n} })
		_, err := Store(t.Context(), dir, "new", environment.With(Options{}, environment.Env{FS: fault, Manual: true}))
		image := disk.Crash(simdisk.KeepNone())
		if !maps.Equal(before, contents(t, image)) {
			t.Fatalf("stopped at call %d: the damaged store was changed", n)
		}
		if _, there := image.Stat("new"); there == nil {
			wantNew(t, image, &x)
		} else if err == nil {
			t.Fatalf("stopped at call %d: the repair ends without an error, and the power cut takes the new store", n)
		}
		if err == nil {
			if n < 50 {
				t.Errorf("a repair takes %d calls", n)
			}
			return
		}
	}
}

// A full disk is an error, and leaves the damaged store as it was.
func TestARepairOnAFullDisk(t *testing.T) {
	x := samples(t)[0]
	disk := x.disk.Clone()
	before := contents(t, disk)
	fault := simdisk.NewFault(disk)
	fault.Inject(func(op simdisk.Op) simdisk.Action {
		if op.N > 150 && (op.Kind == simdisk.OpAllocate || op.Kind == simdisk.OpWriteAt) {
			return simdisk.Action{Err: vfs.ErrNoSpace}
		}
		return simdisk.Action{}
	})
	_, err := Store(t.Context(), dir, "new", environment.With(Options{}, environment.Env{FS: fault, Manual: true}))
	if !errors.Is(err, kv.ErrNoSpace) && !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("error %v", err)
	}
	if _, there := disk.Stat("new"); there == nil || !maps.Equal(before, contents(t, disk)) {
		t.Error("there is a new store, or the damaged one has changed")
	}
}
