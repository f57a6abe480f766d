package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket/cut"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// keptCut is a sink that keeps what it takes.
type keptCut struct {
	content *cut.Content
	files   map[cut.File][]byte
	begun   func()         // called by Begin, if not nil
	filed   func(cut.File) // called by File, before it reads
}

func (k *keptCut) Begin(c *cut.Content) error {
	k.content, k.files = c, make(map[cut.File][]byte)
	if k.begun != nil {
		k.begun()
	}
	return nil
}

func (k *keptCut) File(f cut.File, data io.Reader) (err error) {
	if k.filed != nil {
		k.filed(f)
	}
	k.files[f], err = io.ReadAll(data)
	return err
}

// text is everything in it.
func (k *keptCut) text() []byte {
	text := bytes.Clone(k.content.Manifest)
	for _, f := range k.files {
		text = append(text, f...)
	}
	return text
}

func (h *harness) backup(k *keptCut, buckets ...string) cut.Report {
	h.t.Helper()
	report, err := h.s.Backup(ctx, BackupOptions{Buckets: buckets}, k)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(k.files) != len(k.content.Files) {
		h.t.Errorf("%d files of %d", len(k.files), len(k.content.Files))
	}
	return report
}

const restoredDir = "restored"

// tryRestore makes a store of a cut on the harness's disk.
func (h *harness) tryRestore(k *keptCut, o cut.Options) error {
	return h.tryRestoreInto(restoredDir, k, o)
}

func (h *harness) tryRestoreInto(dir string, k *keptCut, o cut.Options) error {
	o = environment.With(o, environment.Env{FS: h.fs, Random: h.opts.env.Random, Now: h.opts.env.Now})
	plan, err := cut.NewPlan("cut", k.content, o)
	if err != nil {
		return err
	}
	r, err := plan.Begin(dir)
	if err != nil {
		return err
	}
	for _, f := range k.content.Files {
		if err == nil && plan.Wants(f) {
			err = r.File(f, bytes.NewReader(k.files[f]))
		}
	}
	if err == nil {
		err = r.Commit()
	}
	if err != nil {
		r.Abort()
	}
	return err
}

// restore makes a store of a cut on the harness's disk and opens it.
func (h *harness) restore(k *keptCut, o cut.Options) *Store {
	h.t.Helper()
	if err := h.tryRestore(k, o); err != nil {
		h.t.Fatal(err)
	}
	s, err := Open(restoredDir, h.opts)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { s.Close() })
	return s
}

// content returns all that clients see of a store but its ids.
func content(t testing.TB, s *Store) map[string]map[string][]string {
	t.Helper()
	all := make(map[string]map[string][]string)
	for _, b := range s.list() {
		keys := make(map[string][]string)
		for _, key := range collect(t, b) {
			for e, err := range b.History(ctx, key) {
				keys[key] = append(keys[key], fmt.Sprintf("%d %v %v %v %x %v", e.Revision, e.Operation, e.Created, e.Deadline, e.Value, err))
			}
		}
		keys[""] = []string{fmt.Sprintf("%+v", b.mu.config)}
		all[b.name] = keys
	}
	return all
}

// sameContent fails the test unless two stores show the same.
func sameContent(t testing.TB, got, want map[string]map[string][]string) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	for name := range want {
		for key := range want[name] {
			if !slices.Equal(got[name][key], want[name][key]) {
				t.Errorf("bucket %s, key %q: %q, want %q", name, key, got[name][key], want[name][key])
			}
		}
	}
	t.Errorf("%d buckets, want %d", len(got), len(want))
}

