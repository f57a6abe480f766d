package lineproto

import (
	"bytes"
	"encoding/hex"
	"math"

	"kvd/internal/view"
	"kvd/kv"
)

// ReplyKind is the kind of a line from the server.
type ReplyKind uint8

// The kinds.
const (
	ReplyOK         ReplyKind = iota + 1 // +OK [NUMBER]
	ReplyEntry                           // +ENTRY
	ReplyLost                            // +LOST: an entry of a history whose value is damaged
	ReplyKey                             // +KEY NAME
	ReplyBucket                          // +BUCKET NAME
	ReplyReclaimed                       // +RECLAIMED DONE TOTAL FREED
	ReplyDoubt                           // +DOUBT BOUND [all=yes]
	ReplyMissing                         // +MISSING AFTER UPTO [records=N] file=TEXT offset=N
	ReplyLostRecord                      // +LOSTRECORD KEY REVISION
	ReplyEnd                             // +END COUNT: of a listing
	ReplyInfo                            // +INFO
	ReplyHello                           // +HELLO
	ReplyError                           // -ERR
	ReplyNone                            // +NONE KEY [ERROR]: a key of MGET, or of a GET of TXN, without a value
	ReplyChild                           // +CHILD NAME keys=N [more=yes] [key=yes]
	ReplyTxn                             // +TXN then|else LINES BUCKETS
	ReplyAt                              // +AT BUCKET REVISION: after a transaction
	ReplyEvent                           // EVENT: of a watch
	ReplyLostEvent                       // LOST: of a watch, a record whose value is damaged
	ReplySynced                          // SYNCED: a watch has delivered its initial entries
	ReplyWatchEnd                        // END: of a watch
	ReplyData                            // +DATA: a part of a backup
)

var replyNames = [...]string{
	ReplyOK: "+OK", ReplyEntry: "+ENTRY", ReplyLost: "+LOST", ReplyKey: "+KEY", ReplyBucket: "+BUCKET", ReplyReclaimed: "+RECLAIMED",
	ReplyDoubt: "+DOUBT", ReplyMissing: "+MISSING", ReplyLostRecord: "+LOSTRECORD", ReplyEnd: "+END",
	ReplyInfo: "+INFO", ReplyHello: "+HELLO", ReplyError: "-ERR",
	ReplyTxn: "+TXN", ReplyAt: "+AT",
	ReplyEvent: "EVENT", ReplyLostEvent: "LOST", ReplySynced: "SYNCED", ReplyWatchEnd: "END",
	ReplyData: "+DATA", ReplyNone: "+NONE", ReplyChild: "+CHILD",
}

// String returns the first word of such a line.
func (k ReplyKind) String() string {
	if int(k) < len(replyNames) && k != 0 {
		return replyNames[k]
	}
	return "unknown reply"
}

// IsEvent reports whether such a line belongs to a watch. It may come between any two lines
// of replies.
func (k ReplyKind) IsEvent() bool { return k >= ReplyEvent }

// Reply is one line from the server, with its payload. The kind determines which fields
// count.
//
// The strings and the entry's value refer to the buffer that the reply was parsed from,
// and change with it. Err and Status return memory of their own.
type Reply struct {
	Kind      ReplyKind
	Number    uint64       // +OK, +AT: a revision or count, 0 if there is none. +END, +TXN: the count
	Name      string       // +KEY, +BUCKET, +INFO, +NONE, +AT
	Then      bool         // +TXN: otherwise it is else
	Buckets   uint64       // +TXN: how many +AT follow
	Watch     uint64       // EVENT, LOST, SYNCED, END
	Next      kv.Revision  // END: the revision to resume from; 0: begin anew
	Entry     kv.Entry     // +ENTRY, +LOST, EVENT, LOST; its Bucket is not on the wire
	Size      uint64       // EVENT: of the value in bytes, also if the value is left out
	Hello     Hello        // +HELLO
	Reclaimed kv.Reclaimed // +RECLAIMED; its Bucket is not on the wire

	Bound      kv.Revision     // +DOUBT, as kv.Doubt has it
	Unknown    bool            // +DOUBT
	Missing    kv.MissingRange // +MISSING
	Taken      kv.BackupTaken  // +END of a backup; its Size is Number
	LostRecord kv.LostRecord   // +LOSTRECORD

	Child kv.Child // +CHILD
	More  string   // +END of a page: the key to go on after; empty: nothing follows

	failure failure // -ERR, +LOST, LOST, END, +NONE
	failed  bool
	info    []byte // +INFO: options
	payload []byte // +INFO
}

// Hello is the server's description of itself.
type Hello struct {
	Protocol int    // Version
	Server   string // name and version
	StoreID  [16]byte
	Sync     kv.SyncMode // of buckets by default
	Auth     bool        // clients have to send AUTH first
}

