package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// FuzzTTLClock lets records expire under a wall clock that is set forward and back,
// in a store that is closed, crashes and is opened again; the monotonic clock goes
// on. Whatever comes: nothing that expired shows again unless the clock was set back
// before the store could remember; no live value is lost; no revision is issued
// twice; times never fall; and after a leap of the clock nothing is swept.
func FuzzTTLClock(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(40) {
		rng, b := rand.New(rand.NewPCG(seed, 5)), make([]byte, 120)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newClockRun()
		defer r.close()
		if err := r.open(false); err != nil {
			t.Fatal(err)
		}
		for c := (&byteChooser{b[:min(len(b), 200)]}); len(c.b) > 0; {
			if err := r.step(c); err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(r.said, "\n"))
			}
		}
	})
}

// clockRun is a store of two buckets beside what is known of it.
type clockRun struct {
	disk  *simdisk.Disk
	store *bucket.Store
	said  []string // the steps

	wall time.Duration // since the epoch; may be set
	mono time.Duration // only grows

	// The store's time lies from lo to hi: what of it a crash left on the disk is not
	// known exactly, until a record tells.
	lo, hi  int64
	durable int64 // the disk remembers a time from it on
	most    int64 // and up to it; counted when the store ends
	resting bool  // the clock has leapt
	wrote   bool  // since the open, or tried to

	buckets map[string]*clockBucket
}

type clockBucket struct {
	ttl      time.Duration
	revision kv.Revision
	records  map[string]clockRecord
}

// clockRecord is the newest value of a key.
type clockRecord struct {
	revision kv.Revision
	dies     int64 // unix ns; 0: never
}

var clockKeys = []string{"a", "b", "c"}

func newClockRun() *clockRun {
	return &clockRun{disk: simdisk.New(), buckets: map[string]*clockBucket{
		"keys": {records: map[string]clockRecord{}},
		"aged": {records: map[string]clockRecord{}, ttl: time.Hour},
	}}
}

func (r *clockRun) close() {
	if r.store != nil {
		_ = r.store.Close() // a step that cares about the error has closed it
		r.store = nil
	}
}

// open opens the store and checks what it makes of the clocks.
func (r *clockRun) open(accept bool) error {
	s, err := bucket.Open(storeDir, environment.With(bucket.Options{
		LogFileSize: 64 << 10, ReserveSize: -1, AcceptClock: accept,
	}, environment.Env{
		Manual: true, FS: r.disk,
		Now:     func() time.Time { return time.Unix(0, epoch).Add(r.wall) },
		Elapsed: func() time.Duration { return r.mono },
	}))
	if err != nil {
		return err
	}
	r.store = s
	wall := epoch + int64(r.wall)
	before, known := r.most, r.durable
	r.wrote = false
	r.lo, r.hi = max(wall, known), max(wall, before)
	r.resting = slices.ContainsFunc(s.Report().Notes, func(n string) bool { return strings.HasPrefix(n, "the clock says") })
	// A bucket with a TTL is among them, so something may always expire.
	switch far := int64(24 * time.Hour); {
	case r.resting && (accept || known != 0 && r.lo-known <= far):
		return fmt.Errorf("the sweep rests without a leap: the clock moved by %v", time.Duration(r.lo-known))
	case !r.resting && !accept && known != 0 && r.hi-before > far:
		return fmt.Errorf("a leap of %v is not noticed", time.Duration(r.hi-before))
	}
	for name, b := range r.buckets {
		bk, err := s.CreateBucket(context.Background(), kv.Config{Bucket: name, TTL: b.ttl})
		if err != nil {
			return err
		}
		st, err := bk.Status(context.Background())
		if err != nil {
			return err
		}
		if st.Revision != b.revision {
			return fmt.Errorf("bucket %q is at revision %d after an open, and was at %d", name, st.Revision, b.revision)
		}
	}
	return nil
}

// step takes one step and compares.
func (r *clockRun) step(c *byteChooser) error {
	name := []string{"keys", "aged"}[c.IntN(2)]
	key := clockKeys[c.IntN(len(clockKeys))]
	switch what := c.IntN(12); what {
	case 0, 1, 2, 3:
		ttl := []time.Duration{0, time.Second, time.Minute, time.Hour, 30 * time.Hour, 2400 * time.Hour}[c.IntN(6)]
		r.say("write %s/%s ttl=%v create=%t", name, key, ttl, what == 0)
		if err := r.write(name, key, ttl, what == 0); err != nil {
			return err
		}
	case 4, 5:
		d := []time.Duration{1, time.Second, time.Minute, 30 * time.Minute, 2 * time.Hour, 25 * time.Hour}[c.IntN(6)]
		r.say("%v pass", d)
		r.pass(d)
	case 6, 7:
		d := []time.Duration{time.Second, time.Hour, 23 * time.Hour, 25 * time.Hour, 9000 * time.Hour}[c.IntN(5)]
		if what == 7 {
			d = -d
		}
		r.say("the wall clock is set by %v", d)
		r.wall += d
	case 8:
		r.say("sweep")
		if err := r.sweep(); err != nil {
			return err
		}
	case 9:
		r.say("checkpoint")
		if err := r.store.Checkpoint(context.Background()); err != nil {
			return err
		}
	case 10, 11:
		crash, accept := c.IntN(2) == 0, what == 11
		r.say("open again; crash=%t accept=%t", crash, accept)
		if err := r.reopen(crash, accept); err != nil {
			return err
		}
	}
	return r.compare()
}

