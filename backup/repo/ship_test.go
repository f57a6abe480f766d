package repo

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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
	"kvd/wal"
)

//go:embed testdata/log.golden
var logGolden string

// shipped is a store whose log is shipped, with the states that it had.
type shipped struct {
	*source
	place  *blobtest.Memory
	tail   *bucket.Tail
	run    *shipment
	states []state
}

// state is what the store held at an instant.
type state struct {
	Instant
	content map[string]string
}

// ship begins to ship by hand: flush puts what is there.
func ship(t *testing.T, s *source, place *blobtest.Memory) *shipped {
	t.Helper()
	return shipTo(t, s, place, place)
}

// shipTwoWrites ships a base with one write, and the log of another one.
func shipTwoWrites(t *testing.T) (*shipped, *blobtest.Memory) {
	t.Helper()
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.put("k", "1")
	s.base()
	s.put("k", "2")
	s.flush()
	return s, place
}

func shipTo(t *testing.T, s *source, place *blobtest.Memory, through blob.Store) *shipped {
	t.Helper()
	x := &shipped{source: s, place: place}
	shipper, err := NewShipper(through, s.Store, ShipOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if x.tail, err = s.Tail(t.Context(), bucket.TailLimit{Waiting: shipHold, Frame: shipFrame}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.tail.Close)
	if x.run, err = begin(t, shipper, x.tail); err != nil {
		t.Fatal(err)
	}
	return x
}

// begin begins a run of a shipper by hand.
func begin(t *testing.T, s *Shipper, tail *bucket.Tail) (*shipment, error) {
	t.Helper()
	r, err := openFor(t.Context(), s.place, s.store.ID())
	if err != nil {
		return nil, err
	}
	began := Instant{tail.After(), tail.Time()}
	g, err := r.claim(t.Context(), began, &s.claimant)
	if err != nil {
		return nil, err
	}
	return newShipment(s, g, tail, began), nil
}

func (s *shipped) flush() {
	s.t.Helper()
	if err := s.run.putAll(s.t.Context(), s.run.put); err != nil {
		s.t.Fatal(err)
	}
}

// base adds a base.
func (s *shipped) base() {
	s.t.Helper()
	w, err := writeAs(s.t.Context(), s.run.place, s.source, bucket.BackupOptions{}, &s.run.bases)
	if err != nil || w.Damage > 0 {
		s.t.Fatal(w, err)
	}
}

// note keeps the state behind the newest frame. It takes the frames, and puts them.
func (s *shipped) note() {
	s.t.Helper()
	s.flush()
	if n := len(s.states); n > 0 && s.states[n-1].LSN == s.run.last.LSN {
		return
	}
	s.states = append(s.states, state{s.run.last, content(s.t, s.Store)})
}

// recovered returns what a store made of the state at a target holds.
func recovered(t testing.TB, place blob.Store, target Target, o backup.RestoreOptions) (*bucket.Store, *Plan, error) {
	t.Helper()
	r := openRepo(t, place)
	p, err := r.Plan(t.Context(), target)
	if err != nil {
		return nil, nil, err
	}
	disk := vfs.NewRAM()
	o.Options = environment.With(o.Options, environment.Env{FS: disk})
	if _, err := r.RestorePlan(t.Context(), p, "new", o); err != nil {
		return nil, p, err
	}
	s, err := bucket.Open("new", options(disk))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if rep := s.Report(); len(rep.Damages) > 0 || rep.ReadOnly != nil || rep.Torn != nil {
		t.Fatal(rep)
	}
	return s, p, nil
}

// Every state behind a base is restored exactly: by its LSN, by its time, and by a time between it and the next one.
func TestEveryStateIsRestored(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	b, err := s.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		key := fmt.Sprintf("k%d", random.IntN(20))
		switch n := random.IntN(20); {
		case n == 0:
			s.base()
		case n == 1:
			_, err = s.Reclaim(t.Context(), nil)
		case n < 5:
			_, err = b.Delete(t.Context(), key)
		case n == 5:
			_, err = b.PutString(t.Context(), key, text(i, 800<<10)) // in a file of its own
		default:
			_, err = b.PutString(t.Context(), key, text(i, random.IntN(300)))
		}
		if i == 0 {
			s.base()
		}
		if err != nil {
			t.Fatal(err)
		}
		s.note()
	}
	first := points(t, place)[0].LSN
	known := slices.DeleteFunc(slices.Clone(s.states), func(x state) bool { return x.LSN < first })
	for range 12 {
		i := random.IntN(len(known) - 1)
		x, next := known[i], known[i+1]
		target := Target{LSN: x.LSN}
		switch random.IntN(3) {
		case 0:
			target = Target{Time: x.Time}
		case 1:
			target = Target{Time: x.Time.Add(next.Time.Sub(x.Time) / 2)}
		}
		store, plan, err := recovered(t, place, target, backup.RestoreOptions{})
		if err != nil {
			t.Fatalf("%+v: %v", target, err)
		}
		if got := content(t, store); !maps.Equal(got, x.content) {
			t.Fatalf("%+v: %s: %d keys, want %d of %s", target, plan.Instant, len(got), len(x.content), x.Instant)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	store, _, err := recovered(t, place, Target{}, backup.RestoreOptions{})
	if err != nil || !maps.Equal(content(t, store), known[len(known)-1].content) {
		t.Error("the newest state differs", err)
	}
}

// A restored state has new ids and revisions, and the names that were asked for; a bucket that the log makes is
// there, and those that are not wanted are not.
func TestRestoreRenewsAStateOfTheLog(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.put("k", "1")
	s.base()
	s.put("k", "2")
	if _, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "late"}); err != nil {
		t.Fatal(err)
	}
	late, err := s.Bucket(t.Context(), "late")
	if err == nil {
		_, err = late.PutString(t.Context(), "l", "3")
	}
	if err != nil {
		t.Fatal(err)
	}
	s.flush()
	store, _, err := recovered(t, place, Target{}, backup.RestoreOptions{Options: cut.Options{Buckets: map[string]string{"late": "new"}}})
	if err != nil {
		t.Fatal(err)
	}
	if store.ID() == s.ID() {
		t.Error("the store has its old id")
	}
	b, err := store.Bucket(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.Get(t.Context(), "l")
	if err != nil || string(e.Value) != "3" || e.Revision != 1 {
		t.Error(e, err)
	}
	if r, err := b.PutString(t.Context(), "l", "4"); err != nil || r < 1e9 {
		t.Error("the next revision is", r, err)
	}
	if _, err := store.Bucket(t.Context(), "b"); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Error("a bucket that was not wanted is there:", err)
	}
	_, _, err = recovered(t, place, Target{}, backup.RestoreOptions{Options: cut.Options{Buckets: map[string]string{"none": "none"}}})
	if !errors.Is(err, kv.ErrBucketNotFound) {
		t.Error(err)
	}
	_, plan, err := recovered(t, place, Target{}, backup.RestoreOptions{Options: cut.Options{SameIDs: true, Bump: new(uint64)}})
	if err != nil || plan.Frames == 0 {
		t.Error(plan, err)
	}
}

