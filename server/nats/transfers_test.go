package nats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/archive"
	"kvd/server/nats/streamconfig"
)

// received is a message that a peer got.
type received struct{ subject, reply, header, payload string }

// message returns the next message, as it is.
func (p *peer) message(t testing.TB) received {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := p.in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(line)
	if len(f) < 4 || !strings.HasSuffix(f[0], "MSG") {
		t.Fatalf("got %q, want a message", line)
	}
	size, _ := strconv.Atoi(f[len(f)-1])
	content := make([]byte, size+2)
	if _, err := io.ReadFull(p.in, content); err != nil {
		t.Fatal(err)
	}
	m := received{subject: f[1], payload: string(content[:size])}
	rest := f[3 : len(f)-1]
	if f[0] == "HMSG" {
		header, _ := strconv.Atoi(rest[len(rest)-1])
		m.header, m.payload, rest = m.payload[:header], m.payload[header:], rest[:len(rest)-1]
	}
	if len(rest) > 0 {
		m.reply = rest[0]
	}
	return m
}

// ask sends a request and returns the answer.
func (p *peer) ask(t testing.TB, subject, body string) string {
	t.Helper()
	p.send(t, fmt.Sprintf("PUB %s answer %d\r\n%s\r\n", subject, len(body), body), false)
	m := p.message(t)
	if m.subject != "answer" {
		t.Fatalf("%s: got %+v", subject, m)
	}
	return m.payload
}

const connectPlain = `CONNECT {"verbose":false,"headers":true,"no_responders":true}` + "\r\nSUB answer 1\r\n"

