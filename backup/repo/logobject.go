package repo

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"kvd/bucket"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// logObject is frames of a store's log, as an object keeps them.
type logObject struct {
	store  [16]byte
	frames []bucket.TailFrame // with LSNs that follow each other; at least one
}

func (o *logObject) first() wal.LSN { return o.frames[0].LSN }
func (o *logObject) last() wal.LSN  { return o.frames[len(o.frames)-1].LSN }

const (
	logMagic      = "kvd.kvl\n"
	logVersion    = 1
	logHeaderSize = 8 + 4 + 4 + 16 + 8 + 8 + wordsSize
	logFrameSize  = 8 + wordsSize + 4 + 4
	logValueSize  = 8 + 8 + 4 + 4
	wordsSize     = 5 * 8

	logMax        = 120 << 20 // bytes of a log object, unpacked
	logPayloadMax = 80 << 20  // bytes of a frame's payload, as in package wal
)

var _ = [1]struct{}{}[logHeaderSize-88]

// size returns the bytes of the object, unpacked.
func (o *logObject) size() int64 {
	n := int64(logHeaderSize + sha256.Size)
	for i := range o.frames {
		f := &o.frames[i]
		n += logFrameSize + f.Size() + int64(len(f.Values))*logValueSize
	}
	return n
}

// append encodes the object.
func (o *logObject) append(dst []byte) []byte {
	le := binary.LittleEndian
	begin := len(dst)
	dst = append(dst, logMagic...)
	dst = le.AppendUint32(dst, logVersion)
	dst = le.AppendUint32(dst, 0) // no features
	dst = append(dst, o.store[:]...)
	dst = le.AppendUint64(dst, uint64(o.first()))
	dst = le.AppendUint64(dst, uint64(o.last()))
	dst = appendWords(dst, &o.frames[0].Words)
	for i := range o.frames {
		f := &o.frames[i]
		dst = le.AppendUint64(dst, uint64(f.Time))
		dst = appendWords(dst, &f.Next)
		dst = le.AppendUint32(dst, uint32(len(f.Payload)))
		dst = le.AppendUint32(dst, uint32(len(f.Values)))
		dst = append(dst, f.Payload...)
		for _, v := range f.Values {
			dst = le.AppendUint64(dst, v.Bucket)
			dst = le.AppendUint64(dst, v.Number)
			dst = le.AppendUint32(dst, uint32(len(v.Value)))
			dst = le.AppendUint32(dst, 0)
			dst = append(dst, v.Value...)
		}
	}
	sum := sha256.Sum256(dst[begin:])
	return append(dst, sum[:]...)
}

func appendWords(dst []byte, w *wal.Words) []byte {
	for _, x := range [...]uint64{w.Records, w.Sum, w.Operations, w.Before, w.Recent} {
		dst = binary.LittleEndian.AppendUint64(dst, x)
	}
	return dst
}

// decodeLog reads what append wrote. The frames refer to b. The error matches kv.ErrVersion for an object of a
// newer program.
func decodeLog(b []byte) (*logObject, error) {
	end := len(b) - sha256.Size
	if end < logHeaderSize || string(b[:len(logMagic)]) != logMagic {
		return nil, errors.New("it is no log object")
	}
	if sum := sha256.Sum256(b[:end]); string(b[end:]) != string(sum[:]) {
		return nil, errors.New("its SHA-256 does not match")
	}
	d := logDecoder{b: b[len(logMagic):end]}
	if version, features := d.uint32(), d.uint32(); version != logVersion || features != 0 {
		return nil, fmt.Errorf("%w: it has version %d and features %#x, this program knows %d and none: use the program that wrote it",
			kv.ErrVersion, version, features, logVersion)
	}
	o := new(logObject)
	copy(o.store[:], d.bytes(16))
	first, last := wal.LSN(d.uint64()), wal.LSN(d.uint64())
	if first == 0 || last < first || uint64(last-first) >= uint64(len(b)/logFrameSize) {
		return nil, fmt.Errorf("it has %d bytes for LSN %d to %d", len(b), first, last)
	}
	words := d.words()
	for lsn := first; lsn <= last; lsn++ {
		f := bucket.TailFrame{LSN: lsn, Words: words}
		d.frame(&f)
		if words = f.Next; len(o.frames) > 0 && f.Time < o.frames[len(o.frames)-1].Time {
			d.fail(fmt.Sprintf("LSN %d is older than the frame before", lsn))
		}
		if d.err != nil {
			return nil, d.err
		}
		o.frames = append(o.frames, f)
	}
	if len(d.b) > 0 {
		return nil, fmt.Errorf("%d bytes follow the frame of LSN %d", len(d.b), last)
	}
	return o, nil
}

// logDecoder reads the fields of a log object. After an error all are zero.
type logDecoder struct {
	b   []byte
	err error
}

func (d *logDecoder) fail(why string) {
	if d.err == nil {
		d.err = errors.New(why)
	}
	d.b = nil
}

// bytes returns the next n bytes, or as many zeros as any field has at most.
func (d *logDecoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.fail("it ends inside a field")
		return make([]byte, min(n, 16))
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *logDecoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.bytes(4)) }
func (d *logDecoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.bytes(8)) }

func (d *logDecoder) words() wal.Words {
	return wal.Words{Records: d.uint64(), Sum: d.uint64(), Operations: d.uint64(), Before: d.uint64(), Recent: d.uint64()}
}

// frame reads a frame.
func (d *logDecoder) frame(f *bucket.TailFrame) {
	f.Time, f.Next = int64(d.uint64()), d.words()
	payload, values := d.uint32(), d.uint32()
	if payload > logPayloadMax || int64(values) > int64(len(d.b)/logValueSize) {
		d.fail(fmt.Sprintf("LSN %d has a payload of %d bytes and %d values", f.LSN, payload, values))
		return
	}
	f.Payload = d.bytes(int(payload))
	for range values {
		v := bucket.TailValue{Bucket: d.uint64(), Number: d.uint64()}
		size, zero := d.uint32(), d.uint32()
		if zero != 0 || size < segment.ValueFileMin || size > kv.MaxValueSizeLimit {
			d.fail(fmt.Sprintf("LSN %d has a value of %d bytes", f.LSN, size))
			return
		}
		v.Value = d.bytes(int(size))
		f.Values = append(f.Values, v)
	}
}
