package lineproto

import (
	"fmt"
	"strings"
	"time"

	"kvd/internal/view"
	"kvd/kv"
)

// Command is one command, parsed or to be sent. Which fields count depends on the verb;
// a zero value means that an option is absent.
//
// In a parsed command the strings and Value refer to the buffer it was parsed
// from: they change with it. Clone what is kept.
type Command struct {
	Verb     Verb
	Bucket   string
	Key      string
	Patterns string // joined by commas; KEYS, COUNT, WATCH
	Value    []byte // the payload; of ADD and EDIT part of the configuration

	BucketID    uint64 // only the bucket of that id is meant; 0: whichever has the name
	Revision    kv.Revision
	HasRevision bool          // UPDATE: always. GET, DEL, PURGE: Revision was given. WATCH: from was
	TTL         time.Duration // 0: none

	Watch         uint64 // the number that its client gave a watch
	Mode          WatchMode
	IgnoreDeletes bool
	MetaOnly      bool

	OlderThan time.Duration // PURGEDELETES, as kv.Bucket.PurgeDeletes takes it
	Status    bool          // BUCKETS: with everything that INFO tells

	// Options are the words that configure ADD and EDIT, as they stand on the
	// line: see SetConfig and ApplyConfig.
	Options string

	User, Password string // AUTH

	// Filled in by ParseCommand.
	HeaderSize int   // bytes of the line with its CRLF
	Length     int   // bytes of the payload; -1: the command has none
	Refused    error // why the command, which parsed, cannot be carried out
}

// WatchMode says with which entries a watch begins.
type WatchMode uint8

// The modes.
const (
	WatchLast    WatchMode = 0 // the newest record of each key
	WatchHistory WatchMode = 1 // every record kept
	WatchUpdates WatchMode = 2 // nothing
)

var watchModes = [...]string{WatchLast: "last", WatchHistory: "history", WatchUpdates: "updates"}

// String returns the mode as it stands on the wire.
func (m WatchMode) String() string {
	if int(m) < len(watchModes) {
		return watchModes[m]
	}
	return fmt.Sprintf("WatchMode(%d)", uint8(m))
}

// AllPatterns selects every key.
const AllPatterns = ">"

// SplitPatterns returns the patterns of a command as the contract takes them, in
// memory of their own. It does not check them.
func SplitPatterns(patterns string) []string {
	if patterns == AllPatterns {
		return nil
	}
	return strings.Split(strings.Clone(patterns), ",")
}

// JoinPatterns is the reverse of SplitPatterns.
func JoinPatterns(patterns []string) string {
	if len(patterns) == 0 {
		return AllPatterns
	}
	return strings.Join(patterns, ",")
}

// ParseCommand parses the first command of buf into c and returns its size in
// bytes. If there is not all of it yet, it returns ErrIncomplete and how many
// bytes it takes at least; c is filled in but for the payload then if the line is
// complete, which c.Verb tells. Any other error is a *SyntaxError.
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
		if err != nil && err != ErrIncomplete {
			return 0, err
		}
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
	c.refuseLength(verb)
	return verb, nil
}

func (c *Command) parseArguments(w *words, s *shape) error {
	for _, a := range s.args {
		var word []byte
		var err error
		if a == argPassword {
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
	case argBucket: // not merely refused: it ends an HTTP request at its first line
		c.Bucket = view.String(word)
		ok = kv.CheckBucketName(c.Bucket) == nil
	case argKey:
		c.Key = view.String(word)
	case argPatterns:
		c.Patterns = view.String(word)
	case argUser:
		c.User = view.String(word)
	case argPassword:
		c.Password, ok = parseText(word)
	case argWatch:
		c.Watch, ok = parseNumber(word)
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