// A moment that the repository does not know is an error that names the last one before.
func TestUnknownMoments(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.put("k", "1")
	s.base()
	s.put("k", "2")
	s.note()
	last := s.run.last
	s.put("k", "lost")
	if _, err := s.tail.Take(shipBatch); err != nil { // as a shipper that was killed
		t.Fatal(err)
	}
	for i := range 3 {
		s.put("k", fmt.Sprint("later", i))
	}
	s.base()
	first := points(t, place)[0]
	second := points(t, place)[1]
	for _, target := range []Target{
		{LSN: last.LSN + 1}, {Time: last.Time.Add(1)}, {Time: second.Time.Add(-1)}, {Time: first.Time.Add(-1)},
		{Time: second.Time.Add(time.Hour)}, {LSN: second.LSN + 1},
	} {
		var gap *GapError
		_, _, err := recovered(t, place, target, backup.RestoreOptions{})
		if !errors.As(err, &gap) || !errors.Is(err, ErrNoPoint) {
			t.Errorf("%+v: %v", target, err)
			continue
		}
		if target == (Target{LSN: last.LSN + 1}) && (gap.Last != last || gap.After.LSN != second.LSN || !strings.Contains(err.Error(), last.String())) {
			t.Errorf("the error is %v, the last state was %s", err, last)
		}
	}
	ranges, err := openRepo(t, place).Logs(t.Context())
	if err != nil || len(ranges) != 1 || ranges[0].Last != last.LSN {
		t.Error(ranges, err)
	}
}

// More than a hundred objects, of which one is missing, or damaged in any bit.
func TestManyLogObjects(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.base()
	for i := range 120 {
		s.put(fmt.Sprintf("k%d", i%7), fmt.Sprint(i))
		s.note()
	}
	store, plan, err := recovered(t, place, Target{}, backup.RestoreOptions{})
	if err != nil || len(plan.logs) < 100 || !maps.Equal(content(t, store), s.states[len(s.states)-1].content) {
		t.Fatal(plan, err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 30 {
		damaged := place.Clone()
		l := plan.logs[random.IntN(len(plan.logs))]
		damaged.Change(l.name(), func(b []byte) []byte {
			b = slices.Clone(b)
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
			return b
		})
		if _, _, err := recovered(t, damaged, Target{}, backup.RestoreOptions{}); !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), l.name()) {
			t.Errorf("a flipped bit in %s: %v", l.name(), err)
		}
	}
	missing := plan.logs[60]
	if err := place.Delete(t.Context(), missing.name()); err != nil {
		t.Fatal(err)
	}
	var gap *GapError
	if _, _, err := recovered(t, place, Target{LSN: plan.logs[61].last}, backup.RestoreOptions{}); !errors.As(err, &gap) || gap.Last.LSN != missing.first-1 {
		t.Error(err)
	}
}

