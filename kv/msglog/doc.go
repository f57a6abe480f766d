// Package msglog is what a front end needs that keeps a log of messages in a bucket:
// the streams of NATS' clients are such logs. It adds to the contract of package kv
// what only some stores have, and holds no implementation.
//
// # A log
//
// A log is a bucket with [Kind] as its Config.Kind, and a name that begins with
// [ReservedBucket]. Each message is one record. [Append] stores it under a key of its
// own, made of the subject and the revision, see [AppendSuffix]: so the log keeps all
// messages of a subject, and one revision numbers the messages of all subjects.
//
// No record of a log has a TTL of its own. The bucket's TTL removes messages without a
// marker: a key that has expired is absent at once, and nothing of it is kept, its last
// revision included. [Log] has Trim, which removes the oldest messages, and Erase; Scan
// reads messages in their order, and Select finds the newest of each subject. A
// watch that resumes at a revision below the end of a key that was removed in this way
// fails with kv.ErrCompacted, unless it has the option [PassForgotten].
//
// # Reserved names
//
// Buckets whose names begin with [ReservedBucket], and keys of a bucket's metadata that
// begin with [ReservedMetadata], belong to front ends. Tools that show buckets to people
// hide both, and kvd's line protocol refuses to make or write such buckets.
package msglog
