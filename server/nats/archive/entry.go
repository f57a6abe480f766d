package archive

import (
	"encoding/binary"
	"time"
)

const (
	magic     = "NATSARC1"
	stateName = "state.json"
	// consumersPrefix begins the names of consumers.
	consumersPrefix = "consumers/"
)

// Message is a message of an archive.
type Message struct {
	Subject  string
	Sequence uint64 // above that of the message before
	Time     time.Time
	Header   []byte // the block, with the empty line at its end; empty if there is none
	Payload  []byte
}

// head is the head of an entry.
type head struct {
	name            string
	time            int64 // Unix time in ns
	sequence        uint64
	header, payload uint64 // bytes
}

// appendTo appends the encoded head.
func (h *head) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(h.name)))
	dst = binary.AppendVarint(dst, h.time)
	dst = binary.AppendUvarint(dst, h.sequence)
	dst = binary.AppendUvarint(dst, h.header)
	dst = binary.AppendUvarint(dst, h.payload)
	return append(dst, h.name...)
}

// isEnd reports whether it is the head of the entry at the end.
func (h *head) isEnd() bool { return *h == head{} }
