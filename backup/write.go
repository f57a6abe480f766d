package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"kvd/bucket"
	"kvd/bucket/cut"
)

// Source is a store that backups are made of: a *bucket.Store.
type Source interface {
	Backup(context.Context, bucket.BackupOptions, cut.Sink) (cut.Report, error)
}

// Write writes an archive of a store, or of some of its buckets, to w. After an error w has a part of an
// archive, which every reader refuses. The errors are those of bucket.Store.Backup, and those of w. The
// report names the damage that the store has; the archive has it too.
func Write(ctx context.Context, w io.Writer, s Source, o bucket.BackupOptions) (cut.Report, error) {
	a, err := newArchiver(w)
	if err != nil {
		return cut.Report{}, err
	}
	report, err := s.Backup(ctx, o, a)
	if err == nil {
		err = a.end(&report)
	}
	return report, err
}

// archiver is a sink that writes an archive.
type archiver struct {
	w       io.Writer
	zstd    *zstd.Encoder
	seconds int64 // the time in all headers
	sums    []byte
	raw     [2][]byte // parts
	packed  []byte    // the part, compressed
	block   []byte    // scratch: a header, or padding
}

func newArchiver(w io.Writer) (*archiver, error) {
	// One goroutine: a backup leaves the other processors to the writers.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return &archiver{w: w, zstd: z, raw: [2][]byte{make([]byte, partSize), make([]byte, partSize)}}, nil
}

// Begin writes what the archive holds, and the manifest.
func (a *archiver) Begin(c *cut.Content) error {
	a.seconds = max(0, c.Time.Unix())
	info, err := json.MarshalIndent(newInfo(c), "", "\t")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if len(info) > infoMax || len(c.Manifest) > manifestMax {
		return fmt.Errorf("backup: a store of %d buckets and %d files is too large for one archive: back up some buckets at a time", len(c.Buckets), len(c.Files))
	}
	if err := a.entry(infoName, info); err != nil {
		return err
	}
	for part := range partsOf(int64(len(c.Manifest))) {
		from := part * partSize
		if err := a.part("manifest", part, c.Manifest[from:min(len(c.Manifest), from+partSize)]); err != nil {
			return err
		}
	}
	return nil
}

// File writes the parts of a file. The next part is read while one is compressed.
func (a *archiver) File(f cut.File, data io.Reader) error {
	count := partsOf(f.Size)
	read := a.read(data, 0)
	for part := range count {
		p := <-read
		if p.err != nil && !errors.Is(p.err, io.ErrUnexpectedEOF) {
			return p.err
		}
		if part+1 < count {
			read = a.read(data, part+1)
		}
		if err := a.part(fileName(f), part, p.raw); err != nil {
			if part+1 < count {
				<-read // data is the caller's again
			}
			return err
		}
	}
	return nil
}

// readPart is a part of a file that was read, and io.ErrUnexpectedEOF if it is a short one.
type readPart struct {
	raw []byte
	err error
}

// read reads a part in a goroutine, which ends once it is read.
func (a *archiver) read(data io.Reader, part int) <-chan readPart {
	done := make(chan readPart, 1)
	buf := a.raw[part%len(a.raw)]
	go func() {
		n, err := io.ReadFull(data, buf)
		done <- readPart{buf[:n], err}
	}()
	return done
}

func (a *archiver) part(name string, part int, raw []byte) error {
	a.packed = a.zstd.EncodeAll(raw, a.packed[:0])
	return a.entry(partName(name, part), a.packed)
}

// entry writes an entry.
func (a *archiver) entry(name string, content []byte) error {
	sum := sha256.Sum256(content)
	a.sums = hex.AppendEncode(a.sums, sum[:])
	a.sums = fmt.Appendf(a.sums, "  %s\n", name)
	return a.write(name, content)
}

func (a *archiver) write(name string, content []byte) error {
	size := int64(len(content))
	a.block = appendTarHeader(a.block[:0], name, size, a.seconds)
	for _, b := range [][]byte{a.block, content, make([]byte, tarPadding(size))} {
		if _, err := a.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// end writes what follows the files.
func (a *archiver) end(r *cut.Report) error {
	if r.Damage > 0 {
		if err := a.damage(r); err != nil {
			return err
		}
	}
	if err := a.write(sumsName, a.sums); err != nil {
		return err
	}
	_, err := a.w.Write(make([]byte, endSize))
	return err
}

// damage writes damage.json.
func (a *archiver) damage(r *cut.Report) error {
	j := damageJSON{Places: r.Damage, Damages: []placeJSON{}}
	for _, d := range r.Damages[:min(len(r.Damages), damagesMax)] {
		detail := d.Detail
		if d.Err != nil {
			detail = fmt.Sprintf("%s: %v", detail, d.Err)
		}
		j.Damages = append(j.Damages, placeJSON{d.File, d.Offset, d.Bucket, detail[:min(len(detail), 2048)]})
	}
	b, err := json.MarshalIndent(j, "", "\t")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return a.entry(damageName, b)
}
