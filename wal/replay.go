package wal

import (
	"errors"
	"fmt"
	"io"

	"kvd/internal/vfs"
)

// Frame is one frame as it was appended.
type Frame struct {
	LSN     LSN
	synced  LSN    // the newest durable frame when this one was written
	Time    int64  // as given to Append
	Words   Words  // those given for this frame
	Payload []byte // valid until the callback returns; empty in a vouching frame
	File    string // path
	Offset  int64  // of the frame's header in File, bytes
}

// Wanted says what a replay delivers, and what its caller knows of the log.
type Wanted struct {
	From LSN // the first frame that is needed; all before it were durable. 0: [Reader.First]

	// Durable is the newest frame that the caller knows to have been durable. Frames up to
	// From-1 were, in any case.
	Durable LSN

	// Closed says that the log was closed in good order, and had no frame from From on.
	Closed bool

	Frame func(Frame) error // called for each frame from From on, in order
	Hole  func(Hole) error  // called for each hole, in order with the frames; nil: see Recovered.Holes
}

// Recovered is the result of a replay.
type Recovered struct {
	Last   LSN       // the newest readable frame of the log
	End    LSN       // Last, or the newest frame that was durable: the log continues after it
	Frames int       // number of delivered frames
	Bytes  int64     // of their payloads
	Torn   *TornTail // nil: nothing shows that a frame after Last was begun
	Holes  []Hole    // ascending; nil: no durable frame is missing
	Notes  []string  // other findings for an operator, a sentence each
}

// Replay delivers the frames of the log and the holes in it, in order, up to the end of the
// log. The end is before the first frame that cannot be read and that nothing shows to have
// been durable; what is readable behind it is not part of the log. A bad frame that the
// caller does not need is only a note.
//
// A killed process leaves frames, and names of files, in the page cache. A frame that is
// delivered, and then covered by a checkpoint, must not be lost in a power cut. So Replay
// syncs the directory and the newest file before it reads.
//
// The error is the one that a callback returned, or the system's. Replay may be called
// again.
func (r *Reader) Replay(w Wanted) (Recovered, error) {
	from := w.From
	if from == 0 {
		from = r.First()
	}
	p := &replay{r: r, from: from, closed: w.Closed, onFrame: w.Frame, onHole: w.Hole, last: from - 1}
	p.durable = max(w.Durable, r.mark.lsn, from-1)
	p.named = r.gaps() >= uint64(len(r.unreadable))
	p.Notes = append(p.Notes, r.notes...)
	r.ended, r.damaged = false, map[string]bool{}
	// This includes spares, which Start may use: their frames must not be lost with their names.
	if err := vfs.SyncDir(r.opts.FS, r.opts.Dir); err != nil {
		return p.Recovered, wrap(err)
	}
	if err := p.chain(); err != nil {
		return p.Recovered, err
	}
	if len(p.Holes) > 0 { // any of the unreadable files may hold what is missing
		for _, u := range r.unreadable {
			r.damaged[u.err.File] = true
		}
	}
	p.End = p.last
	r.ended, r.from, r.end = true, from, p.End
	return p.Recovered, nil
}

// replay is one call of Replay.
type replay struct {
	Recovered
	r       *Reader
	from    LSN
	durable LSN // the newest frame that is known to have been durable, files apart
	closed  bool
	onFrame func(Frame) error
	onHole  func(Hole) error
	last    LSN    // all frames up to it were delivered, are in a hole, or are not needed
	named   bool   // the unreadable files are those that the chain lacks: no sign of frames behind its end
	ended   bool   // what cannot be read reaches up to the end of the log
	buf     []byte // of the file being read; reused
}

