package bucket

import (
	"container/list"
	"errors"
	"sync"

	"kvd/internal/vfs"
)

// warmFiles are the segments that are not sealed and whose file is open. At most max files are
// open at a time: where another one is needed, the coldest are closed, those that were not used
// for the longest time. A file is synced before it is closed, and opened again for the next
// write, or by the checkpoint that seals it or writes its index block.
//
// A file stays open while it is in use: by the group at hand, from the reservation of its room
// on, and by the checkpoint, one file at a time. A group uses at most max-1 files, so the
// checkpoint always finds one to close.
type warmFiles struct {
	store   *Store
	max     int // at least 2
	workers int // how many files are synced at a time

	mu      sync.Mutex // a leaf: no other lock is taken under it
	changed sync.Cond  // a file was closed, or is not in use any more
	open    int        // files that are open, or are being opened or closed
	files   list.List  // of *openSegment: the open files, the coldest first
}

// warmth is the state of a segment's file. Guarded by warmFiles.mu.
type warmth struct {
	at     *list.Element // in warmFiles.files; nil: the file is not open
	moving bool          // it is being opened or closed
	stays  error         // why it could not be closed: the disk has no room for what is held of it
	users  int
	gone   bool // it is closed once it has no user
}

// coolMax bounds the files that are closed at a time, and syncsAtOnce those of them that are
// synced at a time: several syncs share a commit of the file system's journal.
const (
	coolMax     = 32
	syncsAtOnce = 16
)

func (w *warmFiles) init(s *Store, limit int) {
	w.store, w.max, w.workers = s, limit, syncsAtOnce
	if s.opts.env.Manual {
		w.workers = 1
	}
	w.changed.L = &w.mu
}

// useOpen is use for a segment whose file is open. It reports whether it is.
func (w *warmFiles) useOpen(sl *openSegment) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.useOpenLocked(sl)
}

func (w *warmFiles) useOpenLocked(sl *openSegment) bool {
	if sl.at == nil {
		return false
	}
	sl.users++
	w.files.MoveToBack(sl.at)
	return true
}

// use opens the file of a segment, and keeps it open until release. It returns an error that
// matches kv.ErrTooManyFiles if the system has no descriptor left, and kv.ErrReadOnly if a
// colder file could not be synced.
func (w *warmFiles) use(sl *openSegment) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.useOpenLocked(sl) {
		if sl.moving {
			w.changed.Wait()
			continue
		}
		if w.open >= w.max { // the file may be opened by another user meanwhile
			if err := w.makeRoomLocked(); err != nil {
				return err
			}
			continue
		}
		if err := w.openLocked(sl); err != nil {
			return err
		}
	}
	return nil
}

// openLocked opens the file of a segment. It releases mu meanwhile.
func (w *warmFiles) openLocked(sl *openSegment) error {
	w.open++
	sl.moving = true
	w.mu.Unlock()
	err := sl.OpenFile()
	w.mu.Lock()
	sl.moving = false
	if err != nil {
		w.open--
	} else {
		sl.at = w.files.PushBack(sl)
	}
	w.changed.Broadcast()
	return err
}

// enter makes room for the file of a new segment. The caller makes the segment, and calls add
// or, if it cannot be made, leave.
func (w *warmFiles) enter() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.open >= w.max {
		if err := w.makeRoomLocked(); err != nil {
			return err
		}
	}
	w.open++
	return nil
}

func (w *warmFiles) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	w.changed.Broadcast()
}

// add adds a new segment, whose file is open and in use.
func (w *warmFiles) add(sl *openSegment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sl.users = 1
	sl.at = w.files.PushBack(sl)
}

// cool makes a segment the coldest: nothing more is appended to it.
func (w *warmFiles) cool(sl *openSegment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if sl.at != nil {
		w.files.MoveToFront(sl.at)
	}
}

// release ends a use.
func (w *warmFiles) release(sl *openSegment) {
	sealed := sl.Desc().Sealed
	w.mu.Lock()
	defer w.mu.Unlock()
	sl.users--
	if sl.users > 0 {
		return
	}
	if sealed || sl.gone {
		w.removeLocked(sl)
	}
	w.changed.Broadcast()
}

// discard closes the file of a segment that is about to be retired, once it has no user. Then
// the file is not closed behind the back of its last reader.
func (w *warmFiles) discard(sl *openSegment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sl.gone = true
	if sl.at != nil && sl.users == 0 {
		w.removeLocked(sl)
		w.changed.Broadcast()
	}
}

// removeLocked closes a file that is sealed or given up.
func (w *warmFiles) removeLocked(sl *openSegment) {
	w.files.Remove(sl.at)
	sl.at = nil
	sl.CloseUnsynced()
	w.open--
}

// spare closes a file that nobody uses, so that another one can be opened. It reports whether
// there was one.
func (w *warmFiles) spare() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	closed, _ := w.closeColdestLocked(1) // an error has poisoned the store
	return closed > 0
}

// makeRoomLocked closes some of the coldest files, or waits until one is not in use any more.
func (w *warmFiles) makeRoomLocked() error {
	closed, err := w.closeColdestLocked(min(max(w.max/16, 1), coolMax))
	if closed == 0 && err == nil {
		w.changed.Wait()
	}
	return err
}

// closeColdestLocked syncs and closes up to n files that nobody uses, and returns how many. It
// releases mu meanwhile. After a sync that fails the store takes no writes. A file stays open if
// the disk has no room for what is held of its segment; if all do, the error matches vfs.ErrNoSpace.
func (w *warmFiles) closeColdestLocked(n int) (closed int, err error) {
	cold := make([]*openSegment, 0, n)
	for e := w.files.Front(); e != nil && len(cold) < n; e = e.Next() {
		if sl := e.Value.(*openSegment); sl.users == 0 {
			cold = append(cold, sl)
		}
	}
	if len(cold) == 0 {
		return 0, nil
	}
	for _, sl := range cold {
		w.files.Remove(sl.at)
		sl.at, sl.moving = nil, true
		sl.Pin() // the bucket may be deleted meanwhile
	}
	w.mu.Unlock()
	err = w.closeAll(cold)
	w.mu.Lock()
	var full error
	for _, sl := range cold {
		sl.moving = false
		if sl.stays == nil {
			closed++
			continue
		}
		full = sl.stays
		sl.stays, sl.at = nil, w.files.PushBack(sl)
		if sl.gone {
			w.removeLocked(sl)
		}
	}
	w.open -= closed
	w.changed.Broadcast()
	if err == nil && closed == 0 {
		err = full
	}
	return closed, err
}

// closeAll syncs and closes files, and unpins their segments.
func (w *warmFiles) closeAll(files []*openSegment) error {
	var group sync.WaitGroup
	next := make(chan *openSegment, len(files))
	for _, sl := range files {
		next <- sl
	}
	close(next)
	work := func() {
		for sl := range next {
			w.close(sl)
			sl.Unpin()
		}
	}
	for range min(w.workers, len(files)) - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
	return w.store.checkFailure()
}

// close writes what is held of a segment, and syncs and closes its file. In a store that takes no
// writes it only closes the file.
func (w *warmFiles) close(sl *openSegment) {
	if w.store.checkFailure() != nil {
		sl.CloseUnsynced()
		return
	}
	err := w.store.tails.write(sl)
	switch {
	case errors.Is(err, vfs.ErrNoSpace): // the caller may hold the path or not, so the reserve is its business
		sl.stays = err
		return
	case err == nil:
		err = sl.CloseFile()
	default:
		sl.CloseUnsynced()
	}
	if err != nil {
		_ = w.store.poison(err) // no write is under way
	}
}
