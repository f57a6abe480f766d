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
// It is also the oracle of package kvtest: its own test starts a nats-server in
// the process and runs the suite against it, so that what the suite says are
// NATS' semantics is so.
//
// A bucket is what every NATS client takes for one: the stream KV_<bucket>, with
// the markers and headers of NATS' ADR-8. Programs with other clients may share
// it.
//
// # What differs from kvd
//
// Besides what the test's list of differences names:
//
//   - Durable is what the server makes of it: sync_interval in its configuration.
//     A bucket that asks for an interval of its own is [kv.ErrNotSupported], and so
//     is a silent one.
//   - A write whose context ends while it is under way returns the context's
//     error; it may have been carried out.
//   - Create over a marker, and Touch, take two steps, the second on condition
//     that nothing came between. They try again until that holds.
//   - Where a write is refused because of a revision, the actual one is read
//     afterwards; by then it may be a later one.
//   - The time to live of a key is at least a second, and fractions of a second
//     are cut off. With a history above 1 the server raises one below the
//     bucket's marker TTL to that.
//   - Entries have no Deadline, and the marker of an expiry looks like a client's
//     purge: the client library does not show them.
//   - A status counts keys by listing them.
//   - Patterns that overlap without one covering the other are more than the
//     server can filter: it sends every key of the bucket, and they are filtered
//     here. Delta then counts those others too.
//
// # Why
//
// Reading, listing, watching and buckets go through jetstream.KeyValue. Writing
// does not: its Delete and Purge return no revision and take no expected
// revision of 0, only its Create takes a TTL, and its Create may report that a
// key exists which a marker hides. The messages published here are the same.
package jetstream
