package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
)

// history has the facts that a user of the log may rely on, whatever happens to the machine.
type history struct {
	written    map[LSN]content // every frame passed to Append, even if the call failed
	last       LSN             // the highest LSN in written
	synced     LSN             // newest frame for which Sync succeeded
	checkpoint LSN             // the user needs nothing below it; this is durable
	grows      bool            // files have 4 pages at first and 16 at most
}

func newHistory() *history { return &history{written: map[LSN]content{}, checkpoint: 1} }

// historyOf returns the history of a workload.
func historyOf(workload string) *history {
	h := newHistory()
	h.grows = workload == growth
	return h
}

func (h *history) clone() *history {
	c := *h
	c.written = make(map[LSN]content, len(h.written))
	for lsn, w := range h.written {
		c.written[lsn] = w
	}
	return &c
}

// options are those of a log small enough to rotate often.
func crashOptions(disk vfs.FS, seed uint64) Options {
	r := rand.New(rand.NewPCG(seed, 0))
	return Options{
		FS: disk, Dir: testDir, StoreID: testStore, FileSize: 5 * pageSize, MaxSize: 20 * pageSize, Salt: r.Uint64,
	}
}

// recoverLog opens the log as a user does: it replays, keeps the delivered frames elsewhere,
// and starts. It returns an error if the log broke a promise.
func (h *history) recoverLog(o Options) (*Log, error) {
	if h.grows {
		o.FirstFileSize, o.FileSize, o.MaxSize = fileSizeMin, 4*fileSizeMin, 16*fileSizeMin
	}
	r, got, err := replayAll(o, h.checkpoint)
	if err != nil {
		return nil, err
	}
	if got.damage() != nil {
		return nil, fmt.Errorf("broken promise: damage is reported although the disk is sound: %w", got.damage())
	}
	if got.Last < h.synced {
		return nil, fmt.Errorf("broken promise: the log ends at %d, although %d was durable", got.Last, h.synced)
	}
	for _, f := range got.frames {
		if w, ok := h.written[f.LSN]; !ok || w.payload != string(f.Payload) {
			return nil, fmt.Errorf("broken promise: frame %d was never written with these bytes", f.LSN)
		}
	}
	// An LSN that was lost may be issued again, with other bytes.
	for lsn := got.Last + 1; lsn <= h.last; lsn++ {
		delete(h.written, lsn)
	}
	h.last, h.synced = got.Last, got.Last
	h.checkpoint = got.Last + 1
	return r.Start(got.End, wordsOf(got.End+1))
}

// step is one action of a user.
type step func(h *history, l *Log) error

func appendStep(size int) step {
	return func(h *history, l *Log) error {
		if err := l.Reserve(size); err != nil {
			return err
		}
		lsn := l.Last() + 1 // Reserve has shown that the log is not broken
		c := content{payload: payload(lsn+LSN(len(h.written))<<8, size)}
		h.written[lsn], h.last = c, lsn
		_, err := l.Append(append(NewFrame(nil), c.payload...), int64(lsn), wordsOf(lsn+1))
		return err
	}
}

func syncStep(h *history, l *Log) error {
	if err := l.Sync(); err != nil {
		return err
	}
	h.synced = l.Synced()
	return nil
}

func vouchStep(h *history, l *Log) error {
	if next := l.Last() + 1; !l.vouched && l.Err() == nil {
		h.written[next], h.last = content{}, next
	}
	if err := l.Vouch(1, wordsOf(l.Last()+2)); err != nil {
		return err
	}
	h.synced = l.Synced()
	return nil
}

// checkpointStep releases all frames but the newest few durable ones.
func checkpointStep(keep LSN) step {
	return func(h *history, l *Log) error {
		if h.synced > keep {
			h.checkpoint = max(h.checkpoint, h.synced-keep+1)
		}
		return l.Recycle(h.checkpoint)
	}
}

func prepareStep(_ *history, l *Log) error { return l.Prepare() }

