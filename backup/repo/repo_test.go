package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvd/backup"
	"kvd/backup/blob"
	"kvd/backup/blob/blobtest"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
)

// source is a store to be backed up.
type source struct {
	*bucket.Store
	t    testing.TB
	disk vfs.FS
}

// options are those of a store on a disk, with a clock of its own.
func options(disk vfs.FS) bucket.Options {
	now := time.Unix(1_800_000_000, 0)
	random := rand.New(rand.NewPCG(1, 1))
	return environment.With(bucket.Options{ReserveSize: -1}, environment.Env{
		FS: disk, Manual: true, Random: random.Uint64,
		Now: func() time.Time { now = now.Add(time.Millisecond); return now },
	})
}

func newSource(t testing.TB) *source {
	t.Helper()
	disk := vfs.NewRAM()
	s, err := bucket.Open("db", options(disk))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b", History: 2}); err != nil {
		t.Fatal(err)
	}
	return &source{s, t, disk}
}

func (s *source) put(key, value string) {
	s.t.Helper()
	b, err := s.Bucket(s.t.Context(), "b")
	if err == nil {
		_, err = b.PutString(s.t.Context(), key, value)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// write adds a base.
func (s *source) write(place blob.Store) Written {
	s.t.Helper()
	w, err := Write(s.t.Context(), place, s, bucket.BackupOptions{})
	if err != nil || w.Damage > 0 {
		s.t.Fatal(w, err)
	}
	return w
}

// content returns the newest values of the bucket.
func content(t testing.TB, s *bucket.Store) map[string]string {
	t.Helper()
	b, err := s.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for key, err := range b.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := b.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		all[key] = string(e.Value)
	}
	return all
}

func openRepo(t testing.TB, place blob.Store) *Repository {
	t.Helper()
	r, err := Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// points returns the restore points, none of which may be broken.
func points(t testing.TB, place blob.Store) []*Point {
	t.Helper()
	all, broken, err := openRepo(t, place).Points(t.Context())
	if err != nil || len(broken) > 0 {
		t.Fatal(broken, err)
	}
	return all
}

// restored returns what a store made of a point holds.
func restored(t testing.TB, place blob.Store, p *Point) map[string]string {
	t.Helper()
	disk := vfs.NewRAM()
	o := backup.RestoreOptions{Options: environment.With(cut.Options{}, environment.Env{FS: disk})}
	if _, err := openRepo(t, place).Restore(t.Context(), p, "restored", o); err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open("restored", options(disk))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return content(t, s)
}

func text(seed, size int) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), 1}).Read(b) // never fails
	return string(b)
}

// Each base restores what the store had, and uploads what is new since the one before.
func TestBasesAreIncremental(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	for i := range 30 {
		s.put(fmt.Sprintf("k%02d", i), text(i, 400_000))
	}
	var want []map[string]string
	var written []Written
	for i := range 3 {
		s.put("small", strings.Repeat("x", i+1))
		written = append(written, s.write(place))
		want = append(want, content(t, s.Store))
	}
	all := points(t, place)
	if len(all) != len(want) {
		t.Fatalf("there are %d points, want %d", len(all), len(want))
	}
	for i, p := range all {
		if got := restored(t, place, p); !maps.Equal(got, want[i]) {
			t.Errorf("point %d has %d keys, small is %q", i, len(got), got["small"])
		}
		if v, err := openRepo(t, place).Verify(t.Context(), p, nil); err != nil || len(v.Content.Buckets) != 1 || !p.Verified {
			t.Errorf("verify: %v", err)
		}
		if i > 0 && (!all[i-1].Time.Before(p.Time) || all[i-1].LSN >= p.LSN) {
			t.Errorf("%v comes before %v", all[i-1], p)
		}
		if b := p.Buckets[0]; b.Name != "b" || b.Revision != kv.Revision(31+i) || b.Keys != 31 || p.Stored != written[i].Bytes {
			t.Errorf("%+v", p)
		}
	}
	if first := written[0]; first.NewBytes != first.Bytes || first.NewParts < 4 {
		t.Errorf("the first base uploads %d of %d bytes", first.NewBytes, first.Bytes)
	}
	for _, w := range written[1:] { // the tail of the active segment, and the manifest
		if w.NewParts > 3 || w.NewBytes > w.Bytes/4 {
			t.Errorf("a base uploads %d parts, %d of %d bytes", w.NewParts, w.NewBytes, w.Bytes)
		}
	}
}

