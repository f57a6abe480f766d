package kv

import "context"

// This file is what a front end wants of a store beyond Store and Bucket: it
// serves many clients over few connections, and it may show records that a
// Bucket hides. A store need not have any of it; a front end asks by a type
// assertion.

// Poller is a [Watcher] without a channel and a goroutine: whoever wants its
// events takes them. The watch has to be made with [Notify]. One goroutine at a
// time may poll; Stop may be called beside it. Updates and All must not be used.
type Poller interface {
	Watcher
	// Poll calls fn for the events that are there, in order, until fn returns
	// false, and reports whether there may be more: then it is to be called again.
	// Where it reports false, the function given to Notify is called once there is
	// something again: an event, or the end of the watch. The entry and its slices
	// are shared with other watchers: they stay valid, and nobody may write to them.
	//
	// The error is nil while the watch goes on. Once it has ended it says why, as
	// Err does, and is ErrWatchStopped after Stop.
	Poll(fn func(Update) bool) (more bool, err error)
	// Pending returns how many initial entries were not delivered yet.
	Pending() uint64
}

// Notify makes a watch for [Poller.Poll]: fn is called once after each Poll that
// reported false, when there is something again, and not before the first Poll.
// It is called from any goroutine, a writer's too, now and then before that Poll
// has returned: it must be quick, and must not call the watcher or the store.
func Notify(fn func()) WatchOption { return func(o *WatchOptions) { o.Notify = fn } }

// PassForgotten lets a watch resume although the end of a key was forgotten, where it
// would fail with ErrCompacted: for a protocol whose clients expect no such error.
func PassForgotten() WatchOption { return func(o *WatchOptions) { o.PassForgotten = true } }

// Records is a [Bucket] that also shows markers, and finds records by revision
// alone. Expired records count as absent.
type Records interface {
	// Last returns the newest record of key, marker or not. ErrKeyNotFound if
	// there is none.
	Last(ctx context.Context, key string) (Entry, error)
	// LastAppended returns the newest record that [MutateAppend] has made of key.
	// ErrKeyNotFound if there is none.
	LastAppended(ctx context.Context, key string) (Entry, error)
	// At returns the record with that revision, whatever its key, marker or not,
	// as long as it is kept. ErrKeyNotFound if there is none.
	At(ctx context.Context, revision Revision) (Entry, error)
	// Next returns the kept record with the lowest revision from from on whose key
	// matches pattern, marker or not. ErrKeyNotFound if there is none.
	Next(ctx context.Context, pattern string, from Revision) (Entry, error)
}

// Eraser is a [Bucket] that can drop records without writing a marker.
type Eraser interface {
	// Erase drops the records whose keys match pattern and whose revisions are
	// below the given one (0: all), but for the keep newest of those that match,
	// and returns how many went. Watchers are not told. It is durable when it
	// returns, in one step or, where it is too large for that, in several.
	Erase(ctx context.Context, pattern string, below Revision, keep uint64) (uint64, error)
}

// Trimmer is a [Bucket] that can drop its oldest records.
type Trimmer interface {
	// Trim drops the oldest records, whatever their keys, until at most records (0: any
	// number) of at most bytes in all (0 or less: any), as in [Status.Bytes], are left;
	// or, for below > 0, all below that revision, whatever the other two say. It returns
	// how many went, those that went before an error included. What is written while it
	// runs may be counted or not. No marker is written, and watchers are not told. It is
	// durable when it returns, in one step or, where many go, in several, the oldest
	// first; it writes nothing where nothing is to go. ErrNotSupported where the bucket is not Silent.
	Trim(ctx context.Context, below Revision, records uint64, bytes int64) (uint64, error)
}

// Watched is a [Bucket] that tells how its watchers do.
type Watched interface {
	// Watchers returns how many watches there are, and how many revisions the one
	// furthest behind has not looked at yet. One that waits for events is not behind.
	Watchers() (count int, lag Revision)
}
