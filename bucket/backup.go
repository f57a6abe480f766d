package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"kvd/bucket/cut"
	"kvd/bucket/progress"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// BackupOptions says what [Store.Backup] copies, and how fast. The zero value copies everything, as
// fast as the sink takes it.
type BackupOptions struct {
	// Buckets are the names of the buckets. None: all, those in memory with their configurations
	// alone.
	Buckets []string

	// Rate bounds the bytes a second that are read from the disk. 0: there is no bound, but while there
	// are writers the backup rests as long as it works.
	Rate int64

	// Progress is called at the beginning and a few times a second, from the goroutine of Backup. Nil:
	// it is not called.
	Progress func(Progress)
}

// StageBackup is the stage of a backup: bytes of files.
const StageBackup progress.Stage = "copying"

// Backup hands a cut of the store, or of some of its buckets, to a sink: their state at one
// position of the log, not below that at which the call began. It makes a checkpoint, takes the state
// of all buckets between the same two groups of writes, and copies the files, while reads, writes
// and compaction go on; the files stay until the call returns. Files are verified while they are
// copied: damage is in the report, and copied as it is.
//
// The errors are those of the sink, of ctx, kv.ErrBucketNotFound, kv.ErrClosed if the store is closed
// meanwhile, and kv.ErrReadOnly for a store that takes no writes: it can make no checkpoint, but its
// directory can be copied once it is closed. The report says what was copied, also beside an error.
func (s *Store) Backup(ctx context.Context, o BackupOptions, sink cut.Sink) (report cut.Report, err error) {
	if err := s.open(ctx); err != nil {
		return report, err
	}
	began := time.Now()
	defer func() { report.Elapsed = time.Since(began) }()
	if err := s.makeCheckpoint(paced); err != nil { // so that the one of the cut has little to write
		return report, err
	}
	c, err := s.makeCut(o.Buckets)
	if err != nil {
		return report, err
	}
	defer c.release()
	report.Content = c.content()
	for _, d := range c.lost {
		report.Damaged(d)
	}
	if err := sink.Begin(report.Content); err != nil {
		return report, err
	}
	b := &backup{
		ctx: ctx, store: s, report: &report, rate: o.Rate, began: time.Now(),
		meter: progress.Start(StageBackup, report.Content.Bytes(), o.Progress),
	}
	for i := range c.files {
		if err := b.copy(&c.files[i], sink); err != nil {
			return report, err
		}
	}
	return report, nil
}

// backup is the copying of one call of Backup.
type backup struct {
	ctx    context.Context
	store  *Store
	report *cut.Report
	meter  *progress.Meter
	rate   int64     // bytes a second; 0: no bound
	began  time.Time // of the copying
	seen   wal.LSN   // the log's position, and the time, when the last part was read
	seenAt time.Time
}

// backupPart is how much of a file is read at a time, at most, bytes.
const backupPart = 4 << 20

// copy hands one file to the sink.
func (b *backup) copy(f *cutFile, sink cut.Sink) error {
	r := &fileCopy{backup: b, file: f, path: path.Join(b.store.segments.Dir, f.Name())}
	if f.Value {
		r.value = segment.NewValueCheck(b.store.segments.Seed)
	}
	if err := sink.File(f.File, r); err != nil {
		return err
	}
	if r.at < f.Size {
		return fmt.Errorf("backup: the sink took %d of the %d bytes of %s", r.at, f.Size, f.Name())
	}
	r.end()
	return nil
}

