package bucket

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// vouchAfter is the time without writes after which a further frame of the log confirms
// that the newest one is durable. Without that frame, damage to the newest one could not
// be told from a torn tail.
const vouchAfter = time.Second

// checkpointAfter is the further time without writes after which a checkpoint covers the
// records that only the log has. An open after a later crash then has nothing to replay.
// The time is long, so that a store with occasional writes does not make a checkpoint for
// each of them.
const checkpointAfter = time.Minute

// maintainer is the background work of an open store. It has eight goroutines, or nine:
//
//   - loop makes checkpoints, confirms the end of an idle log and makes it small (settle.go);
//   - prepareSpares makes the log's next file;
//   - writesBehind has the system write segments while they grow (behind.go);
//   - writesTails writes what is held of segments (tails.go);
//   - syncs syncs the log for buckets with sync=interval (interval.go);
//   - sweep sweeps expired records (sweep.go);
//   - compact compacts (compactor.go);
//   - buildTrees completes the indexes' trees after an open;
//   - scrub reads all segments, if that is wanted (scrub.go).
//
// Store.start starts them; Store.Close stops them and waits for them.
type maintainer struct {
	store *Store
	wake  chan struct{} // holds one

	wantsSpare     chan struct{}       // holds one: the log needs a spare
	behind         chan segment.Behind // what was appended to segments, for writesBehind
	expiring       chan struct{}       // holds one: records may expire, so the sweep has work
	wakeCompaction chan struct{}       // holds one: there may be something to compact, or a file to remove
	compactorAwake atomic.Bool         // the compactor is awake
	quit           chan struct{}
	done           sync.WaitGroup
	timer          atomic.Bool // the vouching timer runs
	calm           calm        // of the loop

	syncTimer
}

func newMaintainer(s *Store) *maintainer {
	return &maintainer{
		store: s, wake: make(chan struct{}, 1), wantsSpare: make(chan struct{}, 1), behind: make(chan segment.Behind, behindMax), expiring: make(chan struct{}, 1), wakeCompaction: make(chan struct{}, 1), quit: make(chan struct{}),
		syncTimer: syncTimer{unsynced: make(chan struct{}, 1)},
	}
}

func (m *maintainer) start() {
	if m.store.log != nil {
		m.done.Go(m.loop)
		m.done.Go(m.prepareSpares)
		m.done.Go(m.writesBehind)
		m.done.Go(m.writesTails)
		m.done.Go(m.sweep)
		m.done.Go(m.syncs)
		m.done.Go(m.compact)
	}
	if m.store.opts.Scrub > 0 {
		m.done.Go(m.scrub)
	}
	m.done.Go(m.buildTrees)
}

func (m *maintainer) stop() {
	close(m.quit)
	m.done.Wait()
}

// noticeLog wakes the maintainer if the log needs work. It is called once a group. The
// caller holds path.
func (s *Store) noticeLog() {
	m := s.maintain
	if m == nil {
		return
	}
	m.wakeCompactor()
	if s.log.NeedsSpare() {
		signal(m.wantsSpare)
	}
	if !m.timer.Load() || s.checkpointDue() {
		signal(m.wake)
	}
}

// signal wakes the goroutine that receives from a channel that holds one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // a signal is pending
	}
}

// checkpointDue reports whether the part of the log that an open would replay is so large
// that a checkpoint should free some of it.
func (s *Store) checkpointDue() bool {
	return s.log.Used() > s.opts.LogMaxSize/4+s.opts.LogFileSize
}

func (m *maintainer) loop() {
	timer := time.NewTimer(vouchAfter)
	defer timer.Stop()
	m.timer.Store(true)
	var seen wal.LSN
	vouched := false // for the log up to seen
	rested := false  // for settleAfter since then
	for {
		select {
		case <-m.quit:
			return
		case <-m.wake:
			if m.store.checkpointDue() || m.store.unwritten.Load() {
				m.checkpoint()
			}
			if !m.timer.Swap(true) {
				timer.Reset(vouchAfter)
			}
		case <-timer.C:
			m.settle()
			switch last := m.store.log.Last(); {
			case last != seen:
				seen, vouched, rested = last, false, false
				timer.Reset(vouchAfter)
			case !vouched:
				m.timer.Store(false)
				_ = m.store.vouch() // an error has poisoned the store, and is logged
				seen, vouched = m.store.log.Last(), true
				timer.Reset(settleAfter)
			case !rested:
				rested = true
				timer.Reset(checkpointAfter - settleAfter)
			default:
				m.checkpointAtRest()
			}
		}
	}
}

// settle makes the log small again if the store has been at rest for a while.
func (m *maintainer) settle() {
	if !m.calm.look(time.Now(), m.store.logged.Load()) || !m.store.hasLargeFiles() {
		return
	}
	err := m.store.settleLog(paced)
	if err == nil || errors.Is(err, kv.ErrReadOnly) {
		return
	}
	m.calm.since = time.Time{} // it is tried again after another rest
	m.store.opts.Logger.Warn("the log stays large", "cause", err)
}

// checkpointAtRest writes a checkpoint if the log has records that no checkpoint covers.
func (m *maintainer) checkpointAtRest() {
	m.store.path.Lock()
	m.store.logSpace() // what could not be logged beside the last message
	dirty := len(m.store.path.dirty) > 0
	m.store.path.Unlock()
	if dirty {
		m.checkpoint()
	}
}

func (m *maintainer) checkpoint() {
	if err := m.store.makeCheckpoint(paced); err != nil && !errors.Is(err, kv.ErrReadOnly) {
		m.store.opts.Logger.Error("checkpoint", "cause", err)
	}
}

// prepareSpares makes the log's next file when its size is decided. It does not wait for a
// checkpoint under way, because writers would have to make the file then.
func (m *maintainer) prepareSpares() {
	for {
		select {
		case <-m.quit:
			return
		case <-m.wantsSpare:
		}
		if err := m.store.log.Prepare(); err != nil {
			m.store.opts.Logger.Warn("no log file could be made ready; the next rotation tries again", "cause", err)
		}
	}
}

func (m *maintainer) buildTrees() {
	for _, b := range m.store.list() {
		select {
		case <-m.quit:
			return
		default:
			b.buildTree()
		}
	}
}
