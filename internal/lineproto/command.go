package lineproto

import (
	"fmt"
	"time"

	"kvd/internal/view"
	"kvd/kv"
)

// Command is one command, parsed or to be sent. The verb determines which fields count. A
// zero value means that an option is absent.
//
// In a parsed command the strings and Value refer to the buffer that it was parsed from,
// and change with it. Clone them to keep them.
type Command struct {
	Verb     Verb
	Bucket   string
	Key      string
	Patterns string // as JoinPatterns returns them; KEYS, COUNT, WATCH, RANGE
	Buckets  string // as JoinBuckets returns them; BACKUP
	Value    []byte // the payload; MGET: as JoinWords returns the keys; RANGE: further patterns likewise; ADD, EDIT and IMPORT: a part of the configuration

	BucketID    uint64 // the command is for the bucket with this id only; 0: any bucket with the name
	Revision    kv.Revision
	HasRevision bool          // UPDATE, IFNEWEST: always. GET, DEL, PURGE, IF: Revision is present. WATCH: from is present
	TTL         time.Duration // 0: none

	Watch         uint64 // the client's number of the watch
	Mode          WatchMode
	IgnoreDeletes bool
	MetaOnly      bool

	OlderThan time.Duration // PURGEDELETES, as kv.Bucket.PurgeDeletes takes it
	Status    bool          // BUCKETS: with the status of each, as INFO has it
	Rate      int64         // BACKUP: most bytes a second; 0: no bound
	Stale     bool          // GET, HISTORY, KEYS, COUNT, WATCH, MGET, RANGE, CHILDREN: as for a context of kv.WithStale

	Range      kv.RangeOptions // RANGE, without patterns: see Ranges. CHILDREN: only Limit
	Prefix     string          // CHILDREN
	Separators string          // CHILDREN; empty: "."

	Txn            TxnLines    // TXN
	Is             kv.CondKind // IF: one of those of its option is; 0: it is absent
	NotRevision    kv.Revision // IF
	HasNotRevision bool        // NotRevision is present

	Import uint64      // the client's number of the import; IMPORT, RECORDS, COMMIT, DISCARD
	Next   kv.Revision // IMPORT, as kv.BucketImporter takes it; ApplyConfig sets it in a parsed command
	Digest kv.Digest   // COMMIT

	// Options are the options of ADD, EDIT and IMPORT that configure the bucket, as on the wire:
	// see SetConfig and ApplyConfig.
	Options string

	User, Password string // AUTH

	// Filled in by ParseCommand.
	HeaderSize int   // bytes of the line with its CRLF
	Length     int   // bytes of the payload; -1: the command has none
	Refused    error // why the command cannot be carried out although it parsed

	hasDigest bool // of a COMMIT that was parsed
}

// WatchMode determines the initial entries of a watch.
type WatchMode uint8

// The modes.
const (
	WatchLast    WatchMode = 0 // the newest record of each key
	WatchHistory WatchMode = 1 // every record kept
	WatchUpdates WatchMode = 2 // nothing
)

var watchModes = [...]string{WatchLast: "last", WatchHistory: "history", WatchUpdates: "updates"}

// String returns the mode as on the wire.
func (m WatchMode) String() string {
	if int(m) < len(watchModes) {
		return watchModes[m]
	}
	return fmt.Sprintf("WatchMode(%d)", uint8(m))
}

// ParseCommand parses the first command of buf into c and returns its size in bytes. If
// buf ends within the command, it returns ErrIncomplete and a lower bound of the
// command's size. Any other error is a *SyntaxError. If buf has the whole line, and it is
// the payload that has not arrived or is wrong, c is filled in except for the payload;
// otherwise c.Verb is 0.
func ParseCommand(buf []byte, c *Command) (int, error) {
	*c = Command{Length: -1}
	line, size, err := cutLine(buf)
	if err != nil {
		return size, err
	}
	verb, err := c.parseLine(line)
	if err != nil {
		return 0, err
	}
	c.HeaderSize = size
	if c.Length >= 0 {
		c.Value, size, err = cutPayload(buf, size, c.Length)
	}
	c.Verb = verb
	return size, err
}

func (c *Command) parseLine(line []byte) (Verb, error) {
	w := newWords(line)
	word, err := w.next()
	if err != nil {
		return 0, err
	}
	verb := verbOf(word)
	if verb == 0 {
		return 0, syntaxError("unknown verb %.32q", word)
	}
	s := &shapes[verb]
	if err := c.parseArguments(&w, s); err != nil {
		return 0, err
	}
	if err := c.parseOptions(&w, s); err != nil {
		return 0, err
	}
	if c.Length < 0 && s.payload == hasPayload {
		return 0, syntaxError("the length is missing: %s", s.usage())
	}
	if verb == VerbCommit && !c.hasDigest {
		c.refuse(invalidOption("the digest is missing: %s", s.usage()))
	}
	if verb == VerbIf {
		c.refuseIf(s)
	}
	c.refuseLength(verb)
	return verb, nil
}

func (c *Command) parseArguments(w *words, s *shape) error {
	for _, a := range s.args {
		var word []byte
		var err error
		if a == argPassword || a == argKey || a == argPrefix {
			word, err = w.nextText()
		} else {
			word, err = w.next()
		}
		if err == errNoWord {
			return syntaxError("%s is missing: %s", argumentNames[a], s.usage())
		}
		if err != nil {
			return err
		}
		if !c.setArgument(a, word) {
			return syntaxError("%s cannot be %.32q", argumentNames[a], word)
		}
	}
	return nil
}

func (c *Command) setArgument(a argument, word []byte) (ok bool) {
	ok = true
	switch a {
	case argBucket: // a syntax error, not a refusal: so an HTTP request ends the connection at its first line
		c.Bucket = view.String(word)
		ok = kv.CheckBucketName(c.Bucket) == nil
	case argKey:
		c.Key, ok = parseKey(word)
	case argPatterns:
		c.Patterns = view.String(word)
		_, ok = cutPatterns(c.Patterns)
	case argBuckets:
		c.Buckets = view.String(word)
		ok = checkBuckets(c.Buckets) == nil
	case argUser:
		c.User = view.String(word)
	case argPassword:
		c.Password, ok = parseText(word)
	case argPrefix:
		c.Prefix, ok = parseText(word)
	case argWatch:
		c.Watch, ok = parseNumber(word)
	case argImport:
		c.Import, ok = parseNumber(word)
	case argConditions:
		c.Txn.Conditions, ok = parseNumber(word)
	case argThen:
		c.Txn.Then, ok = parseNumber(word)
	case argElse:
		c.Txn.Else, ok = parseNumber(word)
	case argRevision:
		c.HasRevision = true
		ok = parseRevision(word, &c.Revision)
	}
	return ok
}

func parseRevision(word []byte, into *kv.Revision) bool {
	n, ok := parseNumber(word)
	*into = kv.Revision(n)
	return ok
}
