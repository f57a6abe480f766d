package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"kvd/internal/vfs"
)

// LSN is the number of a frame, from 1 without gaps over all files of a log.
// Zero is "none".
type LSN uint64

// Sizes, in bytes.
const (
	// pageSize is the alignment of syncs: frames of different syncs never share a page.
	pageSize = 4096

	// MaxFramePayload is the recommended limit for a frame that gathers many mutations,
	// in bytes.
	MaxFramePayload = 4 << 20

	// maxLonePayload is the limit of any frame's payload, in bytes. A frame that does not
	// fit into a file of the usual size gets its own file.
	maxLonePayload = 80 << 20

	fileSizeDefault = 16 << 20
	maxSizeDefault  = 128 << 20
)

// ErrFull is returned by [Log.Reserve] while the files with needed frames occupy
// Options.MaxSize. Nothing was written. [Log.Recycle] makes room. A frame that would not
// fit even then is accepted, and the log exceeds its limit until the next Recycle.
var ErrFull = errors.New("wal: the log is at its size limit")

// Options says where a log is and how large it is.
type Options struct {
	FS       vfs.FS
	Dir      string        // must exist, and belong to this log alone
	StoreID  [16]byte      // of the store; files of another store are refused
	FileSize int64         // bytes of one file at most; 0: 16 MiB; a multiple of 4,096, 16 KiB to 1 GiB
	MaxSize  int64         // bytes of all files that hold needed frames; 0: 128 MiB; at least two files
	Salt     func() uint64 // random numbers; called from any goroutine; nil: crypto/rand

	// FirstFileSize is the size of the files with which the log begins, and of those of a log
	// with little load, in bytes: a multiple of 4,096, 16 KiB to FileSize. 0: FileSize.
	FirstFileSize int64

	// MakeRoom frees some disk space and reports whether it did. The goroutine that appends
	// calls it when a write to the current file, or to a spare, finds the disk full, and
	// writes again. That happens on a file system that copies what is overwritten. Nil: there
	// is no room to free.
	MakeRoom func() bool
}

func (o Options) withDefaults() Options {
	if o.FileSize == 0 {
		o.FileSize = fileSizeDefault
	}
	if o.FirstFileSize == 0 {
		o.FirstFileSize = o.FileSize
	}
	if o.MaxSize == 0 {
		o.MaxSize = maxSizeDefault
	}
	if o.Salt == nil {
		o.Salt = randomSalt
	}
	if o.MakeRoom == nil {
		o.MakeRoom = func() bool { return false }
	}
	return o
}

func (o Options) validate() error {
	if o.FS == nil {
		return errors.New("wal: options name no file system")
	}
	if o.FileSize < fileSizeMin || o.FileSize > fileSizeMax || o.FileSize%pageSize != 0 {
		return fmt.Errorf("wal: file size is %d, must be a multiple of %d from %d to %d",
			o.FileSize, pageSize, fileSizeMin, fileSizeMax)
	}
	if o.FirstFileSize < fileSizeMin || o.FirstFileSize > o.FileSize || o.FirstFileSize%pageSize != 0 {
		return fmt.Errorf("wal: first file size is %d, must be a multiple of %d from %d to %d",
			o.FirstFileSize, pageSize, fileSizeMin, o.FileSize)
	}
	if o.MaxSize < 2*o.FileSize {
		return fmt.Errorf("wal: maximum size is %d, at least two files of %d are needed", o.MaxSize, o.FileSize)
	}
	return nil
}

func randomSalt() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return binary.LittleEndian.Uint64(b[:])
}

// Names of files. The number in a name is the file id. It never changes, while the number
// in the header is new for each use of the file.
const (
	fileIDDigits  = 16
	fileSuffix    = ".wal"
	scratchSuffix = ".wal.tmp" // being made; not part of the log before it is renamed
)

func fileName(fileID uint64) string    { return fmt.Sprintf("%016x%s", fileID, fileSuffix) }
func scratchName(fileID uint64) string { return fmt.Sprintf("%016x%s", fileID, scratchSuffix) }

// parseName returns the file id in a name with that suffix, or 0 and false.
func parseName(name, suffix string) (fileID uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != fileIDDigits || strings.Trim(digits, "0123456789abcdef") != "" {
		return 0, false
	}
	fileID, err := strconv.ParseUint(digits, 16, 64)
	return fileID, err == nil // err is always nil: the digits were checked
}

// wrap adds the name of the package, once, where an error is returned to the caller. The
// system's errors already name operation and path.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("wal: %w", err)
}

func (o Options) path(name string) string { return path.Join(o.Dir, name) }

// TornTail is an unfinished last write: the log stopped while it wrote the frame. The
// frame was never reported as durable, and it is not delivered.
type TornTail struct {
	LSN    LSN
	File   string
	Offset int64
}
