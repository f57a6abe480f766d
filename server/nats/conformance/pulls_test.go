package conformance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	natsfront "kvd/server/nats"
)

// TestPulls plays scripts of pull consumers with nats-server and with kvd, and compares what
// clients get, message by message. The scripts are in testdata/pulls; a letter stands for a
// connection:
//
//	A> OPERATION   sent to both; {n} stands for the size of the payload, {ack N} for the reply
//	               subject of the Nth message with one that the connection got
//	A<             the next message, which must be the same
//	A<!            the same; kvd gives another one on purpose
//	A<?            the same; what nats-server gives depends on its timing, so it is not compared
//	# TEXT         why, or what it is about
//
// Times are not compared.
func TestPulls(t *testing.T) {
	files, err := filepath.Glob("testdata/pulls/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			theirs := &player{addr: strings.TrimPrefix(startNATS(t).ConnectedUrl(), "nats://")}
			ours := &player{addr: strings.TrimPrefix(start(t, t.TempDir(), natsfront.Options{}).conn.ConnectedUrl(), "nats://")}
			for n, line := range strings.Split(string(text), "\n") {
				if len(line) < 2 || line[0] == '#' {
					continue
				}
				want, got := theirs.play(t, line), ours.play(t, line)
				if !strings.HasSuffix(line, "<?") && (want == got) == strings.HasSuffix(line, "<!") {
					t.Fatalf("line %d: %s\nnats-server %s\nkvd         %s", n+1, line, want, got)
				}
			}
		})
	}
}

// player plays a script with one server.
type player struct {
	addr    string
	clients map[byte]*pullClient
}

// pullClient is a connection of a player.
type pullClient struct {
	*rawClient
	replies []string // reply subjects of messages
}

// play plays a line, and returns what is comparable of the message that it got.
func (p *player) play(t *testing.T, line string) string {
	t.Helper()
	if p.clients == nil {
		p.clients = make(map[byte]*pullClient)
	}
	c := p.clients[line[0]]
	if c == nil {
		c = &pullClient{rawClient: dialRaw(t, p.addr)}
		c.send(t, `CONNECT {"verbose":false,"headers":true,"no_responders":true}`)
		p.clients[line[0]] = c
	}
	if operation, ok := strings.CutPrefix(line[1:], "> "); ok {
		c.send(t, c.fill(t, operation))
		return ""
	}
	message := c.next(t)
	if reply := ackSubject.FindString(message); reply != "" {
		c.replies = append(c.replies, reply)
	}
	return comparableMessage(message)
}

// fill replaces the placeholders of an operation.
func (c *pullClient) fill(t *testing.T, operation string) string {
	t.Helper()
	operation = ackPlace.ReplaceAllStringFunc(operation, func(place string) string {
		n, _ := strconv.Atoi(ackPlace.FindStringSubmatch(place)[1])
		if n < 1 || n > len(c.replies) {
			t.Fatalf("%s: %d messages came", operation, len(c.replies))
		}
		return c.replies[n-1]
	})
	_, payload, _ := strings.Cut(operation, `\r\n`)
	return strings.Replace(operation, "{n}", strconv.Itoa(len(payload)), 1)
}

var (
	ackPlace   = regexp.MustCompile(`\{ack (\d+)\}`)
	ackSubject = regexp.MustCompile(`\$JS\.ACK\.\S+`)
	ackTime    = regexp.MustCompile(`(\$JS\.ACK\.\S+)\.\d{15,}\.(\d+)`)
)

// comparableMessage removes the parts of a message that differ between servers.
func comparableMessage(message string) string {
	message = ackTime.ReplaceAllString(message, "$1.TIME.$2")
	head, payload, _ := strings.Cut(message, `\r\n`)
	var fields map[string]any
	if json.Unmarshal([]byte(payload), &fields) != nil {
		return message
	}
	_, isInfo := fields["delivered"]
	delivered, floor := sequenceOf(fields["delivered"]), sequenceOf(fields["ack_floor"])
	text, _ := json.Marshal(comparable(fields)) // what was decoded always encodes
	head = head[:strings.LastIndexByte(head, ' ')]
	if isInfo {
		return head + string(text) + " delivered " + delivered + ", floor " + floor
	}
	return head + string(text)
}

// sequenceOf returns the sequences of a field of a consumer's description. Before the first
// delivery, the one in the stream is where the search for a message begins, in nats-server.
func sequenceOf(field any) string {
	pair, _ := field.(map[string]any)
	delete(pair, "last_active")
	if pair["consumer_seq"] == 0.0 {
		delete(pair, "stream_seq")
	}
	text, _ := json.Marshal(pair) // what was decoded always encodes
	return string(text)
}
