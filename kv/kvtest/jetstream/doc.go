// Package jetstream is a [kv.Store] in NATS JetStream: the same program runs on
// an embedded kvd, on a kvd server, or on a JetStream cluster, by opening
// another Store.
//
//	nc, err := nats.Connect(url)
//	…
//	stream, err := jetstream.New(nc) // of nats.go
//	…
//	store := kvdjs.New(stream)       // of this package
//
// It is also the oracle of package kvtest. Its own test starts a nats-server in the
// process and runs the suite against it. That shows that the facts of the suite are NATS'
// semantics.
//
// A bucket is the stream KV_<bucket>, with the markers and headers of NATS' ADR-8. So
// every NATS client sees it as a bucket, and programs with other clients may share it.
//
// # What differs from kvd
//
// The test has a list of differences. Besides those:
//
//   - Durability depends on sync_interval in the server's configuration. A bucket with an
//     interval of its own is refused with [kv.ErrNotSupported], and so is a silent one.
//   - If the context of a write ends while the write is under way, the write returns the
//     context's error. It may have been carried out.
//   - Create over a marker, and Touch, take two steps. The second has the condition that
//     there was no other write in between. If there was, both steps are repeated.
//   - If a write is refused because of a revision, the actual revision is read
//     afterwards. It may be a later one by then.
//   - The TTL of a key is at least a second, and fractions of a second are cut off. With
//     a history above 1 the server raises a TTL below the bucket's marker TTL to the
//     marker TTL.
//   - Entries have no Deadline, and the marker of an expiry looks like a client's purge,
//     because the client library shows neither deadlines nor reasons.
//   - Status lists the keys to count them.
//   - The server cannot filter by patterns that overlap without one covering the other.
//     It sends every key of the bucket then, and this package filters them. Delta then
//     counts the other keys too.
//
// # Why
//
// Reading, listing, watching and buckets go through jetstream.KeyValue. Writing does not
// use it. Its Delete and Purge return no revision and take no expected revision of 0.
// Only its Create takes a TTL, and its Create may report that a key exists although a
// marker hides it. This package publishes the same messages.
package jetstream
