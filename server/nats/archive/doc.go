// Package archive reads and writes the archives of stream backups that nats-server makes since
// version 2.15: what STREAM.SNAPSHOT sends, and what the nats CLI stores in a file. The package
// stores nothing and knows nothing of buckets.
//
// # The format
//
// An archive is one stream of S2 (package s2 of klauspost/compress), whose blocks have
// checksums. Uncompressed it is:
//
//	"NATSARC1"
//	entry "state.json"    the state of the stream
//	entries               the consumers, as many as consumer_count of the state
//	entries               the messages, in the order of their sequences
//	entry without a name  the end: all its numbers are 0
//
// An entry is its head and its content:
//
//	field     encoding         meaning
//	name size uvarint          bytes of the name, at most 1 MiB
//	time      varint, zigzag   Unix time in ns
//	sequence  uvarint          of a message; 0 for another entry
//	headers   uvarint          bytes of the header block
//	payload   uvarint          bytes of the rest of the content
//	name      bytes            state.json, consumers/NAME, or the subject of a message
//	content   bytes            the header block with its empty line, then the payload
//
// A uvarint and a varint are those of encoding/binary. The state and a consumer are JSON, without
// a header block. A sequence that is missing between two messages, or behind the last one up to
// last_seq of the state, was deleted.
//
// A state and a message, uncompressed:
//
//	4e415453 41524331                       "NATSARC1"
//	0a 02 00 00 02                          10 bytes of name, time 1, no sequence, no header block, 2 bytes
//	73746174652e6a736f6e 7b7d               state.json {}
//	05 02 07 00 01                          5 bytes of name, time 1, sequence 7, no header block, 1 byte
//	244b562e61 78                           $KV.a x
//	00 00 00 00 00                          the end
//
// # Hostile archives
//
// A [Reader] checks every size against its limit before it allocates. An archive that is cut off,
// has another magic, a wrong checksum, bytes behind its end, or messages out of order is an error.
//
// Archives of nats-server before 2.15 are tar files of its message blocks, compressed in the same
// way. They are refused with [ErrFormat].
package archive