// backUp returns the configuration and the backup of a stream, as chunks of 1 KiB, and the status
// at its end.
func (p *peer) backUp(t testing.TB, stream string) (config string, backup []byte, status string) {
	t.Helper()
	answer := p.ask(t, "$JS.API.STREAM.SNAPSHOT."+stream, `{"deliver_subject":"chunks","chunk_size":1024,"window_size":4096}`)
	var made struct {
		Config json.RawMessage `json:"config"`
		State  json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal([]byte(answer), &made); err != nil || made.State == nil {
		t.Fatal(answer)
	}
	p.send(t, "SUB chunks 2\r\n", false)
	for {
		m := p.message(t)
		if m.subject != "chunks" {
			t.Fatalf("got %+v", m)
		}
		if m.payload == "" {
			p.send(t, "UNSUB 2\r\n", false)
			return string(made.Config), backup, m.header
		}
		backup = append(backup, m.payload...)
		p.send(t, "PUB "+m.reply+" 0\r\n\r\n", false)
	}
}

// restore restores a backup, and returns the last answer.
func (p *peer) restore(t testing.TB, stream, config string, backup []byte) string {
	t.Helper()
	answer := p.ask(t, "$JS.API.STREAM.RESTORE."+stream, `{"config":`+config+`,"state":{}}`)
	_, to, ok := strings.Cut(answer, `"deliver_subject":"`)
	if !ok {
		return answer
	}
	to = strings.TrimSuffix(to, `"}`)
	for len(backup) > 0 {
		n := min(len(backup), 1000)
		if answer := p.ask(t, to, string(backup[:n])); answer != "" {
			return answer
		}
		backup = backup[n:]
	}
	return p.ask(t, to, "")
}

// recordsOf returns all records of a bucket.
func recordsOf(t testing.TB, store *bucket.Store, name string) (all []kv.Entry) {
	t.Helper()
	b, err := store.Bucket(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := b.Watch(t.Context(), nil, kv.IncludeHistory())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for u := range w.Updates() {
		if u.Entry == nil {
			return all
		}
		e := *u.Entry
		e.Delta, e.Previous = 0, 0
		all = append(all, e)
	}
	t.Fatal(w.Err())
	return nil
}

// open opens a store for listen.
func open(t testing.TB) *bucket.Store {
	t.Helper()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// fill makes the bucket b, and the message streams S and L with and without a limit of messages.
func fill(t testing.TB, store *bucket.Store, p *peer) {
	t.Helper()
	p.ask(t, "$JS.API.STREAM.CREATE.KV_b", `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":3,"allow_rollup_hdrs":true,"allow_direct":true,"allow_msg_ttl":true,"discard":"new","deny_delete":true}`)
	p.ask(t, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"max_msgs_per_subject":2}`)
	p.ask(t, "$JS.API.STREAM.CREATE.L", `{"name":"L","subjects":["l.>"]}`)
	publish := func(subject, header, payload string) {
		t.Helper()
		if header != "" {
			header = "NATS/1.0\r\n" + header + "\r\n\r\n"
		}
		p.send(t, fmt.Sprintf("HPUB %s answer %d %d\r\n%s%s\r\n", subject, len(header), len(header)+len(payload), header, payload), false)
		if m := p.message(t); !strings.Contains(m.payload, `"seq"`) {
			t.Fatalf("%s: %+v", subject, m)
		}
	}
	for i := range 40 {
		key := fmt.Sprint("k.", i%5)
		publish("$KV.b."+key, "X: y", strings.Repeat("v", 100*i))
		publish("s."+key, "Nats-Msg-Id: "+strconv.Itoa(i), key)
		publish("l."+key, "X: y", key)
	}
	publish("$KV.b.k.1", "KV-Operation: DEL", "")
	publish("$KV.b.k.2", "KV-Operation: PURGE\r\nNats-Rollup: sub", "")
	publish("$KV.b.k.3", "Nats-TTL: 1h", "short")
	publish("$KV.b.k.4", "KV-Operation: PURGE\r\nNats-Rollup: sub\r\nNats-TTL: 2h", "")
	b, err := store.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.(msglog.Log).Erase(t.Context(), "k.0", 0, 0); err != nil { // a gap
		t.Fatal(err)
	}
	publish("$KV.b.last", "", "")
	if _, err := b.(msglog.Log).Erase(t.Context(), "last", 0, 0); err != nil { // behind the last
		t.Fatal(err)
	}
}

// A restored stream has the records of the original, and goes on with its next revision.
func TestBackupAndRestore(t *testing.T) {
	from, to := open(t), open(t)
	_, fromAddr := listen(t, from, from, server.Options{})
	_, toAddr := listen(t, to, to, server.Options{})
	p, q := dial(t, fromAddr), dial(t, toAddr)
	p.send(t, connectPlain, false)
	q.send(t, connectPlain, false)
	fill(t, from, p)
	for stream, name := range map[string]string{"KV_b": "b", "S": streamconfig.MessageStreamPrefix + "S", "L": streamconfig.MessageStreamPrefix + "L"} {
		config, backup, status := p.backUp(t, stream)
		if status != string(statusComplete) {
			t.Fatalf("%s: %q", stream, status)
		}
		answer := q.restore(t, stream, config, backup)
		if !strings.Contains(answer, `stream_create_response","config"`) {
			t.Fatalf("%s: %s", stream, answer)
		}
		if got, want := recordsOf(t, to, name), recordsOf(t, from, name); !reflect.DeepEqual(got, want) || len(got) == 0 {
			t.Errorf("%s: the restored records are\n%+v\nwant\n%+v", stream, got, want)
		}
		got, want := statusOfBucket(t, to, name), statusOfBucket(t, from, name)
		if *got.Digest != *want.Digest || got.Revision != want.Revision || !got.Config.Equal(want.Config) {
			t.Errorf("%s: the status is\n%+v\nwant\n%+v", stream, got, want)
		}
		if again := q.restore(t, stream, config, backup); !strings.Contains(again, `"err_code":10130`) {
			t.Errorf("%s: a second restore: %s", stream, again)
		}
	}
	q.send(t, "PUB s.new answer 0\r\n\r\n", false) // the restored stream captures its subjects
	if m := q.message(t); m.payload != `{"stream":"S","seq":41}` {
		t.Errorf("a message to the restored stream: %+v", m)
	}
}

func statusOfBucket(t testing.TB, store *bucket.Store, name string) kv.Status {
	t.Helper()
	b, err := store.Bucket(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	st, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// The TTL of a record that no NATS client wrote is in its backup, in whole seconds.
func TestABackupKeepsTTLs(t *testing.T) {
	store := open(t)
	_, addr := listen(t, store, store, server.Options{})
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b", History: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutString(t.Context(), "k", "v", kv.KeyTTL(90*time.Minute+time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	p := dial(t, addr)
	p.send(t, connectPlain, false)
	config, backup, _ := p.backUp(t, "KV_b")
	if err := store.DeleteBucket(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	p.restore(t, "KV_b", config, backup)
	e := recordsOf(t, store, "b")[0]
	if got, want := e.Deadline.Sub(e.Created), 90*time.Minute+time.Second; got != want {
		t.Errorf("the restored record lives %v, want %v", got, want)
	}
}

// Backups that no stream can be made of are refused by name, and leave nothing.
func TestRefusedRestores(t *testing.T) {
	store := open(t)
	_, addr := listen(t, store, store, server.Options{})
	p := dial(t, addr)
	p.send(t, connectPlain, false)
	fill(t, store, p)
	config, backup, _ := p.backUp(t, "KV_b")
	if err := store.DeleteBucket(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	plain := func(b []byte) []byte {
		var out bytes.Buffer
		w := s2.NewWriter(&out)
		_, _ = w.Write(b) // to memory
		_ = w.Close()
		return out.Bytes()
	}
	made := func(state string, messages ...archive.Message) []byte {
		var out bytes.Buffer
		w, err := archive.NewWriter(&out, []byte(state), time.Unix(1, 0))
		for i := range messages {
			if err == nil {
				err = w.Write(&messages[i])
			}
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	const one = `{"messages":1,"first_seq":1,"last_seq":1}`
	message := func(subject, header, payload string) archive.Message {
		if header != "" {
			header = "NATS/1.0\r\n" + header + "\r\n\r\n"
		}
		return archive.Message{Subject: subject, Sequence: 1, Time: time.Unix(1, 0), Header: []byte(header), Payload: []byte(payload)}
	}
	broken := message("$KV.b.k", "", "")
	broken.Header = []byte("NATS/1.0\r\nno end")
	future := message("$KV.b.k", "", "")
	future.Time = time.Now().Add(time.Hour)
	flipped := bytes.Clone(backup)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		backup []byte
		want   string
	}{
		"of an old server":      {plain(bytes.Repeat([]byte("tar "), 200)), "nats-server 2.15 or later"},
		"no backup":             {[]byte("hello, this is no backup"), "not a stream backup"},
		"nothing":               {nil, "cut off"},
		"cut off":               {backup[:len(backup)-20], "cut off"},
		"a bit flipped":         {flipped, "damaged"},
		"something behind":      {append(bytes.Clone(backup), plain([]byte("x"))...), "follows its end"},
		"another bucket":        {made(one, message("$KV.c.k", "", "")), "none of stream"},
		"an invalid key":        {made(one, message("$KV.b.*", "", "")), "none of stream"},
		"a marker with a value": {made(one, message("$KV.b.k", "KV-Operation: DEL", "v")), "with a value"},
		"an invalid TTL":        {made(one, message("$KV.b.k", "Nats-TTL: soon", "v")), "not valid"},
		"a delete with a TTL":   {made(one, message("$KV.b.k", "KV-Operation: DEL\r\nNats-TTL: 5s", "")), "delete marker"},
		"a broken header":       {made(one, broken), "malformed"},
		"the future":            {made(one, future), "future"},
		"a huge message":        {made(one, message("$KV.b.k", "", strings.Repeat("v", 2<<20))), "bytes are allowed"},
		"a huge sequence":       {made(`{"first_seq":1,"last_seq":18446744073709551615}`), "last_seq"},
		"a damaged state":       {made(`{"messages":7}`), "cannot have"},
	} {
		t.Run(name, func(t *testing.T) {
			if answer := p.restore(t, "KV_b", config, c.backup); !strings.Contains(answer, `"err_code":10062`) || !strings.Contains(answer, c.want) {
				t.Errorf("%s, want %q", answer, c.want)
			}
		})
	}
	fewer := strings.Replace(config, `"max_msgs_per_subject":3`, `"max_msgs_per_subject":1`, 1)
	if answer := p.restore(t, "KV_b", fewer, backup); !strings.Contains(answer, "keeps fewer messages") {
		t.Errorf("a smaller history: %s", answer)
	}
	for config, code := range map[string]string{
		`{"name":"KV_c"}`:                    "10056",
		`{"name":"KV_b","num_replicas":3}`:   "10074",
		`{"name":"KV_b","no_such_field":1}`:  "10025",
		`{"name":"KV_b","subjects":["s.x"]}`: "10065",
	} {
		if answer := p.restore(t, "KV_b", config, backup); !strings.Contains(answer, `"err_code":`+code) {
			t.Errorf("%s: %s, want %s", config, answer, code)
		}
	}
	if answer := p.restore(t, "KV_b", config, backup); !strings.Contains(answer, `stream_create_response","config"`) {
		t.Errorf("the restore after all that: %s", answer)
	}
}

// A backup needs the permissions admin and get, a restore admin and put, in the whole bucket.
func TestTransfersNeedPermissions(t *testing.T) {
	addr := serve(t, server.Options{Users: usersOf(t, [][3]string{
		{"admin", "p", "b=admin"}, {"reader", "p", "b=get,admin"}, {"writer", "p", "b=put,admin"}, {"other", "p", "c=get,put,admin"},
	})})
	for user, want := range map[string][2]string{
		"admin":  {`needs \"get\" in bucket \"b\"`, `needs \"put\" in bucket \"b\"`},
		"reader": {`"config"`, `needs \"put\" in bucket \"b\"`},
		"writer": {`needs \"get\" in bucket \"b\"`, `"err_code":10130`},
		"other":  {`needs \"admin\" in bucket \"b\"`, `needs \"admin\" in bucket \"b\"`},
	} {
		p := dial(t, addr)
		p.send(t, `CONNECT {"verbose":false,"headers":true,"user":"`+user+`","pass":"p"}`+"\r\nSUB answer 1\r\n", false)
		const config = `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}`
		if user != "other" {
			p.ask(t, "$JS.API.STREAM.CREATE.KV_b", config)
		}
		for i, request := range []string{"SNAPSHOT.KV_b", "RESTORE.KV_b"} {
			body := []string{`{"deliver_subject":"d"}`, `{"config":` + config + `}`}[i]
			if answer := p.ask(t, "$JS.API.STREAM."+request, body); !strings.Contains(answer, want[i]) {
				t.Errorf("%s, %s: %s, want %s", user, request, answer, want[i])
			}
		}
	}
}

// A client that does not subscribe, does not acknowledge, or sends no chunk, does not hold a
// backup or a restore for longer than it may. One that goes discards what it has restored.
func TestTransfersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, front, store := prepare(t)
		connect := func() *peer {
			client, own := net.Pipe()
			srv.ServeConn(own)
			p := greeted(t, client)
			p.send(t, connectPlain, false)
			return p
		}
		p := connect()
		b, err := store.Bucket(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		incompressible := make([]byte, 4096)
		_, _ = rand.NewChaCha8([32]byte{}).Read(incompressible) // never fails
		if _, err := b.Put(t.Context(), "k", incompressible); err != nil {
			t.Fatal(err)
		}
		p.ask(t, "$JS.API.STREAM.SNAPSHOT.KV_b", `{"deliver_subject":"nobody"}`)
		p.ask(t, "$JS.API.STREAM.SNAPSHOT.KV_b", `{"deliver_subject":"chunks","chunk_size":1024,"window_size":1024}`)
		p.send(t, "SUB chunks 2\r\n", false)
		if m := p.message(t); m.reply == "" || len(m.payload) != 1024 {
			t.Errorf("the first chunk: %+v", m)
		}
		if m := p.message(t); m.header != "NATS/1.0 408 No Flow Response\r\n\r\n" {
			t.Errorf("a chunk that is not acknowledged: %+v", m)
		}
		config := `{"name":"KV_r","subjects":["$KV.r.>"],"max_msgs_per_subject":1}`
		begin := func(p *peer) string {
			answer := p.ask(t, "$JS.API.STREAM.RESTORE.KV_r", `{"config":`+config+`}`)
			_, to, _ := strings.Cut(answer, `"deliver_subject":"`)
			return strings.TrimSuffix(to, `"}`)
		}
		to := begin(p)
		<-time.After(restorePatience + time.Second)
		p.send(t, "PUB "+to+" answer 1\r\nx\r\n", false)
		if m := p.message(t); !strings.HasPrefix(m.header, "NATS/1.0 503") {
			t.Errorf("a chunk of a restore that was stalled: %+v", m)
		}
		for range transfersMax {
			begin(p)
		}
		if to := begin(p); to != "" {
			t.Errorf("one restore more than there may be: %s", to)
		}
		p.Close()
		synctest.Wait()
		q := connect()
		if to := begin(q); to == "" {
			t.Error("no restore after the connection ended")
		}
		q.Close()
		synctest.Wait()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := front.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A client that logs in as somebody else gets the rest of a backup that was begun before.
func TestAnotherUserWhileABackupIsSent(t *testing.T) {
	addr := serve(t, server.Options{Users: usersOf(t, [][3]string{{"one", "p", "b=get,put,admin"}, {"two", "p", "b=get,put,admin"}})})
	p := dial(t, addr)
	connect := func(user string) string {
		return fmt.Sprintf(`CONNECT {"verbose":false,"headers":true,"user":"%s","pass":"p"}`+"\r\n", user)
	}
	p.send(t, connect("one")+"SUB answer 1\r\n", false)
	p.ask(t, "$JS.API.STREAM.CREATE.KV_b", `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"allow_rollup_hdrs":true}`)
	value := make([]byte, 900<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(value) // it must not compress
	p.send(t, fmt.Sprintf("PUB $KV.b.k answer %d\r\n%s\r\n", len(value), value), false)
	p.message(t)
	p.ask(t, "$JS.API.STREAM.SNAPSHOT.KV_b", `{"deliver_subject":"chunks","chunk_size":1024}`)
	p.send(t, "SUB chunks 2\r\n"+strings.Repeat(connect("two")+connect("one"), 10), false) // while chunks are made
	chunks := 0
	for m := p.message(t); m.payload != ""; m = p.message(t) {
		chunks++
		p.send(t, "PUB "+m.reply+" 0\r\n\r\n", false)
	}
	if chunks < 800 {
		t.Errorf("%d chunks", chunks)
	}
}