// variety makes buckets of all kinds and fills them, also with large values and with segments that
// were compacted.
func (h *harness) variety(seed uint64) {
	h.t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	buckets := []*Bucket{
		h.bucket("plain"), h.bucket("deep", withHistory(5)),
		h.bucket("interval", func(c *kv.Config) { c.Sync, c.SyncInterval = kv.SyncInterval, time.Second }),
		h.bucket("memory", func(c *kv.Config) { c.Storage = kv.MemoryStorage }),
		h.bucket("packed", func(c *kv.Config) { c.Compression = true }),
	}
	h.bucket("empty")
	for i := range 300 {
		b := buckets[rng.IntN(len(buckets))]
		key := fmt.Sprintf("key.%d", rng.IntN(12))
		var err error
		switch rng.IntN(12) {
		case 0:
			_, err = b.Delete(ctx, key)
		case 1:
			_, err = b.Purge(ctx, key)
		case 2:
			_, err = b.Put(ctx, key, []byte(largeText(key)))
		case 3:
			_, err = b.PutString(ctx, key, "for an hour", kv.KeyTTL(time.Hour))
		default:
			_, err = b.PutString(ctx, key, fmt.Sprintf("%d of %s %s", i, b.name, strings.Repeat("x", rng.IntN(200))))
		}
		if err != nil {
			h.t.Fatal(err)
		}
		if i%97 == 96 {
			h.checkpoint()
			h.reclaim()
		}
	}
}

// A backup of every kind of bucket becomes a store with the same content, whose revisions go on far
// above, and which clients take for another one.
func TestABackupBecomesAStore(t *testing.T) {
	for seed := range uint64(5) {
		h := newHarness(t, smallSegments, withLargeValues)
		h.variety(seed)
		want := content(t, h.s)
		want["memory"] = map[string][]string{"": want["memory"][""]}
		var k keptCut
		if report := h.backup(&k); report.Damage != 0 {
			t.Errorf("seed %d: damages %v", seed, report.Damages)
		}
		s := h.restore(&k, cut.Options{})
		if r := s.Report(); len(r.Damages) > 0 || r.Scratch > 0 || len(r.Strays) > 0 || r.Frames > 0 {
			t.Errorf("seed %d: %v, %d files removed", seed, r, r.Scratch)
		}
		sameContent(t, content(t, s), want)
		if s.ID() == h.s.ID() {
			t.Error("the store has the old one's id")
		}
		for _, old := range h.s.list() {
			checkRestoredBucket(t, s, old)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// checkRestoredBucket checks that clients of a bucket notice that it was restored.
func checkRestoredBucket(t *testing.T, s *Store, old *Bucket) {
	t.Helper()
	b, err := s.lookup(old.name)
	if err != nil {
		t.Fatal(err)
	}
	if b.ID() == old.ID() {
		t.Errorf("bucket %s has the old one's id", b.name)
	}
	if rev := mustPut(t, b, "new", "value"); rev < 1e9 || !b.memory && rev%1e6 != 1 {
		t.Errorf("bucket %s continues at revision %d", b.name, rev)
	}
	if _, err := b.Watch(ctx, nil, kv.ResumeFromRevision(old.unissued()+5)); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("bucket %s: a watch resumes at a revision that may have been told after the backup: %v", b.name, err)
	}
}

func TestARestoreOfAMove(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("a", withHistory(3))
	rev := mustPut(t, b, "k", "v")
	var k keptCut
	h.backup(&k)
	none := uint64(0)
	s := h.restore(&k, cut.Options{Bump: &none, SameIDs: true})
	moved, err := s.lookup("a")
	if err != nil {
		t.Fatal(err)
	}
	if s.ID() != h.s.ID() || moved.ID() != b.ID() || mustPut(t, moved, "k", "w") != rev+1 {
		t.Errorf("store %x, bucket %d: not those of before", s.ID(), moved.ID())
	}
}

// The backup of one bucket has no byte of another, and is restored under another name.
func TestABackupOfSomeBuckets(t *testing.T) {
	h := newHarness(t, withLargeValues)
	public, secret := h.bucket("public"), h.bucket("hidden-name", func(c *kv.Config) { c.Description = "hidden-description" })
	for i := range 50 { // in the same frames and between the same checkpoints
		h.submit(
			kv.Mutation{Bucket: "public", Op: kv.MutatePut, Key: fmt.Sprintf("k%d", i), Value: []byte("plain")},
			kv.Mutation{Bucket: "hidden-name", Op: kv.MutatePut, Key: fmt.Sprintf("hidden-key%d", i), Value: []byte("hidden-value")},
		)
		if i == 20 {
			h.checkpoint()
		}
	}
	mustPut(t, secret, "large", strings.Repeat("hidden-large", 1000))
	mustPut(t, public, "large", largeText("plain"))
	var k keptCut
	h.backup(&k, "public")
	if text := k.text(); bytes.Contains(text, []byte("hidden")) {
		t.Errorf("the backup of one bucket has something of another: %q", text[max(0, bytes.Index(text, []byte("hidden"))-20):][:60])
	}
	if err := h.tryRestore(&k, cut.Options{Buckets: map[string]string{"hidden-name": "x"}}); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("restore of a bucket that is not in the backup: %v", err)
	}
	s := h.restore(&k, cut.Options{Buckets: map[string]string{"public": "renamed"}})
	want := content(t, h.s)["public"]
	got := content(t, s)
	if len(got) != 1 {
		t.Errorf("restored buckets: %d", len(got))
	}
	delete(want, "")
	delete(got["renamed"], "")
	if !reflect.DeepEqual(got["renamed"], want) {
		t.Errorf("restored %v, want %v", got["renamed"], want)
	}
	_, err := h.s.Backup(ctx, BackupOptions{Buckets: []string{"public", "no"}}, &k)
	wantError(t, err, kv.ErrBucketNotFound, `"no"`)
}

// Writers of two buckets always write to both in one group: a backup has both or none.
func TestABackupIsOfOneMoment(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.env.Manual = false })
	h.bucket("a", func(c *kv.Config) { c.Sync, c.SyncInterval = kv.SyncInterval, time.Hour })
	h.bucket("b")
	const beside = checkpointGlance // so that an ordinary checkpoint would take a and b in two holds of the path
	for i := range beside {
		h.bucket(fmt.Sprintf("beside-%d", i))
	}
	quit := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				text := []byte(fmt.Sprint(i))
				m := []kv.Mutation{{Bucket: "a", Op: kv.MutatePut, Key: fmt.Sprint(w), Value: text}}
				for n := range beside {
					m = append(m, kv.Mutation{Bucket: fmt.Sprintf("beside-%d", n), Op: kv.MutatePut, Key: "k", Value: text})
				}
				m = append(m, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprint(w), Value: text})
				if err := h.s.Submit(ctx, m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		var k keptCut
		before := h.s.log.Last()
		h.backup(&k)
		if k.content.LSN < before {
			t.Errorf("the backup is as of LSN %d, and it was begun at %d", k.content.LSN, before)
		}
		s := h.restore(&k, cut.Options{})
		all := content(t, s)
		for w := range 4 {
			last := func(bucket string) string {
				entries := all[bucket][fmt.Sprint(w)]
				if len(entries) == 0 {
					return ""
				}
				return strings.Fields(entries[0])[len(strings.Fields(entries[0]))-2]
			}
			if last("a") != last("b") {
				t.Errorf("writer %d: %q in one bucket, %q in the other", w, last("a"), last("b"))
			}
		}
		s.Close()
		h.removeAll(restoredDir)
	}
	close(quit)
	writers.Wait()
}