func shrinkStep(h *history, l *Log) error {
	if err := l.Shrink(); err != nil {
		return err
	}
	h.synced = l.Synced()
	return nil
}

// growth is the workload whose files grow with the load and shrink without it.
const growth = "growth and shrinking"

// The workloads rotate, pack, recycle, remove and exceed a file, each in few calls.
var workloads = map[string][]step{
	"one by one": {
		appendStep(10), syncStep, appendStep(20), syncStep, appendStep(30), syncStep, appendStep(40), syncStep,
	},
	"packed": {
		appendStep(10), appendStep(600), appendStep(3000), syncStep, appendStep(1), appendStep(2), syncStep, vouchStep, appendStep(9),
	},
	"spares": {
		appendStep(5000), prepareStep, syncStep, appendStep(5000), prepareStep, syncStep, vouchStep, checkpointStep(1),
		appendStep(5000), syncStep, appendStep(5000), syncStep, checkpointStep(0), appendStep(5000), syncStep,
	},
	"removal": {
		appendStep(5000), syncStep, appendStep(5000), syncStep, appendStep(5000), syncStep, appendStep(5000), checkpointStep(0),
		syncStep, checkpointStep(0), appendStep(5000), syncStep,
	},
	growth: {
		appendStep(5000), prepareStep, syncStep, appendStep(9000), prepareStep, syncStep, checkpointStep(1), appendStep(5000),
		prepareStep, appendStep(9000), syncStep, shrinkStep, checkpointStep(0), appendStep(5000), syncStep, shrinkStep, checkpointStep(1),
	},
	"outgrown": {
		appendStep(10), appendStep(3 * pageSize), syncStep, appendStep(10), syncStep, checkpointStep(1), appendStep(4 * pageSize), syncStep,
	},
}

// run carries out a workload until a call fails.
func (h *history) run(o Options, steps []step) error {
	l, err := h.recoverLog(o)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if err := s(h, l); err != nil {
			return errors.Join(err, l.closeFiles())
		}
	}
	return l.closeFiles()
}

// images calls f with the disks that a power cut may leave now: no item, all items, every
// prefix, each item alone, all but each item, some random and some torn.
func images(disk *simdisk.Disk, random uint64, f func(name string, image *simdisk.Disk)) {
	f("none", disk.Crash(simdisk.KeepNone()))
	f("page cache", disk.Clone())
	n := disk.Pending()
	for k := range n {
		f(fmt.Sprintf("prefix %d of %d", k+1, n), disk.Crash(simdisk.Prefix(k+1)))
		f(fmt.Sprintf("only %d of %d", k, n), disk.Crash(simdisk.Only(k)))
		f(fmt.Sprintf("all but %d of %d", k, n), disk.Crash(simdisk.AllBut(k)))
	}
	for seed := range random {
		if n > 0 {
			f(fmt.Sprintf("random %d", seed), disk.Crash(simdisk.Random(seed)))
		}
	}
}

// crashAt runs a workload on a disk that stops at its n-th call. It reports whether the
// workload got that far.
func (h *history) crashAt(t *testing.T, disk *simdisk.Disk, n int64, seed uint64, steps []step) (stopped bool) {
	t.Helper()
	fault := simdisk.NewFault(disk)
	fault.Inject(simdisk.StopAt(n))
	err := h.run(crashOptions(fault, seed), steps)
	if fault.Calls() < n {
		check(t, err)
		return false
	}
	return true
}

// After a power cut at any call the log has every durable frame, accepts new frames, and
// has those too after another cut.
func TestPowerCutAtEveryCall(t *testing.T) {
	count := 0
	for name, steps := range workloads {
		for n := int64(1); ; n++ {
			if underRace && n%11 != 0 {
				continue
			}
			disk, h := newDisk(t), historyOf(name)
			stopped := h.crashAt(t, disk, n, 1, steps)
			images(disk, 4, func(image string, crashed *simdisk.Disk) {
				count++
				again := h.clone()
				err := again.run(crashOptions(crashed, 2), []step{appendStep(7), syncStep, appendStep(4000), syncStep})
				if err == nil {
					err = again.run(crashOptions(crashed.Crash(simdisk.KeepNone()), 3), nil)
				}
				if err != nil {
					t.Fatalf("%s, call %d, %s: %v", name, n, image, err)
				}
			})
			if !stopped {
				break
			}
		}
	}
	t.Logf("%d images", count)
}

