package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"kvd/bucket/cut"
	"kvd/kv"
)

// Reader reads an archive from front to back. It is for one goroutine.
type Reader struct {
	name    string
	r       io.Reader
	at      int64  // offset in the archive
	ahead   []byte // the header of the next entry, if it was read already
	zstd    *zstd.Decoder
	seconds int64 // the time in all headers; -1: not known yet
	sums    []byte
	block   [blockSize]byte
	packed  []byte
	content *cut.Content
	damage  damageJSON
}

// Open reads the beginning of an archive, up to the manifest. name is what errors call it. The error
// matches kv.ErrCorrupt for damage, or for what is no archive, and kv.ErrVersion for one of a newer program; other
// errors are those of r. What was read is not verified before [Reader.Files] has returned. The caller closes the reader.
func Open(name string, r io.Reader) (*Reader, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(partSize), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	a := &Reader{name: name, r: r, zstd: z, seconds: -1}
	if err := a.begin(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close releases memory. It closes nothing else.
func (a *Reader) Close() { a.zstd.Close() }

// Content returns what the archive holds.
func (a *Reader) Content() *cut.Content { return a.content }

func (a *Reader) begin() error {
	b, err := a.entry(infoName, infoMax)
	if err != nil {
		return err
	}
	var info infoJSON
	if err := json.Unmarshal(b, &info); err != nil {
		return a.corrupt("entry %q: %.300s", infoName, err)
	}
	if info.Format > format {
		return fmt.Errorf("%w: %s has format %d, this program knows %d: restore it with the program that wrote it", kv.ErrVersion, a.name, info.Format, format)
	}
	if info.Format != format || info.Manifest <= 0 || info.Manifest > manifestMax {
		return a.corrupt("entry %q: format %d, a manifest of %d bytes", infoName, info.Format, info.Manifest)
	}
	c, err := info.content()
	if err != nil {
		return a.corrupt("entry %q: %v", infoName, err)
	}
	for part := range partsOf(info.Manifest) {
		raw, err := a.part("manifest", part, info.Manifest)
		if err != nil {
			return err
		}
		c.Manifest = append(c.Manifest, raw...)
	}
	if err := c.Complete(a.name); err != nil {
		return err
	}
	told := newInfo(c)
	told.LSN = info.LSN // that of the manifest, which content has not got
	if want, got := mustJSON(told.Buckets), mustJSON(info.Buckets); info.LSN != uint64(c.LSN) || info.Store != told.Store || !bytes.Equal(want, got) {
		return a.corrupt("entry %q is not about this manifest", infoName)
	}
	a.content = c
	return nil
}

// mustJSON returns the JSON of a value that came from JSON.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("backup: " + err.Error()) // strings, numbers and times of a store always do
	}
	return b
}

// Files calls fn for each file, in the order of the content, and then reads the rest of the archive. If it
// returns nil, the archive is whole and every bit of it is right. fn reads data to its end, or not at
// all. An error of fn ends the reading, and is returned as it is. Errors otherwise are as those of Open.
func (a *Reader) Files(ctx context.Context, fn func(f cut.File, data io.Reader) error) error {
	for _, f := range a.content.Files {
		data := &parts{archive: a, ctx: ctx, file: f}
		if err := fn(f, data); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, data); err != nil {
			return err
		}
	}
	return a.end()
}

// Damage returns how many places of the store were damaged, and the first of them, once Files has
// returned.
func (a *Reader) Damage() (places int, first []*kv.CorruptError) {
	for _, d := range a.damage.Damages {
		first = append(first, &kv.CorruptError{File: d.File, Offset: d.Offset, Bucket: d.Bucket, Detail: d.Detail})
	}
	return a.damage.Places, first
}

// parts reads the parts of a file.
type parts struct {
	archive *Reader
	ctx     context.Context
	file    cut.File
	next    int    // part
	rest    []byte // of the part before
}