// A store that did not change uploads next to nothing.
func TestAnIdleStore(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", "v")
	first := s.write(place)
	for range 3 {
		if w := s.write(place); w.NewBytes > 2*first.Bytes {
			t.Errorf("%+v", w)
		}
	}
	if n := len(points(t, place)); n != 4 {
		t.Errorf("%d points", n)
	}
}

func TestARepositoryIsOfOneStore(t *testing.T) {
	place := blobtest.NewMemory()
	first := newSource(t)
	first.write(place)
	disk := vfs.NewRAM()
	o := options(disk)
	other, err := bucket.Open("db", environment.With(o, environment.Env{FS: disk, Manual: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = Write(t.Context(), place, other, bucket.BackupOptions{})
	if !errors.Is(err, ErrRepoTaken) {
		t.Error(err)
	}
	if n := len(points(t, place)); n != 1 {
		t.Errorf("%d points", n)
	}
}

// copyDisk copies the directory of a closed store.
func copyDisk(t *testing.T, from vfs.FS, dir string) vfs.FS {
	t.Helper()
	to := vfs.NewRAM()
	var walk func(dir string)
	walk = func(dir string) {
		if err := to.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
		entries, err := from.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name)
			if e.Dir {
				walk(name)
				continue
			}
			in, err := from.Open(name, vfs.ReadOnly)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, e.Size)
			out, err2 := to.Open(name, vfs.Create)
			if _, err := in.ReadAt(b, 0); err != nil || err2 != nil {
				t.Fatal(name, err, err2)
			}
			if _, err := out.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			in.Close()
			out.Close()
		}
	}
	walk(dir)
	return to
}

// A copy of the store's directory that is behind does not write into the repository.
func TestAnOlderCopyIsRefused(t *testing.T) {
	place := blobtest.NewMemory()
	s := newSource(t)
	s.put("k", "v")
	s.Close()
	older := copyDisk(t, s.disk, "db")
	reopened, err := bucket.Open("db", options(s.disk))
	if err != nil {
		t.Fatal(err)
	}
	s.Store = reopened
	defer s.Close()
	for range 20 {
		s.put("k", "v")
	}
	s.write(place)
	behind, err := bucket.Open("db", options(older))
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	_, err = Write(t.Context(), place, behind, bucket.BackupOptions{})
	if !errors.Is(err, ErrRepoTaken) || !strings.Contains(err.Error(), "older copy") {
		t.Error(err)
	}
	s.write(place)
}

// between is a place that does something before the n-th put of a part.
type between struct {
	blob.Store
	put func(name string)
}

func (b *between) Put(ctx context.Context, name string, data []byte) error {
	b.put(name)
	return b.Store.Put(ctx, name, data)
}

// Of two writers at once the later one counts, and the earlier one learns of it.
func TestTwoWritersAtOnce(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", "v")
	second := false
	claim := sync.OnceFunc(func() {
		second = true
		r, err := openFor(t.Context(), place, openRepo(t, place).StoreID())
		if err == nil {
			_, err = r.claim(t.Context(), Instant{1 << 40, time.Now()}, &claimant{token: random()})
		}
		if err != nil {
			t.Error(err)
		}
	})
	b := &between{Store: place, put: func(name string) { // by several goroutines
		if strings.HasPrefix(name, partDir) {
			claim()
		}
	}}
	_, err := Write(t.Context(), b, s, bucket.BackupOptions{})
	if !errors.Is(err, ErrRepoTaken) || !second {
		t.Error(err)
	}
	if n := len(points(t, place)); n != 0 {
		t.Errorf("%d points", n)
	}
}

// Only one of two writers that claim the same generation gets it.
func TestAGenerationHasOneOwner(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.write(place)
	first := true
	b := &between{Store: place, put: func(name string) {
		if strings.HasSuffix(name, "/owner.json") && first {
			first = false
			if err := place.Put(t.Context(), name, []byte("another writer")); err != nil {
				t.Error(err)
			}
		}
	}}
	if _, err := Write(t.Context(), b, s, bucket.BackupOptions{}); !errors.Is(err, ErrRepoTaken) {
		t.Error(err)
	}
}

func TestAPlaceThatOverwritesIsRefused(t *testing.T) {
	place := blobtest.NewMemory()
	place.Careless = true
	_, err := Write(t.Context(), place, newSource(t), bucket.BackupOptions{})
	if !errors.Is(err, ErrUnsafePlace) || !strings.Contains(err.Error(), "If-None-Match") {
		t.Error(err)
	}
	if infos, err := place.List(t.Context(), ""); err != nil || len(infos) > 0 {
		t.Errorf("%v is left, %v", infos, err)
	}
}

