package conformance_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	natsfront "kvd/server/nats"
)

// TestAnswers sends the same requests to nats-server and to kvd, and compares the answers.
// The requests are in testdata/answers, one on each line, and are sent in order. Each file
// has its own pair of servers:
//
//	SUBJECT [NAME: VALUE] … [PAYLOAD]   a request, with headers
//	+ SUBJECT …                         a request that has many answers: up to a status
//	! …                                 the same; kvd gives another answer on purpose
//	# TEXT                              why, or what the requests are about
//
// Some parts of the answers are not compared: times, sizes, names of servers, and the
// stream sequence of a consumer, which kvd counts by deliveries.
func TestAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/answers/*.txt")
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
			theirs := startNATS(t)
			ours := start(t, t.TempDir(), natsfront.Options{}).conn
			for n, line := range strings.Split(string(text), "\n") {
				request, differs := strings.CutPrefix(line, "! ")
				if request == "" || request[0] == '#' {
					continue
				}
				want, got := ask(theirs, request), ask(ours, request)
				if (want == got) == differs {
					t.Errorf("line %d: %s\nnats-server %s\nkvd         %s", n+1, line, want, got)
				}
			}
		})
	}
}

// TestAnswerToALargeHeader is a request that does not fit a line.
func TestAnswerToALargeHeader(t *testing.T) {
	theirs, ours := startNATS(t), start(t, t.TempDir(), natsfront.Options{}).conn
	for _, request := range []string{
		`$JS.API.STREAM.CREATE.KV_b {"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}`,
		"$KV.b.k [X: " + strings.Repeat("x", 65535-len("NATS/1.0\r\nX: \r\n\r\n")) + "] v",
		"$KV.b.k [X: " + strings.Repeat("x", 65536-len("NATS/1.0\r\nX: \r\n\r\n")) + "] v",
	} {
		if want, got := ask(theirs, request), ask(ours, request); got != want {
			t.Errorf("%.40s…\nnats-server %s\nkvd         %s", request, want, got)
		}
	}
}

// startNATS starts a real server, and ends it with the test.
func startNATS(t *testing.T) *nats.Conn {
	t.Helper()
	srv, err := natsd.NewServer(&natsd.Options{Host: "127.0.0.1", Port: natsd.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(patience) {
		t.Fatal("nats-server takes no connections")
	}
	conn, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// ask sends a request and returns what is comparable of the answer, or of all answers.
func ask(conn *nats.Conn, request string) string {
	request, many := strings.CutPrefix(request, "+ ")
	m := &nats.Msg{Header: nats.Header{}}
	m.Subject, request, _ = strings.Cut(request, " ")
	for strings.HasPrefix(request, "[") {
		field, rest, _ := strings.Cut(request[1:], "]")
		name, value, _ := strings.Cut(field, ": ")
		m.Header[name] = append(m.Header[name], value)
		request = strings.TrimPrefix(rest, " ")
	}
	m.Data = []byte(request)
	if many {
		return askMany(conn, m)
	}
	answer, err := conn.RequestMsg(m, 10*time.Second)
	if err != nil {
		return err.Error()
	}
	return show(answer)
}

// askMany is ask for a request whose last answer is a status.
func askMany(conn *nats.Conn, m *nats.Msg) string {
	m.Reply = conn.NewInbox()
	sub, err := conn.SubscribeSync(m.Reply)
	if err != nil {
		return err.Error()
	}
	defer sub.Unsubscribe()
	if err := conn.PublishMsg(m); err != nil {
		return err.Error()
	}
	var all strings.Builder
	for {
		answer, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			return all.String() + err.Error()
		}
		all.WriteString("\n\t" + show(answer))
		if answer.Header.Get("Status") != "" {
			return all.String()
		}
	}
}

// show returns what is comparable of an answer.
func show(answer *nats.Msg) string {
	var s strings.Builder
	for _, name := range slices.Sorted(maps.Keys(answer.Header)) {
		if name != "Nats-Time-Stamp" {
			s.WriteString(name + ": " + strings.Join(answer.Header[name], ", ") + "; ")
		}
	}
	var fields any
	if json.Unmarshal(answer.Data, &fields) != nil {
		return s.String() + string(answer.Data)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(comparable(fields)) // what was decoded always encodes
	return s.String() + strings.TrimSpace(b.String())
}

// comparable removes the parts of an answer that differ between servers.
func comparable(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = comparable(v[i])
		}
	case map[string]any:
		if v["error"] != nil && v["type"] != nil { // nats-server adds the answer's fields, without a meaning
			return map[string]any{"error": v["error"], "type": v["type"]}
		}
		for name, field := range v {
			switch name {
			case "created", "ts", "time", "first_ts", "last_ts", "leader", "bytes", "stream_seq":
				v[name] = "…"
			case "hdrs": // the client writes headers in any order
				header, _ := base64.StdEncoding.DecodeString(field.(string))
				lines := strings.Split(string(header), "\r\n")
				slices.Sort(lines)
				v[name] = strings.Join(lines, "|")
			case "streams", "consumers":
				if v[name] = comparable(field); field == nil { // an empty list, there
					v[name] = []any{}
				}
			default:
				v[name] = comparable(field)
			}
			if left, isMap := v[name].(map[string]any); strings.HasPrefix(name, "_nats.") || name == "metadata" && isMap && len(left) == 0 {
				delete(v, name)
			}
		}
	}
	return v
}
