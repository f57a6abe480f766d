package kv

import "context"

// BucketImporter is a [Store] that takes whole buckets: records with the revisions and
// times that another bucket gave them. [As] finds it.
type BucketImporter interface {
	// ImportBucket begins the import of a bucket with the configuration cfg. next is the
	// revision of the first write once the import is committed, above those of all its
	// records; 0 means the revision behind the last record. It returns the errors of
	// [Store].CreateBucket, but [ErrBucketExists]: a bucket of that name may exist until the
	// commit.
	ImportBucket(ctx context.Context, cfg Config, next Revision) (Importer, error)
}

// Importer is the import of one bucket. The bucket cannot be seen before Commit: it is in no
// listing, its name is free, nothing in it expires. Until then the import can be discarded. A
// restart of the store discards it.
//
// All methods are safe for concurrent use, and one of them runs at a time.
type Importer interface {
	// Write writes records, in ascending order of revisions, above those of all records
	// before. Revisions may be left out. Bucket, Delta and Previous of an entry do not count.
	// Keys, values and headers are the callee's until Write returns.
	//
	// If any record breaks a rule, nothing is written, and the error is a *[KeyError] that
	// names the record. It matches [ErrInvalidKey], [ErrValueTooLarge] or
	// [ErrInvalidRecord], for the rules:
	//
	//   - Revision is above that of the record before, at most [MaxImportRevision], and
	//     below the next that ImportBucket was given.
	//   - Created is after 1970-01-01, not before that of the record before, and not in the
	//     future.
	//   - A value has no Reason. A marker has one, and no value. One with
	//     [ReasonExpiry] is a Purge.
	//   - Deadline is after Created. A Delete has none, and no record of a message log.
	//
	// Other errors come from the store. Then the import can only be discarded. [ErrBucketFull]
	// is one of them. Over a network, records of more than 4 MiB as text are written in parts. If a
	// part behind the first is refused, the import can only be discarded too.
	//
	// A record takes the room of older ones of its key, as a write does: a history keeps the
	// newest, and a Purge ends it. Times to live begin to count at the commit.
	Write(ctx context.Context, records []Entry) error

	// Commit makes the bucket visible, whole and durable. digest is that of the records
	// which are kept, by package kv/digest; if the bucket has another one, the error is a
	// *[DigestError], and the import goes on. It is ErrBucketExists if a bucket of that name
	// exists by now: Commit may be called again once that bucket is deleted.
	//
	// A watch that resumes at a revision of the import or of those behind it that were left
	// out is refused with [ErrCompacted]: the bucket does not know the ends of keys that the
	// original has forgotten.
	Commit(ctx context.Context, digest Digest) error

	// Discard removes the bucket and ends the import. After Commit it does nothing.
	Discard(ctx context.Context) error
}

// MaxImportRevision is the highest revision of an imported record.
const MaxImportRevision Revision = 1<<62 - 1