// The same after another power cut during the recovery.
func TestPowerCutDuringRecovery(t *testing.T) {
	count := 0
	for name, steps := range workloads {
		for n := int64(1); ; n += 3 {
			if underRace && n%10 != 0 {
				continue
			}
			disk, h := newDisk(t), historyOf(name)
			stopped := h.crashAt(t, disk, n, 1, steps)
			for seed := range uint64(3) {
				for k := int64(1); ; k++ {
					crashed, again := disk.Clone(), h.clone()
					if seed > 0 { // 0: the process was killed, the machine was not
						crashed = disk.Crash(simdisk.Random(seed))
					}
					stoppedAgain := again.crashAt(t, crashed, k, 2, []step{appendStep(7), syncStep})
					for _, c := range []simdisk.Choice{simdisk.KeepNone(), simdisk.KeepAll(), simdisk.Random(seed + 100), simdisk.Random(seed + 200)} {
						count++
						if err := again.clone().run(crashOptions(crashed.Crash(c), 3), []step{appendStep(3), syncStep}); err != nil {
							t.Fatalf("%s, call %d, seed %d, then call %d: %v", name, n, seed, k, err)
						}
					}
					if !stoppedAgain {
						break
					}
				}
			}
			if !stopped {
				break
			}
		}
	}
	t.Logf("%d images", count)
}

// If any call fails, the error is returned, or the call was repeated in another way. A
// broken log stays broken. Every durable frame is there afterwards, with and without the
// page cache.
func TestEveryCallFails(t *testing.T) {
	errBroken := fmt.Errorf("injected: %w", syscall.EIO)
	actions := map[string]func(op simdisk.Op) simdisk.Action{
		"EIO":         func(simdisk.Op) simdisk.Action { return simdisk.Action{Err: errBroken} },
		"ENOSPC":      func(simdisk.Op) simdisk.Action { return simdisk.Action{Err: syscall.ENOSPC} },
		"short write": func(op simdisk.Op) simdisk.Action { return simdisk.Action{Err: errBroken, Short: op.Len / 2} },
		"dropped":     func(simdisk.Op) simdisk.Action { return simdisk.Action{Err: errBroken, DropSync: true} },
	}
	for name, steps := range workloads {
		for how, action := range actions {
			for n := int64(1); ; n++ {
				if underRace && n%7 != 0 {
					continue
				}
				disk, h := newDisk(t), historyOf(name)
				fault := simdisk.NewFault(disk)
				var failed simdisk.Op
				fault.Inject(func(op simdisk.Op) simdisk.Action {
					if op.N == n {
						failed = op
						return action(op)
					}
					return simdisk.Action{}
				})
				err := h.runOn(t, crashOptions(fault, 1), steps)
				if failed.N == 0 {
					check(t, err)
					break
				}
				surfaced := err != nil || failed.Kind == simdisk.OpReadAt || // a failed read is repeated page by page, or the other header is read
					path.Base(failed.Path) == MarkFile || // the log works without it
					h.grows && how == "ENOSPC" && strings.HasSuffix(failed.Path, scratchSuffix) // it took a smaller file
				if !surfaced {
					t.Fatalf("%s, %s of call %d (%v %s): no error", name, how, n, failed.Kind, failed.Path)
				}
				for _, left := range []*simdisk.Disk{disk.Clone(), disk.Crash(simdisk.KeepNone()), disk.Crash(simdisk.KeepAll()), disk.Crash(simdisk.Random(uint64(n)))} {
					again := h.clone()
					err := again.run(crashOptions(left, 2), []step{appendStep(7), syncStep})
					if err == nil {
						err = again.run(crashOptions(left.Crash(simdisk.KeepNone()), 3), nil)
					}
					if err != nil {
						t.Fatalf("%s, %s of call %d (%v %s): %v", name, how, n, failed.Kind, failed.Path, err)
					}
				}
			}
		}
	}
}

