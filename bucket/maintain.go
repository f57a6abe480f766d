package bucket

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"kvd/kv"
	"kvd/wal"
)

// vouchAfter is how long a log may rest before a frame vouches for its newest:
// without one, damage to that frame could not be told from a torn tail.
const vouchAfter = time.Second

// checkpointAfter is how much longer a store rests until a checkpoint covers what
// only its log has: an open after a crash then has nothing to replay, whenever that
// comes. A store that is written to now and then should not pay one for each write.
const checkpointAfter = time.Minute

// maintainer is the background of an open store: one goroutine that runs
// checkpoints, keeps a log file ready and looks after an idle log, one that syncs
// the log for buckets that do not wait for it (interval.go), one that sweeps what
// has expired (sweep.go), one that compacts (compactor.go), and one that completes
// the indexes' trees after an open. Store.start starts them, Store.Close stops them
// and waits.
type maintainer struct {
	store *Store
	wake  chan struct{} // holds one

	expiring       chan struct{} // holds one: there is something for the sweep to look after
	wakeCompaction chan struct{} // holds one: there may be something to compact, or a file to remove
	compactorAwake atomic.Bool   // the compactor is awake
	quit           chan struct{}
	done           sync.WaitGroup
	timer          atomic.Bool // the vouching timer runs

	syncTimer
}

func newMaintainer(s *Store) *maintainer {
	return &maintainer{
		store: s, wake: make(chan struct{}, 1), expiring: make(chan struct{}, 1), wakeCompaction: make(chan struct{}, 1), quit: make(chan struct{}),
		syncTimer: syncTimer{unsynced: make(chan struct{}, 1)},
	}
}

func (m *maintainer) start() {
	if m.store.log != nil {
		m.done.Go(m.loop)
		m.done.Go(m.sweep)
		m.done.Go(m.syncs)
		m.done.Go(m.compact)
	}
	m.done.Go(m.buildTrees)
}

func (m *maintainer) stop() {
	close(m.quit)
	m.done.Wait()
}

// noticeLog wakes the maintainer if the log wants something. The caller holds
// path; it is called once a group.
func (s *Store) noticeLog() {
	m := s.maintain
	if m == nil {
		return
	}
	m.wakeCompactor()
	if m.timer.Load() && !s.logWantsWork() {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default: // it is awake
	}
}

// checkpointDue reports whether so much of the log is needed that a checkpoint
// should make some of it free.
func (s *Store) checkpointDue() bool {
	return s.log.Used() > s.opts.LogMaxSize/4+s.opts.LogFileSize
}

func (s *Store) logWantsWork() bool { return s.checkpointDue() || s.log.NeedsSpare() }

func (m *maintainer) loop() {
	timer := time.NewTimer(vouchAfter)
	defer timer.Stop()
	m.timer.Store(true)
	var seen wal.LSN
	vouched := false // for the log up to seen
	for {
		select {
		case <-m.quit:
			return
		case <-m.wake:
			m.work()
			if !m.timer.Swap(true) {
				timer.Reset(vouchAfter)
			}
		case <-timer.C:
			switch last := m.store.log.Last(); {
			case last != seen:
				seen, vouched = last, false
				timer.Reset(vouchAfter)
			case !vouched:
				m.timer.Store(false)
				_ = m.store.vouch() // an error has poisoned the store, and is logged
				seen, vouched = m.store.log.Last(), true
				timer.Reset(checkpointAfter)
			default:
				m.checkpointAtRest()
			}
		}
	}
}

// checkpointAtRest writes a checkpoint if there is anything that only the log has.
func (m *maintainer) checkpointAtRest() {
	m.store.path.Lock()
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

// work does what the log wants.
func (m *maintainer) work() {
	s := m.store
	if s.log.NeedsSpare() {
		if err := s.log.Prepare(); err != nil {
			s.opts.Logger.Warn("no log file could be made ready; the next rotation tries again", "cause", err)
		}
	}
	if s.checkpointDue() {
		m.checkpoint()
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