func TestNoRepository(t *testing.T) {
	if _, err := Open(t.Context(), blobtest.NewMemory()); !errors.Is(err, ErrNoRepo) {
		t.Error(err)
	}
}

func TestSomeBucketsAreRefused(t *testing.T) {
	_, err := Write(t.Context(), blobtest.NewMemory(), newSource(t), bucket.BackupOptions{Buckets: []string{"b"}})
	if !errors.Is(err, kv.ErrInvalidOption) {
		t.Error(err)
	}
}

// Whatever call of the place fails, for good or after it was done, the bases before stay right, what
// counts is whole, and the next base succeeds.
func TestEveryCallOfAWriteFails(t *testing.T) {
	for _, outcome := range []blobtest.Outcome{blobtest.Refuse, blobtest.Forgot} {
		s, original := newSource(t), blobtest.NewMemory()
		s.put("k", "v")
		s.write(original)
		s.put("k", "w")
		want := content(t, s.Store)
		for n := 0; ; n++ {
			place := original.Clone()
			f := &blobtest.Fault{Store: place, Fail: func(call int, _, _ string) blobtest.Outcome {
				if call == n {
					return outcome
				}
				return blobtest.Works
			}}
			_, err := Write(t.Context(), f, s, bucket.BackupOptions{})
			if f.Calls() <= n {
				if err != nil || n < 10 {
					t.Fatalf("%d calls, %v", n, err)
				}
				break
			}
			for i, p := range points(t, place) {
				if got := restored(t, place, p)["k"]; p.Verified && got != []string{"v", "w"}[i] {
					t.Errorf("call %d: point %d has %q", n, i, got)
				}
			}
			s.write(place)
			all := points(t, place)
			if got := restored(t, place, all[len(all)-1]); !maps.Equal(got, want) {
				t.Errorf("call %d: the next base has %v", n, got)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// With every second answer lost a base succeeds, if calls are made again.
func TestLostAnswers(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", text(1, 1<<20))
	f := &blobtest.Fault{Store: place, Fail: func(call int, _, _ string) blobtest.Outcome {
		return []blobtest.Outcome{blobtest.Forgot, blobtest.Works}[call%2]
	}}
	s.write(blob.Retry(f, blob.Backoff{Tries: 100, First: time.Nanosecond, Most: time.Nanosecond}))
	if got := restored(t, place, points(t, place)[0]); !maps.Equal(got, content(t, s.Store)) {
		t.Error("the restored store differs")
	}
}

// A part that is damaged in its place is found by the next base that would upload it, and replaced.
func TestADamagedPartIsReplaced(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", text(1, 1<<20))
	s.write(place)
	var name string
	infos, err := place.List(t.Context(), partDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if info.Size > 1<<20 {
			name = info.Name
		}
	}
	place.Change(name, func([]byte) []byte { return []byte{} }) // an empty object is no part
	s.write(place)
	all := points(t, place)
	for _, p := range all[len(all)-1:] {
		if _, err := openRepo(t, place).Verify(t.Context(), p, nil); err != nil {
			t.Error(err)
		}
	}
}

// Every bit of every object that a point needs is checked.
func TestEveryFlippedBitIsFound(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", "v")
	s.write(place)
	verify := func(place blob.Store) error {
		r, err := Open(t.Context(), place)
		if err != nil {
			return err
		}
		all, broken, err := r.Points(t.Context())
		if err != nil || len(broken) > 0 {
			return errors.Join(append(broken, err)...)
		}
		p, _ := Nearest(all, Target{})
		if p == nil {
			return ErrNoPoint
		}
		_, err = r.Verify(t.Context(), p, nil)
		return err
	}
	if err := verify(place); err != nil {
		t.Fatal(err)
	}
	infos, err := place.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	bits := 0
	for _, info := range infos {
		if strings.HasSuffix(info.Name, "/owner.json") || strings.HasSuffix(info.Name, "/closed.json") {
			continue // no restore needs them
		}
		for bit := range info.Size * 8 {
			flip := func(b []byte) []byte { b[bit/8] ^= 1 << (bit % 8); return b }
			place.Change(info.Name, flip)
			if err := verify(place); !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("bit %d of %s: %v", bit, info.Name, err)
			}
			place.Change(info.Name, flip)
			bits++
		}
		short := place.Clone()
		short.Change(info.Name, func(b []byte) []byte { return b[:len(b)-1] })
		if err := verify(short); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("%s without its last byte: %v", info.Name, err)
		}
		short.Change(info.Name, func([]byte) []byte { return nil })
		if err := verify(short); err == nil {
			t.Errorf("without %s nothing is missing", info.Name)
		}
	}
	if bits < 1000 {
		t.Errorf("only %d bits were flipped", bits)
	}
}

func TestNearest(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	all := []*Point{
		{LSN: 10, Time: at(100), Verified: true}, {LSN: 20, Time: at(200)}, {LSN: 30, Time: at(300), Verified: true}, {LSN: 40, Time: at(400)},
	}
	for _, c := range []struct {
		target        Target
		before, after int // indexes; -1: none
	}{
		{Target{}, 2, -1}, {Target{LSN: 10}, 0, 2}, {Target{LSN: 30}, 2, -1}, {Target{Time: at(100)}, 0, 2},
		{Target{LSN: 9}, -1, 0}, {Target{LSN: 20}, 0, 2}, {Target{LSN: 40}, 2, -1},
		{Target{Time: at(99)}, -1, 0}, {Target{Time: at(250)}, 0, 2}, {Target{Time: at(301)}, 2, -1},
	} {
		before, after := Nearest(all, c.target)
		if slices.Index(all, before) != c.before || slices.Index(all, after) != c.after {
			t.Errorf("%v: %v, %v", c.target, before, after)
		}
	}
	if before, after := Nearest(nil, Target{}); before != nil || after != nil {
		t.Error(before, after)
	}
}

// newest returns the newest point that counts.
func newest(t *testing.T, all []*Point) *Point {
	t.Helper()
	p, _ := Nearest(all, Target{})
	if p == nil {
		t.Fatal("there is no point")
	}
	return p
}

// readOnly is a place that takes no writes.
type readOnly struct {
	blob.Store
	puts int // that were refused
}

func (r *readOnly) Put(_ context.Context, name string, _ []byte) error {
	r.puts++
	return &blob.Error{Op: "put", Place: "read-only", Name: name, Err: blob.ErrDenied}
}

// A restore needs no permission to write to the place, and does not try it again for each part.
func TestAPlaceThatIsOnlyRead(t *testing.T) {
	s, original := newSource(t), blobtest.NewMemory()
	s.put("k", "v")
	s.put("large", text(1, 1<<20))
	s.write(original)
	place := &readOnly{Store: original}
	if got := restored(t, place, points(t, place)[0]); got["k"] != "v" || place.puts != 1 {
		t.Errorf("k is %q, after %d puts", got["k"], place.puts)
	}
}

// A writer that has claimed a generation, and cannot go on, closes it: nobody waits for it.
func TestAFailedClaimIsClosed(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	owner := epoch(1).owner()
	f := &blobtest.Fault{Store: place, Fail: func(_ int, op, name string) blobtest.Outcome {
		if op == "stat" && name == owner {
			return blobtest.Refuse
		}
		return blobtest.Works
	}}
	if _, err := Write(t.Context(), f, s, bucket.BackupOptions{}); !errors.Is(err, blobtest.ErrRefused) {
		t.Fatal(err)
	}
	if _, err := place.Stat(t.Context(), epoch(1).closed()); err != nil {
		t.Error(err)
	}
}

// unanswered is a place whose puts have no answer once the test says so.
type unanswered struct {
	blob.Store
	now    func() bool
	asking func()
}

func (u *unanswered) Put(ctx context.Context, name string, data []byte) error {
	if !u.now() {
		return u.Store.Put(ctx, name, data)
	}
	u.asking()
	<-ctx.Done()
	return ctx.Err()
}

// A backup that is interrupted ends soon, although the place does not answer any more.
func TestAnInterruptedWriteEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(t)
		s.put("k", "v")
		ctx, cancel := context.WithCancel(t.Context())
		memory := blobtest.NewMemory()
		place := &unanswered{Store: memory, asking: cancel, now: func() bool {
			_, err := memory.Stat(t.Context(), epoch(1).owner())
			return err == nil
		}}
		began := time.Now()
		if _, err := Write(ctx, blob.Retry(place, blob.Backoff{}), s, bucket.BackupOptions{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// The error of an upload is told once.
func TestAFailedUploadIsToldOnce(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	for i := range 2 * uploadsAtOnce {
		s.put(fmt.Sprint("k", i), text(i, 1<<20))
	}
	f := &blobtest.Fault{Store: place, Fail: func(_ int, op, name string) blobtest.Outcome {
		if op == "put" && strings.HasPrefix(name, partDir) {
			return blobtest.Refuse
		}
		return blobtest.Works
	}}
	_, err := Write(t.Context(), f, s, bucket.BackupOptions{})
	if !errors.Is(err, blobtest.ErrRefused) || strings.Count(err.Error(), blobtest.ErrRefused.Error()) != 1 {
		t.Error(err)
	}
}
