// Package nats serves the buckets of a store to NATS' clients: the nats CLI,
// jetstream.KeyValue of nats.go and its predecessor, @nats-io/kv, and other clients whose
// key/value buckets use push or ordered consumers. It speaks NATS' client protocol and the part of
// JetStream's API that those clients use. Messages are as durable as the store's records.
//
//	front, err := nats.New(store, nats.Options{})
//	srv, err := server.New(front, server.Options{Addr: "127.0.0.1:4222"})
//
// A program that embeds a store needs no socket: a [Front] is what nats.InProcessServer
// expects.
//
// # Buckets are streams
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
//	other expectations          Nats-Expected-Last-Sequence, -Msg-Id, or the sequence of another subject
//	headers                     stored with the record and returned, byte for byte; the
//	                            two fields of a purge always in the order above
//	expiry marker               Nats-Marker-Reason: MaxAge and KV-Operation: PURGE
//	watch                       push consumer, or ordered pull consumer
//
// Package streamconfig says how configurations and names are translated, and where the
// fields are kept that a bucket does not have. kvd's own tools keep them and do not show
// them. A bucket that kvd's tools made can be created again through NATS, if the client
// leaves sizes and markers to the server.
//
// # Message streams
//
// Any other stream is a message stream: a log of the messages to the subjects that it
// captures. So is a stream KV_b with subjects or limits that no bucket has. A message
// stream's bucket has a reserved name, which listings of buckets leave out and to which only
// the front end writes. Neither kind can be changed into the other.
//
// The subjects $KV.b.> are those of bucket b: a stream may capture them while there is no such
// bucket. Two streams of a user cannot capture the same subject.
//
//	max_msgs_per_subject 1 to 64   a subject is a key with that history
//	no max_msgs_per_subject        every message has a key of its own
//	sealed                         by an update: no message is stored or removed any more
//	max_age                        messages expire without a marker
//	max_msgs, max_bytes            discard old: the oldest messages are removed before the newest are acknowledged
//	                               discard new: the newest message is refused
//	KV-Operation                   has no meaning
//
// # What is supported
//
//	INFO CONNECT PING PONG SUB UNSUB PUB HPUB MSG HMSG +OK -ERR
//	wildcards, queue groups, echo, no responders, publish and subscribe without a stream
//	$KV.<bucket>.<key>             publish, with expected sequences, rollup, TTL, message id
//	$JS.API.INFO, $SYS.REQ.USER.INFO
//	$JS.API.STREAM.{CREATE,UPDATE,INFO,DELETE,PURGE}.<stream>
//	$JS.API.STREAM.{NAMES,LIST}
//	$JS.API.STREAM.MSG.{GET,DELETE}.<stream>
//	$JS.API.STREAM.{SNAPSHOT,RESTORE}.<stream>
//	$JS.SNAPSHOT.>                 the chunks of a restore, and acknowledgements of those of a backup
//	$JS.API.DIRECT.GET.<stream>[.<subject>]   of one message and of many, see below
//	$JS.API.CONSUMER.{CREATE,INFO,DELETE}.<stream>.<consumer>
//	$JS.API.CONSUMER.DURABLE.CREATE.<stream>.<consumer>
//	$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>
//	$JS.API.CONSUMER.{NAMES,LIST}.<stream>
//	$JS.ACK.<stream>.<consumer>.>  acknowledgements of pull consumers
//	$JS.FC.>                       accepted
//	Nats-Required-Api-Level        in requests of the API: 0 and 1; up to 3 for SNAPSHOT
//
// # Pull consumers
//
// A consumer without a deliver subject delivers to the reply subjects of requests for its
// messages. It is in memory. It is removed after its inactive_threshold without a request
// and without a message that waits for its acknowledgement. Its ack policy is none, all or
// explicit.
//
//	batch, expires, no_wait, max_bytes, idle_heartbeat   of a request, as nats-server has them
//	max_waiting, max_batch, max_expires, max_bytes       limits of the consumer's requests
//	ack_wait, backoff, max_deliver, max_ack_pending      of its messages
//	+ACK -NAK +WPI +TERM +NXT                            acknowledgements, a delay of -NAK too
//
// A consumer that exists can be made again with other limits, filters, headers_only, deliver
// subject, description and metadata; its deliveries go on where they are.
//
// Requests are served in turns, message by message. One whose client does not read as fast
// as it asks is passed over: it delays no other, and at most 64 KiB and a message wait for
// it. One whose client has gone is removed without taking a message.
//
// # Direct gets of many messages
//
//	batch       messages from seq or start_time on, of the subjects of next_by_subj; max_bytes
//	multi_last  the last message of each subject, up to up_to_seq or up_to_time; seq, batch, max_bytes
//
// The answers and the statuses behind them (204 EOB, 404, 408, 413) are those of nats-server.
// All messages of a request are of one moment, or of the sequence that it names. A request is a
// cursor: its messages are read as the client takes them. So a client that does not read
// costs 25 KiB, and the connection's requests that wait meanwhile cost their size. If a message
// of multi_last was superseded, and compaction removed it before the client could take it, the
// request ends with 404.
//
// The last messages of a message stream without max_msgs_per_subject are searched in the keys
// that a wildcard can match; a subject is looked up.
//
// # Backups of streams
//
// Package archive has the format, which is that of nats-server 2.15. STREAM.SNAPSHOT selects the
// messages of one moment; each chunk is made when the client has acknowledged enough of those
// before. So a backup costs two chunks and what S2 compresses together. If a message that was
// selected has been superseded and removed before it is read, the backup ends with the status 500.
// One ends with 408 if nobody subscribes to its subject for 4 s, or acknowledges a chunk for 5 s.
//
// STREAM.RESTORE makes a hidden bucket by [kv.Importer], with the sequences and times of the
// backup, and shows it when the last chunk was taken and all of it is sound. An error discards it
// (10062), and so does the end of the connection, or 10 s without a chunk. The stream must not
// exist (10130). A connection has 4 backups and restores at a time, which it alone serves.
//
// # Republished messages
//
// A stream with the configuration republish publishes each stored message to a second subject.
// The message may come from a NATS client, from another front end, or from the program that
// embeds the store. It keeps its headers, and gets Nats-Stream, Nats-Subject, Nats-Sequence,
// Nats-Time-Stamp and Nats-Last-Sequence. The last is the sequence of the previous message on
// the same subject. With headers_only the payload is replaced by the header Nats-Msg-Size. No
// writer waits for a subscriber. Messages that are written while the front end is closed are
// not published.
//
// # Durable consumers
//
// A push consumer with ack policy none may be durable: it waits for its subscription, also
// after a restart, and goes on where it was. Its position is stored once in a second while it
// delivers, and when the front end is closed. After a crash the messages since then come again.
//
// A pull consumer may have a durable name if it has an inactive_threshold, as that of nats stream
// view. It is in memory like any other pull consumer: a restart ends it, as its threshold may.
//
// # What is refused
//
// What kvd does not do is refused, with a code of nats-server and a text of kvd's own: docs/nats.md
// has a table of all refusals, with the reasons. Requests to other subjects under $JS and $SYS have
// no responder, and clients say so. A field that nats-server does not know is refused in every
// request (10025), as nats-server does by default. The field pedantic has no effect.
//
// # Where it differs from nats-server
//
//   - An acknowledgement means that the record is on the disk.
//   - When a key's newest record expires, the key is gone and no older value comes back. A
//     marker is written whether or not the stream has a marker TTL. A TTL shorter than the
//     marker's is used as it is. In a stream without marker TTL, a message that expects
//     sequence 0 is also stored over an expiry marker.
//   - Sizes (state.bytes, max_bytes) are those of kvd's records. max_bytes reserves no
//     space, so no value is too large. Deletes and purges are stored in a full bucket, and
//     their headers do not count against max_msg_size.
//   - A subject is refused (10003) if its key is not valid by kv.CheckKey: it has more than
//     1,024 bytes, is not UTF-8, or has a control character.
//   - A rollup of all subjects needs the permission admin. It takes two writes. After a
//     crash between them the message is stored without an acknowledgement, and the older
//     messages are still there.
//   - The id of the stream's last message is not known after that message was erased or has
//     expired. A message that expects the sequence of another subject may be refused (10071)
//     although it matches, if other clients write to the bucket without a pause.
//   - A purge up to a sequence that does not exist yet does not change the next sequence. A
//     consumer that lags may deliver messages that were purged or have expired meanwhile.
//   - Deleted sequences are listed if they are 1,048,576 or fewer (deleted_details). last_ts
//     of a stream that was emptied before the process began is the time of its creation.
//   - Message ids from before the process began are found for messages that are still
//     stored, in the duplicate window, and among the stream's newest 65,536.
//   - The pending messages of a pull consumer are counted when it has delivered those that it
//     counted before, and for CONSUMER.INFO. So a message may say that fewer are pending.
//   - A message that was delivered max_deliver times counts as acknowledged: num_redelivered
//     leaves it out. No advisories are published.
//   - A direct get of a batch with no_hdr counts the messages that follow (Nats-Num-Pending)
//     as it does with headers. One of multi_last has at most 1,024 filters with wildcards.
//     A request that waits behind others may be refused for want of memory (429).
//   - Messages are republished after their acknowledgement. A user receives those whose keys
//     the user is permitted to watch. No stream stores them. A destination that a stream
//     captures is refused (10052). Of the functions of transforms, {{wildcard(n)}} alone is
//     supported.
//   - Nats-Last-Sequence of a republished message is 0 if kvd cannot tell the previous message
//     any more. That happens if more messages wait to be republished than are in memory, or if
//     the previous message was removed in the meantime. If the message itself caused the
//     removal, by max_msgs or as a rollup, the previous message is found among the last 1,024.
//   - A plain subscription to $KV.b.k gets what NATS' clients publish. Writes through other
//     front ends are delivered to watches, and republished.
//   - A client that reads its watches slowly is not disconnected: the watches wait. Of other
//     messages at most 8 MiB wait for it.
//
// # Damage
//
// Damage may have taken messages of which nobody knows the subjects. A request that depends
// on them is refused (503, 10077): the description names the file and the ways out, of which
// kvd serve --serve-stale is the one for NATS' clients. A direct get answers status 500 with
// the same text, because clients take a 503 for a server that is not there. Refused are gets
// of a subject, of many messages, of a missing sequence and of the next message, consumers that begin with such
// messages, subjects_filter and deleted_details of STREAM.INFO, STREAM.PURGE, and messages
// that expect the sequence of such a subject or have an id whose duplicate may be missing.
// Newer messages are served, and messages without an expectation are stored. STREAM.INFO
// without a filter counts the messages that are known, and has no sign of doubt: clients ask
// for it before they use a stream.
//
// A consumer ends before a message whose value is damaged, since a gap means to a client
// that the message was deleted. The client gets no message, as for a deleted stream: it
// notices the missing heartbeats, or asks for CONSUMER.INFO. The requests that wait at a pull
// consumer end with the status 409 Consumer Deleted. A durable consumer that damage concerns
// when the front end is made is left out, with a warning.
//
// # Users
//
// CONNECT with user and password logs in as with any front end. A token is name:password,
// or the password of the user called "token". A user with a public key signs the nonce of
// INFO, which is good for one CONNECT (nkey and sig; JWTs are not supported). Any other operation before the login ends
// the connection. A message needs the permission put, a marker del, and a get of a message
// get, each on its key. A get of many messages needs get on every key that it can find. A consumer needs get for the messages that are there when it is made,
// and watch for later ones, on every key that its filters can match. A list of subjects needs
// get on its filter. Requests about streams need admin.
//
// Grants on the stream KV_b are those on bucket b. Grants on another stream are on its reserved
// name, and those on its keys are on its subjects, with escapes as in package streamconfig. A
// stream that captures subjects of a bucket needs admin in that bucket.
//
// Each user is what NATS calls an account. Messages, inboxes included, are delivered to the
// same user only, and each user has names of consumers of its own. A user sees the streams in
// which there is any grant. Streams of users who do not see each other's can capture the same
// subjects: a message is stored in the stream that its user sees, and of several in the one
// that was created first, among those to which the user may write. No answer depends on whether
// a bucket or stream exists in which the user has no grant.
//
// With TLS the server sends INFO without encryption, and the client begins the handshake
// on the same connection.
//
// # Limits
//
//	control line            4,096 bytes
//	message                 Options.MaxPayload, 1 MiB; headers 65,535 bytes
//	operation               10 s from its first byte, and a second for each 128 KiB
//	subscriptions           8,192 of a connection
//	consumers               65,536 of a user, and 4,096 durable ones
//	memory                  Options.ConnMemory, 64 MiB, for the subscriptions and consumers of a connection
//	write                   10 s for 256 KiB
//	ping                    every 2 minutes; the third without an answer ends the connection
//
// # How it works
//
// The goroutine of a connection parses the input that has arrived, carries out the
// operations in order, and writes all answers with one write. Consecutive publishes go to
// the store in one Submit, so that a client with many callers fills a commit group.
//
// A consumer is a [kv.Poller] without a goroutine. When it has something, the pump of the
// connection that subscribes to its deliver subject polls it; a pump has a goroutine while
// consumers wait. So the only messages in memory are those that are being written, and a
// slow client delays no other.
//
// A pull consumer is polled by the goroutine of the connection that asks. If it has something
// later, a goroutine polls it that ends when there is nothing more to deliver. It appends to
// the outputs that have room, and never waits for a client: the output that gets room again
// has it started. A message that no request can have, as it exceeds their max_bytes, is held
// for the next one.
//
// The store does not know subjects where every message has a key of its own. A consumer of the
// last message of each subject selects these there when it is made, from the sorted keys. The
// sequences of the selection are memory of the connection.
//
// Reading order:
//
//	wire, jsapi, streamconfig         packages: protocol, API, configurations and names
//	front.go, conn.go, connect.go     the front end; a connection's loop; INFO and CONNECT
//	capture.go                        the stream of a message, by its subject and user
//	publish.go, batch.go              a publish: checked, stored and acknowledged
//	expectation.go, gate.go           what a message expects of its stream
//	messageids.go, storedids.go       duplicates
//	route.go, subscribe.go            publish and subscribe; subjects.go finds the subscriptions
//	messagestreams.go                 the subjects that message streams capture
//	republish.go                      messages of streams that are published again
//	stream.go                         reads: the records of a stream
//	getrequest.go, get.go             direct gets; of many messages: batchget.go, getsource.go, getqueue.go
//	storedmessage.go                  messages through the API
//	archive                           package: the format of backups
//	transfers.go, snapshot.go         backups of a connection; one that is sent
//	restore.go, restorerecord.go      one that is received; the records of its messages
//	api.go, streams.go, account.go    requests about streams; subjectcounts.go, trim.go
//	consumerapi.go, consumerconfig.go requests about consumers; consumerupdate.go
//	consumers.go, consumer.go         deliveries; pump.go, flow.go, lastmessages.go
//	durables.go                       the records of durable consumers
//	pullrequest.go, waiting.go        requests for messages: read and admitted; those that wait
//	pull.go                           deliveries to requests
//	ack.go, acks.go                   acknowledgements; the messages that wait for them
//
// Locks are taken in this order: durable.saving, consumer.polling, consumers.mu, consumer.mu,
// subjectTree.mu, conn.subsMu, pump.mu, and the mutex of wire.Output. Separate from these:
// messageStreams.changing or the gates of a batch (by bucket and part), then
// messageStreams.mu, then subjectTree.mu. republisher.polling is taken before
// subjectTree.mu, and before republishers.mu, which is taken under changing. The store is
// called under changing, the gates, polling and republishers.mu, never under
// messageStreams.mu.
package nats