// Err returns the error of -ERR, +LOST, LOST, END or +NONE, nil if there is none: a watch may
// end without an error. bucket and key are those of the answered command.
func (r *Reply) Err(bucket, key string) error {
	if !r.failed {
		return nil
	}
	return r.failure.decode(bucket, key)
}

// ParseReply parses the first reply of buf into r and returns its size in bytes. If buf
// ends within the reply, it returns ErrIncomplete and a lower bound of the reply's size.
// Any other error is a *SyntaxError.
func ParseReply(buf []byte, r *Reply) (int, error) {
	*r = Reply{}
	line, size, err := cutLine(buf)
	if err != nil {
		return size, err
	}
	w := newWords(line)
	word, err := w.next()
	if err != nil {
		return 0, err
	}
	kind := replyKindOf(word)
	length, err := r.parse(kind, &w)
	if err != nil {
		return 0, err
	}
	if length >= 0 {
		var payload []byte
		if payload, size, err = cutPayload(buf, size, length); err != nil {
			return size, err
		}
		r.Entry.Value, r.payload = payload, payload
		if kind == ReplyEvent {
			r.Size = max(r.Size, uint64(length))
		}
	}
	r.Kind = kind
	return size, nil
}

func replyKindOf(word []byte) ReplyKind {
	for k := range replyNames {
		if k != 0 && replyNames[k] == string(word) {
			return ReplyKind(k)
		}
	}
	return 0
}

// parse reads the rest of the line after the first word, and returns the length of the
// payload, -1 if there is none.
func (r *Reply) parse(kind ReplyKind, w *words) (length int, err error) {
	var ok bool
	switch kind {
	case ReplyOK:
		ok = !w.more || r.takeNumber(w, &r.Number) && !w.more
	case ReplyEnd:
		ok = r.takeNumber(w, &r.Number) && (!w.more || r.parseEnd(w))
	case ReplyData:
		if word, err := w.next(); err == nil && !w.more {
			return parseLength(word)
		}
	case ReplyTxn:
		ok = r.parseTxn(w)
	case ReplyAt:
		ok = takeName(w, &r.Name) && r.takeNumber(w, &r.Number) && !w.more
	case ReplyKey:
		ok = takeKey(w, &r.Name) && !w.more
	case ReplyNone:
		ok = takeKey(w, &r.Name) && (!w.more || r.parseFailure(w))
	case ReplyChild:
		ok = r.parseChild(w)
	case ReplyBucket:
		ok = takeName(w, &r.Name) && !w.more
	case ReplyReclaimed:
		n := &r.Reclaimed
		ok = takeBytes(w, &n.Done) && takeBytes(w, &n.Total) && takeBytes(w, &n.Freed) && !w.more
	case ReplyDoubt, ReplyMissing, ReplyLostRecord:
		ok = r.parseDoubt(kind, w)
	case ReplySynced:
		ok = r.takeNumber(w, &r.Watch) && !w.more
	case ReplyHello:
		ok = r.parseHello(w)
	case ReplyError:
		ok = r.parseFailure(w)
	case ReplyWatchEnd:
		ok = r.takeNumber(w, &r.Watch) && (!w.more || r.parseFailure(w))
		r.Next = r.failure.next()
	case ReplyLost:
		ok = takeKey(w, &r.Entry.Key) && r.parseRecord(w) && r.parseLostDelta(w) && r.parseFailure(w)
	case ReplyEntry:
		if ok = takeKey(w, &r.Entry.Key) && r.parseRecord(w); ok {
			return r.parseEntryOptions(w)
		}
	case ReplyEvent:
		if ok = r.takeNumber(w, &r.Watch) && takeKey(w, &r.Entry.Key) && r.parseRecord(w) && r.takeNumber(w, &r.Entry.Delta); ok {
			return r.parseEntryOptions(w)
		}
	case ReplyLostEvent:
		ok = r.takeNumber(w, &r.Watch) && takeKey(w, &r.Entry.Key) && r.parseRecord(w) && r.takeNumber(w, &r.Entry.Delta) && r.parseFailure(w)
	case ReplyInfo:
		if ok = takeName(w, &r.Name); ok {
			return r.parseInfo(w)
		}
	default:
		return -1, syntaxError("unknown reply")
	}
	if !ok {
		return -1, syntaxError("a %v that does not parse", kind)
	}
	return -1, nil
}

func (r *Reply) takeNumber(w *words, into *uint64) (ok bool) {
	word, err := w.next()
	if err != nil {
		return false
	}
	*into, ok = parseNumber(word)
	return ok
}

// takeBytes reads a number of bytes.
func takeBytes(w *words, into *int64) bool {
	word, err := w.next()
	if err != nil {
		return false
	}
	n, ok := parseNumber(word)
	*into = int64(n)
	return ok && n <= math.MaxInt64
}