// runOn runs the steps of a user who continues after refusals and after errors of the
// background work. It fails the test unless a broken log stays broken, and returns the
// errors.
func (h *history) runOn(t *testing.T, o Options, steps []step) error {
	t.Helper()
	l, err := h.recoverLog(o)
	if err != nil {
		return err
	}
	var seen []error
	for _, s := range steps {
		seen = append(seen, s(h, l))
		if l.Err() == nil {
			continue // refused, or the background work
		}
		if errors.Is(l.Err(), vfs.ErrNoSpace) {
			t.Fatalf("the log is broken, but the error looks like a refusal: %v", l.Err())
		}
		before := l.Last()
		_, errAppend := l.Append(NewFrame(nil), 1, Words{})
		for _, e := range []error{errAppend, l.Reserve(1), l.Sync(), l.Vouch(1, Words{})} {
			if e != l.Err() {
				t.Fatalf("broken by %v, then %v", l.Err(), e)
			}
		}
		if l.Last() != before {
			t.Fatal("a broken log accepted a frame")
		}
	}
	return errors.Join(append(seen, l.closeFiles())...)
}

// A power cut has torn one header of a file. A second power cut, during the next rotation to
// that file, must not leave the file without a header.
func TestPowerCutInRotationToAFileWithOneHeader(t *testing.T) {
	for _, torn := range []int64{0, 4 * pageSize} {
		for n := int64(1); ; n++ {
			disk, h := newDisk(t), newHistory()
			fault := simdisk.NewFault(disk)
			l, err := h.recoverLog(crashOptions(fault, 1))
			check(t, err)
			check(t, appendStep(5000)(h, l))
			check(t, l.Prepare())
			check(t, syncStep(h, l))
			check(t, disk.Corrupt(l.mu.spares[0].path, torn+100, 1, func(b []byte) { b[0] ^= 1 }))
			fault.Inject(simdisk.StopAt(fault.Calls() + n))
			err = appendStep(5000)(h, l)
			images(disk, 8, func(image string, crashed *simdisk.Disk) {
				if err := h.clone().run(crashOptions(crashed, 2), []step{appendStep(7), syncStep}); err != nil {
					t.Fatalf("header at %d torn, call %d, %s: %v", torn, n, image, err)
				}
			})
			if err == nil {
				break
			}
		}
	}
}

// The same for a removal that is cut short.
func TestPowerCutInRemovalOfAFileWithOneHeader(t *testing.T) {
	for _, torn := range []int64{0, 4 * pageSize} {
		for n := int64(1); ; n++ {
			disk, h := newDisk(t), newHistory()
			fault := simdisk.NewFault(disk)
			o := crashOptions(fault, 1)
			o.MaxSize = 2 * sparesKept * o.FileSize
			l, err := h.recoverLog(o)
			check(t, err)
			for range sparesKept + 2 {
				check(t, appendStep(5000)(h, l))
				check(t, syncStep(h, l))
			}
			check(t, disk.Corrupt(path.Join(testDir, fileName(sparesKept+1)), torn+100, 1, func(b []byte) { b[0] ^= 1 }))
			fault.Inject(simdisk.StopAt(fault.Calls() + n))
			err = checkpointStep(0)(h, l) // there are spares enough, and the last of the released files is removed
			images(disk, 8, func(image string, crashed *simdisk.Disk) {
				if err := h.clone().run(crashOptions(crashed, 2), []step{appendStep(7), syncStep}); err != nil {
					t.Fatalf("header at %d torn, call %d, %s: %v", torn, n, image, err)
				}
			})
			if err == nil {
				break
			}
		}
	}
}
