// Package line serves kvd's line protocol: text lines over TCP, easy to type and
// quick to parse, with values of any bytes. [New] makes it of any kv.Store; package
// server listens. This comment is the protocol's specification, version 1.
//
// # A transcript
//
// C: is what the client sends and S: what the server answers, a line each; every
// line ends in CRLF. A test replays this against a new store.
//
//	C: HELLO
//	S: +HELLO 1 server=kvd store=0102030405060708090a0b0c0d0e0f10 sync=always auth=no
//	C: ADD my-kv history=5
//	S: +OK
//	C: PUT my-kv Key1 6
//	C: Value1
//	S: +OK 1
//	C: GET my-kv Key1
//	S: +ENTRY Key1 1 PUT 2026-11-22T18:00:00.123456789Z 6
//	S: Value1
//	C: CREATE my-kv Key1 1
//	C: x
//	S: -ERR KEY_EXISTS actual=1 : Key1 is at revision 1
//	C: UPDATE my-kv Key1 1 6
//	C: Value2
//	S: +OK 2
//	C: UPDATE my-kv Key1 1 6
//	C: Value3
//	S: -ERR REVISION_MISMATCH actual=2 expected=1 : Key1 is at revision 2, expected 1
//	C: GET my-kv Key1 rev=1
//	S: +ENTRY Key1 1 PUT 2026-11-22T18:00:00.123456789Z 6
//	S: Value1
//	C: TOUCH my-kv Key1
//	S: +OK 3
//	C: DEL my-kv Key1 rev=2
//	S: -ERR REVISION_MISMATCH actual=3 expected=2 : Key1 is at revision 3, expected 2
//	C: DEL my-kv Key1
//	S: +OK 4
//	C: GET my-kv Key1
//	S: -ERR KEY_NOT_FOUND : Key1
//	C: HISTORY my-kv Key1
//	S: +ENTRY Key1 1 PUT 2026-11-22T18:00:00.123456789Z delta=3 6
//	S: Value1
//	S: +ENTRY Key1 2 PUT 2026-11-22T18:00:00.123456789Z delta=2 6
//	S: Value2
//	S: +ENTRY Key1 3 PUT 2026-11-22T18:00:00.123456789Z delta=1 6
//	S: Value2
//	S: +ENTRY Key1 4 DEL 2026-11-22T18:00:00.123456789Z 0
//	S:
//	S: +END 4
//	C: PUT my-kv a.b 0
//	C:
//	S: +OK 5
//	C: PUT my-kv b.c.d 2
//	C: {}
//	S: +OK 6
//	C: KEYS my-kv a.*,b.>
//	S: +KEY a.b
//	S: +KEY b.c.d
//	S: +END 2
//	C: COUNT my-kv >
//	S: +OK 2
//	C: PURGE my-kv a.b
//	S: +OK 7
//	C: PURGEDELETES my-kv older=0s
//	S: +OK
//	C: RECLAIM my-kv
//	S: +RECLAIMED 536 536 0
//	S: +END 1
//	C: COUNT my-kv a.>
//	S: +OK 0
//	C: PUT my-kv a,b 1
//	C: x
//	S: -ERR INVALID_KEY name=a,b at=1 reason="',' is not allowed" : invalid key "a,b": ',' is not allowed at byte 1
//	C: PUT _kvd_x k 1
//	C: x
//	S: -ERR INVALID_BUCKET_NAME name=_kvd_x at=-1 reason="names that begin with \"_kvd_\" are kept for streams of NATS' clients" : invalid bucket name "_kvd_x": names that begin with "_kvd_" are kept for streams of NATS' clients
//	C: GET other k
//	S: -ERR BUCKET_NOT_FOUND : "other"
//	C: ADD labels description="two words" 28
//	C: {"metadata":{"owner":"me"}}
//	S: -ERR SYNTAX : CRLF is missing after a payload of 28 bytes
//
// The last length was wrong, so the server closed the connection. On the next one:
//
//	C: ADD labels description="two words" 27
//	C: {"metadata":{"owner":"me"}}
//	S: +OK
//	C: EDIT labels history=3
//	S: +OK
//	C: INFO labels
//	S: +INFO labels id=2 created=2026-11-22T18:00:00.123456789Z keys=0 values=0 bytes=0 disk=0 revision=0 history=3 ttl=0s marker-ttl=15m0s max-value-size=1048576 max-bytes=-1 storage=file compression=no sync=always description="two words" 27
//	S: {"metadata":{"owner":"me"}}
//	C: BUCKETS
//	S: +BUCKET labels
//	S: +BUCKET my-kv
//	S: +END 2
//	C: RM labels id=7
//	S: -ERR BUCKET_NOT_FOUND : "labels" with id 7; the one of that name has id 2
//	C: RM labels id=2
//	S: +OK
//	C: WATCH 7 my-kv > mode=history
//	S: +OK
//	S: EVENT 7 b.c.d 6 PUT 2026-11-22T18:00:00.123456789Z 0 2
//	S: {}
//	S: SYNCED 7
//	C: PUT my-kv b.c.d 2
//	C: []
//	S: +OK 8
//	S: EVENT 7 b.c.d 8 PUT 2026-11-22T18:00:00.123456789Z 0 2
//	S: []
//	C: UNWATCH 7
//	S: +OK
//	C: PING
//	S: +OK
//	C: QUIT
//	S: +OK
//
// # Lines
//
// A line has at most 4,096 bytes with its CRLF, and none below 0x20 nor 0x7F. One
// blank stands between two words and none elsewhere. Verbs are upper case.
//
//	command   = verb *( " " argument ) *( " " option ) [ " " length ] CRLF [ payload CRLF ]
//	reply     = word *( " " argument ) *( " " option ) [ " " length ] CRLF [ payload CRLF ]
//	option    = name "=" ( word / string )        name: lower-case letters and "-"
//	string    = a JSON string: wherever a value is empty, has a blank or begins with a quote
//	length    = 1 to 8 plain digits: bytes of the payload
//	number    = plain digits up to 2^64-1: no sign, no leading zero; so are lengths
//	duration  = as in 90s, 1h30m, 250ms
//	time      = RFC 3339 in UTC with up to nine digits of fraction
//	patterns  = pattern *( "," pattern )          ">" alone: every key
//
// Arguments are positional and fixed for each verb; options come in any order, each
// at most once. A payload has any bytes and exactly the length given.
//
// # Commands
//
//	HELLO                                        +HELLO
//	AUTH user password                           +OK       the password may be a string
//	PING                                         +OK
//	QUIT                                         +OK       and the server closes
//	BUCKETS [status=yes]                         +BUCKET … +END; with status +INFO … +END
//	ADD bucket [config …] [edit=yes] [length]    +OK       also if it is there with the same configuration;
//	                                                       with edit=yes it gets this one
//	EDIT bucket [config …] [length]              +OK       what is not named stays as it is
//	INFO bucket                                  +INFO
//	RM bucket                                    +OK
//	PUT bucket key [ttl=D] length                +OK revision
//	CREATE bucket key [ttl=D] length             +OK revision
//	UPDATE bucket key revision [ttl=D] length    +OK revision
//	TOUCH bucket key [ttl=D]                     +OK revision
//	GET bucket key [rev=N]                       +ENTRY
//	DEL bucket key [rev=N]                       +OK revision
//	PURGE bucket key [rev=N] [ttl=D]             +OK revision
//	HISTORY bucket key                           +ENTRY or +LOST … +END
//	KEYS bucket patterns                         +KEY … +END
//	COUNT bucket patterns                        +OK count
//	WATCH number bucket patterns                 +OK, then events
//	      [mode=last|history|updates] [from=N] [deletes=no] [meta=yes]
//	UNWATCH number                               +OK, and no event of it afterwards
//	PURGEDELETES bucket [older=D]                +OK       default 30m; 0s: markers of any age
//	RECLAIM bucket                               +RECLAIMED … +END
//
// What they mean is said by the methods of the same names in package kv. Every
// command but BUCKETS, ADD and EDIT that names a bucket takes id=N too: it is meant
// for the bucket of that id alone, and finds none where another has taken its name.
//
// The options of a configuration are history=N, ttl=D, marker-ttl=D,
// max-value-size=N, max-bytes=N (-1: no limit), storage=file|memory,
// compression=yes|no, sync=always|interval, sync-interval=D and description=TEXT.
// The payload is a JSON object: "metadata", an object of strings, and "description"
// where it is long for a line.
//
// # Replies
//
//	+OK [number]
//	+ENTRY key revision operation created [delta=N] [deadline=T] length     and the value
//	+LOST key revision operation created [delta=N] error
//	+KEY key
//	+BUCKET bucket
//	+RECLAIMED done total freed                                            bytes
//	+END count                                                             of a listing
//	+INFO bucket option … [length]                                         and JSON
//	+HELLO version server=TEXT store=HEX sync=always auth=yes|no
//	-ERR error
//
//	EVENT number key revision operation created delta [deadline=T] [size=N] length  and the value
//	LOST number key revision operation created delta error
//	SYNCED number
//	END number [error]
//
//	error     = code *( " " option ) " : " text
//	operation = PUT / DEL / PURGE / EXPIRE
//
// Replies come in the order of the commands, so a client sends as many as it likes
// without waiting. Lines of events, which begin with neither + nor -, may stand
// between any two lines of replies, also within a listing. An option that a client
// does not know is to be passed over.
//
// Commands of one connection act in order: a GET sees the PUT before it. Writes
// that follow each other directly are committed together, each by itself. An
// acknowledged write is durable, +HELLO says sync=always; a bucket of which +INFO
// says sync=interval or storage=memory is the exception.
//
// +LOST stands for an entry of a history that is damaged, LOST for one of a watch;
// those beside it are sound. The size of an event is that of a value which meta=yes
// has left out.
//
// A listing that ends in -ERR is not complete. RECLAIM gives back the disk of what
// is gone; it answers with its progress, once a second at most, and in the last
// +RECLAIMED with what came of it.
//
// # Watches
//
// A watch has a number that its client chose. After +OK come the initial entries
// and SYNCED, not in mode updates, and then every change, in the order of
// revisions. END says that the watch has ended and why; its option next=N is the
// revision to resume from, with from=N and id=ID, so that nothing is lost or comes
// twice. A connection has at most 1,024 watches. Events that a client does not
// read hold up its replies: a watch had better have a connection of its own.
//
// # Errors
//
// The codes never change. Those of package kv's errors are their names:
//
//	BUCKET_NOT_FOUND  BUCKET_EXISTS  KEY_NOT_FOUND  KEY_EXISTS  REVISION_MISMATCH
//	INVALID_BUCKET_NAME  INVALID_KEY  INVALID_PATTERN  INVALID_CONFIG  INVALID_OPTION
//	HISTORY_TOO_LARGE  VALUE_TOO_LARGE  BUCKET_FULL  NOT_SUPPORTED  COMPACTED
//	CLOSED  READ_ONLY  OUTCOME_UNKNOWN  NO_SPACE  LOCKED  NOT_STORE  VERSION  CORRUPT
//
// and those of the server alone:
//
//	SYNTAX         what was sent does not parse; the connection is closed
//	AUTH_REQUIRED  AUTH has to come first; the connection is closed
//	AUTH_FAILED    wrong name or password, or too many failures; the connection is closed
//	DENIED         the user has no permission for this
//	TOO_MANY       connections, and this one is closed; or watches
//	TIMEOUT        a command did not arrive in time; the connection is closed
//	SHUTDOWN       the server ends; the connection is closed
//	INTERNAL       anything else
//
// Options of an error carry what a program may want: actual and expected revisions;
// name, at (the offending byte) and reason; what, got, min and max of a limit; file,
// offset and detail of damage; first, the first revision from which on nothing is
// missing, and wanted, the one that was asked for.
//
// A line that does not parse gets one error, and the connection is closed: what
// follows cannot be trusted. That ends an HTTP request at its first line, since no
// bucket's name has a slash. A command that does parse and is refused, for an unknown
// option or a value that is too large, gets its error, its payload is dropped, and
// the connection goes on.
//
// After -ERR SHUTDOWN, SYNTAX or TIMEOUT nothing more was carried out than was
// answered before. A connection that breaks without a word leaves open what became
// of the writes that were not answered.
//
// # Limits
//
//	value                            64 MiB, and the bucket's own limit
//	a command, from its first byte   10 s, and 1 s more for each 128 KiB of payload
//	a client that does not read      closed when a reply waits and it takes less than 256 KiB
//	                                 in 5 to 10 s; while only events wait, never
//	before AUTH, where it is needed  2 s, 4 KiB either way; HELLO, AUTH, PING, QUIT only
//	watches of a connection          1,024
//
// There is no limit for an idle connection: it costs the server a few KiB, and one
// whose other end is gone is found by TCP's keep-alive. Of replies the server
// holds 64 KiB and one value at most: a client that sends commands and does not read
// is not read either.
//
// A watcher that does not read costs its place in the log and one buffer of events
// for its connection, 80 KiB and one value at most, however much it has to catch up
// with: nothing more is read for it until that is written. It is kept for as long as
// its system answers: TCP probes a peer whose window is closed, and one that is
// gone ends its connection when the system's retries are used up. UNWATCH and
// shutting down have to wait for the events that are being written, so they count
// as replies.
//
// # Permissions
//
//	get    GET HISTORY KEYS COUNT
//	put    PUT CREATE UPDATE TOUCH
//	del    DEL PURGE
//	watch  WATCH
//	admin  ADD EDIT RM PURGEDELETES RECLAIM
//
// Buckets whose names begin with _kvd_ hold the streams of NATS' clients: ADD makes none,
// and nothing is written to one. INFO and BUCKETS show the buckets with which the user
// may do anything at all.
//
// # Why
//
// Lengths instead of escaping: a value is copied, not scanned. At the end of the
// line, because that is where the payload begins.
//
// CRLF alone, also for commands: a server that takes LF as well reads the same bytes
// in two ways, and someone in between might read them in the other. The error says
// how to have nc send CRLF.
//
// The patterns of KEYS are an argument, not an option to leave out: a key may have
// an = in it, so an argument that may be absent could not be told from an option.
//
// EDIT changes what it names, unlike kv.Store.UpdateBucket, which replaces the
// whole: whoever types it means one thing. A client that means the whole names
// every field.
//
// Events are written by one goroutine per connection, which is there while there
// are any: watches with events take turns of 16 KiB, and what they have goes out
// with one write. So a thousand watches on a few connections cost a few writes for a
// commit, and an idle watch costs no goroutine. It takes turns with replies, which
// only wait for the write that is under way.
//
// One goroutine per connection reads, carries out and answers, because handing
// over would cost more than a GET. Writes that stand next to each other in the
// buffer go to the store as one Submit; a GET between two writes parts them, since it
// must see the first and not the second.
//
// An idle connection keeps 1 KiB of buffer. Large buffers are shared, taken when a
// read fills the small one and given back after a second of silence: 10,000 idle
// connections should not cost a gigabyte. Memory for a large value is taken as it
// arrives, at most twice of what did, so that announcing one costs nothing.
package line
