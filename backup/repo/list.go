package repo

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"kvd/bucket/cut"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

const (
	partSize    = 4 << 20          // bytes of a part, unpacked
	storedMax   = partSize + 1<<16 // bytes of a part as it is kept
	manifestMax = 256 << 20        // bytes of a manifest
	fileMax     = segment.MaxSize  // bytes of a file
)

// partsOf returns how many parts so many bytes take.
func partsOf(size int64) int64 { return (size + partSize - 1) / partSize }

// listJSON is the list of a base.
type listJSON struct {
	Format   int          `json:"format"`
	Store    string       `json:"store"`
	LSN      wal.LSN      `json:"lsn"`
	Time     time.Time    `json:"time"`
	Damage   int          `json:"damage,omitempty"`
	Buckets  []bucketJSON `json:"buckets"`
	Manifest partsJSON    `json:"manifest"`
	Files    []fileJSON   `json:"files"`
}

// bucketJSON is for people who list bases; the manifest has the same.
type bucketJSON struct {
	Name     string      `json:"name"`
	Revision kv.Revision `json:"revision"`
	Keys     uint64      `json:"keys"`
}

type fileJSON struct {
	Bucket uint64 `json:"bucket"`
	Name   string `json:"name"`
	partsJSON
}

// partsJSON is the content of a file.
type partsJSON struct {
	Size  int64  `json:"size"`
	Parts []part `json:"parts"`
}

// sizeOf returns the size of a part, unpacked.
func (p *partsJSON) sizeOf(part int) int64 { return min(partSize, p.Size-int64(part)*partSize) }

// part is a part as a list names it.
type part struct {
	sum    string // SHA-256 of the bytes before compression, hex
	stored int64  // size of the object
}

func (p part) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s:%d", p.sum, p.stored), nil
}

// partText is a part in a list.
var partText = regexp.MustCompile(`^([0-9a-f]{64}):([1-9][0-9]{0,7})$`)

func (p *part) UnmarshalText(b []byte) error {
	m := partText.FindSubmatch(b)
	if m == nil {
		return fmt.Errorf("%.80q names no part", b)
	}
	p.sum = string(m[1])
	p.stored, _ = strconv.ParseInt(string(m[2]), 10, 64) // eight digits always fit
	if p.stored > storedMax {
		return fmt.Errorf("a part of %d bytes, at most %d are allowed", p.stored, storedMax)
	}
	return nil
}

// newList returns the list of a cut, without parts.
func newList(c *cut.Content) *listJSON {
	l := &listJSON{
		Format: format, Store: hex.EncodeToString(c.StoreID[:]), LSN: c.LSN, Time: c.Time,
		Buckets: []bucketJSON{}, Files: []fileJSON{},
	}
	for _, b := range c.Buckets {
		l.Buckets = append(l.Buckets, bucketJSON{b.Config.Bucket, b.Revision, b.Keys})
	}
	return l
}

// check returns an error if no writer makes the list. The reader of a base checks what the manifest tells.
func (l *listJSON) check(id baseID) error {
	switch {
	case l.LSN != id.lsn:
		return fmt.Errorf("it is the list of LSN %d", l.LSN)
	case l.Damage < 0 || len(l.Store) != 32 || strings.Trim(l.Store, "0123456789abcdef") != "":
		return errors.New("damage or store id are not right")
	case l.Manifest.Size > manifestMax:
		return fmt.Errorf("a manifest of %d bytes, at most %d are allowed", l.Manifest.Size, manifestMax)
	}
	if err := l.Manifest.check("the manifest"); err != nil {
		return err
	}
	for i := range l.Files {
		f := &l.Files[i]
		if f.Size > fileMax {
			return fmt.Errorf("%.40q has %d bytes, at most %d are allowed", f.Name, f.Size, fileMax)
		}
		if err := f.check(f.Name); err != nil {
			return err
		}
	}
	_, err := l.files()
	return err
}

func (p *partsJSON) check(name string) error {
	if p.Size <= 0 || partsOf(p.Size) != int64(len(p.Parts)) {
		return fmt.Errorf("%.40q has %d bytes in %d parts", name, p.Size, len(p.Parts))
	}
	return nil
}

// files returns the files of the cut.
func (l *listJSON) files() ([]cut.File, error) {
	files := make([]cut.File, 0, len(l.Files))
	for _, f := range l.Files {
		file, ok := cut.ParseFile(f.Bucket, f.Name, f.Size)
		if !ok {
			return nil, fmt.Errorf("%.40q is no name of a file", f.Name)
		}
		if n := len(files); n > 0 && files[n-1].Compare(file) >= 0 {
			return nil, fmt.Errorf("%.40q is not in order", f.Name)
		}
		files = append(files, file)
	}
	return files, nil
}

// all yields manifest and files.
func (l *listJSON) all(yield func(*partsJSON) bool) {
	if !yield(&l.Manifest) {
		return
	}
	for i := range l.Files {
		if !yield(&l.Files[i].partsJSON) {
			return
		}
	}
}
