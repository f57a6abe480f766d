package kv

import "context"

// Reclaimer is a [Store] that gives back the disk space of records that are no longer kept. It
// does so by itself in the background; Reclaim does it now. [As] finds it.
type Reclaimer interface {
	// Reclaim gives back what the buckets of those names hold and do not need, or
	// all buckets where none is named, and returns what came of it. It works on what they
	// hold when it begins, so it ends while others write. When it returns, the disk space
	// is free, except that of files which a reader holds. progress, if it
	// is not nil, is called now and then by the same goroutine. Reads and writes go
	// on. After an error, such as the end of ctx, the work done so far stays done.
	Reclaim(ctx context.Context, progress func(Reclaimed), buckets ...string) (Reclaimed, error)
}

// Reclaimed says how far a [Reclaimer] has come.
type Reclaimed struct {
	Bucket string // at hand
	Done   int64  // bytes of files, of Total; what need not be rewritten counts as done
	Total  int64  // bytes of files when it began
	Freed  int64  // bytes of removed files less those of the files that replaced them, at least 0
}
