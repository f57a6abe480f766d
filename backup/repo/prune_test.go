package repo

import (
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"kvd/backup/blob/blobtest"
	"kvd/bucket"
	"kvd/bucket/cut"
)

const day = 24 * time.Hour

// prune removes what is older than keep.
func prune(t *testing.T, place *blobtest.Memory, keep time.Duration) Pruned {
	t.Helper()
	done, err := openRepo(t, place).Prune(t.Context(), keep)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// checkWhole verifies all points, and that no part is there which none of them needs.
func checkWhole(t *testing.T, place *blobtest.Memory) {
	t.Helper()
	r := openRepo(t, place)
	known, err := r.parts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points(t, place) {
		if _, err := r.Verify(t.Context(), p, nil); err != nil {
			t.Error(err)
		}
		for files := range p.list.all {
			for _, part := range files.Parts {
				delete(known, part.sum)
			}
		}
	}
	if len(known) > 0 {
		t.Errorf("%d parts belong to no base", len(known))
	}
}

// A base a day, and seven days kept: every state of the last seven days that there was is there.
func TestPruneKeepsWhatIsAsked(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	removed := 0
	for i := range 20 {
		s.put("k", text(i, 30_000))
		s.write(place)
		removed += prune(t, place, 7*day).Bases
		checkWhole(t, place)
		place.Advance(day)
	}
	all := points(t, place)
	if len(all) != 8 || removed != 12 {
		t.Errorf("%d points are left, %d were removed", len(all), removed)
	}
	if got := restored(t, place, all[7]); !maps.Equal(got, map[string]string{"k": text(19, 30_000)}) {
		t.Error("the newest point is not right")
	}
	if done := prune(t, place, 0); done.Bases != 7 || done.Bytes < 7*30_000 {
		t.Errorf("%+v", done)
	}
	checkWhole(t, place)
	if done := prune(t, place, 0); done != (Pruned{}) {
		t.Errorf("%+v: the newest base is never removed", done)
	}
}

// A base that was not verified never supersedes one that was.
func TestPruneKeepsTheNewestVerifiedBase(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", "v")
	s.write(place)
	s.put("k", "w")
	s.write(place)
	place.Change(points(t, place)[1].id.verified(), func([]byte) []byte { return nil })
	place.Advance(30 * day)
	if done := prune(t, place, day); done.Bases != 0 {
		t.Errorf("%+v", done)
	}
	if p := newest(t, points(t, place)); restored(t, place, p)["k"] != "v" {
		t.Error("the newest point is", p)
	}
}

// While a restore reads a base, it stays, and it does not hold up others for longer than its marker.
func TestPruneBesideARestore(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", text(1, 100_000))
	s.write(place)
	s.put("k", text(2, 100_000))
	s.write(place)
	place.Advance(30 * day)
	r := openRepo(t, place)
	x, err := r.read(t.Context(), points(t, place)[0])
	if err != nil {
		t.Fatal(err)
	}
	err = x.files(func(_ cut.File, data io.Reader) error {
		if done := prune(t, place, day); done.Bases != 0 {
			t.Errorf("%+v", done)
		}
		_, err := io.Copy(io.Discard, data)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	x.marker = "" // the process ends without removing it
	x.close()
	if done := prune(t, place, day); done.Bases != 0 {
		t.Errorf("%+v", done)
	}
	place.Advance(markerAge)
	if done := prune(t, place, day); done.Bases != 1 {
		t.Errorf("%+v", done)
	}
	checkWhole(t, place)
}

// A writer and a pruning exclude each other, in either order, and what a crash leaves ends.
func TestPruneBesideAWriter(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", "v")
	s.write(place)
	r := openRepo(t, place)
	b := &between{Store: place, put: func(name string) {
		if strings.HasPrefix(name, partDir) {
			if _, err := r.Prune(t.Context(), 0); !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
	}}
	s.put("k", "w")
	if _, err := Write(t.Context(), b, s, bucket.BackupOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := r.mark(t.Context(), pruningDir, markerJSON{}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		second(Write(t.Context(), place, s, bucket.BackupOptions{})),
		second(r.Prune(t.Context(), 0)),
		second(r.read(t.Context(), points(t, place)[0])),
	} {
		if !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
	place.Advance(markerAge)
	s.write(place)
	if _, err := r.claim(t.Context(), Instant{1 << 40, time.Now()}, &claimant{token: random()}); err != nil { // and the process ends
		t.Fatal(err)
	}
	if _, err := r.Prune(t.Context(), 0); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	place.Advance(openAge)
	prune(t, place, 0)
	checkWhole(t, place)
}

func second[T any](_ T, err error) error { return err }

// Whatever call of a pruning fails, all points that are left are whole, and the next one completes it.
func TestEveryCallOfAPruningFails(t *testing.T) {
	s, original := newSource(t), blobtest.NewMemory()
	for i := range 4 {
		s.put("k", text(i, 1000))
		s.write(original)
	}
	original.Advance(day)
	for n := 0; ; n++ {
		place := original.Clone()
		f := &blobtest.Fault{Store: place}
		r := openRepo(t, f)
		before := f.Calls()
		f.Fail = func(call int, _, _ string) blobtest.Outcome {
			if call-before >= n { // the process ends
				return blobtest.Refuse
			}
			return blobtest.Works
		}
		_, err := r.Prune(t.Context(), 0)
		if err == nil {
			if n < 10 {
				t.Fatalf("it has %d calls", n)
			}
			break
		}
		place.Advance(markerAge)
		for _, p := range points(t, place) {
			if _, err := openRepo(t, place).Verify(t.Context(), p, nil); err != nil {
				t.Errorf("call %d: %v", n, err)
			}
		}
		prune(t, place, 0)
		checkWhole(t, place)
		if len(points(t, place)) != 1 || t.Failed() {
			t.Fatalf("call %d: %d points", n, len(points(t, place)))
		}
	}
}

// A restore that ends, or renews its marker, while a pruning looks is no failure.
func TestPruneWhileAMarkerGoes(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.put("k", "v")
	s.write(place)
	if _, err := openRepo(t, place).mark(t.Context(), restoringDir, markerJSON{}); err != nil {
		t.Fatal(err)
	}
	f := &blobtest.Fault{Store: place, Fail: func(_ int, op, name string) blobtest.Outcome {
		if op == "stat" && strings.HasPrefix(name, restoringDir) {
			if err := place.Delete(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		return blobtest.Works
	}}
	if _, err := openRepo(t, f).Prune(t.Context(), 0); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// If a list cannot be read, its parts are not known: none is removed.
func TestPruneWithADamagedList(t *testing.T) {
	s, place := newSource(t), blobtest.NewMemory()
	s.write(place)
	s.put("k", "v")
	s.write(place)
	place.Advance(day)
	place.Change(points(t, place)[0].id.list(), func(b []byte) []byte { b[3]++; return b })
	if done, err := openRepo(t, place).Prune(t.Context(), 0); !isDamage(err) || done != (Pruned{}) {
		t.Errorf("%+v, %v", done, err)
	}
}
