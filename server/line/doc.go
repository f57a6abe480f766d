// Package line serves kvd's line protocol: text lines over TCP, easy to type and quick
// to parse, with values of any bytes. [New] serves any kv.Store; package server
// listens. This comment is the specification of the protocol, version 1.
//
// # A transcript
//
// Lines of the client begin with C:, lines of the server with S:. Every line ends in
// CRLF. A test replays this against a new store.
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
//	C: MGET my-kv 17
//	C: b.c.d nothing a.b
//	S: +ENTRY b.c.d 6 PUT 2026-11-22T18:00:00.123456789Z 2
//	S: {}
//	S: +NONE nothing
//	S: +ENTRY a.b 5 PUT 2026-11-22T18:00:00.123456789Z 0
//	S:
//	S: +END 3
//	C: RANGE my-kv > limit=1
//	S: +ENTRY a.b 5 PUT 2026-11-22T18:00:00.123456789Z 0
//	S:
//	S: +END 1 more=a.b
//	C: RANGE my-kv > limit=1 after=a.b
//	S: +ENTRY b.c.d 6 PUT 2026-11-22T18:00:00.123456789Z 2
//	S: {}
//	S: +END 1
//	C: RANGE my-kv a.> from=b meta=yes
//	S: +END 0
//	C: RANGE my-kv > order=desc to=b meta=yes markers=yes
//	S: +ENTRY a.b 5 PUT 2026-11-22T18:00:00.123456789Z 0
//	S:
//	S: +ENTRY Key1 4 DEL 2026-11-22T18:00:00.123456789Z 0
//	S:
//	S: +END 2
//	C: CHILDREN my-kv b.
//	S: +CHILD c keys=1
//	S: +END 1
//	C: PURGE my-kv a.b
//	S: +OK 7
//	C: PURGEDELETES my-kv older=0s
//	S: +OK
//	C: RECLAIM my-kv
//	S: +RECLAIMED 536 536 0
//	S: +END 1
//	C: LOST my-kv
//	S: +DOUBT 0
//	S: +END 1
//	C: COUNT my-kv a.>
//	S: +OK 0
//	C: PUT my-kv a.* 1
//	C: x
//	S: -ERR INVALID_KEY name=a.* at=2 reason="the token \"*\" is a wildcard" : invalid key "a.*": the token "*" is a wildcard at byte 2
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
//	S: +INFO labels id=20 created=2026-11-22T18:00:00.123456789Z keys=0 values=0 bytes=0 disk=0 revision=0 digest=00000000000000000000000000000000 history=3 ttl=0s marker-ttl=15m0s max-value-size=1048576 max-bytes=-1 storage=file compression=no sync=always description="two words" 27
//	S: {"metadata":{"owner":"me"}}
//	C: IMPORT 1 copy next=1000 history=2
//	S: +OK
//	C: RECORDS 1 187
//	C: {"key":"Key1","rev":4,"op":"put","created":"2026-01-01T00:00:00Z","value":"Value1"}
//	C: {"key":"Key1","rev":9,"op":"purge","created":"2026-01-01T00:00:01Z","deadline":"2026-01-01T01:00:01Z"}
//	S: +OK 2
//	C: GET copy Key1
//	S: -ERR BUCKET_NOT_FOUND : "copy"
//	C: COMMIT 1 digest=00000000000000000000000000000000
//	S: -ERR DIGEST_MISMATCH digest=5e46411e84b527740a095fb3c48d7d59 wanted=00000000000000000000000000000000 : bucket "copy" has 5e46411e84b527740a095fb3c48d7d59, expected 00000000000000000000000000000000: records are missing or other ones were written; discard the import and begin anew
//	C: COMMIT 1 digest=5e46411e84b527740a095fb3c48d7d59
//	S: +OK
//	C: BUCKETS
//	S: +BUCKET copy
//	S: +BUCKET labels
//	S: +BUCKET my-kv
//	S: +END 3
//	C: PUT copy Key2 1
//	C: x
//	S: +OK 1000
//	C: PUT labels user:1,ключ 1
//	C: x
//	S: +OK 1
//	C: PUT labels "\"quoted\"" 1
//	C: y
//	S: +OK 2
//	C: KEYS labels "user:1,ключ","\"quoted\""
//	S: +KEY "\"quoted\""
//	S: +KEY user:1,ключ
//	S: +END 2
//	C: RM labels id=7
//	S: -ERR BUCKET_NOT_FOUND : "labels" with id 7; the one of that name has id 20
//	C: RM labels id=20
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
//	C: TXN 1 2 1
//	C: IF my-kv b.c.d rev=8
//	C: UPDATE my-kv b.c.d 8 2
//	C: {}
//	C: GET my-kv b.c.d
//	C: GET my-kv b.c.d
//	S: +TXN then 2 1
//	S: +OK 9
//	S: +ENTRY b.c.d 9 PUT 2026-11-22T18:00:00.123456789Z 2
//	S: {}
//	S: +AT my-kv 9
//	C: TXN 1 1 1
//	C: IF my-kv b.c.d is=value 2
//	C: []
//	C: DEL my-kv b.c.d
//	C: GET my-kv none
//	S: +TXN else 1 1
//	S: +NONE none
//	S: +AT my-kv 9
//	C: TXN 0 2 0
//	C: PUT copy Key3 1
//	C: x
//	C: UPDATE my-kv b.c.d 8 1
//	C: y
//	S: -ERR REVISION_MISMATCH op=2 actual=9 expected=8 : b.c.d is at revision 9, expected 8
//	C: PING
//	S: +OK
//	C: QUIT
//	S: +OK
//
// # Lines
//
// A line has at most 4,096 bytes with its CRLF, no bytes below 0x20 and no 0x7F. There
// is one blank between two words and none elsewhere. Verbs are upper case.
//
//	command   = verb *( " " argument ) *( " " option ) [ " " length ] CRLF [ payload CRLF ]
//	reply     = word *( " " argument ) *( " " option ) [ " " length ] CRLF [ payload CRLF ]
//	option    = name "=" ( word / string )        name: lower-case letters and "-"
//	string    = a JSON string: for a value that is empty, has a blank or begins with a quote
//	key       = word / string                     a string if it begins with a quote
//	length    = 1 to 8 plain digits: bytes of the payload
//	number    = plain digits up to 2^64-1: no sign, no leading zero; also for lengths
//	duration  = as in 90s, 1h30m, 250ms
//	time      = RFC 3339 in UTC with up to nine digits of fraction
//	patterns  = pattern *( "," pattern )          ">" alone: every key; a pattern that begins with a quote
//	                                              or has a comma is a string
//
// The arguments of a verb are fixed and positional. Options come in any order, each at
// most once. A payload has any bytes, and exactly the given length.
//
// # Commands
//
//	HELLO                                        +HELLO
//	AUTH user password                           +OK       the password may be a string
//	PING                                         +OK
//	QUIT                                         +OK       and the server closes
//	BUCKETS [status=yes]                         +BUCKET … +END; with status +INFO … +END
//	ADD bucket [config …] [edit=yes] [length]    +OK       also if it exists with this configuration; with
//	                                                       edit=yes, also with another, which is replaced
//	EDIT bucket [config …] [length]              +OK       other fields keep their values
//	INFO bucket                                  +INFO
//	RM bucket                                    +OK
//	PUT bucket key [ttl=D] length                +OK revision
//	CREATE bucket key [ttl=D] length             +OK revision
//	UPDATE bucket key revision [ttl=D] length    +OK revision
//	TOUCH bucket key [ttl=D]                     +OK revision
//	GET bucket key [rev=N] [stale=yes]           +ENTRY
//	DEL bucket key [rev=N]                       +OK revision
//	PURGE bucket key [rev=N] [ttl=D]             +OK revision
//	HISTORY bucket key [stale=yes]               +ENTRY or +LOST … +END
//	KEYS bucket patterns [stale=yes]             +KEY … +END
//	COUNT bucket patterns [stale=yes]            +OK count
//	MGET bucket [stale=yes] length               +ENTRY, +NONE or +LOST, in the order of the keys … +END
//	RANGE bucket patterns [from=K] [to=K]        +ENTRY or +LOST … +END
//	      [after=K] [order=asc|desc] [limit=N]
//	      [bytes=N] [meta=yes] [markers=yes]
//	      [changed=N] [stale=yes] [length]
//	CHILDREN bucket prefix [by=CHARS] [limit=N]  +CHILD … +END
//	      [stale=yes]
//	WATCH number bucket patterns                 +OK, then events
//	      [mode=last|history|updates] [from=N] [deletes=no] [meta=yes] [stale=yes]
//	UNWATCH number                               +OK after the events that are ready, 16 KiB and one
//	                                             value at most, and no event of the watch afterwards
//	PURGEDELETES bucket [older=D]                +OK       default 30m; 0s: markers of any age
//	RECLAIM bucket                               +RECLAIMED … +END
//	LOST bucket                                  +DOUBT, +MISSING and +LOSTRECORD … +END
//	ACCEPT bucket                                the same, of what was given up
//	IMPORT number bucket [next=N] [config …] [length]
//	                                             +OK
//	RECORDS number length                        +OK count
//	COMMIT number digest=HEX                     +OK
//	DISCARD number                               +OK
//	BACKUP buckets [rate=N]                      +DATA … +END; buckets: names with commas between, or *
//	TXN conditions then else                     +TXN, after that many lines of each; see Transactions
//	IF bucket key [is=absent|exists|value|not-value] [rev=N] [not-rev=N] [length]
//	IFNEWEST bucket revision
//
// The methods of the same names in package kv define the meaning. Every command that
// names a bucket also takes id=N, except ADD and EDIT. It then works on the bucket of
// that id alone: if the name belongs to another bucket, the answer is BUCKET_NOT_FOUND.
//
// The options of a configuration are history=N, ttl=D, marker-ttl=D,
// max-value-size=N, max-bytes=N (-1: no limit), storage=file|memory,
// compression=yes|no, sync=always|interval, sync-interval=D and description=TEXT.
// The payload is a JSON object: "metadata", an object of strings, and "description" if
// it is too long for a line.
//
// # Replies
//
//	+OK [number]
//	+ENTRY key revision operation created [delta=N] [deadline=T] length     and the value
//	+LOST key revision operation created [delta=N] error
//	+KEY key
//	+NONE key [error]                                                      no value, or nobody knows
//	+CHILD name keys=N [more=yes] [key=yes]
//	+BUCKET bucket
//	+RECLAIMED done total freed                                            bytes
//	+DOUBT bound [all=yes]
//	+MISSING after upto [records=N] file=TEXT offset=N
//	+LOSTRECORD key revision
//	+TXN then|else lines buckets                                           and that many lines of each
//	+AT bucket revision                                                    the newest after a transaction
//	+DATA length                                                           and a part of a backup
//	+END count [more=K]                                                    of a listing
//	+END size lsn=N sha256=HEX [damage=N]                                  of a backup
//	+INFO bucket [digest=HEX] [doubt=N] [stale=yes] option … [length]                   and JSON
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
// Replies come in the order of the commands, so a client can send any number of
// commands without waiting. Lines of events begin with neither + nor -. They may come
// between any two lines of replies, also within a listing. Clients must ignore options
// that they do not know.
//
// Commands of one connection are executed in order: a GET sees the PUT before it.
// Consecutive writes share one commit, but each succeeds or fails by itself. An
// acknowledged write is durable (sync=always in +HELLO), except in a bucket whose +INFO
// has sync=interval or storage=memory.
//
// +LOST is a damaged entry of a listing, and LOST one of a watch; the other entries are
// sound. The size of an event is that of the value, which meta=yes omits.
//
// +INFO has clock-leap=D where the wall clock leapt by D while the store was closed, nobody
// accepted it, and the bucket may have records that expired by it alone: they are invisible
// and are not removed yet.
//
// A listing that ends in -ERR is not complete. RECLAIM frees the disk space of removed
// records that the bucket has when it begins. It answers with its progress, once a second at
// most; the last +RECLAIMED has the result, and comes when the files are removed.
//
// BACKUP answers with the bytes of a backup (package backup of kvd), as the store was at one
// moment, in parts of at most 64 KiB. The parts together are the backup only if +END follows, and
// their size and SHA-256 are those of +END; after -ERR they are nothing. lsn is the position of
// the store's log. damage is the number of places at which the store is damaged: the backup says
// where. rate bounds the bytes a second that the server reads from its disk. Reads and writes go
// on, however slowly the client reads; the server keeps the files meanwhile.
//
// # Ranges
//
// MGET, RANGE and CHILDREN show a bucket as it is at one moment, in which a single command reads.
//
// The payload of MGET is the keys, with a blank between them. An invalid key refuses the command.
// +NONE is the answer for a key without a value; with an error nobody knows whether it has one.
//
// RANGE answers the newest entries of the keys that match the patterns, in ascending order of their
// bytes. A payload has further patterns, with blanks between them: for those that do not fit the
// line. from is included and to is not; they need not be keys. order=desc begins at the other end.
// limit bounds the entries of the answer, and bytes the sum of their keys and values, but one entry
// always comes. If more follows, +END has more=K: the same command with after=K goes on there, also
// if the key K is gone by then. Each page is what is there when it is read. No key comes twice.
// meta=yes leaves out the values and reads no record; markers=yes adds the keys whose newest record
// is a marker; changed=N leaves out entries whose revision is not above N.
//
// CHILDREN answers what follows the prefix in the keys that begin with it, up to the next separator:
// a level of a tree. by is the separators, each byte one; by default "." is. The prefix of the root is
// "", and others end with a separator. keys=N is how many keys begin with prefix, name and a
// separator; more=yes says that they are more than that, since the count ends at 1,000. key=yes says
// that prefix and name together are a key.
//
// # Doubt
//
// Damage may have taken records of which nobody knows the keys. Such a bucket has a
// bound, the option doubt=N of +INFO: no record with a revision above it is missing. A
// read answers CORRUPT if its answer depends on what may be missing: that of a key whose
// newest record is not above the bound, of an absent key, of a history that may be longer,
// each KEYS, COUNT, RANGE and CHILDREN, and a WATCH that begins with such entries. So do writes with a
// condition on such a key. Other writes are executed, and take their key out of doubt.
// With stale=yes a read is answered from the records that are there, as in package kv
// under WithStale; a condition never is. Only where +INFO has stale=yes, the operator lets
// every read and condition go by these records.
//
// LOST answers the bound in +DOUBT, 0 for none; all=yes says that a change of the bucket
// as a whole may be missing. A line +MISSING follows for each range of revisions of which
// records are missing, those above after and not above upto, with their number if it is
// known and the damaged place; and a line +LOSTRECORD for each record whose value is
// lost. ACCEPT ends the doubt: from then on what is there counts as all there was.
//
//	-ERR CORRUPT file=seg/00000000000000ff.seg offset=4096 detail=TEXT bucket=my-kv after=2 upto=4 : text
//
// # Watches
//
// The client chooses the number of a watch. After +OK come the initial entries and
// SYNCED, except in mode updates, and then every change, in the order of revisions. END
// says that the watch has ended, and why. Its option next=N is the revision to resume
// from: with from=N and id=ID no event is lost and none comes twice. A from above the
// revision that comes next is FUTURE_REVISION: the store is an older copy of the one that
// told the client of N. A connection has
// at most 1,024 watches. Events that a client does not read delay its replies and those of
// its other watches. So watches should not share the connection of other commands, and a
// client that lets them share one reads on for a consumer that is slow: it ends that watch with
// UNWATCH and begins it again on a connection of its own, from the next revision.
//
// # Imports
//
// An import makes a bucket of records that have their revisions and times already. IMPORT begins
// it, with the options and the payload of ADD. The client chooses the number. next=N is the
// revision of the first write to the bucket once it is committed; without it, that behind the last
// record. Nothing sees the bucket before COMMIT, and its name is free.
//
// The payload of RECORDS is records in the form of package kvd/kv/records: a line of JSON each, the
// last one with or without a line feed. It has at most 4 MiB, or is one record. Their revisions
// ascend, over all commands of the import. The answer is their number. If any of them breaks a rule
// (package kv, under Importer), none of the command is written, and the import goes on:
// INVALID_RECORD, INVALID_KEY or VALUE_TOO_LARGE names the record. After any other error the import
// can only be discarded.
//
// COMMIT makes the bucket visible. digest=HEX is the digest of its records in 32 hexadecimal
// digits (package kvd/kv/digest); +INFO has it for a bucket where it is known. If the bucket has
// another one, the answer is DIGEST_MISMATCH, and the import goes on. So it does after
// BUCKET_EXISTS: a bucket of that name has to be deleted before. DISCARD removes the import, and so
// does the end of the connection. A number that has no import is discarded already. A connection
// has at most 16 imports.
//
// # Transactions
//
// TXN begins a transaction ([kv.Txn]). Its lines follow: first the conditions, IF and IFNEWEST, then
// the lines of the branch that is carried out if all of them hold, then those of the other. A branch
// has the commands PUT, CREATE, UPDATE, DEL, PURGE and GET, with their payloads. An IF has one test
// or more; rev=N is about the key's newest record, marker or not, and rev=0 says that there is
// none. is=value and is=not-value have a payload. IFNEWEST is about the newest revision of a bucket.
// Nothing is executed before the last line has come.
//
// The answer is +TXN with the branch, then one reply for each line of that branch, in their order:
// +OK and the revision for a write, +ENTRY or +NONE for a GET, +LOST where the value is damaged. A
// GET sees the state after all writes of its branch, wherever it stands. Then comes a line +AT for
// each bucket of the transaction. If a line is refused, nothing is written, and the only answer is
// -ERR with op=N, the number of the line, counted from 1 behind TXN.
//
// The id=N of an IF or IFNEWEST is checked together with the conditions, that of another line just
// before. A TOUCH is NOT_SUPPORTED, and so is every transaction where the store has none. A line that cannot
// stand where it does is SYNTAX, and closes the connection; so does TXN_TOO_LARGE where TXN announces
// too many lines. Any other refused line is answered after all lines were read.
//
// # Errors
//
// The codes never change. The errors of package kv have these codes:
//
//	BUCKET_NOT_FOUND  BUCKET_EXISTS  KEY_NOT_FOUND  KEY_EXISTS  REVISION_MISMATCH
//	INVALID_BUCKET_NAME  INVALID_KEY  INVALID_PATTERN  INVALID_CONFIG  INVALID_OPTION
//	HISTORY_TOO_LARGE  VALUE_TOO_LARGE  BUCKET_FULL  INVALID_RECORD  DIGEST_MISMATCH
//	INVALID_TXN  TXN_TOO_LARGE  CONTENDED  NOT_SUPPORTED  COMPACTED
//	FUTURE_REVISION  CLOSED  READ_ONLY  OUTCOME_UNKNOWN  NO_SPACE  TOO_MANY_FILES  LOCKED  NOT_STORE
//	VERSION  CORRUPT
//
// and the errors of the server these:
//
//	SYNTAX         the line does not parse; the connection is closed
//	AUTH_REQUIRED  AUTH must come first; the connection is closed
//	AUTH_FAILED    wrong name or password, or too many failures; the connection is closed
//	DENIED         the user has no permission for this
//	TOO_MANY       too many connections (this one is closed), watches, or bytes of transactions
//	TIMEOUT        a command did not arrive in time; the connection is closed
//	SHUTDOWN       the server shuts down; the connection is closed
//	INTERNAL       any other error
//
// The options of an error are for programs: actual and expected revisions; name, at
// (the byte in question) and reason; what, got, min and max of a limit; file, offset
// and detail of damage, and bucket, after and upto of missing records: those above the
// revision after and not above upto; first, the revision from which on nothing is missing,
// newest, the revision that the bucket is at, and wanted, the requested revision; digest,
// that of a bucket, and wanted, the expected one; op, the line of a transaction.
//
// A line that does not parse gets one error, and the connection is closed, because the
// begin of the next command is unknown. That ends an HTTP request at its first line,
// since no name of a bucket has a slash. A command that parses and is refused, such as
// one with an unknown option or a value that is too large, gets an error. Its payload
// is discarded, and the connection goes on. The error may come before the payload has
// arrived, and is the same then. If no CRLF follows the payload, SYNTAX comes after it.
//
// After -ERR SHUTDOWN, SYNTAX or TIMEOUT, no commands were executed but those already
// answered. If a connection breaks without such an error, the outcome of unanswered
// writes is unknown.
//
// # Limits
//
//	value                            64 MiB, and the bucket's own limit
//	records of a RECORDS             4 MiB, or one record
//	a command, from its first byte   10 s, and 1 s more for each 128 KiB of payload; a transaction with
//	                                 all its lines likewise
//	a transaction                    1,024 conditions; of each branch 1,024 writes, 1,024 GET, 64 MiB;
//	                                 192 MiB in all, with 300 bytes for each line
//	unfinished transactions          256 MiB, of all connections; more is TOO_MANY
//	a client that does not read      closed if a reply waits and the client takes less than
//	                                 256 KiB in 5 to 10 s; never while only events wait
//	before AUTH, if it is required   2 s, 4 KiB each way; HELLO, AUTH, PING, QUIT only
//	keys of an MGET                  4,096
//	patterns in a RANGE's payload    64 KiB
//	watches of a connection          1,024
//	imports of a connection          16
//
// An idle connection has no time limit: it costs the server a few KiB, and the
// keep-alive of TCP detects an unreachable peer. The server buffers at most 64 KiB of
// replies and one value: it reads no more commands from a client that does not read its
// replies.
//
// A watching client that does not read costs one buffer of events for its connection,
// 80 KiB and one value at most, no matter how many events wait: the server reads no
// more of the log until these are written. The connection stays open as long as the
// system of the client answers: TCP probes a peer whose window is closed, and ends the
// connection of an unreachable one after the retries of the system. UNWATCH and
// shutdown wait for the events that are being written, so they count as replies.
//
// # Permissions
//
//	get    GET HISTORY IF, of the key; MGET, of each key; KEYS COUNT RANGE, of each pattern;
//	       CHILDREN, of the pattern ">" behind the last point of the prefix; LOST IFNEWEST, of the bucket
//	put    PUT CREATE UPDATE TOUCH, of the key
//	del    DEL PURGE, of the key
//	watch  WATCH, of each pattern
//	admin  ADD EDIT RM PURGEDELETES RECLAIM ACCEPT, of the bucket; with put in all its keys,
//	       IMPORT RECORDS COMMIT
//	admin and get  BACKUP, of each bucket; BACKUP * needs them for the pattern *, since it has everything
//
// A permission can be granted on the keys that match a pattern. Then it holds for these
// keys, and for patterns that match no other. DENIED names the missing grant:
//
//	-ERR DENIED : needs "get" in bucket "my-kv" for the keys ">"
//
// Names that begin with _kvd_ are reserved for streams of NATS clients: ADD does not
// create such buckets, and clients of this protocol cannot write to them. INFO and
// BUCKETS show the buckets in which the user has any permission.
//
// # Why
//
// Payloads have a length and no escaping, so that a value is copied and not scanned.
// The length is at the end of the line, next to the payload.
//
// Lines end in CRLF alone, also those of commands: a server that also accepts LF could
// read the same bytes differently from a proxy before it. The error says how to make nc
// send CRLF.
//
// The patterns of KEYS are a required argument: a key may contain =, so an optional
// argument could not be distinguished from an option.
//
// MGET has its keys in the payload, and not in the line, because a hundred keys do not fit one. A
// blank separates them, since no key has one, and so a person can type it.
//
// EDIT changes the fields that it names, unlike kv.Store.UpdateBucket, which replaces
// the whole configuration: a person who types it wants to change one field. A program
// that replaces the whole names every field.
//
// One goroutine per connection writes events, and exists only while there are any.
// Watches with events take turns of 16 KiB, and one write carries the events of many.
// So a thousand watches on a few connections cost a few writes for a commit, and an
// idle watch costs no goroutine. Replies wait only for the write under way.
//
// One goroutine per connection reads, executes and answers, because a handoff would
// cost more than a GET. Adjacent writes in the buffer go to the store as one Submit. A
// GET between two writes separates them, since it must see the first and not the
// second.
//
// Bucket and key of an IF are arguments, and its tests are options, because a key may contain an =.
//
// An idle connection keeps a buffer of 1 KiB. Large buffers are shared: a connection
// takes one when a read fills the small buffer, and returns it after a second without
// input, so that 10,000 idle connections do not cost a gigabyte. Memory for a large
// value is taken as the value arrives, at most twice the bytes received, so that an
// announced length alone costs nothing.
package line
