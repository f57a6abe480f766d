package wal

import (
	"fmt"

	"kvd/kv"
)

// Hole is a range of frames that were durable and cannot be read now. Replay goes on
// behind it. Its caller knows the words of frame First from the frames before.
type Hole struct {
	First, Last LSN // both inclusive; Last 0: the end is unknown, and the log ends here
	After       Words
	AfterKnown  bool // After are the words of the frame after Last
	Err         *kv.CorruptError
}

// Error returns the text of Err.
func (h *Hole) Error() string { return h.Err.Error() }

// Unwrap returns Err.
func (h *Hole) Unwrap() error { return h.Err }

// finding is why frames cannot be read: where, and what is wrong there.
type finding struct {
	file   string
	offset int64 // -1: no place in the file
	why    string
	cause  error // the system's, or nil
}

// hole reports the frames from p.Last+1 to last as a hole, and continues behind them. after
// are the words of the frame behind, or nil. The caller of Replay needs no frame below
// p.from: without others it is only a note.
func (p *replay) hole(last LSN, f finding, after *Words) error {
	first := max(p.last+1, p.from)
	p.last = last
	if last < p.from {
		p.note("%s: log frames up to LSN %d cannot be read, and a checkpoint covers them: %s", f.place(), last, f.why)
		return nil
	}
	h := Hole{First: first, Last: last, Err: f.corrupt(first, last)}
	if after != nil {
		h.After, h.AfterKnown = *after, true
	}
	return p.report(h, f)
}

// unknownEnd reports that frames may be missing from p.Last+1 on, but nothing shows how
// many. A caller that closed the log knows that there are none.
func (p *replay) unknownEnd(f finding) error {
	first := p.last + 1
	if p.closed && first <= p.from {
		p.note("%s: %s; the log was closed in good order before", f.place(), f.why)
		return nil
	}
	return p.report(Hole{First: max(first, p.from), Err: f.corrupt(max(first, p.from), 0)}, f)
}

func (p *replay) report(h Hole, f finding) error {
	p.Holes = append(p.Holes, h)
	p.r.damaged[f.file] = true
	if p.onHole == nil {
		return nil
	}
	return p.onHole(h)
}

func (p *replay) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (f finding) place() string {
	if f.offset < 0 {
		return f.file
	}
	return fmt.Sprintf("%s at offset %d", f.file, f.offset)
}

// corrupt returns the error of a hole.
func (f finding) corrupt(first, last LSN) *kv.CorruptError {
	frames := fmt.Sprintf("of LSN %d to %d", first, last)
	if last == 0 {
		frames = fmt.Sprintf("from LSN %d on", first)
	}
	return &kv.CorruptError{File: f.file, Offset: f.offset, Detail: fmt.Sprintf("log frames %s cannot be read: %s", frames, f.why), Err: f.cause}
}