// removeAll removes a store's directory.
func (h *harness) removeAll(dir string) {
	h.t.Helper()
	entries, err := h.disk.List(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		if name := path.Join(dir, e.Name); e.Dir {
			h.removeAll(name)
		} else if err := h.disk.Remove(name); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := h.disk.Remove(dir); err != nil {
		h.t.Fatal(err)
	}
}

// Whatever happens to the store while the files are copied, the backup is of the moment of the cut.
func TestABackupKeepsItsFiles(t *testing.T) {
	for name, change := range map[string]func(*harness){
		"buckets are deleted": func(h *harness) {
			for _, b := range h.s.list() {
				if err := h.s.DeleteBucket(ctx, b.name); err != nil {
					h.t.Error(err)
				}
			}
			h.checkpoint()
		},
		"compaction rewrites everything, again and again": func(h *harness) {
			for range 3 {
				for _, b := range h.s.list() {
					for _, key := range collect(h.t, b) {
						if _, err := b.Purge(ctx, key); err != nil {
							h.t.Error(err)
						}
						mustPut(h.t, b, key, largeText("newer"))
					}
				}
				h.checkpoint()
				h.reclaim()
			}
		},
		"histories are cut": func(h *harness) {
			if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "deep", History: 1}); err != nil {
				h.t.Error(err)
			}
			h.checkpoint()
			h.reclaim()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, smallSegments, withLargeValues)
			h.variety(7)
			want := content(t, h.s)
			want["memory"] = map[string][]string{"": want["memory"][""]}
			k := keptCut{begun: func() { change(h) }}
			if report := h.backup(&k); report.Damage != 0 {
				t.Errorf("damages: %v", report.Damages)
			}
			sameContent(t, content(t, h.restore(&k, cut.Options{})), want)
			h.reopen()
			if r := h.s.Report(); r.Scratch > 0 || len(r.Strays) > 0 {
				t.Errorf("the backup left %d files of unfinished work", r.Scratch)
			}
		})
	}
}