// spend counts bytes that were read, and waits if the backup is ahead of its rate, or for the writers.
func (b *backup) spend(n int) error {
	b.report.Bytes += int64(n)
	b.meter.Add(int64(n))
	rest := b.writersTurn()
	if b.rate > 0 {
		rest = time.Duration(float64(b.report.Bytes)/float64(b.rate)*float64(time.Second)) - time.Since(b.began)
	}
	if rest <= 0 {
		return nil
	}
	defer func() { b.seenAt = time.Now() }()
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// backupRest bounds a rest, so that a sink that takes long does not make the backup slower still.
const backupRest = 100 * time.Millisecond

// writersTurn returns how long to leave disk and processors to the writers: as long as the last part took,
// if something was written meanwhile.
func (b *backup) writersTurn() time.Duration {
	last, now := b.store.log.Last(), time.Now()
	took := now.Sub(b.seenAt)
	wrote := last != b.seen && !b.seenAt.IsZero()
	b.seen, b.seenAt = last, now
	if !wrote {
		return 0
	}
	return min(took, backupRest)
}

// fileCopy reads a file of a cut, and verifies it. It has the file open during a read alone, as one of
// those that reads may have open: a sink may take its time.
type fileCopy struct {
	*backup
	file    *cutFile
	path    string
	at      int64 // how far it was read
	damages int

	checked int64         // how far a segment was verified
	count   segment.Count // of its records up to there
	value   *segment.ValueCheck
}

// Read reads the next bytes. A page that the disk does not give back is damage, and is filled with
// bytes that no checksum accepts.
func (r *fileCopy) Read(p []byte) (int, error) {
	if r.at == r.file.Size {
		return 0, io.EOF
	}
	if err := r.store.open(r.ctx); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), backupPart, r.file.Size-r.at)]
	select {
	case r.store.segments.Reads <- struct{}{}:
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
	err := r.read(p)
	r.at += int64(len(p))
	if err == nil {
		err = r.check(p)
	}
	if err == nil {
		r.forget(int64(len(p)))
	}
	<-r.store.segments.Reads
	if err == nil {
		err = r.spend(len(p))
	}
	if err != nil {
		return 0, fmt.Errorf("backup: %w", err)
	}
	return len(p), nil
}

// read fills p.
func (r *fileCopy) read(p []byte) error {
	f, err := r.store.opts.env.FS.Open(r.path, vfs.ReadOnly)
	if errors.Is(err, kv.ErrTooManyFiles) {
		return err
	}
	if err != nil {
		blank(p)
		r.damaged(&kv.CorruptError{File: r.path, Offset: -1, Detail: "the file cannot be opened", Err: err})
		return nil
	}
	defer f.Close()
	vfs.Yield()
	if _, err := f.ReadAt(p, r.at); err != nil {
		r.readPages(f, p)
	}
	return nil
}

// unreadable fills what cannot be read. Zeros would look like padding.
const unreadable = 0xff

func blank(p []byte) {
	for i := range p {
		p[i] = unreadable
	}
}

// readPages reads page by page, so that only unreadable pages are lost.
func (r *fileCopy) readPages(f vfs.File, p []byte) {
	for done := 0; done < len(p); {
		page := p[done:min(len(p), done+pageSize)]
		if n, err := f.ReadAt(page, r.at+int64(done)); err != nil {
			blank(page[n:])
			r.damaged(&kv.CorruptError{File: r.path, Offset: r.at + int64(done+n), Detail: "the page cannot be read", Err: err})
		}
		done += len(page)
	}
}

// check verifies what was read. For a segment it reads again, from the page cache.
func (r *fileCopy) check(p []byte) error {
	if r.value != nil {
		_, _ = r.value.Write(p) // never fails
		return nil
	}
	if r.damages > 0 && r.file.segment.Damaged() { // the file may be missing
		return nil
	}
	for r.checked < r.at && r.damages < damagesOfFile {
		next, _, err := r.file.segment.Check(r.checked, r.file.Size, r.at-r.checked, segment.WithoutValueFiles, &r.count, r.damaged)
		if err != nil {
			return err
		}
		r.checked = next
	}
	return nil
}

// damagesOfFile bounds what is reported of one file: a file of garbage has damage every few bytes.
const damagesOfFile = 16

// end completes the verification.
func (r *fileCopy) end() {
	switch {
	case r.damages > 0:
	case r.value != nil:
		if err := r.value.Err(); err != nil {
			r.damaged(&kv.CorruptError{File: r.path, Offset: 0, Detail: err.Error()})
		}
	case r.count != r.file.desc.Count():
		r.damaged(&kv.CorruptError{File: r.path, Offset: -1,
			Detail: fmt.Sprintf("it holds %d records, not %d, or others", r.count.Records, r.file.desc.Records)})
	}
}

// damaged reports damage. What reads may meet too is noted at once.
func (r *fileCopy) damaged(d *kv.CorruptError) {
	d.Bucket = r.file.bucket.name
	r.report.Damaged(d)
	if r.damages++; r.damages == 1 && r.file.segment != nil {
		r.file.bucket.examineOnce(r.file.segment, d)
	}
}

// forget lets the system drop the last n bytes from its cache.
func (r *fileCopy) forget(n int64) {
	if f, err := r.store.opts.env.FS.Open(r.path, vfs.ReadOnly); err == nil {
		vfs.Forget(f, r.at-n, n)
		_ = f.Close()
	}
}
