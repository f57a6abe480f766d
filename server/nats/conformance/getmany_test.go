package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	natsfront "kvd/server/nats"
)

// pair is a nats-server and kvd, which are sent the same requests.
type pair struct {
	t            *testing.T
	theirs, ours *nats.Conn
}

func startPair(t *testing.T) *pair {
	return &pair{t, startNATS(t), start(t, t.TempDir(), natsfront.Options{}).conn}
}

// ask sends a request to both, and compares the answers.
func (p *pair) ask(request string) {
	p.t.Helper()
	if want, got := ask(p.theirs, request), ask(p.ours, request); got != want {
		p.t.Errorf("%s\nnats-server %s\nkvd         %s", request, want, got)
	}
}

// askAt sends both a request with a time in it, %s, that is so long after the time of a
// message.
func (p *pair) askAt(stream string, seq int, after time.Duration, request string) {
	p.t.Helper()
	answers := [2]string{}
	for i, conn := range []*nats.Conn{p.theirs, p.ours} {
		m, err := conn.Request("$JS.API.DIRECT.GET."+stream, fmt.Appendf(nil, `{"seq":%d}`, seq), patience)
		if err != nil {
			p.t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
		if err != nil {
			p.t.Fatal(err)
		}
		text, _ := json.Marshal(at.Add(after)) // never fails
		answers[i] = ask(conn, fmt.Sprintf(request, text))
	}
	if answers[0] != answers[1] {
		p.t.Errorf("%v after message %d: %s\nnats-server %s\nkvd         %s", after, seq, request, answers[0], answers[1])
	}
}

// The times of messages, and those just before and after, select the same as with
// nats-server, in a stream with gaps.
func TestGetsByTime(t *testing.T) {
	p := startPair(t)
	for _, stream := range []string{
		`KV_b {"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":2,"allow_direct":true,"discard":"new"}`,
		`S {"name":"S","subjects":["s.>"],"allow_direct":true}`,
	} {
		p.ask("$JS.API.STREAM.CREATE." + stream)
		name, _, _ := strings.Cut(stream, " ")
		prefix := map[string]string{"KV_b": "$KV.b.", "S": "s."}[name]
		for _, key := range strings.Fields("a b a a c b a") {
			p.ask(prefix + key + " v")
		}
		kept := []int{2, 4, 5, 6, 7} // of a with a history of 2, and of b and c
		if name == "S" {
			kept = []int{1, 2, 3, 4, 5, 6, 7}
		}
		for _, seq := range kept {
			for _, after := range []time.Duration{-1, 0, 1} {
				p.askAt(name, seq, after, "$JS.API.DIRECT.GET."+name+` {"start_time":%s}`)
				p.askAt(name, seq, after, "$JS.API.DIRECT.GET."+name+` {"start_time":%s,"next_by_subj":"`+prefix+`b"}`)
				p.askAt(name, seq, after, "$JS.API.STREAM.MSG.GET."+name+` {"start_time":%s}`)
				p.askAt(name, seq, after, "+ $JS.API.DIRECT.GET."+name+` {"start_time":%s,"batch":3}`)
				p.askAt(name, seq, after, "+ $JS.API.DIRECT.GET."+name+` {"start_time":%s,"batch":3,"next_by_subj":"`+prefix+`*"}`)
				p.askAt(name, seq, after, "+ $JS.API.DIRECT.GET."+name+` {"multi_last":["`+prefix+`>"],"up_to_time":%s}`)
			}
		}
	}
}

// Random requests to random streams have nats-server's answers.
func TestGetsOfManyAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := startPair(t)
	for n, config := range []string{
		`"max_msgs_per_subject":1,"discard":"new"`, `"max_msgs_per_subject":4,"discard":"new"`, ``, `"max_msgs":30`,
	} {
		stream, prefix := fmt.Sprint("KV_", n), fmt.Sprintf("$KV.%d.", n)
		if !strings.Contains(config, "max_msgs_per") {
			stream, prefix = fmt.Sprint("S", n), fmt.Sprintf("s%d.", n)
		}
		p.ask(fmt.Sprintf(`$JS.API.STREAM.CREATE.%s {"name":%q,"subjects":["%s>"],"allow_direct":true,"allow_rollup_hdrs":true%s}`, stream, stream, prefix, strings.TrimSuffix(","+config, ",")))
		written := 0
		key := func() string { return fmt.Sprintf("%c.%d", 'a'+random.IntN(3), random.IntN(4)) }
		for step := range 120 {
			switch what := random.IntN(12); {
			case what == 0 && stream[0] == 'K':
				p.ask(prefix + key() + " [KV-Operation: PURGE] [Nats-Rollup: sub]")
				written++
			case what == 1:
				p.ask(fmt.Sprintf(`$JS.API.STREAM.PURGE.%s {"filter":"%s%s"}`, stream, prefix, key()))
			case what == 2:
				p.ask(fmt.Sprintf(`$JS.API.STREAM.PURGE.%s {"seq":%d}`, stream, random.IntN(written+1)))
			default:
				p.ask(prefix + key() + fmt.Sprint(" [N: ", step, "] ", strings.Repeat("v", random.IntN(20))))
				written++
			}
			for range 3 {
				p.ask(fmt.Sprintf("+ $JS.API.DIRECT.GET.%s %s", stream, randomGet(random, prefix, key, written)))
			}
		}
		if t.Failed() {
			return
		}
	}
}

