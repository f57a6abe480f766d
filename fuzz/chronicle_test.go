package fuzz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvd/bucket"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// chronicle is a closed or stopped store and all its former states.
type chronicle struct {
	workload *workload
	disk     *simdisk.Disk // nothing is pending
	now      int64
	states   []*Model   // after each step; the first is empty, the last is the one on the disk
	writes   []logWrite // writes of frames, in order
}

// logWrite is a write to a file of the log.
type logWrite struct {
	path        string
	offset, end int64
	state       int // the state after it
}

// record runs a workload without crashes. If the store is closed, a vouching frame follows
// its last frame; otherwise the power is cut after the last step.
func record(t testing.TB, load *workload, closed bool) *chronicle {
	t.Helper()
	w := newWorld(load, simdisk.New())
	c := &chronicle{workload: load, states: []*Model{w.acked}}
	w.decide = func(o simdisk.Op) simdisk.Action {
		end := o.Offset + int64(o.Len)
		path := strings.TrimSuffix(o.Path, ".tmp") // frames are written after the file has its final name
		if o.Kind == simdisk.OpWriteAt && strings.HasSuffix(path, ".wal") && o.Offset >= 4096 && end < load.logFileSize {
			c.wrote(logWrite{path, o.Offset, end, len(c.states)})
		}
		return simdisk.Action{}
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	for i := range load.ops {
		if err := w.run(&load.ops[i]); err != nil {
			t.Fatalf("step %d: %v\n%v", i, err, load)
		}
		c.states = append(c.states, w.acked)
	}
	c.now, c.disk = w.now, w.disk
	if !closed {
		c.disk = w.disk.Crash(simdisk.KeepNone())
		w.fault.Inject(nil)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if closed {
		c.disk = w.disk.Crash(simdisk.KeepNone())
	}
	return c
}

func (c *chronicle) last() int { return len(c.states) - 1 }

// wrote records a write of a frame, or of the zeros after it up to the next page, where the
// next frame begins.
func (c *chronicle) wrote(w logWrite) {
	if n := len(c.writes); n > 0 && c.writes[n-1].path == w.path && c.writes[n-1].end == w.offset && w.offset%4096 != 0 {
		c.writes[n-1].end = w.end
		return
	}
	c.writes = append(c.writes, w)
}

// span is a part of a file.
type span struct {
	path        string
	offset, end int64
}

func (s span) String() string { return fmt.Sprintf("%s [%d, %d)", s.path, s.offset, s.end) }

// oldestUnreported returns the oldest state that may be served without a report when
// these parts are damaged: the newest frames of the log can be lost together with
// everything that shows that they existed.
func (c *chronicle) oldestUnreported(damaged ...span) int {
	state := c.last()
	for i := len(c.writes) - 1; i >= 0; i-- {
		w := &c.writes[i]
		if w.path != c.newestLog() || !slices.ContainsFunc(damaged, func(s span) bool {
			return s.path == w.path && s.offset < w.end && w.offset < s.end
		}) {
			break
		}
		state = min(state, w.state-1)
	}
	return state
}

// stored is one file of a store.
type stored struct {
	path  string
	bytes []byte
}

// files returns the files of the store that are not empty.
func (c *chronicle) files(t testing.TB) []stored {
	t.Helper()
	var files []stored
	for _, dir := range []string{storeDir, storeDir + "/wal", storeDir + "/seg"} {
		entries, err := c.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Dir || e.Name == "LOCK" || e.Name == "reserve" {
				continue
			}
			b, err := c.disk.ReadFile(dir + "/" + e.Name)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, stored{dir + "/" + e.Name, b})
		}
	}
	return files
}

// newestLog returns the log file of the last write.
func (c *chronicle) newestLog() string { return c.writes[len(c.writes)-1].path }

// verdict is the result of examining a damaged store.
type verdict struct {
	state    int // index of the state that it serves
	losses   []Loss
	report   bucket.Report
	readOnly bool
	inDoubt  bool // a bucket is in doubt
}

