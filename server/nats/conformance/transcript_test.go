package conformance_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTranscriptsAreNATS plays the transcripts of the front end's own tests, as far as
// they are about the protocol, with a real server: what they state is what it does. Of
// the rest, requests that it does not answer are left out, and their answers.
func TestTranscriptsAreNATS(t *testing.T) {
	silent := []string{"PUB $JS.API.NOTHING"} // kvd says that nobody responds
	const alone = "-ERR 'Parser Error'"       // kvd says why it closes the connection
	for _, name := range []string{"protocol", "closed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("..", "testdata", "transcripts", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			addr := strings.TrimPrefix(startNATS(t).ConnectedUrl(), "nats://")
			clients := map[byte]*rawClient{}
			passed := false // the request that the answer is to
			for n, line := range strings.Split(string(text), "\n") {
				if len(line) < 3 || line[0] == '#' {
					continue
				}
				c := clients[line[0]]
				if c == nil {
					c = dialRaw(t, addr)
					clients[line[0]] = c
				}
				text := line[3:]
				switch {
				case line[1] == '>':
					passed = hasAnyPrefix(text, silent)
					if !passed {
						c.send(t, text)
					}
				case passed:
					passed = false
				case text == alone:
				default:
					got := c.next(t)
					prefix, open := strings.CutSuffix(text, "…")
					if got != text && !(open && strings.HasPrefix(got, prefix)) {
						t.Errorf("line %d: got  %s\nwant %s", n+1, got, text)
					}
				}
			}
		})
	}
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// rawClient speaks the protocol by hand.
type rawClient struct {
	net.Conn
	in      *bufio.Reader
	greeted bool
}

func dialRaw(t *testing.T, addr string) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &rawClient{Conn: conn, in: bufio.NewReader(conn)}
	if info := c.next(t); !strings.HasPrefix(info, "INFO {") {
		t.Fatalf("greeting is %q", info)
	}
	c.greeted = true
	return c
}

func (c *rawClient) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, strings.ReplaceAll(text, `\r\n`, "\r\n")+"\r\n"); err != nil {
		t.Fatal(err)
	}
}

// next returns the next line, with the payload that it announces. The server's pings
// are answered and passed over; so is the INFO that it repeats.
func (c *rawClient) next(t *testing.T) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := c.in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return "EOF"
		}
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		line = strings.TrimSuffix(line, "\r\n")
		switch verb, _, _ := strings.Cut(line, " "); {
		case verb == "PING":
			c.send(t, "PONG")
		case verb == "INFO" && c.greeted:
		case verb == "MSG", verb == "HMSG":
			fields := strings.Fields(line)
			size, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			payload := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(c.in, payload); err != nil {
				t.Fatal(err)
			}
			return noSubject(line + `\r\n` + strings.ReplaceAll(string(payload[:size]), "\r\n", `\r\n`))
		default:
			return line
		}
	}
}

// noSubject takes what a server of 2.15 adds out of the answer that nobody responds.
func noSubject(message string) string {
	return noResponders.ReplaceAllString(message, `16 16\r\nNATS/1.0 503\r\n\r\n`)
}

var noResponders = regexp.MustCompile(`\d+ \d+\\r\\nNATS/1\.0 503\\r\\nNats-Subject: \S+?\\r\\n\\r\\n$`)