// randomGet returns the body of a request for many messages.
func randomGet(random *rand.Rand, prefix string, key func() string, written int) string {
	filter := func() string {
		switch random.IntN(5) {
		case 0:
			return prefix + ">"
		case 1:
			return prefix + key()[:1] + ".*"
		case 2:
			return prefix + "*" + key()[1:]
		}
		return prefix + key()
	}
	seq := func() int { return 1 + random.IntN(written+2) }
	fields := map[string]any{}
	if random.IntN(2) == 0 {
		fields["batch"] = 1 + random.IntN(8)
		fields["seq"] = seq()
		if random.IntN(2) == 0 {
			fields["next_by_subj"] = filter()
		}
	} else {
		var filters []string
		for range 1 + random.IntN(3) {
			filters = append(filters, filter())
		}
		fields["multi_last"] = filters
		if random.IntN(2) == 0 {
			fields["up_to_seq"] = seq()
		}
		if random.IntN(3) == 0 {
			fields["batch"] = 1 + random.IntN(4)
		}
		if random.IntN(3) == 0 {
			fields["seq"] = seq()
		}
	}
	if random.IntN(4) == 0 {
		fields["max_bytes"] = 1 + random.IntN(200)
	}
	body, _ := json.Marshal(fields) // never fails
	return string(body)
}

// More than 1,024 subjects are too many, exactly as many are not.
func TestTheMostLastMessages(t *testing.T) {
	p := startPair(t)
	p.ask(`$JS.API.STREAM.CREATE.KV_b {"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"allow_direct":true,"discard":"new"}`)
	p.ask(`$JS.API.STREAM.CREATE.S {"name":"S","subjects":["s.>"],"allow_direct":true}`)
	for i := range 1025 {
		p.ask(fmt.Sprintf("$KV.b.k.%d v", i))
		p.ask(fmt.Sprintf("s.k.%d v", i))
		if i >= 1023 {
			p.ask(`+ $JS.API.DIRECT.GET.KV_b {"multi_last":["$KV.b.>"]}`)
			p.ask(`+ $JS.API.DIRECT.GET.S {"multi_last":["s.*.*"]}`)
			p.ask(`+ $JS.API.DIRECT.GET.S {"multi_last":["s.*.*"],"up_to_seq":3}`)
		}
	}
}

// A client of orbit.go pages through a bucket of which messages were superseded, while others
// are written: it gets every key that stays as it was, and none twice.
func TestOrbitPagesThroughABucket(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	b, err := f.js.CreateKeyValue(t.Context(), js.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 300 {
		key := fmt.Sprintf("k%d", i)
		if i%3 == 0 {
			key = fmt.Sprintf("busy%d", i%7)
		} else {
			want = append(want, "$KV.b."+key)
		}
		if _, err := b.PutString(t.Context(), key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for next, pages := uint64(1), 0; ; pages++ {
		page, err := jetstreamext.GetBatch(t.Context(), f.js, "KV_b", 17, jetstreamext.GetBatchSeq(next))
		if err != nil {
			t.Fatal(err)
		}
		var ended error
		for m, err := range page {
			if ended = err; err != nil {
				break
			}
			if m.Sequence < next {
				t.Fatalf("sequence %d after %d", m.Sequence, next)
			}
			next = m.Sequence + 1
			if !strings.Contains(m.Subject, "busy") {
				got = append(got, m.Subject)
			}
		}
		if errors.Is(ended, jetstreamext.ErrNoMessages) {
			break
		}
		if ended != nil {
			t.Fatal(ended)
		}
		if pages < 10 {
			if _, err := b.PutString(t.Context(), fmt.Sprintf("busy%d", pages%7), "w"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d keys, want %d: %q", len(got), len(want), got)
	}
}

// A client pages through a bucket while the server is killed several times and others write:
// each message comes once, in order, and none that was acknowledged is missing.
func TestKilledServerUnderGetsOfMany(t *testing.T) {
	t.Parallel()
	k := startKilled(t)
	if _, err := k.js.CreateKeyValue(t.Context(), js.KeyValueConfig{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]uint64{}
	written := make(chan int, 1)
	paged := make(chan error, 1)
	go func() { paged <- readPages(t.Context(), k.js, seen, written) }()
	acked := k.publish(t, "$KV.b.")
	written <- len(acked)
	if err := <-paged; err != nil {
		t.Fatal(err)
	}
	for key, seq := range acked {
		if seen["$KV.b."+key] != seq {
			t.Fatalf("%s, acknowledged at %d, was seen at %d", key, seq, seen["$KV.b."+key])
		}
	}
}

// readPages reads a bucket in pages until it has seen as many keys as were written. What fails, as
// the server is killed, is asked for again.
func readPages(ctx context.Context, stream js.JetStream, seen map[string]uint64, written <-chan int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	next, count := uint64(1), -1
	for len(seen) != count {
		select {
		case count = <-written:
		default:
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d keys of %d were seen", len(seen), count)
		}
		request, cancel := context.WithTimeout(ctx, 2*time.Second)
		messages, err := jetstreamext.GetBatch(request, stream, "KV_b", 100, jetstreamext.GetBatchSeq(next))
		if err == nil {
			for m, err := range messages {
				if err != nil {
					break
				}
				if seen[m.Subject] != 0 || m.Sequence < next {
					cancel()
					return fmt.Errorf("%s at %d, after %d, was seen at %d", m.Subject, m.Sequence, next-1, seen[m.Subject])
				}
				seen[m.Subject], next = m.Sequence, m.Sequence+1
			}
		}
		cancel()
	}
	return nil
}