func takeName(w *words, into *string) bool {
	word, err := w.next()
	*into = view.String(word)
	return err == nil
}

// takeKey reads a key, see appendKey.
func takeKey(w *words, into *string) (ok bool) {
	word, err := w.nextText()
	if err != nil {
		return false
	}
	*into, ok = parseKey(word)
	return ok
}

// parseRecord reads revision, operation and time.
func (r *Reply) parseRecord(w *words) (ok bool) {
	var revision uint64
	if !r.takeNumber(w, &revision) {
		return false
	}
	r.Entry.Revision = kv.Revision(revision)
	word, err := w.next()
	if err != nil || !r.setOperation(word) {
		return false
	}
	word, err = w.next()
	if err != nil {
		return false
	}
	r.Entry.Created, ok = parseTime(word)
	return ok
}

// Operations on the wire: an expiry is a purge by the server.
const operationExpire = "EXPIRE"

func (r *Reply) setOperation(word []byte) bool {
	e := &r.Entry
	switch string(word) {
	case "PUT":
		e.Operation, e.Reason = kv.Put, kv.ReasonNone
	case "DEL":
		e.Operation, e.Reason = kv.Delete, kv.ReasonClient
	case "PURGE":
		e.Operation, e.Reason = kv.Purge, kv.ReasonClient
	case operationExpire:
		e.Operation, e.Reason = kv.Purge, kv.ReasonExpiry
	default:
		return false
	}
	return true
}

// parseEntryOptions reads the options of an entry and the length after them.
func (r *Reply) parseEntryOptions(w *words) (length int, err error) {
	for {
		word, err := w.next()
		if err != nil {
			return -1, err
		}
		name, value, ok := cutOption(word)
		if !ok && !w.more {
			return parseLength(word)
		}
		switch {
		case string(name) == "delta":
			r.Entry.Delta, ok = parseNumber(value)
		case string(name) == "size":
			r.Size, ok = parseNumber(value)
			ok = ok && r.Size <= math.MaxInt
		case string(name) == "deadline":
			r.Entry.Deadline, ok = parseTime(value)
		}
		if !ok {
			return -1, syntaxError("an entry with %.32q", word)
		}
	}
}

// parseLostDelta reads the delta of an entry that is lost.
func (r *Reply) parseLostDelta(w *words) bool {
	rest, found := bytes.CutPrefix(w.rest, deltaOption)
	if !found {
		return true
	}
	w.rest = rest
	return r.takeNumber(w, &r.Entry.Delta)
}

var deltaOption = []byte("delta=")

func (r *Reply) parseFailure(w *words) bool {
	if !w.more {
		return false
	}
	r.failure, r.failed = parseFailure(w.rest)
	return r.failed
}

// next returns the revision from which a watch that ended can be resumed.
func (f *failure) next() kv.Revision {
	if !bytes.Contains(f.details, nextOption) {
		return 0
	}
	d := f.readDetails()
	return kv.Revision(d.number("next"))
}

var nextOption = []byte("next=")

func (r *Reply) parseHello(w *words) bool {
	var protocol uint64
	if !r.takeNumber(w, &protocol) || protocol == 0 || protocol > 1<<16 {
		return false
	}
	r.Hello.Protocol = int(protocol)
	for w.more {
		word, err := w.nextOption()
		if err != nil {
			return false
		}
		name, value, ok := cutOption(word)
		if !ok || !r.Hello.set(view.String(name), value) {
			return false
		}
	}
	return true
}

// set takes one option of +HELLO. Unknown options are ignored, since a newer server may
// send them.
func (h *Hello) set(name string, value []byte) (ok bool) {
	switch name {
	case "server":
		h.Server, ok = parseText(value)
		h.Server = string([]byte(h.Server))
		return ok
	case "store":
		n, err := hex.Decode(h.StoreID[:], value[:min(len(value), 2*len(h.StoreID))])
		return err == nil && len(value) == 2*n && n == len(h.StoreID)
	case "sync":
		return setNamed(&h.Sync, view.String(value), kv.SyncAlways, kv.SyncInterval)
	case "auth":
		h.Auth, ok = parseYesNo(value)
		return ok
	}
	return true
}

// parseInfo keeps the options of +INFO for Status, and returns the length of the
// payload.
func (r *Reply) parseInfo(w *words) (length int, err error) {
	line := w.rest
	for length = -1; w.more; {
		left := len(w.rest)
		word, err := w.nextOption()
		if err != nil {
			return -1, err
		}
		if _, _, ok := cutOption(word); ok {
			continue
		}
		if w.more {
			return -1, syntaxError("an option of +INFO cannot be %.32q", word)
		}
		if length, err = parseLength(word); err != nil {
			return -1, err
		}
		line = bytes.TrimSuffix(line[:len(line)-left], space)
	}
	r.info = line
	return length, nil
}