// chain replays the files of the chain, and the gaps between them.
func (p *replay) chain() error {
	files := p.r.chain
	if len(files) > 0 {
		p.last = min(p.last, files[0].after)
		p.Last = p.last
	}
	for i := range files {
		f := &files[i]
		if p.last < f.after {
			if i == 0 { // the file before it is missing too
				p.named = p.r.gaps()+1 >= uint64(len(p.r.unreadable))
			}
			if err := p.hole(f.after, p.missing(f), &f.words); err != nil {
				return err
			}
		}
		p.last = f.after
		if f.after < p.from {
			p.Last = f.after
		}
		if err := p.file(i); err != nil {
			return err
		}
	}
	return p.end()
}

// missing returns why the frames before a file cannot be read: the file before it is
// missing, or is one of those that cannot be read.
func (p *replay) missing(f *storedFile) finding {
	if u := p.r.unreadable; len(u) > 0 {
		return u[0].finding()
	}
	return finding{p.r.opts.Dir, -1, fmt.Sprintf("file number %d of the log is missing, which ended at LSN %d", f.prev, f.after), nil}
}

// end looks for evidence of frames behind the last file.
func (p *replay) end() error {
	if p.last < p.durable {
		f := finding{p.r.opts.Dir, -1, fmt.Sprintf("the log ends at LSN %d, and LSN %d was durable", p.last, p.durable), nil}
		if u := p.r.unreadable; len(u) > 0 {
			f = u[0].finding()
		}
		return p.hole(p.durable, f, p.afterDurable(p.durable))
	}
	switch {
	case p.ended:
		return nil
	case len(p.r.unreadable) > 0 && !p.named:
		return p.unknownEnd(p.r.unreadable[0].finding())
	case len(p.r.chain) == 0 && p.from > 1:
		return p.unknownEnd(finding{p.r.opts.Dir, -1, "the log has no files", nil})
	}
	return nil
}

// afterDurable returns the words of the frame after durable, or nil.
func (p *replay) afterDurable(durable LSN) *Words {
	if durable != p.r.mark.lsn {
		return nil
	}
	return &p.r.mark.words
}

