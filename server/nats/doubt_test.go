package nats

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvd/bucket"
	"kvd/internal/damage"
	"kvd/kv"
	"kvd/server"
)

const connect = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB i 1\r\nSUB d 2\r\n"

// answerTo sends a request and returns the answer. A header is put before the payload.
func answerTo(t *testing.T, p *peer, subject, header, payload string) string {
	t.Helper()
	if header == "" {
		p.send(t, fmt.Sprintf("PUB %s i %d\r\n%s\r\n", subject, len(payload), payload), false)
	} else {
		header = "NATS/1.0\r\n" + header + "\r\n\r\n"
		p.send(t, fmt.Sprintf("HPUB %s i %d %d\r\n%s%s\r\n", subject, len(header), len(header)+len(payload), header, payload), false)
	}
	for {
		if line := p.next(t); strings.HasPrefix(line, "MSG i 1 ") || strings.HasPrefix(line, "HMSG i 1 ") {
			return line
		}
	}
}

// serveDoubted serves a stream KV_b in which messages up to sequence 4 are missing. There
// are 1 of lost, 3 of old, 4 of k and 5 of new.
func serveDoubted(t *testing.T, opts bucket.Options) *peer {
	t.Helper()
	dir := t.TempDir()
	store := openWith(t, dir, bucket.Options{})
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"lost", "old", "old", "k", "new"} {
		if _, err := b.PutString(t.Context(), key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	doubt := damage.Example()
	doubt.Lost = nil
	if err := damage.Doubt(nil, dir, "b", doubt); err != nil {
		t.Fatal(err)
	}
	store = openWith(t, dir, opts)
	_, addr := listen(t, store, store, server.Options{})
	p := dial(t, addr)
	p.send(t, connect, false)
	return p
}

func openWith(t *testing.T, dir string, opts bucket.Options) *bucket.Store {
	t.Helper()
	opts.LogFileSize, opts.ReserveSize = 1<<20, -1
	store, err := bucket.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// doubtRequests depend on messages that are missing. stale is what the answer has
// in it where the stream is served stale.
var doubtRequests = []struct{ name, subject, header, payload, stale string }{
	{"the last message of a key", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"last_by_subj":"$KV.b.old"}`, `"seq":3`},
	{"the last message of an absent key", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"last_by_subj":"$KV.b.absent"}`, `no message found`},
	{"the last message of a pattern", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"last_by_subj":"$KV.b.absent.*"}`, `no message found`},
	{"a sequence that is missing", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"seq":2}`, `no message found`},
	{"the next message", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"next_by_subj":"$KV.b.>","seq":2}`, `"seq":3`},
	{"a direct get", "$JS.API.DIRECT.GET.KV_b.$KV.b.old", "", "", "Nats-Sequence: 3"},
	{"a direct get of an absent key", "$JS.API.DIRECT.GET.KV_b.$KV.b.absent", "", "", "404"},
	{"a direct get of a pattern", "$JS.API.DIRECT.GET.KV_b", "", `{"last_by_subj":"$KV.b.absent.*"}`, "404"},
	{"a direct get of a sequence", "$JS.API.DIRECT.GET.KV_b", "", `{"seq":2}`, "404"},
	{"a direct get of the next message", "$JS.API.DIRECT.GET.KV_b", "", `{"next_by_subj":"$KV.b.old","seq":1}`, "Nats-Sequence: 3"},
	{"the subjects", "$JS.API.STREAM.INFO.KV_b", "", `{"subjects_filter":">"}`, `"$KV.b.old":1`},
	{"the deleted sequences", "$JS.API.STREAM.INFO.KV_b", "", `{"deleted_details":true}`, `"deleted":[2]`},
	{"a consumer of the last messages", "$JS.API.CONSUMER.CREATE.KV_b.c1", "", consumerOf(`"deliver_policy":"last_per_subject","filter_subject":"$KV.b.>"`), `"num_pending":4`},
	{"a consumer of one key", "$JS.API.CONSUMER.CREATE.KV_b.c2", "", consumerOf(`"deliver_policy":"last_per_subject","filter_subject":"$KV.b.old"`), `"num_pending":1`},
	{"a consumer of all messages", "$JS.API.CONSUMER.CREATE.KV_b.c3", "", consumerOf(`"deliver_policy":"all"`), `"num_pending":4`},
	{"a consumer from a sequence", "$JS.API.CONSUMER.CREATE.KV_b.c4", "", consumerOf(`"deliver_policy":"by_start_sequence","opt_start_seq":4`), `"num_pending":2`},
	{"a consumer from a time", "$JS.API.CONSUMER.CREATE.KV_b.c5", "", consumerOf(`"deliver_policy":"by_start_time","opt_start_time":"2020-01-01T00:00:00Z"`), `"num_pending":4`},
	{"a consumer of the last message", "$JS.API.CONSUMER.CREATE.KV_b.c6", "", consumerOf(`"deliver_policy":"last","filter_subject":"$KV.b.old"`), `"num_pending":1`},
	{"an expected sequence of a key", "$KV.b.old", "Nats-Expected-Last-Subject-Sequence: 3", "x", `"seq":6}`},
	{"a wrong sequence of a key", "$KV.b.old", "Nats-Expected-Last-Subject-Sequence: 2", "x", "wrong last sequence: 6"},
	{"an expected sequence of a key, and a refusal for another reason", "$KV.b.old", "Nats-Expected-Last-Subject-Sequence: 2\r\nNats-Rollup: x", "x", "wrong last sequence: 6"},
	{"an expected absence", "$KV.b.absent", "Nats-Expected-Last-Subject-Sequence: 0", "x", `"seq":7}`},
	{"an expected sequence of another key", "$KV.b.new", "Nats-Expected-Last-Subject-Sequence: 4\r\nNats-Expected-Last-Subject-Sequence-Subject: $KV.b.k", "x", `"seq":8}`},
	{"a message with an id", "$KV.b.new", "Nats-Msg-Id: 1", "x", `"seq":9}`},
	{"a purge of a key", "$JS.API.STREAM.PURGE.KV_b", "", `{"filter":"$KV.b.old"}`, `"purged":1`},
	{"a purge", "$JS.API.STREAM.PURGE.KV_b", "", "", `"success":true`},
}

func consumerOf(config string) string {
	return `{"stream_name":"KV_b","config":{"ack_policy":"none","deliver_subject":"nobody",` + config + `}}`
}

func TestRequestsAboutWhatIsInDoubt(t *testing.T) {
	p := serveDoubted(t, bucket.Options{})
	for _, r := range doubtRequests {
		answer := answerTo(t, p, r.subject, r.header, r.payload)
		want := []string{`"code":503,"err_code":10077`}
		if strings.HasPrefix(r.subject, "$JS.API.DIRECT.GET.") {
			want = []string{"NATS/1.0 500 "}
		}
		for _, text := range append(want, "seg/00000000000000ff.seg at offset 4096", "kvd serve --serve-stale b") {
			if !strings.Contains(answer, text) {
				t.Errorf("%s: no %q in %s", r.name, text, answer)
			}
		}
	}
}

// A rollup of a message stream stores its message only if it can remove the older ones.
func TestARollupInDoubtStoresNothing(t *testing.T) {
	dir, name := t.TempDir(), ""
	t.Run("filled", func(t *testing.T) { // its end closes the store
		store := openWith(t, dir, bucket.Options{})
		_, addr := listen(t, store, store, server.Options{})
		p := dial(t, addr)
		p.send(t, connect, false)
		if answer := answerTo(t, p, "$JS.API.STREAM.CREATE.S", "", `{"name":"S","subjects":["s.>"],"allow_rollup_hdrs":true}`); strings.Contains(answer, "error") {
			t.Fatal(answer)
		}
		for range 5 {
			answerTo(t, p, "s.a", "", "x")
		}
		for n, err := range store.BucketNames(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			name = n
		}
	})
	doubt := damage.Example()
	doubt.Lost = nil
	if err := damage.Doubt(nil, dir, name, doubt); err != nil {
		t.Fatal(err)
	}
	store := openWith(t, dir, bucket.Options{})
	_, addr := listen(t, store, store, server.Options{})
	p := dial(t, addr)
	p.send(t, connect, false)
	for _, rollup := range []string{"all", "sub"} {
		if answer := answerTo(t, p, "s.a", "Nats-Rollup: "+rollup, "y"); !strings.Contains(answer, `"code":503,"err_code":10077`) {
			t.Errorf("rollup %s: %s", rollup, answer)
		}
	}
	if answer := answerTo(t, p, "$JS.API.STREAM.INFO.S", "", ""); !strings.Contains(answer, `"last_seq":5`) {
		t.Errorf("something was stored: %s", answer)
	}
	if answer := answerTo(t, p, "s.a", "", "y"); !strings.Contains(answer, `"seq":6`) {
		t.Errorf("a message without a rollup: %s", answer)
	}
}

// What does not depend on missing messages is served.
func TestRequestsAboutWhatIsNotInDoubt(t *testing.T) {
	p := serveDoubted(t, bucket.Options{})
	for _, r := range []struct{ name, subject, header, payload, want string }{
		{"the stream", "$JS.API.STREAM.INFO.KV_b", "", "", `"first_seq":1,`},
		{"a key above", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"last_by_subj":"$KV.b.new"}`, `"seq":5`},
		{"a pattern whose last is above", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"last_by_subj":"$KV.b.*"}`, `"seq":5`},
		{"a sound message", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"seq":3}`, `"seq":3`},
		{"the next from above", "$JS.API.STREAM.MSG.GET.KV_b", "", `{"next_by_subj":"$KV.b.>","seq":5}`, `"seq":5`},
		{"a direct get of a key above", "$JS.API.DIRECT.GET.KV_b.$KV.b.new", "", "", "Nats-Sequence: 5"},
		{"a consumer of a key above", "$JS.API.CONSUMER.CREATE.KV_b.c1", "", consumerOf(`"deliver_policy":"last_per_subject","filter_subject":"$KV.b.new"`), `"num_pending":1`},
		{"a consumer of new messages", "$JS.API.CONSUMER.CREATE.KV_b.c2", "", consumerOf(`"deliver_policy":"new"`), `"num_pending":0`},
		{"a consumer from above", "$JS.API.CONSUMER.CREATE.KV_b.c3", "", consumerOf(`"deliver_policy":"by_start_sequence","opt_start_seq":5`), `"num_pending":1`},
		{"an expected sequence of the stream", "$KV.b.k", "Nats-Expected-Last-Sequence: 5", "x", `"seq":6}`},
		{"a message", "$KV.b.old", "", "x", `"seq":7}`},
		{"an expected sequence of a key that was written", "$KV.b.old", "Nats-Expected-Last-Subject-Sequence: 7", "x", `"seq":8}`},
	} {
		if answer := answerTo(t, p, r.subject, r.header, r.payload); !strings.Contains(answer, r.want) {
			t.Errorf("%s: no %q in %s", r.name, r.want, answer)
		}
	}
}

