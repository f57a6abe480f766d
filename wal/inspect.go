package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Sizes of what stands in a log's directory, bytes, and the version of the format.
const (
	FileHeaderSize = pageSize
	MarkSize       = markSize
	Version        = formatVersion
)

// FileHeader is one of the two copies of a log file's header, as [Inspect] finds it.
type FileHeader struct {
	Offset           int64 // in the file, bytes
	FileID           uint64
	Number           uint64 // of this use of the file; 0: none
	Size             int64  // of the file by the header, bytes
	Salt             uint64
	StoreID          [16]byte
	Previous         uint64 // number of the file before; 0: none
	After            LSN    // the frames here follow it
	Began            LSN    // After of the file before
	Words            Words  // of the first frame
	Stored, Computed uint64 // checksums
	Err              error  // why the copy does not count; then the other fields but Offset and the checksums are 0
}

// FileFrame is a frame of a file, as [Inspect] finds it: its header is sound.
type FileFrame struct {
	Offset           int64 // of the header in the file, bytes
	LSN              LSN
	Synced           LSN    // the newest durable frame when this one was written
	Time             int64  // as given to Append
	Words            Words  // of this frame
	HeaderSum        uint64 // checksum of the header
	Stored, Computed uint64 // checksums of the payload
	Payload          []byte // valid until the callback returns; to be trusted only if the checksums are equal
}

// Size returns the length of header and payload, in bytes.
func (f *FileFrame) Size() int64 { return FrameHeaderSize + int64(len(f.Payload)) }

// Inspection is what receives the parts of a file from [Inspect]. None may be nil. An error
// ends the inspection.
type Inspection struct {
	Header func(*FileHeader) error // twice, before everything else
	Frame  func(*FileFrame) error  // in the order of the file
	// Gap is called for each range without a sound frame header of this use of the file. It
	// may be free, have frames of an earlier use, or be damaged. zeros says that all of it is
	// zero; cause is the system's error if it could not be read, else nil.
	Gap func(from, to int64, zeros bool, cause error) error
}

// Inspect reads one file of a log by itself, whatever its name and whatever the other files
// say. It tells every frame whose header is sound, also those that [Reader.Replay] does not
// deliver: behind the end of the log, or behind the final LSN of the file. If neither header can
// be read, no frame can be recognized, and everything between the headers is a gap. It writes
// nothing. The error is a callback's or the system's.
func Inspect(fsys vfs.FS, file string, to Inspection) error {
	f, err := fsys.Open(file, vfs.ReadOnly)
	if err != nil {
		return wrap(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return wrap(err)
	}
	h, err := inspectHeaders(f, file, size, to.Header)
	if err != nil {
		return err
	}
	if h == nil {
		return to.Gap(min(size, pageSize), size, false, nil)
	}
	m := &image{identity: h.identity(), bytes: make([]byte, min(size, h.end()))}
	m.load(f)
	return m.inspect(to)
}

// inspectHeaders tells both copies of a header, and returns the one that counts; nil if none
// does.
func inspectHeaders(f vfs.File, file string, size int64, tell func(*FileHeader) error) (counts *header, err error) {
	for _, offset := range [...]int64{0, max(0, size-pageSize) &^ (pageSize - 1)} {
		told, h := inspectHeader(f, file, offset)
		if told.Err == nil && (counts == nil || h.number > counts.number) {
			counts = &h
		}
		if err := tell(&told); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

func inspectHeader(f vfs.File, file string, offset int64) (FileHeader, header) {
	told := FileHeader{Offset: offset}
	var page [pageSize]byte
	if err := readFull(f, page[:], offset); err != nil {
		told.Err = fmt.Errorf("%w: the header cannot be read: %w", kv.ErrCorrupt, err)
		return told, header{}
	}
	told.Stored, told.Computed = binary.LittleEndian.Uint64(page[headerSumAt:]), headerSum(&page, offset)
	fileID, ok := parseName(path.Base(file), fileSuffix)
	if !ok { // a copy with another name
		fileID = binary.LittleEndian.Uint64(page[headerFileIDAt:])
	}
	h, err := decodeHeader(&page, fileID, offset)
	if err != nil {
		if !errors.Is(err, kv.ErrVersion) {
			err = fmt.Errorf("%w: %w", kv.ErrCorrupt, err)
		}
		told.Err = err
		return told, header{}
	}
	told.FileID, told.Number, told.Size, told.Salt, told.StoreID = h.fileID, h.number, h.size, h.salt, h.store
	told.Previous, told.After, told.Began, told.Words = h.prev, h.after, h.began, h.words
	return told, h
}

// inspect tells the frames of a file and the gaps between them.
func (m *image) inspect(to Inspection) error {
	end := int64(len(m.bytes))
	gap := int64(-1) // where it begins
	endGap := func(at int64) error {
		from := gap
		if gap = -1; from < 0 || from >= at {
			return nil
		}
		return to.Gap(from, at, allZeros(m.bytes[from:at]), m.lostAt(from, at))
	}
	for at := int64(pageSize); at < end; {
		h, ok := m.header(at)
		if !ok {
			next := pageUp(at + 1)
			if at%pageSize != 0 && allZeros(m.bytes[at:min(next, end)]) { // a sync leaves them
				at = next
				continue
			}
			if gap < 0 {
				gap = at
			}
			at = next
			continue
		}
		if err := endGap(at); err != nil {
			return err
		}
		start := at + FrameHeaderSize
		payload := m.bytes[start : start+int64(h.length) : start+int64(h.length)]
		err := to.Frame(&FileFrame{
			Offset: at, LSN: h.lsn, Synced: h.synced, Time: h.time, Words: h.words,
			HeaderSum: binary.LittleEndian.Uint64(m.bytes[at:]), Stored: h.payloadSum, Computed: m.sum(start, payload), Payload: payload,
		})
		if err != nil {
			return err
		}
		at = frameUp(at + h.size())
	}
	return endGap(end)
}

// allZeros is allZero for any length.
func allZeros(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if string(b[:n]) != string(zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// Mark is the mark of a log, as [InspectMark] finds it.
type Mark struct {
	StoreID          [16]byte
	LSN              LSN   // all frames up to it are durable; 0: nothing was synced yet
	Words            Words // of the frame after LSN
	Stored, Computed uint64
	Err              error // why the mark does not count; then StoreID, LSN and Words are 0
}

// InspectMark reads the mark of a log by itself. The error is the system's.
func InspectMark(fsys vfs.FS, file string) (Mark, error) {
	f, err := fsys.Open(file, vfs.ReadOnly)
	if err != nil {
		return Mark{}, wrap(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return Mark{}, wrap(err)
	}
	var b [markSize]byte
	if size == 0 {
		return Mark{}, nil
	}
	if err := readFull(f, b[:], 0); err != nil {
		return Mark{Err: fmt.Errorf("%w: the mark cannot be read: %w", kv.ErrCorrupt, err)}, nil
	}
	told := Mark{Stored: binary.LittleEndian.Uint64(b[markSumAt:]), Computed: xxhash.Sum64(b[:markSumAt])}
	k, err := decodeMark(&b, [16]byte(b[markStoreAt:markLSNAt]))
	if err != nil {
		if !errors.Is(err, kv.ErrVersion) {
			err = fmt.Errorf("%w: %w", kv.ErrCorrupt, err)
		}
		told.Err = err
		return told, nil
	}
	told.StoreID, told.LSN, told.Words = [16]byte(b[markStoreAt:markLSNAt]), k.lsn, k.words
	return told, nil
}
