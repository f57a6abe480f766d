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

// FuzzTTLClock lets records expire while the wall clock is set forward and back, in a
// store that is closed, crashes and is opened again. The monotonic clock continues. In
// every case: an expired record is not visible again, unless the clock was set back
// before the store could make its time durable; no live value is lost; no revision is
// issued twice; times never decrease; what expired by a leap of the clock alone is not swept.
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
				t.Fatalf("%v\n%s", err, strings.Join(r.steps, "\n"))
			}
		}
	})
}

// clockRun is a store of two buckets, and the state that it must have.
type clockRun struct {
	disk  *simdisk.Disk
	store *bucket.Store
	steps []string // the steps so far

	wall time.Duration // since the epoch; may be set
	mono time.Duration // only grows

	// The store's time lies between lo and hi. After a crash its exact value is unknown
	// until a new record shows it.
	lo, hi  int64
	durable int64 // the time on the disk is at least this
	most    int64 // and at most this; set when the store ends
	leapt   bool  // the clock has leapt
	leap    int64 // ns: by this at least, if leapt
	wrote   bool  // a write was tried since the open

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
	expires  int64 // unix ns; 0: never
	before   bool  // written before the open
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
		_ = r.store.Close() // steps that check its error have closed it already
		r.store = nil
	}
}

// open opens the store and checks the time that it derives from the clocks.
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
	r.leap = max(0, r.lo-before)
	r.leapt = slices.ContainsFunc(s.Report().Notes, func(n string) bool { return strings.HasPrefix(n, "the clock says") })
	// One of the buckets has a TTL, so some record may always expire.
	switch far := int64(24 * time.Hour); {
	case r.leapt && (accept || known != 0 && r.lo-known <= far):
		return fmt.Errorf("the sweep is suspended without a leap: the clock moved by %v", time.Duration(r.lo-known))
	case !r.leapt && !accept && known != 0 && r.hi-before > far:
		return fmt.Errorf("a leap of %v was not detected", time.Duration(r.hi-before))
	}
	for name, b := range r.buckets {
		for key, v := range b.records {
			v.before = true
			b.records[key] = v
		}
		bk, err := s.CreateBucket(context.Background(), kv.Config{Bucket: name, TTL: b.ttl})
		if err != nil {
			return err
		}
		st, err := bk.Status(context.Background())
		if err != nil {
			return err
		}
		if st.Revision != b.revision {
			return fmt.Errorf("bucket %q is at revision %d after an open; before it was at %d", name, st.Revision, b.revision)
		}
	}
	return nil
}

// step carries out one step and compares the result.
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
	r.steps = append(r.steps, fmt.Sprintf("%v: ", time.Duration(r.lo-epoch))+fmt.Sprintf(format, args...))
}

func (r *clockRun) pass(d time.Duration) {
	r.mono += d
	r.wall += d
	r.lo += int64(d)
	r.hi += int64(d)
}

// isExpired and isLive report whether a record has certainly expired, or certainly not.
func (r *clockRun) isExpired(v clockRecord) bool { return v.expires != 0 && v.expires <= r.lo }
func (r *clockRun) isLive(v clockRecord) bool    { return v.expires == 0 || v.expires > r.hi }

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
	case create && errors.Is(err, kv.ErrKeyExists) && has && !r.isExpired(had):
		return nil
	case err != nil:
		return fmt.Errorf("a write to a key whose newest value is %+v: %w", had, err)
	case create && has && r.isLive(had):
		return fmt.Errorf("create over the live value %+v succeeded with %d", had, rev)
	case rev <= b.revision:
		return fmt.Errorf("revision %d was issued after %d", rev, b.revision)
	}
	b.revision = rev
	e, err := bk.Get(context.Background(), key)
	if err != nil {
		return err
	}
	return r.learn(b, e, ttl)
}

// learn derives the store's time and the record's expiry from a new record.
func (r *clockRun) learn(b *clockBucket, e kv.Entry, ttl time.Duration) error {
	created := e.Created.UnixNano()
	if created < r.lo || created > r.hi {
		return fmt.Errorf("the store's time is %v, expected from %v to %v",
			time.Duration(created-epoch), time.Duration(r.lo-epoch), time.Duration(r.hi-epoch))
	}
	r.lo, r.hi, r.durable = created, created, created
	v := clockRecord{revision: e.Revision}
	for _, d := range []time.Duration{ttl, b.ttl} {
		if at := created + int64(d); d != 0 && (v.expires == 0 || at < v.expires) {
			v.expires = at
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
		if most := b.revision + r.sweepable(b); st.Revision < b.revision || st.Revision > most {
			return fmt.Errorf("bucket %q is at revision %d after a sweep; before it was at %d, and at most %d may follow; leapt: %t", name, st.Revision, b.revision, most, r.leapt)
		}
		b.revision = st.Revision
	}
	return nil
}

// sweepable returns how many keys of a bucket may have expired for the sweep.
func (r *clockRun) sweepable(b *clockBucket) (n kv.Revision) {
	for _, v := range b.records {
		at := v.expires
		if r.leapt && v.before {
			at += r.leap
		}
		if unconfirmed := r.leapt && !r.wrote; v.expires != 0 && at <= r.hi && !unconfirmed {
			n++
		}
	}
	return n
}

// reopen closes the store or cuts its power, and opens it again.
func (r *clockRun) reopen(crash, accept bool) error {
	image := r.disk
	if crash {
		image = r.disk.Crash(simdisk.KeepNone())
	}
	leapt := r.leapt && !r.wrote // closing alone does not accept a leap
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
			case err == nil && r.isExpired(v):
				return fmt.Errorf("%s/%s, revision %d, is visible although it expired %v ago", name, key, e.Revision, time.Duration(r.lo-v.expires))
			case err == nil && e.Revision != v.revision:
				return fmt.Errorf("%s/%s is at revision %d, expected %d", name, key, e.Revision, v.revision)
			case errors.Is(err, kv.ErrKeyNotFound) && r.isLive(v):
				return fmt.Errorf("%s/%s, revision %d, is missing: it expires in %v", name, key, v.revision, time.Duration(v.expires-r.hi))
			case err != nil && !errors.Is(err, kv.ErrKeyNotFound):
				return err
			case err != nil && v.expires > r.lo:
				r.lo = v.expires // its expiry gives a bound of the time
			}
		}
	}
	return nil
}
