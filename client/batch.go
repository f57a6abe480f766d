package client

import "slices"

// batch is commands gathered for one write, and their calls in the same order.
type batch struct {
	bytes []byte
	calls []*call
}

// keptBatch is how large a batch's buffer may be, in bytes, to be kept for the
// next one.
const keptBatch = 256 << 10

// add appends the encoded commands of k. After an error, which means that they cannot be
// encoded, nothing was added.
func (b *batch) add(k *call) error {
	before := len(b.bytes)
	bytes, err := k.appendCommands(b.bytes)
	if err != nil {
		b.bytes = bytes[:before]
		return err
	}
	b.bytes, k.size = bytes, len(bytes)-before
	b.calls = append(b.calls, k)
	return nil
}

// withdraw removes k and reports whether it was in the batch.
func (b *batch) withdraw(k *call) bool {
	offset := 0
	for i, other := range b.calls {
		if other == k {
			b.bytes = slices.Delete(b.bytes, offset, offset+k.size)
			b.calls = slices.Delete(b.calls, i, i+1)
			return true
		}
		offset += other.size
	}
	return false
}

// reset empties the batch for the next use.
func (b *batch) reset() {
	clear(b.calls)
	b.bytes, b.calls = b.bytes[:0], b.calls[:0]
	if cap(b.bytes) > keptBatch {
		b.bytes = nil
	}
}
