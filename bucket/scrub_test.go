package bucket

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
	"kvd/segment"
)

const scrubPeriod = 30 * 24 * time.Hour

// scrubs records the progress of a scrub.
type scrubs struct {
	noObserver
	mu   sync.Mutex
	last Scrub
	most int64 // bytes between two reports
}

func (o *scrubs) Scrubbed(s Scrub) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.Passes == o.last.Passes {
		o.most = max(o.most, s.Done-o.last.Done)
	}
	o.last = s
}

func (o *scrubs) now() Scrub {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// scrubbed is a store with several closed segments that nobody reads but the scrub.
func scrubbed(t *testing.T) (*harness, *Bucket, *scrubs) {
	o := &scrubs{}
	h := background(t, func(opts *Options) {
		opts.Scrub, opts.Observer, opts.SegmentSize, opts.CompactionRate = scrubPeriod, o, 16<<10, -1
	})
	synctest.Wait() // it waits, since there is nothing to read
	b := h.bucket("b")
	for i := range 60 {
		mustPut(t, b, fmt.Sprint("key", i), strings.Repeat("v", 2000))
	}
	b.sealGarbage()
	h.checkpoint()
	pass(scrubPeriod / scrubEmpty) // it looks again
	return h, b, o
}

// Whatever is damaged in a segment is found within a period, and noted.
func TestScrubFindsDamageAtRest(t *testing.T) {
	for _, c := range []struct {
		name    string
		damage  func(h *harness, b *Bucket)
		lost    []kv.LostRecord
		inDoubt bool
	}{
		{name: "nothing", damage: func(*harness, *Bucket) {}},
		{"a value", func(h *harness, b *Bucket) { h.damageRecord(b, "key7", -100) }, []kv.LostRecord{{Key: "key7", Revision: 8}}, false},
		{"a head", func(h *harness, b *Bucket) { h.damageRecord(b, "key8", 30) }, []kv.LostRecord{{Key: "key8", Revision: 9}}, false},
		{"an index page", func(h *harness, b *Bucket) {
			h.flip(h.segmentFiles()[0], b.mu.order[0].Desc().LastIndex+100, 0)
		}, nil, false},
		{"a header of a file", func(h *harness, b *Bucket) { h.flip(h.segmentFiles()[1], 9, 0) }, nil, false},
		{"records and their names", func(h *harness, b *Bucket) {
			size := b.mu.order[0].Size() - segment.HeaderSize
			if err := h.disk.Corrupt(h.segmentFiles()[0], segment.HeaderSize, size, func(b []byte) { clear(b) }); err != nil {
				t.Fatal(err)
			}
		}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, b, o := scrubbed(t)
				c.damage(h, b)
				pass(2 * scrubPeriod)
				d, err := b.Doubt(ctx)
				if err != nil || (d.Bound != 0) != c.inDoubt {
					t.Errorf("doubt is %+v, %v", d, err)
				}
				if !c.inDoubt {
					wantLost(t, b, c.lost...)
				}
				if s := o.now(); (s.Damages > 0) != (c.name != "nothing") || s.Passes < 2 {
					t.Errorf("the scrub is at %+v", s)
				}
				h.kill() // the note is in the manifest already
				h.open()
				if d, err := h.find("b").Doubt(ctx); err != nil || len(d.Lost) != len(c.lost) {
					t.Errorf("after a kill: %+v, %v", d, err)
				}
			})
		})
	}
}

// The scrub reads a part at a time, spread over the period.
func TestScrubIsSpreadOverItsPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b, o := scrubbed(t)
		total := int64(0)
		for sl := range b.files() {
			total += sl.Size()
		}
		pass(scrubPeriod / 2)
		if s := o.now(); s.Total != total || s.Passes != 0 || s.Done < total/3 || s.Done > 2*total/3 {
			t.Errorf("after half the period it is at %+v of %d bytes", s, total)
		}
		if o.most > scrubPart+16<<10 {
			t.Errorf("%d bytes at once", o.most)
		}
	})
}

// Between two parts the scrub holds nothing: a segment can be replaced and its file removed, and
// the rest of the pass goes on.
func TestScrubDoesNotHoldUpCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, b, o := scrubbed(t)
		pass(scrubPeriod / 3)
		files := h.segmentFiles()
		for i := range 60 {
			mustPut(t, b, fmt.Sprint("key", i), "small")
		}
		h.checkpoint()
		h.reclaim()
		if now := h.segmentFiles(); len(now) >= len(files) {
			t.Errorf("files are %v, were %v", now, files)
		}
		b.sealGarbage()
		h.checkpoint()
		pass(2 * scrubPeriod)
		if s := o.now(); s.Damages > 0 || s.Passes < 2 {
			t.Errorf("the scrub is at %+v", s)
		}
		wantLost(t, b)
	})
}

func TestScrubPeriods(t *testing.T) {
	for period, valid := range map[time.Duration]bool{0: true, time.Second: true, time.Millisecond: false, -time.Hour: false} {
		if _, err := (Options{Scrub: period}).withDefaults(); (err == nil) != valid {
			t.Errorf("%v: %v", period, err)
		}
	}
}