// After a backup the files go that it alone has kept.
func TestABackupReleasesItsFiles(t *testing.T) {
	h := newHarness(t)
	mustPut(t, h.bucket("b"), "k", "v")
	k := keptCut{begun: func() {
		if err := h.s.DeleteBucket(ctx, "b"); err != nil {
			t.Error(err)
		}
		h.checkpoint()
		if len(h.segmentFiles()) != 1 {
			t.Errorf("files during the backup: %v", h.segmentFiles())
		}
	}}
	h.backup(&k)
	if left := h.segmentFiles(); len(left) != 0 {
		t.Errorf("files after the backup: %v", left)
	}
}

// A damaged file is named and copied as it is, and the restored store finds the same damage.
func TestABackupOfADamagedStore(t *testing.T) {
	setup := func(t *testing.T) (*harness, *Bucket, string, string) {
		h := newHarness(t, withLargeValues)
		b := h.bucket("b")
		mustPut(t, b, "damaged", strings.Repeat("value ", 200))
		mustPut(t, b, "sound", "value")
		mustPut(t, b, "large", largeText("value"))
		h.checkpoint()
		var segments, values []string
		for _, name := range h.segmentFiles() {
			if strings.HasSuffix(name, ".seg") {
				segments = append(segments, name)
			} else {
				values = append(values, name)
			}
		}
		return h, b, segments[0], values[0]
	}
	for name, tt := range map[string]struct {
		damage func(h *harness, segment, value string)
		lost   []string
		named  string
	}{
		"a bit of a record":     {func(h *harness, segment, value string) { h.flip(segment, 600, 3) }, []string{"damaged"}, ".seg"},
		"a bit of a value file": {func(h *harness, segment, value string) { h.flip(value, 5000, 3) }, []string{"large"}, ".val"},
		"a value file that is missing": {func(h *harness, segment, value string) {
			if err := h.disk.Remove(value); err != nil {
				h.t.Fatal(err)
			}
		}, []string{"large"}, ".val"},
		"a page that cannot be read": {func(h *harness, segment, value string) {
			h.fs.Inject(func(op simdisk.Op) simdisk.Action {
				if op.Kind == simdisk.OpReadAt && op.Path == segment && op.Offset < pageSize && op.Offset+int64(op.Len) > 0 {
					return simdisk.Action{Err: syscall.EIO}
				}
				return simdisk.Action{}
			})
		}, []string{"damaged", "sound", "large"}, ".seg"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, seg, value := setup(t)
			tt.damage(h, seg, value)
			var k keptCut
			report := h.backup(&k)
			h.fs.Inject(nil)
			if report.Damage == 0 || !strings.Contains(report.Damages[0].File, tt.named) || report.Damages[0].Bucket != "b" {
				t.Errorf("the report names %v", report.Damages)
			}
			s := h.restore(&k, cut.Options{})
			b, err := s.lookup("b")
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"damaged", "sound", "large"} {
				_, err := b.Get(ctx, key)
				if slices.Contains(tt.lost, key) != errors.Is(err, kv.ErrCorrupt) {
					t.Errorf("get %s of the restored store: %v", key, err)
				}
			}
		})
	}
}

