package kv

// Poller is a [Watcher] without a channel and a goroutine: a caller of Poll takes
// its events. [As] finds it. The watch has to be made with [Notify]. One goroutine at a
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

// Watched is a [Bucket] that tells how its watchers do. [As] finds it.
type Watched interface {
	// Watchers returns how many watches there are, and how many revisions the one
	// furthest behind has not looked at yet. One that waits for events is not behind.
	Watchers() (count int, lag Revision)
}
