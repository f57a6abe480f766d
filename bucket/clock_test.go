package bucket

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// clocks are the clocks of a machine.
type clocks struct {
	*harness
	wall             time.Time
	awake, suspended time.Duration
}

func newClocks(t *testing.T) *clocks {
	c := &clocks{wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	c.harness = newHarness(t, func(o *Options) {
		o.env.Now = func() time.Time { return c.wall }
		o.env.Elapsed = func() time.Duration { return c.awake }
		o.env.Suspended = func() time.Duration { return c.suspended }
	})
	return c
}

// pass lets time pass on all clocks.
func (c *clocks) pass(d time.Duration) { c.wall, c.awake = c.wall.Add(d), c.awake+d }

// suspend suspends the machine. Its wall clock goes on. It then runs for as long as it takes
// to notice.
func (c *clocks) suspend(d time.Duration) {
	c.wall, c.suspended = c.wall.Add(d), c.suspended+d
	c.pass(suspensionCheck)
}

func (c *clocks) sweep() {
	c.t.Helper()
	if err := c.s.Sweep(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// leapt reports whether the store says that its clock leapt.
func (c *clocks) leapt() bool {
	c.t.Helper()
	leap := c.s.Clock().Leap
	if notes := fmt.Sprint(c.s.Report().Notes); strings.Contains(notes, "the clock says") != (leap != 0) {
		c.t.Errorf("the clock leapt by %v, and Open notes %s", leap, notes)
	}
	return leap != 0
}

// purgeTTL purges a key. The marker is removed after ttl.
func purgeTTL(t testing.TB, b *Bucket, key string, ttl time.Duration) {
	t.Helper()
	if _, err := b.Purge(ctx, key, kv.PurgeTTL(ttl)); err != nil {
		t.Fatal(err)
	}
}

// wantCounts checks the counts of a bucket: keys with a value, and records.
func wantCounts(t testing.TB, b *Bucket, keys, records uint64) {
	t.Helper()
	st, err := b.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Keys != keys || st.Values != records {
		t.Fatalf("bucket %q has %d keys in %d records, want %d in %d", b.Name(), st.Keys, st.Values, keys, records)
	}
}

const days = 24 * time.Hour

// Whatever the clock did before, what is written from now on expires in time, is swept and
// is not counted any more.
func TestExpiryWorksAfterEveryLeap(t *testing.T) {
	for _, c := range []struct {
		name  string
		leap  func(c *clocks)
		leapt bool
	}{
		{"none", func(*clocks) {}, false},
		{"closed for two days", func(c *clocks) { c.close(); c.pass(2 * days); c.open() }, true},
		{"forward before opening", func(c *clocks) { c.close(); c.wall = c.wall.Add(2 * days); c.open() }, true},
		{"to 2099 before opening", func(c *clocks) { c.close(); c.wall = c.wall.AddDate(73, 0, 0); c.open() }, true},
		{"back before opening", func(c *clocks) { c.close(); c.wall = c.wall.Add(-2 * days); c.open() }, false},
		{"to 1970 before opening", func(c *clocks) { c.close(); c.wall = time.Unix(0, 0); c.open() }, false},
		{"forward before opening, after a power cut", func(c *clocks) { c.powerCut(); c.wall = c.wall.Add(2 * days); c.open() }, true},
		{"forward at opening", func(c *clocks) {
			c.close()
			now := c.opts.env.Now
			c.opts.env.Now = func() time.Time { c.wall = c.wall.Add(2 * days); return now() } // the first reading is of after the step
			c.open()
			c.opts.env.Now = now
		}, true},
		{"forward after opening", func(c *clocks) { c.wall = c.wall.Add(2 * days) }, false},
		{"back after opening", func(c *clocks) { c.wall = c.wall.Add(-2 * days) }, false},
		{"forward and back before opening", func(c *clocks) {
			c.close()
			c.wall = c.wall.Add(2 * days)
			c.open()
			mustPut(c.t, c.find("b"), "k", "")
			c.close()
			c.wall = c.wall.Add(-2 * days)
			c.open()
		}, false},
		{"forward before opening and back after", func(c *clocks) {
			c.close()
			c.wall = c.wall.Add(2 * days)
			c.open()
			c.wall = c.wall.Add(-2 * days)
		}, true},
		{"suspended", func(c *clocks) { c.suspend(2 * days) }, false},
		{"suspended and set forward", func(c *clocks) { c.suspend(2 * days); c.wall = c.wall.Add(2 * days) }, false},
		{"suspended before opening", func(c *clocks) { c.close(); c.suspend(2 * days); c.open() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newClocks(t)
			b := m.bucket("b", withHistory(2))
			mustPut(t, b, "stays", "")
			putTTL(t, b, "early", "", time.Hour)
			mustPut(t, m.bucket("aged", withTTL(time.Minute)), "early", "")
			c.leap(m)
			b, aged := m.find("b"), m.find("aged")
			if m.leapt() != c.leapt {
				t.Fatalf("the clock is %+v", m.s.Clock())
			}
			for range 2 {
				putTTL(t, b, "late", "", time.Minute)
				purgeTTL(t, b, "marked", time.Minute)
				mustPut(t, aged, "late", "")
				before, records := b.mu.index.Count(), aged.mu.index.Count()
				m.pass(time.Minute - 1)
				mustGet(t, b, "late", "")
				mustGet(t, aged, "late", "")
				m.pass(1)
				wantGone(t, b, "late")
				wantGone(t, aged, "late")
				m.sweep()
				if got := entries(t, b, "late"); !strings.HasPrefix(got, "EXPIRE@") || strings.Contains(got, " ") {
					t.Errorf("the history of an expired key is %q", got)
				}
				if got := b.mu.index.Count(); got > before-1 {
					t.Errorf("%d records, where the marker of a purge went, want %d", got, before-1)
				}
				if got := aged.mu.index.Count(); got != records {
					t.Errorf("%d records with the markers, want %d", got, records)
				}
				wantEntries(t, b, "marked", "")
				wantKeys(t, collect(t, aged))
			}
			if r := m.s.Report(); len(r.Damages) > 0 {
				t.Errorf("report %v", r)
			}
		})
	}
}

// What has expired by the leap alone is invisible and waits: until the store has been open
// for as long, or the operator accepts the clock, or the TTL is edited. If the clock is set
// right before anything was written, it is there again.
func TestWhatTheLeapExpiredWaits(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(m *clocks)
		back bool // what expired is visible again
		gone bool // what expired was removed
	}{
		{"a sweep", func(m *clocks) { m.sweep() }, false, false},
		{"set right", func(m *clocks) { m.sweep(); m.close(); m.wall = m.wall.Add(-2 * days); m.open(); m.sweep() }, true, false},
		{"a write", func(m *clocks) { mustPut(m.t, m.find("b"), "x", ""); m.pass(time.Minute); m.sweep() }, false, false},
		{"a little less than an hour", func(m *clocks) {
			mustPut(m.t, m.find("b"), "x", "")
			m.pass(time.Hour - 1)
			m.sweep()
		}, false, false},
		{"an hour", func(m *clocks) {
			mustPut(m.t, m.find("b"), "x", "")
			m.pass(time.Hour)
			m.sweep()
		}, false, true},
		{"an hour of suspension", func(m *clocks) {
			mustPut(m.t, m.find("b"), "x", "")
			m.suspend(time.Hour)
			m.sweep()
		}, false, true},
		{"an hour without a write", func(m *clocks) { m.pass(time.Hour); m.sweep() }, false, false},
		{"accepted", func(m *clocks) { m.close(); m.opts.AcceptClock = true; m.open(); m.sweep() }, false, true},
		{"opened again after a write", func(m *clocks) {
			mustPut(m.t, m.find("b"), "x", "")
			m.reopen()
			m.sweep()
		}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newClocks(t)
			b, aged := m.bucket("b"), m.bucket("aged", withTTL(time.Hour))
			putTTL(t, b, "k", "v", time.Hour)
			purgeTTL(t, b, "marked", time.Hour)
			mustPut(t, aged, "k", "v")
			records := b.mu.index.Count()
			m.close()
			m.pass(2 * days)
			m.open()
			c.end(m)
			b, aged = m.find("b"), m.find("aged")
			for _, bk := range []*Bucket{b, aged} {
				wantKeyThere(t, bk, "k", c.back)
				want := ""
				switch {
				case c.back:
					want = "PUT@1"
				case c.gone:
					want = fmt.Sprintf("EXPIRE@%d", watchLog{bk}.Newest())
				}
				wantEntries(t, bk, "k", want)
			}
			marker := 0
			if _, err := b.GetRevision(ctx, "x", 3); err == nil {
				marker = 1 // beside the write
			}
			if got := b.mu.index.Count() - marker; (got < records) != c.gone {
				t.Errorf("%d records of %d are there", got, records)
			}
			st, err := b.Status(ctx)
			if waits := !c.back && (!c.gone || m.s.Clock().Leap != 0); err != nil || (st.ClockLeap != 0) != waits {
				t.Errorf("status %+v, %v", st, err)
			}
		})
	}
}

// wantKeyThere checks whether a get finds a key.
func wantKeyThere(t *testing.T, b *Bucket, key string, want bool) {
	t.Helper()
	if _, err := b.Get(ctx, key); (err == nil) != want {
		t.Fatalf("get of %q in bucket %q: %v", key, b.Name(), err)
	}
}

// There is one warning, which says what the operator can do. The state says the same.
func TestALeapIsLoggedOnce(t *testing.T) {
	m := newClocks(t)
	putTTL(t, m.bucket("b"), "k", "", time.Hour)
	m.bucket("other")
	m.close()
	m.pass(3 * days)
	var log bytes.Buffer
	m.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	m.open()
	for range 5 {
		mustPut(t, m.find("b"), "x", "")
		m.pass(time.Minute)
		m.sweep()
	}
	m.suspend(time.Hour)
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "--accept-clock") || !strings.Contains(log.String(), "leap=72h0m0s") {
		t.Errorf("the log has\n%s", log.String())
	}
	if c := m.s.Clock(); !c.Now.Equal(m.wall) || c.Leap != 3*days || c.Suspended != time.Hour {
		t.Errorf("the clock is %+v; it is %v", c, m.wall)
	}
	for name, want := range map[string]time.Duration{"b": 3 * days, "other": 0} {
		if st, err := m.find(name).Status(ctx); err != nil || st.ClockLeap != want {
			t.Errorf("bucket %q: %+v, %v", name, st, err)
		}
	}
}