// A stream that is served stale answers by what is known.
func TestServeStale(t *testing.T) {
	p := serveDoubted(t, bucket.Options{ServeStale: []string{"b"}})
	for _, r := range doubtRequests {
		if answer := answerTo(t, p, r.subject, r.header, r.payload); !strings.Contains(answer, r.stale) {
			t.Errorf("%s: no %q in %s", r.name, r.stale, answer)
		}
	}
}

// A consumer ends before a message whose value is damaged: to a client a gap would mean that
// the message was deleted.
func TestAConsumerEndsBeforeADamagedMessage(t *testing.T) {
	p := serveDamaged(t)
	create := `{"stream_name":"KV_b","config":{"ack_policy":"none","deliver_subject":"d","deliver_policy":"all"}}`
	p.send(t, fmt.Sprintf("PUB $JS.API.CONSUMER.CREATE.KV_b.c i %d\r\n%s\r\n", len(create), create), false)
	// The first delivery may come before the answer.
	for _, line := range []string{p.next(t), p.next(t)} {
		answer := strings.HasPrefix(line, "MSG i 1 ") && strings.Contains(line, `"num_pending":3`)
		if !answer && !strings.HasPrefix(line, "MSG $KV.b.sou 2 $JS.ACK.KV_b.c.1.1.1.") {
			t.Errorf("got %s", line)
		}
	}
	for {
		p.send(t, "PUB $JS.API.CONSUMER.INFO.KV_b.c i 0\r\n\r\n", false)
		line := p.next(t)
		if strings.Contains(line, "consumer not found") {
			return
		}
		if !strings.HasPrefix(line, "MSG i 1 ") {
			t.Fatalf("delivered: %s", line)
		}
	}
}