func (p *parts) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.next == partsOf(p.file.Size) {
			return 0, io.EOF
		}
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		raw, err := p.archive.part(fileName(p.file), p.next, p.file.Size)
		if err != nil {
			return 0, err
		}
		p.next, p.rest = p.next+1, raw
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// part returns a part of a file of that size, unpacked. It is valid until the next call.
func (a *Reader) part(name string, part int, size int64) ([]byte, error) {
	packed, err := a.entry(partName(name, part), packedMax)
	if err != nil {
		return nil, err
	}
	want := min(partSize, size-int64(part)*partSize)
	a.packed, err = a.zstd.DecodeAll(packed, a.packed[:0])
	if err != nil {
		return nil, a.corrupt("entry %q cannot be unpacked: %v", partName(name, part), err)
	}
	if int64(len(a.packed)) != want {
		return nil, a.corrupt("entry %q has %d bytes, %d belong to it", partName(name, part), len(a.packed), want)
	}
	return a.packed, nil
}

// entry reads the next entry, which has that name and at most that many bytes.
func (a *Reader) entry(name string, most int64) ([]byte, error) {
	content, err := a.read(name, most)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	a.sums = hex.AppendEncode(a.sums, sum[:])
	a.sums = fmt.Appendf(a.sums, "  %s\n", name)
	return content, nil
}

func (a *Reader) read(name string, most int64) ([]byte, error) {
	header, err := a.header()
	if err != nil {
		return nil, err
	}
	size, ok := tarNumber(header, tarSize)
	seconds, okTime := tarNumber(header, tarTime)
	if a.seconds < 0 {
		a.seconds = seconds
	}
	if !ok || !okTime || size > most || !sameTarHeader(header, name, size, a.seconds) {
		if name == infoName {
			return nil, a.corrupt("it is no backup of kvd")
		}
		return nil, a.corrupt("the header of entry %q is damaged", name)
	}
	content := make([]byte, size+int64(tarPadding(size)))
	if err := a.fill(content); err != nil {
		return nil, err
	}
	if bytes.ContainsFunc(content[size:], func(r rune) bool { return r != 0 }) {
		return nil, a.corrupt("the padding of entry %q is damaged", name)
	}
	return content[:size], nil
}

// header reads the header of the next entry, or returns the one that was read ahead.
func (a *Reader) header() ([]byte, error) {
	if header := a.ahead; header != nil {
		a.ahead = nil
		return header, nil
	}
	return a.block[:], a.fill(a.block[:])
}

// fill reads len(b) bytes.
func (a *Reader) fill(b []byte) error {
	n, err := io.ReadFull(a.r, b)
	a.at += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return a.corrupt("it ends here, and is not whole")
	}
	if err != nil {
		return fmt.Errorf("backup: read %s: %w", a.name, err)
	}
	return nil
}

// end reads what follows the files.
func (a *Reader) end() error {
	header, err := a.header()
	if err != nil {
		return err
	}
	a.ahead = header
	if bytes.HasPrefix(header, []byte(damageName+"\x00")) {
		b, err := a.entry(damageName, damageMax)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &a.damage); err != nil || a.damage.Places <= 0 {
			return a.corrupt("entry %q: %d places, %v", damageName, a.damage.Places, err)
		}
	}
	sums, err := a.read(sumsName, int64(len(a.sums)))
	if err != nil {
		return err
	}
	if !bytes.Equal(sums, a.sums) {
		return a.corrupt("entry %q was changed after it was written", a.firstDifference(sums))
	}
	end := make([]byte, endSize)
	if err := a.fill(end); err != nil {
		return err
	}
	n, err := io.ReadFull(a.r, a.block[:1])
	if n > 0 || bytes.ContainsFunc(end, func(r rune) bool { return r != 0 }) {
		return a.corrupt("something follows the last entry")
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("backup: read %s: %w", a.name, err)
	}
	return nil
}

// firstDifference returns the name of the first entry whose sum differs.
func (a *Reader) firstDifference(sums []byte) string {
	got := bytes.Split(sums, []byte("\n"))
	for i, line := range bytes.Split(a.sums, []byte("\n")) {
		if len(line) > sha256.Size*2+2 && (i >= len(got) || !bytes.Equal(line, got[i])) {
			return string(line[sha256.Size*2+2:])
		}
	}
	return sumsName
}

// corrupt returns damage at the present offset.
func (a *Reader) corrupt(text string, args ...any) error {
	return &kv.CorruptError{File: a.name, Offset: a.at, Detail: fmt.Sprintf(text, args...)}
}
