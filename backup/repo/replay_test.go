package repo

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"kvd/backup"
	"kvd/backup/blob/blobtest"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// Large values of transactions are shipped, those of the branch that was carried out.
func TestLargeValuesOfTransactions(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.put("k", "1")
	s.base()
	large := func(key string, seed int) kv.Mutation {
		return kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: key, Value: []byte(text(seed, 800<<10))}
	}
	txn := &kv.Txn{
		If:   []kv.Cond{{Bucket: "b", Key: "k", Is: kv.Exists}},
		Then: kv.Branch{Writes: []kv.Mutation{large("a", 1), large("b", 2)}},
		Else: kv.Branch{Writes: []kv.Mutation{large("c", 3)}},
	}
	if _, err := s.Txn(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	s.note()
	store, _, err := recovered(t, place, Target{}, backup.RestoreOptions{})
	if err != nil || !maps.Equal(content(t, store), s.states[0].content) {
		t.Error(err)
	}
}

// A state of an hour ago continues above all revisions that the store may have issued in that hour.
func TestARestoreOfALogSkipsRevisions(t *testing.T) {
	_, place := shipTwoWrites(t)
	r := openRepo(t, place)
	p, err := r.Plan(t.Context(), Target{})
	if err != nil || p.Frames == 0 {
		t.Fatal(p, err)
	}
	later := p.Time.Add(time.Hour)
	o := environment.With(cut.Options{}, environment.Env{FS: vfs.NewRAM(), Now: func() time.Time { return later }})
	done, err := r.RestorePlan(t.Context(), p, "new", backup.RestoreOptions{Options: o})
	if err != nil || len(done.Buckets) != 1 || done.Buckets[0].Next < 3600*1e6 {
		t.Errorf("%+v %v", done.Buckets, err)
	}
}

// Two buckets cannot get one name, which is found before anything is written.
func TestNamesOfARestoreOfALog(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.base()
	s.put("k", "2")
	s.flush()
	for err, buckets := range map[error]map[string]string{
		kv.ErrBucketExists:      {"b": "x", "c": "x"},
		kv.ErrInvalidBucketName: {"b": "a name"},
	} {
		_, _, got := recovered(t, place, Target{}, backup.RestoreOptions{DryRun: true, Options: cut.Options{Buckets: buckets}})
		if !errors.Is(got, err) {
			t.Error(got)
		}
	}
}

// Whatever call of the disk fails, and wherever the power is cut, a restore leaves nothing that opens, or the state.
func TestFaultsOfARestoreOfALog(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.put("k", "1")
	s.base()
	s.put("k", "2")
	s.put("large", text(1, 800<<10))
	s.note()
	p, err := openRepo(t, place).Plan(t.Context(), Target{})
	if err != nil {
		t.Fatal(err)
	}
	restore := func(fsys vfs.FS) error {
		o := environment.With(cut.Options{}, environment.Env{FS: fsys})
		_, err := openRepo(t, place).RestorePlan(t.Context(), p, "new", backup.RestoreOptions{Options: o})
		return err
	}
	count := simdisk.NewFault(simdisk.New())
	if err := restore(count); err != nil {
		t.Fatal(err)
	}
	const tries = 40
	step := max(1, count.Calls()/tries)
	for n := int64(1); n <= count.Calls(); n += step {
		disk := simdisk.New()
		fault := simdisk.NewFault(disk)
		fault.Inject(simdisk.FailNth(n, vfs.ErrNoSpace))
		failed := restore(fault)
		s.checkLeft(fmt.Sprintf("call %d failed with %v", n, failed), disk, failed == nil)
		if entries, err := disk.List("new"); failed != nil && err == nil && len(entries) > 0 && !s.opens(disk) {
			t.Errorf("call %d failed, and %v is left", n, entries)
		}

		disk = simdisk.New()
		fault = simdisk.NewFault(disk)
		fault.Inject(simdisk.StopAt(n))
		failed = restore(fault)
		for _, keep := range []simdisk.Choice{simdisk.KeepNone(), simdisk.KeepAll(), simdisk.Random(uint64(n))} {
			s.checkLeft(fmt.Sprintf("power cut at call %d", n), disk.Crash(keep), failed == nil)
		}
		if t.Failed() {
			return
		}
	}
}

// opens reports whether a store opens in what a restore has left.
func (s *shipped) opens(disk vfs.FS) bool {
	store, err := bucket.Open("new", options(disk))
	if err == nil {
		store.Close()
	}
	return err == nil
}

// checkLeft checks what a restore has left: the newest state, or nothing that opens.
func (s *shipped) checkLeft(what string, disk vfs.FS, done bool) {
	s.t.Helper()
	if entries, err := disk.List("new"); !done && (err != nil || len(entries) == 0) {
		return
	}
	store, err := bucket.Open("new", options(disk))
	if err != nil {
		if done || !errors.Is(err, kv.ErrNotStore) {
			s.t.Errorf("%s: %v", what, err)
		}
		return
	}
	defer store.Close()
	if got := content(s.t, store); !maps.Equal(got, s.states[len(s.states)-1].content) {
		s.t.Errorf("%s: the store has %d keys", what, len(got))
	}
}

// A frame may be as large as a limit allows beside those that wait, and no larger.
func TestLimitsOfATail(t *testing.T) {
	s, limit := newSource(t), bucket.TailLimit{Waiting: 1 << 10, Frame: 900 << 10}
	tail, err := s.Tail(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	s.put("small", "1")
	s.put("large", text(1, 800<<10)) // in a file of its own
	if frames, err := tail.Take(1 << 20); err != nil || len(frames) != 2 || len(frames[1].Values) != 1 {
		t.Fatal(frames, err)
	}
	s.put("larger", text(2, 1000<<10))
	if frames, err := tail.Take(1 << 20); !errors.Is(err, bucket.ErrTailLost) {
		t.Error(frames, err)
	}
	tail.Close()
	if tail, err = s.Tail(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	s.put("large", text(1, 800<<10))
	if tail.Lost() {
		t.Error("a frame was discarded although none waited")
	}
	s.put("small", "1")
	if !tail.Lost() {
		t.Error("frames wait without a bound")
	}
}