// examine opens a damaged copy of the store and checks what it serves: one of its states,
// except for records that it reports as lost. The state must not be older than oldest,
// unless the store is read-only and names the reason. If a bucket is in doubt, every read is
// that of such a state or an error.
func (c *chronicle) examine(image *simdisk.Disk, oldest int, count func()) (v verdict, err error) {
	f := finding{workload: c.workload, image: image, now: c.now, seed: 1}
	w := f.world()
	defer func() {
		if stopErr := w.stop(); err == nil && stopErr != nil && !v.readOnly {
			err = fmt.Errorf("close: %w", stopErr)
		}
	}()
	count()
	if err := w.start(); err != nil {
		return v, fmt.Errorf("open: %w", err)
	}
	v.report = w.store.Report()
	v.readOnly = v.report.ReadOnly != nil
	if v.inDoubt, err = c.checkDoubt(w, oldest); v.inDoubt || err != nil {
		return v, err
	}
	got, losses, err := w.observe()
	if errors.Is(err, kv.ErrCorrupt) && len(v.report.Damages) > 0 { // a part is in doubt
		return v, c.tellsNoLie(w.store, oldest)
	}
	if err != nil {
		return v, err
	}
	v.losses = losses
	for _, l := range losses {
		if err := l.named(); err != nil {
			return v, err
		}
	}
	for v.state = c.last(); v.state >= 0 && c.states[v.state].Diff(got) != ""; v.state-- {
	}
	switch {
	case v.state < 0:
		return v, fmt.Errorf("serves a state that never existed; against the newest state:\n%s%v", c.states[c.last()].Diff(got), v.report)
	case v.readOnly:
		return v, c.explained(v)
	case v.state < oldest:
		return v, fmt.Errorf("lost steps %d to %d without a report; %v", v.state, c.last()-1, v.report)
	}
	return v, w.stillWrites(got)
}

// checkDoubt reports whether a bucket is in doubt. Then a read of any key, also in the other
// buckets, has to agree with one of the states from oldest on, or be a *kv.CorruptError.
func (c *chronicle) checkDoubt(w *world, oldest int) (inDoubt bool, err error) {
	ctx := context.Background()
	for name := range c.states[c.last()].Buckets {
		b, err := w.store.Bucket(ctx, name)
		if errors.Is(err, kv.ErrBucketNotFound) {
			continue // the state that is served says whether it should be there
		}
		if err != nil {
			return inDoubt, fmt.Errorf("bucket %q: %w", name, err)
		}
		doubtful, ok := kv.As[kv.Doubtful](b)
		if !ok {
			return inDoubt, fmt.Errorf("bucket %q does not know doubt", name)
		}
		doubt, err := doubtful.Doubt(ctx)
		if err != nil {
			return inDoubt, err
		}
		inDoubt = inDoubt || doubt.Bound != 0
	}
	if !inDoubt {
		return false, nil
	}
	for name := range c.states[c.last()].Buckets {
		b, err := w.store.Bucket(ctx, name)
		if err != nil {
			return true, err
		}
		for _, key := range keyNames {
			e, err := b.Get(ctx, key)
			if !errors.Is(err, kv.ErrCorrupt) && !slices.ContainsFunc(c.states[oldest:], func(m *Model) bool { return m.answers(name, key, e, err) }) {
				return true, fmt.Errorf("in doubt, key %q in bucket %q reads as revision %d, %v: never so", key, name, e.Revision, err)
			}
		}
	}
	return true, nil
}

// answers reports whether a read of a key agrees with the model.
func (m *Model) answers(bucket, key string, e kv.Entry, err error) bool {
	b := m.Buckets[bucket]
	if b == nil {
		return false
	}
	records := b.Keys[key]
	if n := len(records); n > 0 && records[n-1].Operation == kv.Put {
		return err == nil && records[n-1].check(e, err) == nil
	}
	return errors.Is(err, kv.ErrKeyNotFound)
}

// named checks that the error of a lost record names the record.
func (l Loss) named() error {
	var corrupt *kv.CorruptError
	if !errors.As(l.Err, &corrupt) || corrupt.File == "" ||
		!strings.Contains(corrupt.Detail, fmt.Sprintf("key %q, revision %d", l.Key, l.Revision)) {
		return fmt.Errorf("the error of a damaged record does not name it: %+v", l)
	}
	return nil
}

// explained checks that a read-only store names the reason.
func (c *chronicle) explained(v verdict) error {
	if !errors.Is(v.report.ReadOnly, kv.ErrReadOnly) || !errors.Is(v.report.ReadOnly, kv.ErrCorrupt) || len(v.report.Damages) == 0 {
		return fmt.Errorf("read-only without a reason: %v", v.report)
	}
	return nil
}

// stillWrites checks that every bucket accepts writes.
func (w *world) stillWrites(got *Model) error {
	for name, b := range got.Buckets {
		rev, err := w.send(kv.Mutation{Bucket: name, Op: kv.MutateDelete, Key: "k"})
		if err := compare(rev, err, b.Revision+1, nil); err != nil {
			return fmt.Errorf("delete in bucket %q: %w", name, err)
		}
	}
	return nil
}
