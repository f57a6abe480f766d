// Package client is the Go client of kvd's line protocol. A [Client] is a
// [kv.Store] and a [kv.Submitter] whose buckets are on a server:
//
//	c, err := client.Dial(ctx, "127.0.0.1:5830", client.Options{})
//	b, err := c.CreateBucket(ctx, kv.Config{Bucket: "my-kv"})
//	revision, err := b.Put(ctx, "key", []byte("value"))
//
// The semantics are those of package kv, and the same suite of tests says so. What
// a network adds is below.
//
// # Connections
//
// All callers share one connection. A caller encodes its command behind those of
// the others; what has gathered while one write was under way leaves with the
// next; replies come in order. So a client fills a server's commit groups without
// a batch in sight, and a call costs no more than one allocation: the value that
// a Get returns.
//
// What lasts has a connection of its own: each listing (Keys, History,
// BucketNames, Buckets; two connections are kept for the next ones) and each watch. A
// listing is read ahead of its consumer, up to [Options.ReadAhead] bytes; a consumer
// that leaves early costs at most that connection. A watch that nobody drains stops
// being read, for as long as that takes, and goes on when its consumer is back: what
// it has not got is in the server's store. Neither holds up a call.
//
// # When a connection breaks
//
// The client makes another after a random part of [Options.BackoffMin], and then after
// pauses that double from there to [Options.BackoffMax], less up to half of each at
// random. What happens to calls meanwhile depends on what is known:
//
//	the command had not been handed to the socket     sent on the next connection
//	the server said that it is shutting down          sent on the next connection
//	a read                                            sent on the next connection
//	a write that may have reached the server          kv.ErrOutcomeUnknown
//
// A call waits up to [Options.MaxWait] for the next connection and is sent three
// times at most; then, or at once if the server refuses the client (a wrong
// password, another version of the protocol, another store than before), it
// returns a [*ConnError]. A write whose error matches kv.ErrOutcomeUnknown may have
// been carried out, or may be yet: the server may still find it in what it has
// received. Any other error says that it was not. Making, editing and deleting a
// bucket and purging its deletes are writes.
//
// A listing that broke is begun anew if nothing of it was yielded, and ends with a
// *ConnError otherwise: what is left of it would be the state of another revision.
//
// # Contexts
//
// A call whose context ends returns at once. If its command is still waiting to
// be written, it is withdrawn and was not carried out. If not, the reply is
// skipped when it comes, the connection stays good for everyone else, and a write
// returns an error that matches kv.ErrOutcomeUnknown and the context's.
//
// # Watches
//
// A watch names the bucket's id, so it never slides over to another bucket of the
// same name, and counts what it delivered. On a new connection it asks for what
// comes after: after the newest entry delivered, or, once the initial entries were
// complete, after the revision that the bucket had when the watch began on the
// connection before, whichever is higher. An entry that was delivered already is
// dropped. So nothing is lost and nothing comes twice; the end of the initial
// entries too comes once. Delta counts anew after a resumption within the initial
// entries, which then may include older revisions of a key than its newest.
//
// A watch waits for a lost server as long as it takes. It ends when its context
// does, by Stop (Err is nil then), by Close, when the server refuses the client, and
// with the server's word: kv.ErrCompacted if what comes next is gone,
// kv.ErrBucketNotFound if the bucket is.
//
// # Handles
//
// A [Bucket] holds the bucket's id and sends it with every command: a bucket that
// was deleted is not found through its handle, whatever has its name now. The
// mutations of a Submit name buckets only, and reach what has the name.
//
// # Limits
//
// A value has at most 64 MiB. Patterns that are longer together than fits in a
// line of the protocol are matched here instead of on the server, for which it
// then sends every key; Delta of such a watch counts those too, and Count
// refuses them.
//
// # Why
//
// One shared connection instead of a pool: it keeps the order of what one
// goroutine does and groups the commands of many without any tuning. A large value
// delays the small ones behind it for as long as it takes on the wire; who cannot
// have that dials twice.
//
// All commands are written by one goroutine, which first lets the callers just
// answered add theirs: 16 callers that read get 1.4 times as much done, 256 get 1.6
// times. That a caller writes its own command where nothing is under way was tried:
// one lone caller took 11.9 to 15.4 µs for a Get on loopback, 11.7 to 13.0 µs with
// the handoff, and a caller in a write cannot honour its context.
//
// A command handed to a write that failed counts as sent, even past the bytes
// that the system says it took: a definite answer is not worth a wrong one.
//
// CreateBucket is not repeated after a lost answer, though it would mostly do no
// harm: between the two attempts somebody may have deleted the bucket, and a client
// must not undo that unasked.
//
// After an unknown outcome in a Submit the mutations behind it are not sent on the
// next connection: the server may find the first ones in its buffer after it has
// carried out the later ones.
//
// No call has a time limit of its own: contexts have. A server that vanishes while
// a call waits for it is noticed by the system in its own time.
package client
