package nats

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// floor is a server that no real server can be faster than: everything that it sends was
// prepared before, it looks up nothing and keeps nothing. Its figures show the time that the
// client and the sockets take with any server.
type floor struct {
	disk    *os.File // a publish waits until a block of it is synced; nil: it does not wait
	seq     int
	values  []floorMessage // messages of the stream, as a consumer delivers them
	headers []floorMessage // the same without values
}

const floorInfo = `INFO {"server_id":"floor","version":"2.12.0","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}` + "\r\n"

// startFloor starts a floor. If durable, it syncs once for all publishes that it has read.
func startFloor(b testing.TB, durable bool) string {
	f := &floor{}
	if durable {
		var err error
		if f.disk, err = os.Create(filepath.Join(b.TempDir(), "disk")); err != nil {
			b.Fatal(err)
		}
		if _, err = f.disk.Write(make([]byte, 64<<10)); err == nil {
			err = f.disk.Sync()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return "nats://" + l.Addr().String()
}

// floorConn is a connection to a floor.
type floorConn struct {
	*floor
	conn  net.Conn
	in    *bufio.Reader
	out   []byte
	puts  bool              // out contains acknowledgements
	inbox map[string]string // id of a subscription, by its subject without the wildcard
}

func (f *floor) serve(conn net.Conn) {
	defer conn.Close()
	c := &floorConn{floor: f, conn: conn, in: bufio.NewReaderSize(conn, 64<<10), inbox: map[string]string{}}
	c.out = append(c.out, floorInfo...)
	for c.flush() == nil {
		if _, err := c.in.Peek(1); err != nil {
			return
		}
		for c.in.Buffered() > 0 {
			if err := c.operation(); err != nil {
				return
			}
		}
	}
}

func (c *floorConn) flush() error {
	if c.puts && c.disk != nil {
		if _, err := c.disk.WriteAt(make([]byte, 4<<10), 0); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(c.disk.Fd())); err != nil {
			return err
		}
	}
	_, err := c.conn.Write(c.out)
	c.out, c.puts = c.out[:0], false
	return err
}

func (c *floorConn) operation() error {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	verb, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
	switch string(verb) {
	case "PING":
		c.out = append(c.out, "PONG\r\n"...)
	case "SUB":
		subject, sid, _ := strings.Cut(string(rest), " ")
		c.inbox[strings.TrimSuffix(subject, "*")] = strings.TrimSpace(sid)
	case "PUB", "HPUB":
		return c.publish(rest)
	}
	return nil
}

// publish answers a message with an acknowledgement, a record or an answer of the API.
func (c *floorConn) publish(line []byte) error {
	var room [5][]byte
	f := room[:0]
	for word := range bytes.SplitSeq(line, []byte(" ")) {
		f = append(f, word)
	}
	size, err := strconv.Atoi(string(f[len(f)-1]))
	if err != nil || len(f) < 3 {
		return fmt.Errorf("publish %q: %w", line, err)
	}
	subject, reply := f[0], string(f[1])
	switch {
	case bytes.HasPrefix(subject, []byte("$KV.")):
		c.seq++
		c.puts = true
		c.message(reply, "", `{"stream":"KV_b","seq":`+strconv.Itoa(c.seq)+"}")
	case bytes.HasPrefix(subject, []byte("$JS.API.DIRECT.GET.")):
		c.message(reply, floorRecord, floorValue)
	default:
		return c.api(string(subject), reply, size)
	}
	_, err = c.in.Discard(size + len("\r\n"))
	return err
}

const floorRecord = "NATS/1.0\r\nNats-Stream: KV_b\r\nNats-Subject: $KV.b.service.eu.1.port\r\nNats-Sequence: 1\r\nNats-Time-Stamp: 2026-11-26T00:00:00.123456789Z\r\n\r\n"

var floorValue = string(value[:])

// message appends a message to an inbox.
func (c *floorConn) message(subject, header, payload string) {
	if header != "" {
		c.out = append(c.out, 'H')
	}
	c.out = append(c.out, "MSG "...)
	c.out = append(c.out, subject...)
	c.out = append(c.out, ' ')
	c.out = append(c.out, c.inbox[subject[:strings.LastIndexByte(subject, '.')+1]]...)
	c.out = append(c.out, ' ')
	if header != "" {
		c.out = strconv.AppendInt(c.out, int64(len(header)), 10)
		c.out = append(c.out, ' ')
	}
	c.out = strconv.AppendInt(c.out, int64(len(header)+len(payload)), 10)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, header...)
	c.out = append(c.out, payload...)
	c.out = append(c.out, "\r\n"...)
}