// So does a pull consumer, and its requests end.
func TestAPullConsumerEndsBeforeADamagedMessage(t *testing.T) {
	p := serveDamaged(t)
	create := `{"stream_name":"KV_b","config":{"ack_policy":"explicit","deliver_policy":"all"}}`
	if answer := answerTo(t, p, "$JS.API.CONSUMER.CREATE.KV_b.c", "", create); !strings.Contains(answer, `"num_pending":3`) {
		t.Fatal(answer)
	}
	ask := `{"batch":3,"expires":60000000000}`
	p.send(t, fmt.Sprintf("PUB $JS.API.CONSUMER.MSG.NEXT.KV_b.c d %d\r\n%s\r\n", len(ask), ask), false)
	for _, want := range []string{"MSG $KV.b.sou 2 $JS.ACK.KV_b.c.1.1.1.", `HMSG d 2 33 33\r\nNATS/1.0 409 Consumer Deleted`} {
		if line := p.next(t); !strings.HasPrefix(line, want) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	if answer := answerTo(t, p, "$JS.API.CONSUMER.INFO.KV_b.c", "", ""); !strings.Contains(answer, "consumer not found") {
		t.Error(answer)
	}
}

// serveDamaged serves a stream KV_b with three messages, of which the value of the second is
// damaged.
func serveDamaged(t *testing.T) *peer {
	t.Helper()
	dir := t.TempDir()
	store := openWith(t, dir, bucket.Options{})
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"sound", "damaged value", "behind"} {
		if _, err := b.PutString(t.Context(), value[:3], value); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(dir, "seg", "*.seg"), "damaged value")
	store = openWith(t, dir, bucket.Options{})
	_, addr := listen(t, store, store, server.Options{})
	p := dial(t, addr)
	p.send(t, connect, false)
	return p
}

// flip changes a byte of the only place of a text in the files of a pattern.
func flip(t *testing.T, pattern, text string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(content, []byte(text)); at >= 0 {
			content[at] ^= 1
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no file has %q", text)
}
