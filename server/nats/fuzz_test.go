package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/wire"
)

// FuzzSession sends any bytes to a new server, in one piece and in two. The server does not
// panic, every answer is well formed, and both answers are the same.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(err, files)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(said(string(text)), uint16(300))
	}
	f.Add([]byte("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB a.* q 1\r\nPUB a.b c 3\r\nabc\r\nUNSUB 1 2\r\nPING\r\n"), uint16(50))
	f.Add([]byte("CONNECT {}\r\nPUB a 2\r\nabPING\r\n"), uint16(20))
	f.Fuzz(func(t *testing.T, text []byte, at uint16) {
		cut := min(int(at), len(text))
		whole := converse(t, text)
		parts := converse(t, text[:cut], text[cut:])
		compare(t, text, cut, whole, parts)
	})
}

// said returns what client A of a transcript sends.
func said(transcript string) (text []byte) {
	for line := range strings.Lines(transcript) {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "A> "); ok {
			text = append(text, sized(strings.ReplaceAll(rest, `\r\n`, "\r\n"))+"\r\n"...)
		}
	}
	return text
}

// FuzzAPI sends any request to JetStream's API, twice. Each has one answer, which is well
// formed, and the connection goes on.
func FuzzAPI(f *testing.F) {
	for _, seed := range apiSeeds {
		subject, body, _ := strings.Cut(seed, " ")
		f.Add(subject, []byte(body), uint16(40))
	}
	f.Fuzz(func(t *testing.T, subject string, body []byte, at uint16) {
		if subject = wire.APIPrefix + subject; len(subject) > 3000 || strings.ContainsAny(subject, " \t\r\n") {
			return // the text would not be one request
		}
		var text []byte
		text = append(text, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB inbox.* 1\r\n"...)
		for i := range 2 {
			text = fmt.Appendf(text, "PUB %s inbox.%d %d\r\n%s\r\n", subject, i, len(body), body)
		}
		text = append(text, "PING\r\n"...)
		cut := min(int(at), len(text))
		whole := converse(t, text)
		if len(body) <= payloadDefault {
			whole.checkAnswers(t, text)
		}
		compare(t, text, cut, whole, converse(t, text[:cut], text[cut:]))
	})
}

var apiSeeds = []string{
	"INFO ", "STREAM.NAMES ", `STREAM.NAMES {"offset":1,"subject":"$KV.b.>"}`, `STREAM.LIST {"offset":0}`,
	`STREAM.INFO.KV_b {"deleted_details":true,"subjects_filter":">"}`, `STREAM.INFO.S {"offset":1,"subjects_filter":"s.*"}`,
	`STREAM.CREATE.KV_c {"name":"KV_c","subjects":["$KV.c.>"],"max_msgs_per_subject":5,"max_age":1000000000,"allow_rollup_hdrs":true,"allow_direct":true,"discard":"new"}`,
	`STREAM.CREATE.T {"name":"T","subjects":["t.>"],"max_msgs":3,"discard":"old"}`,
	`STREAM.UPDATE.KV_b {"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"allow_rollup_hdrs":true,"allow_direct":true}`,
	"STREAM.DELETE.KV_b ", "STREAM.DELETE.S ", "STREAM.PURGE.KV_b ", `STREAM.PURGE.KV_b {"filter":"$KV.b.k","keep":1}`, `STREAM.PURGE.S {"seq":2}`,
	`STREAM.MSG.GET.KV_b {"seq":1}`, `STREAM.MSG.GET.KV_b {"last_by_subj":"$KV.b.k"}`, `STREAM.MSG.GET.S {"next_by_subj":"s.>","seq":2}`,
	`STREAM.MSG.DELETE.KV_b {"seq":1,"no_erase":true}`, "STREAM.SNAPSHOT.KV_b {}", "STREAM.RESTORE.KV_b {}",
	`STREAM.SNAPSHOT.KV_b {"deliver_subject":"inbox.9","no_consumers":true,"chunk_size":2000,"window_size":1,"jsck":true}`,
	`STREAM.RESTORE.KV_c {"config":{"name":"KV_c","subjects":["$KV.c.>"],"max_msgs_per_subject":1},"state":{"messages":1}}`,
	`DIRECT.GET.KV_b {"seq":2}`, `DIRECT.GET.KV_b {"next_by_subj":"$KV.b.*","seq":1,"no_hdr":true}`, "DIRECT.GET.KV_b.$KV.b.k ", "DIRECT.GET.S.s.1 ",
	`DIRECT.GET.KV_b {"seq":2,"batch":3}`, `DIRECT.GET.S {"next_by_subj":"s.*","start_time":"2000-01-01T00:00:00Z","batch":2,"no_hdr":true,"max_bytes":5}`,
	`DIRECT.GET.KV_b {"multi_last":["$KV.b.>","$KV.b.k"],"up_to_seq":3,"seq":2,"batch":1}`, `DIRECT.GET.S {"multi_last":["s.2","*.1"],"up_to_time":"2100-01-01T00:00:00Z"}`,
	`DIRECT.GET.KV_b.$KV.b.k {"no_hdr":true}`, `STREAM.MSG.GET.KV_b {"start_time":"2000-01-01T00:00:00Z","next_by_subj":"$KV.b.l"}`,
	`CONSUMER.CREATE.KV_b.c {"stream_name":"KV_b","config":{"name":"c","deliver_policy":"last_per_subject","ack_policy":"none","deliver_subject":"to","filter_subject":"$KV.b.>","flow_control":true,"idle_heartbeat":5000000000}}`,
	`CONSUMER.CREATE.S {"stream_name":"S","config":{"deliver_policy":"by_start_sequence","opt_start_seq":2,"ack_policy":"none","deliver_subject":"inbox.9"}}`,
	`CONSUMER.DURABLE.CREATE.KV_b.d {"stream_name":"KV_b","config":{"durable_name":"d","ack_policy":"explicit"}}`,
	"CONSUMER.INFO.KV_b.c ", "CONSUMER.DELETE.KV_b.c ", "CONSUMER.NAMES.KV_b ", `CONSUMER.LIST.S {"offset":3}`, "NONE.SUCH ",
}

// converse returns what a new server sends to a client that sends these pieces, each after
// the server has done everything that it does because of the piece before.
func converse(t *testing.T, pieces ...[]byte) (got conversation) {
	before := allocated()
	synctest.Test(t, func(t *testing.T) {
		srv, front, store := prepare(t)
		client, own := net.Pipe()
		srv.ServeConn(own)
		all := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(client)
			all <- b
		}()
		for _, piece := range pieces {
			_, _ = client.Write(piece) // the server may have closed the connection
			synctest.Wait()
		}
		client.Close()
		got = parse(t, <-all)
		if err := errors.Join(srv.Shutdown(t.Context()), front.Close(t.Context()), store.Close()); err != nil {
			t.Error(err)
		}
	})
	if size := allocated() - before; size > allocationMax {
		t.Errorf("%d bytes were allocated for %q", size, pieces)
	}
	return got
}