// A missing segment stays missing: its bucket is in doubt in the restored store as well.
func TestABackupOfAStoreThatLacksASegment(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.disk.Remove(h.segmentFiles()[0]); err != nil {
		t.Fatal(err)
	}
	h.open()
	var k keptCut
	if report := h.backup(&k); report.Damage != 1 || report.Damages[0].Bucket != "b" {
		t.Errorf("the report names %v", report.Damages)
	}
	restored, err := h.restore(&k, cut.Options{}).lookup("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restored.Get(ctx, "k"); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("get of a key in a missing segment: %v", err)
	}
}

// The rate bounds the bytes a second, and a backup ends with its context and with its store.
func TestTheRateOfABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		b := h.bucket("b")
		mustPut(t, b, "k", strings.Repeat("x", 200_000))
		var k keptCut
		began := time.Now()
		report, err := h.s.Backup(ctx, BackupOptions{Rate: 100_000}, &k)
		if took := time.Since(began); err != nil || took < 2*time.Second || took > 3*time.Second {
			t.Errorf("%d bytes at 100,000 a second took %v: %v", report.Bytes, took, err)
		}
		cancelled, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := h.s.Backup(cancelled, BackupOptions{Rate: 1000}, &k); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a backup beyond its deadline: %v", err)
		}
		k.begun = func() { h.close() }
		if _, err := h.s.Backup(ctx, BackupOptions{}, &k); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("a backup of a store that is closed meanwhile: %v", err)
		}
		h.open()
	})
}

// A sink that fails ends the backup with its error, and holds nothing back.
func TestABackupWhoseSinkFails(t *testing.T) {
	h := newHarness(t)
	mustPut(t, h.bucket("b"), "k", "v")
	full := errors.New("the target is full")
	if _, err := h.s.Backup(ctx, BackupOptions{}, failingSink{full}); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	if left := h.segmentFiles(); len(left) != 0 {
		t.Errorf("files are still held: %v", left)
	}
}

type failingSink struct{ err error }

func (f failingSink) Begin(*cut.Content) error           { return nil }
func (f failingSink) File(_ cut.File, _ io.Reader) error { return f.err }

// When any call of the source fails, a backup fails, names damage or is whole, and the store keeps
// everything.
func TestEveryCallOfABackupFails(t *testing.T) {
	count := newHarness(t, withLargeValues)
	count.bucket("memory", func(c *kv.Config) { c.Storage = kv.MemoryStorage })
	for _, b := range []*Bucket{count.bucket("plain"), count.bucket("deep", withHistory(2))} {
		mustPut(t, b, "k", "value")
		count.checkpoint()
		mustPut(t, b, "k", largeText("value"))
	}
	before := count.fs.Calls()
	count.backup(&keptCut{})
	calls := count.fs.Calls() - before
	want := content(t, count.s)
	want["memory"] = map[string][]string{"": want["memory"][""]}
	image := count.disk.Clone()
	for n := int64(1); n <= calls; n++ {
		cause := []error{syscall.EIO, vfs.ErrNoSpace, vfs.ErrTooManyFiles}[n%3]
		h := &harness{t: t, opts: count.opts}
		h.insert(image.Clone())
		h.open()
		mustPut(t, h.find("plain"), "late", "value")
		h.fs.Inject(simdisk.FailNth(h.fs.Calls()+n, cause))
		var k keptCut
		report, err := h.s.Backup(ctx, BackupOptions{}, &k)
		h.fs.Inject(nil)
		what := fmt.Sprintf("call %d of %d fails with %v", n, calls, cause)
		if err == nil && report.Damage == 0 {
			s := h.restore(&k, cut.Options{})
			got := content(t, s)
			delete(got["plain"], "late")
			sameContent(t, got, want)
			s.Close()
		}
		h.powerCut()
		h.open()
		mustGet(t, h.find("plain"), "late", "value")
		if _, err := h.s.Backup(ctx, BackupOptions{}, &k); err != nil {
			t.Errorf("%s: a backup after that: %v", what, err)
		}
		h.close()
		if t.Failed() {
			t.Fatal(what, err)
		}
	}
}