// Logs that two copies of a store shipped in turn are not taken for one.
func TestTwoLineagesAreDamage(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.base()
	s.put("k", "1")
	s.flush()
	s.put("k", "2")
	frames, err := s.tail.Take(shipBatch)
	if err != nil || len(frames) == 0 {
		t.Fatal(frames, err)
	}
	frames[0].Words.Sum++ // of other records before
	if err := s.run.put(t.Context(), &logObject{store: s.ID(), frames: frames}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := recovered(t, place, Target{}, backup.RestoreOptions{}); !errors.Is(err, kv.ErrCorrupt) {
		t.Error(err)
	}
}

// Of two shippers the one that began first ends.
func TestTwoShippers(t *testing.T) {
	place := blobtest.NewMemory()
	source := newSource(t)
	s := ship(t, source, place)
	s.put("k", "1")
	s.base()
	s.flush()
	if _, err := source.Tail(t.Context(), bucket.TailLimit{}); !errors.Is(err, kv.ErrInvalidOption) {
		t.Error("a second tail:", err)
	}
	s.tail.Close()
	second := ship(t, source, place)
	second.put("k", "2")
	second.flush()
	frames := []bucket.TailFrame{{LSN: second.run.last.LSN + 1}}
	if err := s.run.put(t.Context(), &logObject{store: s.ID(), frames: frames}); !errors.Is(err, ErrRepoTaken) {
		t.Error(err)
	}
}

// A pruning keeps the log behind the oldest base that stays, also that of a restore under way.
func TestPruneKeepsTheLogOfItsBases(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.base()
	s.put("k", "1")
	s.note()
	reading, err := openRepo(t, place).read(t.Context(), points(t, place)[0])
	if err != nil {
		t.Fatal(err)
	}
	s.put("k", "between")
	place.Advance(30 * time.Minute)
	s.base()
	s.put("k", "2")
	s.note()
	place.Advance(10 * time.Minute)
	if _, err := openRepo(t, place).Prune(t.Context(), 0); !errors.Is(err, ErrBusy) {
		t.Error("another process prunes beside a shipper:", err)
	}
	done, err := s.run.repo.prune(t.Context(), time.Minute, s.run.bases.token)
	if err != nil || done.Bases+done.Logs != 0 {
		t.Error(done, err)
	}
	if store, _, err := recovered(t, place, Target{LSN: s.states[0].LSN}, backup.RestoreOptions{}); err != nil || content(t, store)["k"] != "1" {
		t.Error(err)
	}
	reading.close()
	done, err = s.run.repo.prune(t.Context(), time.Minute, s.run.bases.token)
	if err != nil || done.Bases != 1 || done.Logs == 0 {
		t.Error(done, err)
	}
	if store, _, err := recovered(t, place, Target{LSN: s.states[1].LSN}, backup.RestoreOptions{}); err != nil || content(t, store)["k"] != "2" {
		t.Error(err)
	}
	if _, _, err := recovered(t, place, Target{LSN: s.states[0].LSN}, backup.RestoreOptions{}); !errors.Is(err, ErrNoPoint) {
		t.Error(err)
	}
}

// Each call of a shipper fails, or its answer is lost, or the shipper is killed there: what is in the place is
// restored exactly, or its end is named.
func TestEveryCallOfAShipperFails(t *testing.T) {
	for call := 0; ; call++ {
		place := blobtest.NewMemory()
		source := newSource(t)
		source.put("k", "0")
		fault := &blobtest.Fault{Store: place}
		fault.Fail = func(n int, _, _ string) blobtest.Outcome {
			if n >= call {
				return blobtest.Fails // killed
			}
			return blobtest.Works
		}
		last := killed(t, source, fault)
		if last.LSN == 0 && call > 60 {
			t.Fatal("the shipper never puts anything")
		}
		r, err := Open(t.Context(), place)
		if err == nil {
			_, err = r.Plan(t.Context(), Target{})
		}
		if last.LSN != 0 {
			store, _, err := recovered(t, place, Target{LSN: last.LSN}, backup.RestoreOptions{})
			if err != nil || content(t, store)["k"] == "0" {
				t.Fatalf("call %d: %v", call, err)
			}
			store.Close()
		} else if err != nil && !errors.Is(err, ErrNoPoint) && !errors.Is(err, ErrNoRepo) {
			t.Fatalf("call %d: %v", call, err)
		}
		if fault.Calls() <= call {
			return
		}
	}
}

// killed ships a few writes to a place that fails at some call, and returns the last state that was acknowledged by
// the place, behind a base.
func killed(t *testing.T, s *source, place blob.Store) (last Instant) {
	shipper, err := NewShipper(place, s.Store, ShipOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tail, err := s.Tail(t.Context(), bucket.TailLimit{Waiting: shipHold, Frame: shipFrame})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	x, err := begin(t, shipper, tail)
	if err != nil {
		return last
	}
	if _, err := writeAs(t.Context(), place, s, bucket.BackupOptions{}, &x.bases); err != nil {
		return last
	}
	for i := range 3 {
		s.put("k", fmt.Sprint(i+1))
		if x.putAll(t.Context(), x.put) != nil {
			break
		}
		last = x.last
	}
	return last
}

// watched counts what a shipper tells.
type watched struct {
	nobody
	bases, gaps, failed chan struct{}
}

func (w *watched) BaseMade(Written)                    { w.bases <- struct{}{} }
func (w *watched) GaveUp(Instant)                      { w.gaps <- struct{}{} }
func (w *watched) Failed(string, error, time.Duration) { w.failed <- struct{}{} }

// A place that is away for too long leaves a gap, which is in the repository, and a new base behind it.
func TestAPlaceThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := blobtest.NewMemory()
		place.Advance(-time.Until(time.Unix(1_800_000_000, 0)))
		s := newSource(t)
		away := make(chan bool, 1)
		away <- false
		fault := &blobtest.Fault{Store: place, Fail: func(int, string, string) blobtest.Outcome {
			is := <-away
			away <- is
			if is {
				return blobtest.Fails
			}
			return blobtest.Works
		}}
		w := &watched{bases: make(chan struct{}, 100), gaps: make(chan struct{}, 100), failed: make(chan struct{}, 10_000)}
		shipper, err := NewShipper(fault, s.Store, ShipOptions{Observer: w})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- shipper.Run(ctx) }()
		<-w.bases
		s.put("k", "1")
		<-time.After(2 * time.Second)
		synctest.Wait()
		if lag := shipper.Lag(); lag != 0 {
			t.Error("the lag is", lag)
		}
		<-away
		away <- true
		for i := range 90 {
			s.put("k", text(i, 760<<10))
		}
		<-w.gaps
		<-away
		away <- false
		<-w.bases
		s.put("k", "2")
		<-time.After(2 * time.Second)
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ranges, err := openRepo(t, place).Logs(t.Context())
		if err != nil || len(ranges) != 2 || !ranges[0].Gap {
			t.Errorf("%+v %v", ranges, err)
		}
		store, _, err := recovered(t, place, Target{}, backup.RestoreOptions{})
		if err != nil || content(t, store)["k"] != "2" {
			t.Error(err)
		}
		if _, _, err = recovered(t, place, Target{LSN: ranges[0].Last + 1}, backup.RestoreOptions{}); !errors.Is(err, ErrNoPoint) {
			t.Error(err)
		}
	})
}