// A TTL that is lifted brings back nothing that has expired, also if that waits.
func TestALiftedTTLBringsBackNothingThatWaits(t *testing.T) {
	m := newClocks(t)
	b := m.bucket("b", withTTL(time.Hour))
	mustPut(t, b, "k", "v")
	m.close()
	m.pass(2 * days)
	m.open()
	config, _ := m.find("b").config()
	config.TTL = 0
	if _, err := m.s.UpdateBucket(ctx, config); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, m.find("b"), "k", "EXPIRE@2")
}

// A trim keeps and counts what waits.
func TestATrimCountsWhatWaits(t *testing.T) {
	m := newClocks(t)
	b := m.bucket("b", messageLog, withTTL(time.Hour))
	for range 5 {
		mustPut(t, b, "k", "")
	}
	m.close()
	m.pass(2 * days)
	m.open()
	b = m.find("b")
	mustPut(t, b, "l", "")
	for _, keep := range []uint64{6, 3} {
		before := uint64(b.mu.index.Count())
		if n, err := b.Trim(ctx, 0, keep, 0); err != nil || n != before-min(before, keep) {
			t.Errorf("a trim to %d of %d removed %d, %v", keep, before, n, err)
		}
	}
}

// In a store that was closed for two days, watchers are told of the end of a key that is
// written then, by the background.
func TestTheBackgroundSweepsAfterALeap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simdisk.New()
		open := func() *Store {
			s, err := Open(testDir, environment.With(Options{LogFileSize: 64 << 10, ReserveSize: -1}, environment.Env{FS: disk}))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		b, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"})
		if err != nil {
			t.Fatal(err)
		}
		putTTL(t, b.(*Bucket), "early", "", time.Hour)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		pass(2 * days)
		s = open()
		defer s.Close()
		if b, err = s.Bucket(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		w, err := b.Watch(ctx, nil, kv.UpdatesOnly())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		putTTL(t, b.(*Bucket), "late", "", time.Minute)
		began := time.Now()
		for _, want := range []kv.Operation{kv.Put, kv.Purge} {
			if u := <-w.Updates(); u.Entry == nil || u.Entry.Key != "late" || u.Entry.Operation != want {
				t.Fatalf("the watch got %+v, want %v", u.Entry, want)
			}
		}
		if took := time.Since(began); took > time.Minute+2*sweepInterval {
			t.Errorf("the marker came after %v", took)
		}
		wantCounts(t, b.(*Bucket), 1, 2) // the key that waits, and the marker
		if u := <-w.Updates(); u.Entry == nil || u.Entry.Key != "early" {
			t.Errorf("the watch got %+v", u.Entry)
		}
		if took := time.Since(began); took < time.Hour-time.Minute || took > time.Hour+2*sweepInterval {
			t.Errorf("what waited was swept after %v", took)
		}
	})
}