// file replays one file of the chain.
func (p *replay) file(i int) error {
	w := walk{replay: p, file: &p.r.chain[i], pos: pageSize}
	if i+1 < len(p.r.chain) {
		w.next = &p.r.chain[i+1]
		w.final = w.file.finalBefore(w.next)
		bound := w.final
		if bound == 0 {
			bound = w.next.after
		}
		if bound < p.from {
			p.last, p.Last = bound, bound
			return nil
		}
	}
	if err := w.load(); err != nil {
		return err
	}
	for w.final == 0 || p.last < w.final {
		more, err := w.step()
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// finalBefore returns the final LSN of a file, which next names, or 0 if next does not
// name it. Next has the final LSN of the file before it, and that of the one before that.
func (f *storedFile) finalBefore(next *storedFile) LSN {
	switch f.number {
	case next.prev:
		return next.after
	case next.prev - 1:
		return next.began
	}
	return 0
}

// walk reads the frames of one file.
type walk struct {
	*replay
	file  *storedFile
	next  *storedFile // the file behind it in the chain; nil: it is the newest
	final LSN         // of the file; 0: unknown
	image *image
	pos   int64 // the next frame is here or at the next page
}

// load reads the file. The bytes are in buf and valid until the next call. The newest file
// is synced first.
func (w *walk) load() error {
	file, err := w.r.opts.FS.Open(w.file.path, vfs.ReadOnly)
	if err != nil {
		return wrap(err)
	}
	defer file.Close()
	if w.next == nil {
		if err := file.Sync(); err != nil {
			return wrap(err)
		}
	}
	n := min(w.file.actual, w.file.end())
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.image = &image{identity: w.file.identity(), bytes: w.buf[:n]}
	w.image.load(file)
	return nil
}

// step delivers the next frame or passes a hole. It reports whether frames may follow in
// this file.
func (w *walk) step() (more bool, err error) {
	lsn := w.last + 1
	h, at, payload, ok := w.image.find(lsn, w.pos)
	if ok && !w.unsure(lsn) {
		w.last, w.Last, w.pos = lsn, lsn, frameUp(at+h.size())
		if lsn < w.from {
			return true, nil
		}
		w.Frames++
		w.Bytes += int64(h.length)
		return true, w.onFrame(Frame{lsn, h.synced, h.time, h.words, payload, w.file.path, at})
	}
	durable := w.durableIn(lsn, at)
	if lsn > durable {
		return false, w.finish(lsn, at, h.lsn != 0)
	}
	return w.pass(h, at, durable)
}

// unsure reports whether a frame that can be read may yet be one that was torn and then
// replaced. That is so if the file's final LSN is unknown and no frame of the file shows
// that it was durable.
func (w *walk) unsure(lsn LSN) bool {
	return w.next != nil && w.final == 0 && lsn > w.image.later(0, pageSize).synced
}

// durableIn returns the newest LSN of the file that was durable. The frame lsn is not at its
// place, at.
func (w *walk) durableIn(lsn LSN, at int64) LSN {
	switch {
	case w.final != 0:
		return w.final
	case w.next != nil:
		return w.image.later(0, pageSize).synced
	}
	return max(w.durable, w.image.later(lsn, at).synced)
}

// pass passes the hole that begins at offset at with the frame after w.last. It ends before
// the next frame with a sound header. If h is not zero, it is the sound header of the first
// frame, whose payload is not sound.
func (w *walk) pass(h frameHeader, at int64, durable LSN) (more bool, err error) {
	lsn, from := w.last+1, at
	if h.lsn != 0 {
		from = frameUp(at + h.size())
	}
	f := finding{w.file.path, at, fmt.Sprintf("LSN %d was durable", durable), nil}
	next, nextAt, ok := w.image.next(lsn, from, durable, w.final)
	if ok {
		f.cause = w.image.lostAt(at, nextAt)
		w.pos = nextAt
		return true, w.hole(next.lsn-1, f, &next.words)
	}
	f.cause = w.image.lostAt(at, int64(len(w.image.bytes)))
	switch {
	case w.next == nil:
		w.ended = true
		if u := w.r.unreadable; len(u) > 0 && !w.named { // rather that file than this one
			f = u[0].finding()
		}
		return false, w.hole(durable, f, w.afterDurable(durable))
	case w.final == w.next.after:
		return false, w.hole(durable, f, &w.next.words)
	}
	w.r.damaged[w.file.path] = true // the hole goes on in the missing file behind it
	return false, nil
}

// finish ends the log, or this file of it, before the frame lsn, which is not at its place,
// at. begun says that its header is there.
func (w *walk) finish(lsn LSN, at int64, begun bool) error {
	if w.next != nil {
		return nil // the next file names what is missing
	}
	f := finding{w.file.path, at, "the disk does not give them back", w.image.lostAt(at, int64(len(w.image.bytes)))}
	if f.cause == nil && w.file.actual < w.file.size {
		f.why = fmt.Sprintf("the file was cut to %d of %d bytes", w.file.actual, w.file.size)
	} else if f.cause == nil {
		if begun || w.image.later(lsn, at).begun {
			w.Torn = &TornTail{LSN: lsn, File: w.file.path, Offset: at}
		}
		return nil
	}
	w.ended = true
	return w.unknownEnd(f)
}

// load fills m.bytes from the file. A page that cannot be read becomes zeros and an entry
// of m.lost; the pages around it are not affected.
func (m *image) load(f io.ReaderAt) {
	const step = 256 * pageSize
	for start := int64(0); start < int64(len(m.bytes)); start += step {
		end := min(start+step, int64(len(m.bytes)))
		if readFull(f, m.bytes[start:end], start) == nil {
			continue
		}
		for at := start; at < end; at += pageSize {
			page := m.bytes[at:min(at+pageSize, end)]
			if err := readFull(f, page, at); err != nil {
				clear(page)
				m.lost = append(m.lost, span{at, at + pageSize, err})
			}
		}
	}
}

// readFull is ReadAt that accepts io.EOF if the file ends right after p.
func readFull(f io.ReaderAt, p []byte, offset int64) error {
	n, err := f.ReadAt(p, offset)
	if n == len(p) && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