// api answers a request of the API.
func (c *floorConn) api(subject, reply string, size int) error {
	body := make([]byte, size+len("\r\n"))
	if _, err := io.ReadFull(c.in, body); err != nil {
		return err
	}
	body = body[:size]
	tokens := strings.Split(subject, ".")
	switch {
	case strings.HasPrefix(subject, "$JS.API.STREAM.CREATE."):
		c.message(reply, "", fmt.Sprintf(`{"config":%s,"state":{"messages":0}}`, body))
	case strings.HasPrefix(subject, "$JS.API.STREAM.INFO."):
		c.values, c.headers = floorMessages(c.seq, false), floorMessages(c.seq, true)
		c.message(reply, "", fmt.Sprintf(`{"config":{"name":%q,"max_msgs_per_subject":1,"allow_direct":true},"state":{"messages":%d}}`, tokens[4], c.seq))
	case strings.HasPrefix(subject, "$JS.API.CONSUMER.CREATE."):
		return c.consume(tokens[5], reply, body)
	default:
		c.message(reply, "", `{"success":true}`)
	}
	return nil
}

// consume answers the creation of a consumer and delivers the whole stream to it.
func (c *floorConn) consume(name, reply string, body []byte) error {
	var ask struct {
		Config json.RawMessage `json:"config"`
	}
	var config struct {
		DeliverSubject string `json:"deliver_subject"`
		HeadersOnly    bool   `json:"headers_only"`
	}
	if err := errors.Join(json.Unmarshal(body, &ask), json.Unmarshal(ask.Config, &config)); err != nil {
		return err
	}
	if len(c.values) != c.seq {
		c.values, c.headers = floorMessages(c.seq, false), floorMessages(c.seq, true)
	}
	messages := c.values
	if config.HeadersOnly {
		messages = c.headers
	}
	c.message(reply, "", fmt.Sprintf(`{"stream_name":"KV_b","name":%q,"config":%s,"num_pending":%d}`, name, ask.Config, c.seq))
	sid := []byte(c.inbox[config.DeliverSubject])
	for _, m := range messages {
		c.out = append(c.out, m.before...)
		c.out = append(c.out, sid...)
		c.out = append(c.out, m.behind...)
		if len(c.out) >= 256<<10 {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// floorMessage is a consumer's message without the id of the subscription.
type floorMessage struct{ before, behind []byte }

// floorMessages returns the messages of a stream of n keys, as fill writes them.
func floorMessages(n int, headersOnly bool) []floorMessage {
	made := make([]floorMessage, n)
	for i := range made {
		verb, header, payload := "MSG", "", string(value[:])
		sizes := strconv.Itoa(len(payload))
		if headersOnly {
			verb, header, payload = "HMSG", "NATS/1.0\r\nNats-Msg-Size: 128\r\n\r\n", ""
			sizes = fmt.Sprintf("%d %d", len(header), len(header))
		}
		made[i] = floorMessage{
			fmt.Appendf(nil, "%s $KV.b.%s ", verb, key(i)),
			fmt.Appendf(nil, " $JS.ACK.KV_b.floorfloor.1.%d.%d.1795651200123456789.%d %s\r\n%s%s\r\n", i+1, i+1, n-1-i, sizes, header, payload),
		}
	}
	return made
}