// allocationMax bounds the bytes that a conversation allocates, a new store included.
const allocationMax = 64 << 20

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// prepare opens a store with the bucket b and the message stream S, and a server of it.
func prepare(t *testing.T) (*server.Server, *Front, *bucket.Store) {
	t.Helper()
	random := uint64(0)
	store, err := bucket.Open("store", environment.With(bucket.Options{ReserveSize: -1, LogFileSize: 64 << 10}, environment.Env{
		FS: simdisk.New(), Manual: true, Random: func() uint64 { random++; return random },
	}))
	if err != nil {
		t.Fatal(err)
	}
	front, err := New(store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	front.id = "N" // answers have it
	srv, err := server.New(front, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b", History: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"k", "k", "l", "gone"} {
		if _, err := b.PutString(t.Context(), key, "value of "+key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	client, own := net.Pipe()
	srv.ServeConn(own)
	go func() { _, _ = io.Copy(io.Discard, client) }()
	setup := `{"name":"S","subjects":["s.>"],"allow_direct":true}`
	_, err = fmt.Fprintf(client, "CONNECT {\"verbose\":false}\r\nPUB $JS.API.STREAM.CREATE.S i %d\r\n%s\r\nPUB s.1 1\r\na\r\nPUB s.2 1\r\nb\r\n", len(setup), setup)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	client.Close()
	return srv, front, store
}

// conversation is what a server sent.
type conversation struct {
	frames    []frame // without INFO and without what consumers deliver
	delivered int     // what consumers delivered
}

// frame is a line, or a message.
type frame struct {
	text    string // without the end of the line, and of a message without subscription and sizes
	subject string // of a message
	header  []byte
	payload []byte
}

// parse parses what a server sent.
func parse(t *testing.T, text []byte) (c conversation) {
	t.Helper()
	for rest := text; len(rest) > 0; {
		f, reply, n, err := cutFrame(rest)
		if err != nil {
			t.Fatalf("%v in %q, of %q", err, rest, text)
		}
		rest = rest[n:]
		switch {
		case strings.HasPrefix(f.text, "INFO "):
		case strings.HasPrefix(reply, wire.AckPrefix), strings.HasPrefix(reply, wire.FlowControlPrefix), bytes.HasPrefix(f.header, []byte("NATS/1.0 100")):
			c.delivered++
		default:
			c.frames = append(c.frames, f)
		}
	}
	return c
}

// cutFrame cuts the first frame off a text.
func cutFrame(text []byte) (f frame, reply string, n int, err error) {
	line, rest, ok := bytes.Cut(text, []byte("\r\n"))
	if !ok {
		return f, "", 0, errors.New("a line without an end")
	}
	n = len(line) + crlf
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return f, "", 0, errors.New("an empty line")
	}
	f.text = string(line)
	header, sizes := 0, 1
	switch fields[0] {
	case "INFO", "PING", "PONG", "+OK", "-ERR":
		return f, "", n, nil
	case "HMSG":
		sizes = 2
	case "MSG":
	default:
		return f, "", 0, errors.New("an unknown operation")
	}
	if len(fields) < 3+sizes || len(fields) > 4+sizes {
		return f, "", 0, fmt.Errorf("a message with %d fields", len(fields))
	}
	size, err := strconv.Atoi(fields[len(fields)-1])
	if sizes == 2 && err == nil {
		header, err = strconv.Atoi(fields[len(fields)-2])
	}
	if err != nil || header > size || len(rest) < size+crlf || string(rest[size:size+crlf]) != "\r\n" {
		return f, "", 0, fmt.Errorf("a message with wrong sizes: %w", err)
	}
	if len(fields) == 4+sizes {
		reply = fields[3]
	}
	f.subject, f.header, f.payload = fields[1], rest[:header], rest[header:size]
	f.text = fmt.Sprintf("%s %s %s %q %q", fields[0], f.subject, reply, f.header, stable(f.payload))
	return f, reply, n + size + crlf, nil
}

const crlf = len("\r\n")

// stable returns a payload without what depends on chance: the name that a consumer gets,
// and how much it has delivered.
func stable(payload []byte) []byte {
	var answer struct {
		Type  string          `json:"type"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(payload, &answer) == nil && strings.Contains(answer.Type, ".consumer_") && answer.Error == nil {
		return []byte(answer.Type)
	}
	return payload
}

// compare compares the conversations of a text that was sent in one piece and in two. Acks of
// stored messages keep their order, but what needs no store may overtake them, so the order of
// all frames is not compared. If a subscription has a maximum, the messages of consumers use it
// up, and they come at any time.
func compare(t *testing.T, text []byte, cut int, whole, parts conversation) {
	t.Helper()
	if whole.delivered+parts.delivered > 0 && bytes.Contains(bytes.ToUpper(text), []byte("UNSUB")) {
		return
	}
	all, some := whole.sorted(), parts.sorted()
	for i := range max(len(all), len(some)) {
		var a, b string
		if i < len(all) {
			a = all[i]
		}
		if i < len(some) {
			b = some[i]
		}
		if a != b {
			t.Fatalf("%q answers\n%s\ncut at %d it answers\n%s", text, a, cut, b)
		}
	}
}

// sorted returns the texts of the frames in ascending order.
func (c conversation) sorted() (texts []string) {
	for _, f := range c.frames {
		texts = append(texts, f.text)
	}
	slices.Sort(texts)
	return texts
}

// checkAnswers checks that both requests of FuzzAPI have one answer each, and PING has one.
// An answer of many messages ends with a status.
func (c conversation) checkAnswers(t *testing.T, text []byte) {
	t.Helper()
	var answers [2][]frame
	pongs := 0
	for _, f := range c.frames {
		switch f.subject {
		case "inbox.0":
			answers[0] = append(answers[0], f)
		case "inbox.1":
			answers[1] = append(answers[1], f)
		default:
			if pongs++; f.text != "PONG" {
				t.Errorf("%q gets %q", text, f.text)
			}
		}
	}
	if len(answers[0]) != len(answers[1]) || len(answers[0]) == 0 || pongs != 1 {
		t.Errorf("%q has %d and %d answers, and %d PONG", text, len(answers[0]), len(answers[1]), pongs)
	}
	for _, frames := range answers {
		for i, f := range frames {
			checkAnswer(t, text, &f)
			if isStatus := bytes.HasPrefix(f.header, []byte("NATS/1.0 ")); len(frames) > 1 && isStatus != (i == len(frames)-1) {
				t.Errorf("%q has %d answers, of which number %d is %q", text, len(frames), i, f.text)
			}
		}
	}
}

func checkAnswer(t *testing.T, text []byte, f *frame) {
	t.Helper()
	if len(f.header) > 0 && !(bytes.HasPrefix(f.header, []byte("NATS/1.0")) && bytes.HasSuffix(f.header, []byte("\r\n\r\n"))) {
		t.Errorf("%q answers with the header %q", text, f.header)
	}
	if len(f.header) == 0 && !bytes.Contains(text, []byte("no_hdr")) && !json.Valid(f.payload) {
		t.Errorf("%q answers %q, which is not JSON", text, f.payload)
	}
}
