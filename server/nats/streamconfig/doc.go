// Package streamconfig says which bucket a stream is: it reads and checks the
// configuration of a stream, translates it into that of a bucket and back, and translates
// the stream's subjects into keys and back ([Layout]). It stores nothing.
//
//	stream                        bucket             subject         key
//	KV_b, like a bucket           b                  $KV.b.a.b       a.b
//	S, max_msgs_per_subject 1-64  _kvd_stream_S      a.b             a.b
//	S, without that limit         _kvd_stream_S      a.b             a.b.<suffix of its revision>
//
// The first is the stream of a key/value bucket; the others are message streams. KV_b is like
// a bucket if its subjects are $KV.b.> alone, it keeps 1 to 64 messages of each, and has neither
// max_msgs nor, with discard old, max_bytes. In a
// message stream without a limit of each subject every message has a key of its own
// ([msglog.Append], Layout.OnePerMessage).
//
// # Escaping
//
// Names and subjects of message streams may have bytes that buckets and keys must not
// have. In a name "_" is doubled, and any other byte than a letter, a digit or "-" is "_"
// and two hexadecimal digits. In a subject any other byte than a letter, a digit or one of
// "." "-" "_" "/" is "=" and two hexadecimal digits:
//
//	stream a_ü      bucket _kvd_stream_a___C3_BC
//	subject a.b=c   key a.b=3Dc
//
// # What a bucket has no field for
//
// The fields of a stream that a bucket does not have are JSON in the bucket's metadata,
// under "_kvd.nats". NATS' clients do not see that key. A bucket without it was made by
// kvd's own tools, and its stream has: discard new, direct gets, rollups and TTLs of
// messages allowed, deletion of messages denied.
//
// # Fields of a request
//
// Every field that nats-server 2.15 has is known. A field that kvd does not support is
// refused if it asks for anything. Fields that are not known are refused, as by nats-server.
package streamconfig
