package wal

import (
	"errors"
	"fmt"
	"io"

	"kvd/internal/vfs"
	"kvd/kv"
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

// Recovered is the result of a replay.
type Recovered struct {
	Last   LSN       // the newest readable frame of the log
	Frames int       // number of delivered frames
	Bytes  int64     // of their payloads
	Torn   *TornTail // nil: nothing shows that a frame after Last was begun
	Damage *Damage   // nil: no durable frame is missing
	Notes  []string  // other findings for an operator, a sentence each
}

// Replay calls fn for every frame from the LSN from on, in order. It returns at the end of
// the log, which is the last complete frame. If it returns Damage, it has stopped before
// the first frame that was durable and cannot be read now; later frames are not delivered.
// A from of 0 means [Reader.First].
//
// The caller needs no frame below from, so Replay takes it that all those frames were
// durable: a log that ends below from is damaged, while a bad frame below from is only a
// note.
//
// A killed process leaves frames, and names of files, in the page cache. A frame that is
// delivered, and then covered by a checkpoint, must not be lost in a power cut. So Replay
// syncs the directory and the newest file before it reads.
//
// The error is the one that fn returned, or the system's. Replay may be called again.
func (r *Reader) Replay(from LSN, fn func(Frame) error) (Recovered, error) {
	if from == 0 {
		from = r.First()
	}
	p := &replay{r: r, from: from, fn: fn, Recovered: Recovered{Last: r.First() - 1}}
	p.Notes = append(p.Notes, r.notes...)
	r.ended = false
	if from < r.First() {
		p.startsTooLate()
		return p.Recovered, nil
	}
	// This includes spares, which Start may use: their frames must not be lost with their names.
	if err := r.opts.FS.SyncDir(r.opts.Dir); err != nil {
		return p.Recovered, wrap(err)
	}
	for i := range r.chain {
		if err := p.file(i); err != nil {
			return p.Recovered, err
		}
		if p.Damage != nil {
			return p.Recovered, nil //nolint:nilerr // damage is a finding, not a failure
		}
	}
	p.checkEnd()
	r.ended, r.from, r.last = p.Damage == nil, from, p.Last
	return p.Recovered, nil
}

// replay is one call of Replay.
type replay struct {
	Recovered
	r    *Reader
	from LSN
	fn   func(Frame) error
	buf  []byte // of the file being read; reused
}

// place is where a frame was expected and not found.
type place struct {
	file   *storedFile
	offset int64
}

func (p *replay) damage(file string, offset int64, cause error, first, last LSN, why string) {
	p.Damage = &Damage{First: first, Last: last, Err: &kv.CorruptError{
		File: file, Offset: offset, Detail: fmt.Sprintf("log frames %s cannot be read: %s", lsnRange(first, last), why), Err: cause,
	}}
}

func lsnRange(first, last LSN) string {
	if last == 0 {
		return fmt.Sprintf("from LSN %d on", first)
	}
	return fmt.Sprintf("of LSN %d to %d", first, last)
}

func (p *replay) startsTooLate() {
	first := p.r.First()
	file, cause := p.r.opts.Dir, error(nil)
	if len(p.r.unreadable) > 0 {
		file, cause = p.r.unreadable[0].File, p.r.unreadable[0]
	}
	p.damage(file, -1, cause, p.from, first-1, fmt.Sprintf("the log starts at LSN %d", first))
}

// checkEnd looks for other evidence of later frames, after every file of the chain was
// read.
func (p *replay) checkEnd() {
	if len(p.r.unreadable) > 0 {
		e := p.r.unreadable[0]
		p.damage(e.File, e.Offset, e.Err, p.Last+1, 0, e.Detail)
		return
	}
	if p.Last+1 < p.from {
		p.damage(p.r.opts.Dir, -1, nil, p.Last+1, p.from-1,
			fmt.Sprintf("the log ends at LSN %d, below what a checkpoint covers", p.Last))
	} else if p.Last < p.r.mark.lsn {
		p.damage(p.r.opts.Dir, -1, nil, p.Last+1, p.r.mark.lsn,
			fmt.Sprintf("the log ends at LSN %d, and %s names LSN %d as durable", p.Last, MarkFile, p.r.mark.lsn))
	}
}

// file replays one file of the chain: up to the final LSN that its successor names, or in
// the newest file up to the end of the frames.
func (p *replay) file(i int) error {
	f, final, newest := &p.r.chain[i], LSN(0), i == len(p.r.chain)-1
	if !newest {
		final = p.r.chain[i+1].after
		if final < p.from {
			p.Last = final
			return nil
		}
	}
	m, err := p.read(f, newest)
	if err != nil {
		return err
	}
	p.Last = f.after
	pos := int64(pageSize)
	for newest || p.Last < final {
		h, at, payload, ok := m.find(p.Last+1, pos)
		if !ok {
			pos, ok = p.bad(m, place{f, at}, h.lsn != 0, final)
			if !ok {
				return nil
			}
			continue
		}
		if h.lsn >= p.from {
			p.Frames++
			p.Bytes += int64(h.length)
			if err := p.fn(Frame{h.lsn, h.synced, h.time, h.words, payload, f.path, at}); err != nil {
				return err
			}
		}
		p.Last = h.lsn
		pos = frameUp(at + h.size())
	}
	return nil
}

// bad decides what it means that the frame after p.Last is not at its place. It is damage
// if anything shows that the frame was durable, otherwise a torn tail or the end of the
// log. If the bad frames are not needed and all needed frames are readable, bad returns
// true and the offset at which to continue.
func (p *replay) bad(m *image, at place, begun bool, final LSN) (pos int64, ok bool) {
	lsn := p.Last + 1
	s := m.survey(lsn, final, at.offset)
	durable := final // the file has no frame above it
	if final == 0 {
		durable = max(s.synced, p.from-1, p.r.mark.lsn)
	}
	cause := m.lostAt(at.offset, int64(len(m.bytes)))
	cut := at.file.actual < at.file.size
	if s.next != 0 && s.next <= p.from {
		p.Notes = append(p.Notes, fmt.Sprintf("%s at offset %d: log frames %s cannot be read; a checkpoint covers them",
			at.file.path, at.offset, lsnRange(lsn, s.next-1)))
		p.Last = s.next - 1
		return s.nextAt, true
	}
	switch {
	case durable >= lsn:
		last := durable
		if s.next != 0 {
			last = s.next - 1
		}
		p.damage(at.file.path, at.offset, cause, lsn, last, fmt.Sprintf("LSN %d was durable", durable))
	case cause != nil:
		p.damage(at.file.path, at.offset, cause, lsn, 0, "the disk does not give them back")
	case cut:
		p.damage(at.file.path, at.offset, nil, lsn, 0,
			fmt.Sprintf("the file was cut to %d of %d bytes", at.file.actual, at.file.size))
	case begun || s.begun:
		p.Torn = &TornTail{LSN: lsn, File: at.file.path, Offset: at.offset}
	}
	return 0, false
}

// read returns the part of a file that may have frames. The bytes are in p.buf and valid
// until the next call. The newest file is synced first.
func (p *replay) read(f *storedFile, newest bool) (*image, error) {
	file, err := p.r.opts.FS.Open(f.path, vfs.ReadOnly)
	if err != nil {
		return nil, wrap(err)
	}
	defer file.Close()
	if newest {
		if err := file.Sync(); err != nil {
			return nil, wrap(err)
		}
	}
	n := min(f.actual, f.end())
	if int64(cap(p.buf)) < n {
		p.buf = make([]byte, n)
	}
	m := &image{identity: f.identity(), bytes: p.buf[:n]}
	m.load(file)
	return m, nil
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
