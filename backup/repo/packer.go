package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"kvd/backup/blob"
)

// packer makes objects of parts, and parts of objects. It is for one goroutine.
type packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newPacker() (*packer, error) {
	return newPackerMax(partSize)
}

// newPackerMax returns a packer of parts with at most that many bytes.
func newPackerMax(sizeMax uint64) (*packer, error) {
	// One goroutine: a backup leaves the other processors to the writers.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(sizeMax), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	return &packer{e, d}, nil
}

func (p *packer) close() { p.decoder.Close() }

// sumFrame is the header of the skippable frame with the SHA-256 of what is before it.
const sumFrame = "\x50\x2a\x4d\x18\x20\x00\x00\x00"

// pack returns the object of a part.
func (p *packer) pack(raw []byte) []byte {
	object := p.encoder.EncodeAll(raw, nil)
	sum := sha256.Sum256(object)
	return append(append(object, sumFrame...), sum[:]...)
}

// unpack returns the part of size bytes that an object has, appended to dst, which is empty.
func (p *packer) unpack(object []byte, sum string, size int64, dst []byte) ([]byte, error) {
	raw, err := p.open(object, dst)
	switch {
	case err != nil:
		return nil, err
	case int64(len(raw)) != size:
		return nil, fmt.Errorf("it has %d bytes unpacked, %d belong to it", len(raw), size)
	case sumOf(raw) != sum:
		return nil, errors.New("its SHA-256 does not match its name")
	}
	return raw, nil
}

// open returns what an object has, appended to dst, which is empty.
func (p *packer) open(object, dst []byte) ([]byte, error) {
	end := len(object) - len(sumFrame) - sha256.Size
	if end < 0 {
		return nil, fmt.Errorf("it has %d bytes, which is less than a sum", len(object))
	}
	object, tail := object[:end], object[end:]
	if own := sha256.Sum256(object); string(tail) != sumFrame+string(own[:]) {
		return nil, errors.New("its SHA-256 does not match")
	}
	raw, err := p.decoder.DecodeAll(object, dst)
	if err != nil {
		return nil, fmt.Errorf("it cannot be unpacked: %w", err)
	}
	return raw, nil
}

// read gets a part and unpacks it into dst, which is empty. The error matches kv.ErrCorrupt if the object
// is missing or not right.
func (p *packer) read(ctx context.Context, place blob.Store, x part, size int64, dst []byte) ([]byte, error) {
	name := partName(x.sum)
	object, err := place.GetRange(ctx, name, 0, x.stored)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrRange) {
		return nil, corrupt(place, name, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	raw, err := p.unpack(object, x.sum, size, dst)
	if err != nil {
		return nil, corrupt(place, name, "%v", err)
	}
	return raw, nil
}
