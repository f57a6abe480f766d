// Package nats serves the buckets of a store to the clients of NATS: the nats CLI,
// jetstream.KeyValue of nats.go and its predecessor, @nats-io/kv, and every other
// client that has key/value buckets. It speaks NATS' client protocol and the part of
// JetStream's API that those clients use; what they get is the store's durability.
//
//	front, err := nats.New(store, nats.Options{})
//	srv, err := server.New(front, server.Options{Addr: "127.0.0.1:4222"})
//
// A program that embeds a store needs no socket: [Front.InProcessConn] is what
// nats.InProcessServer asks for.
//
// # What is what
//
// To NATS a bucket is a stream and a record is a message:
//
//	bucket b                    stream KV_b with the subjects $KV.b.>
//	key k                       subject $KV.b.k
//	revision                    sequence
//	Put                         a message without KV-Operation
//	Delete                      KV-Operation: DEL
//	Purge                       KV-Operation: PURGE with Nats-Rollup: sub
//	Update, Create of a client  Nats-Expected-Last-Subject-Sequence
//	nothing else written        Nats-Expected-Last-Sequence, -Msg-Id, those of another subject
//	headers                     stored with the record and returned, byte for byte
//	expiry marker               Nats-Marker-Reason: MaxAge and KV-Operation: PURGE
//	watch                       push consumer
//
// Of a stream's configuration, what a bucket has no place for (a placement, whether
// direct gets are allowed, …) is kept in the bucket's metadata under "_kvd.nats", which
// NATS' clients do not see, and comes back as it was sent. A bucket that kvd's own
// tools made shows the configuration that says the same: limits, discard new, direct
// gets, rollups and TTLs of messages allowed; a create that leaves sizes and markers to
// the server finds it. kvd's tools do not show what is kept so, and leave it as it is.
//
// # Streams that are no buckets
//
// A stream of any other name is a log of messages: it captures the subjects that it
// says, and none that another stream has. It lies in a bucket of its own whose name
// begins with "_kvd_stream_" (file layout.go), which the listings of buckets leave out
// and which nothing but the front end writes to; permissions name it so. With a
// max_msgs_per_subject of 1 to 64 a subject is a key and keeps so many; with no such
// limit every message has a key of its own. Of the other limits max_age lets messages
// go without a marker; max_msgs and max_bytes drop the oldest before the
// acknowledgement of what was too many (discard old), or refuse the newest (discard
// new). KV-Operation means nothing there. What is expected of a sequence is looked up where
// every message has a key of its own, while nobody else stores to that subject (file
// gate.go); the number of subjects is counted by listing the keys, once after each change.
//
// # The surface
//
//	INFO CONNECT PING PONG SUB UNSUB PUB HPUB MSG HMSG +OK -ERR
//	wildcards, queue groups, echo, no responders, plain publish and subscribe
//	$KV.<bucket>.<key>             publish, with expected sequence, rollup, TTL, message id
//	$JS.API.INFO, $SYS.REQ.USER.INFO
//	$JS.API.STREAM.{CREATE,UPDATE,INFO,DELETE,PURGE}.<stream>
//	$JS.API.STREAM.{NAMES,LIST}
//	$JS.API.STREAM.MSG.{GET,DELETE}.<stream>
//	$JS.API.DIRECT.GET.<stream>[.<subject>]
//	$JS.API.CONSUMER.{CREATE,INFO,DELETE}.<stream>.<consumer>, push, ack policy none
//	$JS.API.CONSUMER.{NAMES,LIST}.<stream>
//	$JS.ACK.>, $JS.FC.>            taken
//	Nats-Required-Api-Level        of every request of the API: there is level 1
//
// Everything else under $JS and $SYS has no responder, and clients say so. What a
// request asks for beyond this is refused, never dropped: replicas (10074), mirrors,
// sources, republish, limits of consumers, interest and work queues (10052); of plain
// streams TTLs of messages, and a max_msgs_per_subject above 64 (10052); pull and durable
// consumers, and last_per_subject where a stream has no limit of each subject (10012);
// deletion of a message that is not its subject's oldest (10057); backups of streams (a
// backup is a copy of the data directory, made while kvd is stopped).
//
// # Where it differs from nats-server
//
//   - An acknowledgement means that the record is on the disk.
//   - When a key's newest record expires the key is gone, and no older value comes
//     back; a marker is written whether or not the stream has a marker TTL. A TTL
//     shorter than the marker's holds as it is. An expected sequence of 0 also
//     succeeds over the marker of an expiry that such a stream would not show.
//   - Sizes (state.bytes, max_bytes) are those of kvd's records. max_bytes reserves
//     nothing, so none is too large, and deletes and purges are admitted past it.
//   - A subject that is no key by kv.CheckKey is refused (10003): NATS' key/value clients
//     allow the same characters, so none meets this but with a key beyond 1,024 bytes. So
//     are a marker with a payload, the TTL of a delete marker where a history is kept
//     (elsewhere kvd's own clients see a purge), and a message that never expires where
//     the bucket ends all.
//   - A rollup of all subjects needs admin. It is two steps: after a crash in between the
//     message is there, which was not acknowledged, and so is what it was to replace.
//   - The id of the last message is not known once that was erased or has expired. Where
//     others write to a bucket without a pause, a message that expects a sequence of another
//     subject may be refused (10071) though it holds.
//   - A purge up to a sequence that is still to come leaves the next one as it is. A
//     consumer that is behind may get what was purged or has expired meanwhile.
//   - Fields of a request that are not known are passed over. Sequences that are gone are
//     listed up to 1,048,576 (deleted_details). Of a stream that was emptied before the
//     process began last_ts is the time of its creation.
//   - Of what was published before the process began, the ids are known of those messages
//     of the duplicate window, and of the stream's newest 65,536, that are still kept.
//   - Plain subscribers of $KV.b.k hear what NATS' clients publish, not what other front
//     ends write: a watch does.
//   - A client that reads slowly is not cut off for its watches: they wait. Of plain
//     messages 8 MiB wait for it.
//
// # Users
//
// CONNECT with user and password logs in as with any front end. A token is
// name:password, or the password of the user called "token". Before that everything
// but CONNECT ends the connection. Publishing needs put, or del for markers; direct
// gets need get; a consumer needs get for what is there when it is made and watch for
// what follows; streams need admin. Users do not hear each other's messages, inboxes
// included: each is what NATS calls an account.
//
// With TLS the server sends INFO in the clear and the client begins the handshake on
// the same connection.
//
// # Limits
//
//	control line            4,096 bytes
//	message                 Options.MaxPayload, 1 MiB; headers 65,535 bytes
//	operation               10 s from its first byte, and a second for each 128 KiB
//	subscriptions           8,192 of a connection
//	consumers               4,096 made by a connection
//	write                   10 s for 256 KiB
//	ping                    every 2 minutes; the third without an answer ends it
//
// # How it works
//
// A connection's goroutine parses what has arrived, carries it out in order and writes
// the answers with one write. Publishes to keys that stand next to each other go to
// the store in one Submit, so that a client with many callers fills a commit group.
//
// A consumer is a [kv.Poller] without a goroutine. When it has something, the pump of
// the connection that is subscribed to its deliver subject gives it a turn; a pump's
// goroutine lives while consumers wait. So nothing is buffered for a client beyond
// what is being written to it, and a slow one holds up nobody.
//
// Locks, in this order: consumers.mu, consumer.feed, consumer.mu, subjectTree.mu, conn.subsMu,
// pump.mu, output.mu; consumer.feed is not taken under consumers.mu. Apart from these:
// plains.making or the gates of a run, by bucket and part, then plains.mu, then
// subjectTree.mu; the store is called under the first two, never under plains.mu.
package nats
