// Package kv is the contract between a program and a key/value store: the
// interfaces [Store] and [Bucket], the values that cross them, the errors, and
// the rules for names. It holds no implementation.
//
// The semantics are those of NATS JetStream KV. The suite in kv/kvtest states them as
// tests; every Store passes it, and so does a real nats-server behind an adapter.
//
// A program that uses NATS' client keeps its code and changes its address: kvd serves
// NATS' protocol too. A program that moves from jetstream.KeyValue of nats.go to this
// package finds most names again, but has to change its calls:
//
//   - An [Entry] is a struct with fields, not an interface with methods, and is returned
//     by value. A [Revision] is a type of its own, not a uint64.
//   - Delete, Purge and Touch return the revision that they wrote.
//   - Keys, History and All are iterators: there are no slices and no lister.
//   - Watch takes a list of patterns, and its events are of the type [Update].
//   - PurgeDeletes takes a duration. Options of writes are [KeyTTL], [LastRevision] and
//     [PurgeTTL].
//   - Status returns a struct that has the configuration.
//
// # The model
//
// A store holds named buckets. A bucket holds keys; every write of a key is a
// record with a revision. Revisions count the records of one bucket, from 1,
// over all its keys; there may be gaps, but no number is ever used twice. The
// newest records of a key, up to the bucket's history, stay readable.
//
// A delete writes a marker and keeps the history; a purge writes a marker and
// drops the history. A key whose newest record is a marker is absent to Get
// and to listings, but its revision still counts for Update and LastRevision.
//
// # Times to live
//
// A key expires when the TTL of its newest value is over; a write without a TTL ends
// that. In a bucket with a TTL every record also expires when it is that old, and the
// earlier of the two counts. A key that has expired is absent at once, with its history,
// to every read, listing and condition: Create succeeds, and Update of the revision that
// expired fails.
//
// Within a second or so the store writes a marker for the key: a purge with
// [ReasonExpiry] and a revision of its own, which watches deliver. Any write to the key
// writes that marker before its own record. The marker is removed, without a record of
// its own, when the bucket's MarkerTTL is over since it was written; that of a purge with
// [PurgeTTL], after the time given there. Until a marker is written, counts in [Status]
// include the expired records.
//
// # More than every store has
//
// [Store] and [Bucket] are what every store has. Some have more: [Submitter],
// [Reclaimer], [Poller] and [Watched], and for logs of messages what package
// kvd/kv/msglog names. Ask for them with [As], which sees through wrappers; a type
// assertion does not.
//
// # Where kvd differs from NATS on purpose
//
//   - Create is one atomic step, and also succeeds over a marker or an expired
//     value; NATS' clients try twice.
//   - A refused write says what it expected and what it found:
//     [RevisionMismatchError].
//   - Every write may carry a TTL, and [Bucket.Touch] renews it; when the newest
//     record of a key expires, the whole key is absent, and no older value comes
//     back.
//   - Deletes and purges are admitted past a bucket's size limit, and a value's
//     size is that of its bytes: headers and conditions do not count.
//   - A listing of keys is the state of one revision, in ascending order.
//   - A handle belongs to one life of a bucket: when the bucket is deleted, the
//     handle does not reach another that is made under its name.
//
// # Errors
//
// Callers branch on the sentinel errors with [errors.Is], and on *[KeyError],
// *[RevisionMismatchError], *[NameError], *[LimitError] and *[CorruptError]
// with [errors.As] where they want the details. The text of an error of a bucket's
// method names the bucket and the key, and is the same from an embedded store and from
// package client.
package kv
