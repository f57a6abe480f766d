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
	"kvd/kv"
)

// LSN is the number of a frame, from 1 without gaps over all files of a log.
// Zero is "none".
type LSN uint64

// Sizes, in bytes.
const (
	// pageSize is the unit that frames of different syncs never share.
	pageSize = 4096

	// MaxFramePayload is how much a caller should put into a frame that gathers
	// many mutations.
	MaxFramePayload = 4 << 20

	// maxLonePayload is the limit of any frame's payload. One that does not fit
	// into a file of the usual size gets a file of its own.
	maxLonePayload = 80 << 20

	fileSizeDefault = 16 << 20
	maxSizeDefault  = 128 << 20
)

// ErrFull is returned by [Log.Reserve] while the files that hold needed frames
// take up Options.MaxSize. Nothing was written; a [Log.Recycle] makes room. A
// frame that would not fit even then is taken, and the log is larger for a time.
var ErrFull = errors.New("wal: the log is at its size limit")

// Options says where a log lives and how large it is. It is not retained by
// reference.
type Options struct {
	FS       vfs.FS
	Dir      string        // exists, and belongs to this log alone
	StoreID  [16]byte      // of the store; files of another are refused
	FileSize int64         // bytes of one file; 0: 16 MiB; a multiple of 4,096, 16 KiB to 1 GiB
	MaxSize  int64         // bytes of all files that hold needed frames; 0: 128 MiB; at least two files
	Salt     func() uint64 // random numbers, from any goroutine; nil: crypto/rand
}

func (o Options) withDefaults() Options {
	if o.FileSize == 0 {
		o.FileSize = fileSizeDefault
	}
	if o.MaxSize == 0 {
		o.MaxSize = maxSizeDefault
	}
	if o.Salt == nil {
		o.Salt = randomSalt
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

// Names of files. The number in a name is the file's slot: it stays with the
// file through all its lives, while the number in the header changes.
const (
	slotDigits    = 16
	fileSuffix    = ".wal"
	scratchSuffix = ".wal.tmp" // being made; not part of the log until it is renamed
)

func fileName(slot uint64) string    { return fmt.Sprintf("%016x%s", slot, fileSuffix) }
func scratchName(slot uint64) string { return fmt.Sprintf("%016x%s", slot, scratchSuffix) }

// parseName returns the slot of a file named slot and suffix, or 0 and false.
func parseName(name, suffix string) (slot uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != slotDigits || strings.Trim(digits, "0123456789abcdef") != "" {
		return 0, false
	}
	slot, err := strconv.ParseUint(digits, 16, 64)
	return slot, err == nil // which it is: the digits were checked
}

// wrap names the package once, where an error leaves it. The system's errors
// name operation and path themselves.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("wal: %w", err)
}

func (o Options) path(name string) string { return path.Join(o.Dir, name) }

// TornTail is an unfinished last write: the log was cut off while it wrote the
// frame, nobody was told that it was durable, and it is not delivered.
type TornTail struct {
	LSN    LSN
	File   string
	Offset int64
}

// Damage is a range of frames that were durable once and cannot be read now.
type Damage struct {
	Err         *kv.CorruptError
	First, Last LSN // both inclusive; Last 0: nobody knows how far it goes
}

// Error is that of Err.
func (d *Damage) Error() string { return d.Err.Error() }

// Unwrap returns Err.
func (d *Damage) Unwrap() error { return d.Err }