func (r *clockRun) say(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf("%v: ", time.Duration(r.lo-epoch))+fmt.Sprintf(format, args...))
}

func (r *clockRun) pass(d time.Duration) {
	r.mono += d
	r.wall += d
	r.lo += int64(d)
	r.hi += int64(d)
}

// gone and there report whether a record has certainly died, or certainly not.
func (r *clockRun) gone(v clockRecord) bool  { return v.dies != 0 && v.dies <= r.lo }
func (r *clockRun) there(v clockRecord) bool { return v.dies == 0 || v.dies > r.hi }

func (r *clockRun) write(name, key string, ttl time.Duration, create bool) error {
	b := r.buckets[name]
	r.wrote = true
	bk, err := r.store.Bucket(context.Background(), name)
	if err != nil {
		return err
	}
	var opts []kv.WriteOption
	if ttl != 0 {
		opts = append(opts, kv.KeyTTL(ttl))
	}
	had, has := b.records[key]
	write := bk.Put
	if create {
		write = bk.Create
	}
	rev, err := write(context.Background(), key, []byte(key), opts...)
	switch {
	case create && errors.Is(err, kv.ErrKeyExists) && has && !r.gone(had):
		return nil
	case err != nil:
		return fmt.Errorf("a write where the newest value is %+v: %w", had, err)
	case create && has && r.there(had):
		return fmt.Errorf("create over the live value %+v succeeded with %d", had, rev)
	case rev <= b.revision:
		return fmt.Errorf("revision %d was issued behind %d", rev, b.revision)
	}
	b.revision = rev
	e, err := bk.Get(context.Background(), key)
	if err != nil {
		return err
	}
	return r.learn(b, e, ttl)
}

// learn takes what a new record tells: the store's time, and when it dies.
func (r *clockRun) learn(b *clockBucket, e kv.Entry, ttl time.Duration) error {
	created := e.Created.UnixNano()
	if created < r.lo || created > r.hi {
		return fmt.Errorf("the store's time is %v, expected from %v to %v",
			time.Duration(created-epoch), time.Duration(r.lo-epoch), time.Duration(r.hi-epoch))
	}
	r.lo, r.hi, r.durable = created, created, created
	v := clockRecord{revision: e.Revision}
	for _, d := range []time.Duration{ttl, b.ttl} {
		if at := created + int64(d); d != 0 && (v.dies == 0 || at < v.dies) {
			v.dies = at
		}
	}
	b.records[e.Key] = v
	return nil
}

func (r *clockRun) sweep() error {
	if err := r.store.Sweep(context.Background()); err != nil {
		return err
	}
	for name, b := range r.buckets {
		bk, err := r.store.Bucket(context.Background(), name)
		if err != nil {
			return err
		}
		st, err := bk.Status(context.Background())
		if err != nil {
			return err
		}
		if st.Revision < b.revision || r.resting && st.Revision != b.revision {
			return fmt.Errorf("bucket %q is at revision %d after a sweep, and was at %d; resting: %t", name, st.Revision, b.revision, r.resting)
		}
		b.revision = st.Revision
	}
	return nil
}

// reopen closes the store, or cuts its power, and opens it again.
func (r *clockRun) reopen(crash, accept bool) error {
	image := r.disk
	if crash {
		image = r.disk.Crash(simdisk.KeepNone())
	}
	leapt := r.resting && !r.wrote // a leap is not made the store's by closing alone
	if !leapt {
		r.most = r.hi
	}
	err := r.store.Close()
	if r.store = nil; crash {
		r.disk = image
	} else if err != nil {
		return err
	} else if !leapt {
		r.durable = r.lo
	}
	return r.open(accept)
}

// compare reads every key.
func (r *clockRun) compare() error {
	for name, b := range r.buckets {
		bk, err := r.store.Bucket(context.Background(), name)
		if err != nil {
			return err
		}
		for key, v := range b.records {
			e, err := bk.Get(context.Background(), key)
			switch {
			case err == nil && r.gone(v):
				return fmt.Errorf("%s/%s, revision %d, shows although it died %v ago", name, key, e.Revision, time.Duration(r.lo-v.dies))
			case err == nil && e.Revision != v.revision:
				return fmt.Errorf("%s/%s is at revision %d, expected %d", name, key, e.Revision, v.revision)
			case errors.Is(err, kv.ErrKeyNotFound) && r.there(v):
				return fmt.Errorf("%s/%s, revision %d, is gone: it dies in %v", name, key, v.revision, time.Duration(v.dies-r.hi))
			case err != nil && !errors.Is(err, kv.ErrKeyNotFound):
				return err
			case err != nil && v.dies > r.lo:
				r.lo = v.dies // that it has died tells the time
			}
		}
	}
	return nil
}
