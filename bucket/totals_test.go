package bucket

import (
	"bytes"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"testing"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/wal"
)

// loggedFrame is a frame as the log has it, and what it counts for.
type loggedFrame struct {
	wal.Frame
	tally
}

// frames reads the log of a disk from an LSN on.
func (h *harness) frames(disk *simdisk.Disk, from wal.LSN) []loggedFrame {
	h.t.Helper()
	r, err := wal.Open(wal.Options{FS: disk, Dir: path.Join(testDir, manifest.LogDir), StoreID: h.s.identity.StoreID})
	if err != nil {
		h.t.Fatal(err)
	}
	var frames []loggedFrame
	_, err = r.Replay(wal.Wanted{From: from, Frame: func(f wal.Frame) error {
		l := loggedFrame{Frame: f, tally: h.countPayload(f.Payload)}
		l.Payload = append([]byte(nil), f.Payload...)
		frames = append(frames, l)
		return nil
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	return frames
}

// countPayload counts the payload of one frame.
func (h *harness) countPayload(payload []byte) (t tally) {
	h.t.Helper()
	for len(payload) > 0 {
		kind, body, rest, err := journal.Next(payload)
		if err != nil {
			h.t.Fatal(err)
		}
		payload = rest
		if kind != journal.Records {
			op, err := journal.Decode(kind, body)
			if err != nil {
				h.t.Fatal(err)
			}
			t.operations++
			t.filter |= journal.FilterBit(op.BucketID())
			continue
		}
		for len(body) > 0 {
			rec, size, err := h.s.segments.Seed.DecodeRecord(body)
			if err != nil {
				h.t.Fatal(err)
			}
			var sum uint64 // the first 8 bytes, little-endian
			for i := range 8 {
				sum |= uint64(body[i]) << (8 * i)
			}
			t.records++
			t.sum += sum
			t.filter |= journal.FilterBit(rec.BucketID)
			body = body[size:]
		}
	}
	return t
}

// wantTotals fails unless each frame has the totals of all frames before it. begin are the
// words of the first.
func wantTotals(t *testing.T, frames []loggedFrame, begin wal.Words) {
	t.Helper()
	want := begin
	for i, f := range frames {
		want.Before, want.Recent = begin.Before, 0
		if i > 0 {
			want.Before = frames[i-1].filter
		}
		for k := max(0, i-64); k < i-1; k++ {
			want.Recent |= frames[k].filter
		}
		bound := want.Recent // what was before the first frame counts for 63 frames and two
		if i < 64 {
			bound |= begin.Recent | begin.Before
		}
		got := f.Words
		got.Recent = want.Recent
		if got != want || want.Recent&^f.Words.Recent != 0 || f.Words.Recent&^bound != 0 {
			t.Fatalf("frame %d has %+v, want %+v, at most %x", f.LSN, f.Words, want, bound)
		}
		want.Records += uint64(f.records)
		want.Sum += f.sum
		want.Operations += uint64(f.operations)
	}
}

// Each frame carries the totals of all frames before it, over restarts and checkpoints.
func TestFramesCarryTheTotalsOfTheLog(t *testing.T) {
	const seed = 5
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHarness(t, func(o *Options) { o.LogMaxSize = 64 << 20 })
	var begin wal.Words // of the first frame that is checked
	from, records := wal.LSN(1), uint64(0)
	for session := range 4 {
		h.bucket("memory", func(c *kv.Config) { c.Storage = kv.MemoryStorage })
		for i := range 150 {
			b := h.bucket(fmt.Sprintf("b%d", random.IntN(1+i/8)))
			switch random.IntN(8) {
			case 0:
				h.submit(kv.Mutation{Bucket: b.name, Key: "k"}, kv.Mutation{Bucket: "memory", Key: "k"}, kv.Mutation{Bucket: "b0", Key: "k"})
			case 1:
				mustPut(t, h.find("memory"), "k", "v")
			case 2:
				if err := h.s.vouch(); err != nil {
					t.Fatal(err)
				}
			default:
				mustPut(t, b, fmt.Sprintf("k%d", i), "v")
			}
		}
		frames := h.frames(h.disk.Clone(), from)
		wantTotals(t, frames, begin)
		if session > 0 && begin.Records == 0 || frames[len(frames)-1].Words.Records <= records {
			t.Fatalf("session %d begins with %+v", session, begin)
		}
		records = frames[len(frames)-1].Words.Records
		if session%2 == 0 {
			h.reopen()
		} else {
			h.kill()
			h.open()
		}
		from, begin = h.s.log.Last()+1, h.s.path.totals.words
		if low := h.s.checkpoint.state; low.LogLow != from-1 || low.LogWords != begin {
			t.Errorf("the manifest has LSN %d and %+v, the log %d and %+v", low.LogLow, low.LogWords, from-1, begin)
		}
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// A frame with other totals than the frames before it come to is damage of the log.
func TestOtherTotalsAreDamage(t *testing.T) {
	for name, change := range map[string]func(w *wal.Words){
		"nothing":                     func(w *wal.Words) {},
		"records":                     func(w *wal.Words) { w.Records-- },
		"sum":                         func(w *wal.Words) { w.Sum++ },
		"operations":                  func(w *wal.Words) { w.Operations++ },
		"before":                      func(w *wal.Words) { w.Before ^= 1 << 7 },
		"recent, a bucket too many":   func(w *wal.Words) { w.Recent |= 1 << bits.TrailingZeros64(^w.Recent) },
		"recent, a bucket is missing": func(w *wal.Words) { w.Recent = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b")
			mustPut(t, b, "a", "1")
			mustPut(t, b, "b", "1")
			h.s.path.totals.add(tally{}) // for the frame below
			words := h.s.path.totals.words
			change(&words)
			h.s.path.totals.words = words
			h.appendFrame(wal.NewFrame(nil)) // the frame after it has these words
			h.appendFrame(wal.NewFrame(nil))
			lsn := h.s.log.Last()
			h.kill()
			h.open()
			r := h.s.Report()
			mustGet(t, h.find("b"), "b", "1")
			if name == "nothing" {
				if r.ReadOnly != nil {
					t.Error(r.ReadOnly)
				}
				return
			}
			wantError(t, r.ReadOnly, kv.ErrCorrupt, manifest.LogDir, fmt.Sprintf("LSN %d", lsn))
		})
	}
}

// The words of the manifest have one filter for 63 frames. The words that replay finds
// narrow it.
func TestReplayNarrowsTheFilters(t *testing.T) {
	var tot totals
	tot.begin(wal.Words{Records: 7, Before: 1, Recent: 0b1110})
	found := wal.Words{Records: 7, Before: 1, Recent: 0b1110}
	if err := tot.check(found); err != nil {
		t.Fatal(err)
	}
	tot.add(tally{records: 1, filter: 0b10000})
	found = wal.Words{Records: 8, Before: 0b10000, Recent: 0b0101}
	if err := tot.check(found); err != nil {
		t.Fatal(err)
	}
	tot.add(tally{})
	if want := (wal.Words{Records: 8, Recent: 0b10101}); tot.words != want {
		t.Errorf("got %+v, want %+v", tot.words, want)
	}
}

// An operation has two frames with one payload, on pages of their own.
func TestAnOperationIsLoggedTwice(t *testing.T) {
	h := newHarness(t)
	h.bucket("interval", func(c *kv.Config) { c.Sync = kv.SyncInterval })
	mustPut(t, h.find("interval"), "k", "not synced: the next frame could share its page")
	h.bucket("b")
	frames := h.frames(h.disk.Clone(), 1)
	var operations []loggedFrame
	for _, f := range frames {
		if f.operations > 0 {
			operations = append(operations, f)
		}
	}
	if len(operations) != 4 {
		t.Fatalf("two operations have %d frames", len(operations))
	}
	const page = 4096
	for i := 0; i < 4; i += 2 {
		one, two := operations[i], operations[i+1]
		if !one.repeats(&two) || two.Offset%page != 0 || one.Offset%page != 0 || one.Offset == two.Offset {
			t.Errorf("frames of %d and %d bytes at offsets %d and %d", len(one.Payload), len(two.Payload), one.Offset, two.Offset)
		}
	}
}

// repeats reports whether two is the second copy of the operation in f.
func (f *loggedFrame) repeats(two *loggedFrame) bool {
	second := bytes.Clone(f.Payload)
	journal.MarkSecond(second)
	return !journal.IsSecond(f.Payload) && bytes.Equal(second, two.Payload)
}

// has reports whether the frame is an operation of the kind of op.
func (f *loggedFrame) has(op journal.Operation) bool {
	kind, body, _, err := journal.Next(append([]byte(nil), f.Payload...))
	if err != nil || kind == journal.Records {
		return false
	}
	got, err := journal.Decode(kind, body)
	return err == nil && reflect.TypeOf(got) == reflect.TypeOf(op)
}

// Replay applies both frames of every kind of operation. The bucket is as it was before.
func TestOperationsAreReplayedTwice(t *testing.T) {
	for name, c := range map[string]struct {
		op      journal.Operation // of the kind that has to be in the log
		operate func(a *aging, b *Bucket) error
	}{
		"create": {&journal.Create{}, func(a *aging, b *Bucket) error { return nil }},
		"edit": {&journal.Edit{}, func(a *aging, b *Bucket) error {
			_, err := a.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 9, Description: "edited"})
			return err
		}},
		"edit with a cut": {&journal.Edit{}, func(a *aging, b *Bucket) error {
			_, err := a.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 2})
			return err
		}},
		"purge deletes": {&journal.PurgeDeletes{}, func(a *aging, b *Bucket) error { return b.PurgeDeletes(ctx, 0) }},
		"expire": {&journal.Expire{}, func(a *aging, b *Bucket) error {
			if _, err := a.s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 5, TTL: time.Minute}); err != nil {
				return err
			}
			a.clock.advance(2 * time.Minute)
			return a.s.Sweep(ctx)
		}},
		"expire markers": {&journal.ExpireMarkers{}, func(a *aging, b *Bucket) error {
			putTTL(t, b, "marked", "v", time.Second)
			a.clock.advance(time.Hour)
			if err := a.s.Sweep(ctx); err != nil {
				return err
			}
			a.clock.advance(time.Hour)
			return a.s.Sweep(ctx)
		}},
		"delete, and a new bucket of that name": {&journal.Delete{}, func(a *aging, b *Bucket) error {
			if err := a.s.DeleteBucket(ctx, "b"); err != nil {
				return err
			}
			_, err := a.s.CreateBucket(ctx, kv.Config{Bucket: "b", History: 3})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAging(t, func(o *Options) { o.LogFileSize = 1 << 20 })
			b := a.bucket("b", withHistory(5), func(c *kv.Config) { c.MarkerTTL = time.Minute })
			for i := range 12 {
				mustPut(t, b, fmt.Sprintf("k%d", i%3), "v")
			}
			if _, err := b.Delete(ctx, "k1"); err != nil {
				t.Fatal(err)
			}
			if err := c.operate(a, b); err != nil {
				t.Fatal(err)
			}
			b = a.find("b")
			for i := range 4 {
				mustPut(t, b, fmt.Sprintf("k%d", i%2), "later")
			}
			frames := a.frames(a.disk.Clone(), 1)
			if !slices.ContainsFunc(frames, func(f loggedFrame) bool { return f.has(c.op) }) {
				t.Fatalf("the log has no %T", c.op)
			}
			for i := 0; i < len(frames); i++ {
				if frames[i].operations == 0 {
					continue
				}
				if i++; i == len(frames) || !frames[i-1].repeats(&frames[i]) {
					t.Fatalf("the operation of LSN %d is not repeated", frames[i-1].LSN)
				}
			}
			want, rules, config := shown(t, b), b.mu.live, b.mu.config
			buckets := len(a.s.mu.ids)
			a.kill()
			whole := a.disk
			for _, f := range frames { // a lost page never loses an operation
				if f.operations == 0 {
					continue
				}
				a.insert(whole.Clone())
				if err := a.disk.Corrupt(f.File, f.Offset, 4096, func(b []byte) { clear(b) }); err != nil {
					t.Fatal(err)
				}
				a.open()
				b := a.find("b")
				wantShown(t, b, want)
				if !reflect.DeepEqual(b.mu.live, rules) || !b.mu.config.Equal(config) || len(a.s.mu.ids) != buckets || a.s.report.Frames != len(frames)-1 {
					t.Errorf("without LSN %d: rules %+v, config %+v; want %+v, %+v", f.LSN, b.mu.live, b.mu.config, rules, config)
				}
				if r := a.s.Report(); r.ReadOnly != nil || len(r.Damages) != 1 || r.Damages[0].File != f.File {
					t.Errorf("without LSN %d: %v", f.LSN, r)
				}
				a.close()
			}
			a.insert(whole)
			a.open()
			b = a.find("b")
			wantShown(t, b, want)
			if !reflect.DeepEqual(b.mu.live, rules) || !b.mu.config.Equal(config) || len(a.s.mu.ids) != buckets || a.s.report.Frames != len(frames) {
				t.Errorf("rules %+v, config %+v; want %+v, %+v", b.mu.live, b.mu.config, rules, config)
			}
			a.reopen() // from segments and manifest alone
			wantShown(t, a.find("b"), want)
		})
	}
}
