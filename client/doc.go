// Package client is the Go client of kvd's line protocol. A [Client] is a
// [kv.Store], a [kv.Submitter] and a [kv.Transactor] whose buckets are on a server:
//
//	c, err := client.Dial(ctx, "127.0.0.1:5830", client.Options{})
//	b, err := c.CreateBucket(ctx, kv.Config{Bucket: "my-kv"})
//	revision, err := b.Put(ctx, "key", []byte("value"))
//
// The semantics are those of package kv, and the client passes the same suite of tests.
// The effects of the network are described below.
//
// # Connections
//
// All callers share one connection. A caller appends its command to those of the
// others. Commands that gather while one write is under way are sent with the next
// write, and replies come in order. So a client fills the commit groups of the server
// without explicit batches, and a call makes at most one allocation: the value that a
// Get returns.
//
// Each listing (Keys, History, GetMany, Range, Children, BucketNames, Buckets) has a connection of
// its own, so that it does not delay calls. Two connections of listings are kept for the next ones.
// A listing is read ahead of its consumer, up to [Options.ReadAhead] bytes; if the consumer stops
// early, at most that connection is lost. The server closes a connection that is not read for ten
// seconds: a consumer that may be slower reads a range in pages (Limit or MaxBytes, and After).
//
// Watches share a few connections: two, and one more for each further 1,024 watches. The last
// one is kept for the next watch. A watch that is not of updates only begins on a connection of
// its own, because its initial entries may be many, and moves when it has delivered them.
//
// If nobody receives the events of a watch, they wait in the client, up to 1 MiB of a watch and
// 32 MiB of a connection. Beyond that the watch ends on the shared connection, and delays
// no other. When its consumer has received what waits, the watch goes on with a connection of
// its own, from which no more is read than is received. The rest stays in the store of the
// server. It moves again once its consumer has received most of what came.
//
// # When a connection breaks
//
// The client makes another connection after a random part of [Options.BackoffMin]. The
// pauses before further attempts double up to [Options.BackoffMax], less a random part
// of up to half. Calls under way are handled like this:
//
//	the command had not been handed to the socket     sent on the next connection
//	the server said that it is shutting down          sent on the next connection
//	a read                                            sent on the next connection
//	a write that may have reached the server          kv.ErrOutcomeUnknown
//
// A call waits up to [Options.MaxWait] for the next connection, and is sent three times
// at most. Then it returns a [*ConnError]; it does so at once if the server refuses the
// client because of a wrong password, another version of the protocol, or another store
// than before. A write whose error matches kv.ErrOutcomeUnknown may have been executed,
// or may still be: its command may wait in the buffers of the server. After any other
// error it was not executed. Creating, editing and deleting a bucket, purging its deletes
// and accepting its loss are writes.
//
// A broken listing starts again if it has yielded nothing. Otherwise it ends with a
// *ConnError, because the rest would belong to another revision.
//
// # Contexts
//
// A call whose context ends returns at once. If its command was not written yet, it is
// withdrawn, and is not executed. Otherwise the reply is skipped when it comes, the
// connection stays usable, and a write returns an error that matches
// kv.ErrOutcomeUnknown and the error of the context.
//
// # Watches
//
// A watch that moves between connections runs on both until the new one has everything that
// is written from then on. What comes on both is delivered once. So a watch that keeps up
// receives every record, also those that are superseded at once.
//
// A watch names the id of its bucket, so it never continues in another bucket of the
// same name. On a new connection it asks for the entries after the newest one that it
// delivered; once the initial entries were complete, it asks for those after the
// revision of the bucket at the begin of the watch on the previous connection, if that
// is higher. It skips entries that it has delivered already. So no entry is lost and
// none comes twice, and the end of the initial entries comes once. After a resumption
// within the initial entries Delta counts again from the new number, and these entries
// may include older revisions of a key than its newest.
//
// A watch waits for a lost server without a limit. It ends with its context, by Stop
// (Err is nil then), by Close, when the server refuses the client, and with an error of
// the server: kv.ErrCompacted if the next entries were removed, kv.ErrBucketNotFound if
// the bucket was deleted, kv.ErrFutureRevision if it has issued fewer revisions than the
// watch has seen, because an older copy of the store was put in its place.
//
// # Imports
//
// An import has a connection of its own, which ends with Commit or Discard. If it breaks, the
// server discards the import, and its methods return errors that match kv.ErrReadOnly. Only a
// Commit that was not answered may have been carried out: its error matches
// kv.ErrOutcomeUnknown.
//
// # Handles
//
// A [Bucket] sends the id of its bucket with every command. After the bucket was
// deleted, commands of the handle return kv.ErrBucketNotFound, even if a new bucket has
// the name. The mutations of a Submit contain names only, and reach the bucket that has
// the name.
//
// # Doubt
//
// A read whose context is of [kv.WithStale] accepts stale answers of the server. So does a
// watch, also on later connections. Handles implement [kv.Doubtful].
//
// # Limits
//
// A value has at most 64 MiB. Patterns that do not fit in a line of the protocol are
// matched by the client, and the server sends every key. Delta of such a watch counts
// every key too, and Count refuses such patterns.
//
// # Why
//
// One shared connection instead of a pool keeps the order of the commands of one
// goroutine, and groups the commands of many without tuning. A large value delays the
// small ones behind it while it is sent; if that hurts, dial twice.
//
// One goroutine writes all commands. First it lets the callers that were just answered
// add theirs: 16 reading callers get 1.4 times as much done, 256 get 1.6 times. An
// alternative was tried, in which a caller writes its own command if no write is under
// way: a lone caller took 11.9 to 15.4 µs for a Get on loopback, and 11.7 to 13.0 µs
// with the handoff; and a caller in a write cannot return when its context ends.
//
// If a write fails, all its commands count as sent, even those beyond the bytes that
// the system reports as written: a wrong answer would be worse than an unknown outcome.
//
// CreateBucket is not repeated after a lost answer, although a repetition is mostly
// harmless: another client may have deleted the bucket between the two attempts.
//
// After an unknown outcome in a Submit the later mutations are not sent on the next
// connection: the server could execute them before earlier ones in its buffers.
//
// Watches share connections because each connection costs a write, a read and the waking of two
// goroutines for every event. With 100 watches of a bucket and one writer on two cores, 3.7
// times as many events were delivered as with a connection for each watch, and 7.7 times as
// many with 1,000 watches.
//
// A connection's reader hands an event straight to the channel of its watch. Events that wait
// are handed on by a goroutine of the watch. That goroutine handing on every event would
// double the switches.
//
// Calls have no time limit but that of their contexts. If a server vanishes while a
// call waits for it, the system detects that.
package client