// The bytes of an object are those of the package page.
func TestTheFormatOfALog(t *testing.T) {
	o := exampleLog()
	raw := o.append(nil)
	if int64(len(raw)) != o.size() {
		t.Errorf("%d bytes, size says %d", len(raw), o.size())
	}
	if string(raw) != logGolden {
		t.Errorf("the object is %x, want %x", raw, logGolden)
	}
	back, err := decodeLog(raw)
	if err != nil || string(back.append(nil)) != string(raw) {
		t.Error(back, err)
	}
	for i := range raw {
		if _, err := decodeLog(raw[:i]); err == nil {
			t.Fatalf("%d of %d bytes are accepted", i, len(raw))
		}
	}
}

func exampleLog() *logObject {
	words := wal.Words{Records: 1, Sum: 2, Operations: 3, Before: 4, Recent: 5}
	next := wal.Words{Records: 2, Sum: 9, Operations: 3, Before: 8, Recent: 5}
	return &logObject{store: [16]byte{1, 2, 3}, frames: []bucket.TailFrame{
		{LSN: 7, Time: 1_800_000_000_000_000_000, Words: words, Next: next, Payload: []byte("payload")},
		{LSN: 8, Time: 1_800_000_000_000_000_001, Words: next, Next: next},
	}}
}

// FuzzLog decodes anything without a panic, and what it accepts is encoded to the same bytes.
func FuzzLog(f *testing.F) {
	f.Add(exampleLog().append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeLog(resum(b))
		if err == nil && string(o.append(nil)) != string(resum(b)) {
			t.Error("it is encoded differently")
		}
	})
}

// resum gives an object the sum of its bytes, so that a fuzzer gets past it.
func resum(b []byte) []byte {
	if len(b) < sha256.Size {
		return b
	}
	b = slices.Clone(b)
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	copy(b[len(b)-sha256.Size:], sum[:])
	return b
}
