package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/streamconfig"
)

// The last message of each subject is selected, however subjects begin with each other.
func TestSelectLast(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	f, s := openStream(t, Options{})
	tokens := []string{"a", "b", "a-b", "ü", "fffffffffffffff0", "0123456789abcdef"}
	subject := func() string {
		parts := []string{"s"}
		for range 1 + r.IntN(3) {
			parts = append(parts, tokens[r.IntN(len(tokens))])
		}
		return strings.Join(parts, ".")
	}
	const messages, later = 3000, 2900
	newest := make(map[string]kv.Revision)
	for n := range kv.Revision(messages) {
		of := subject()
		key, _ := s.layout.Key([]byte(of))
		if err := f.submitter.Submit(t.Context(), []kv.Mutation{{Bucket: s.name, Op: msglog.Append, Key: key}}); err != nil {
			t.Fatal(err)
		}
		newest[of] = n + 1
	}
	maps.DeleteFunc(newest, func(_ string, revision kv.Revision) bool { return revision >= later })
	for _, filter := range []string{"s.>", "s.*", "s.a.>", "s.*.b", "s.a"} {
		var want []kv.Revision
		for of, revision := range newest {
			if kv.Match(filter, of) {
				want = append(want, revision)
			}
		}
		slices.Sort(want)
		pattern, _ := s.layout.Pattern(filter)
		got, err := s.selectLast(t.Context(), []string{pattern}, later, func() bool { return true })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("seed %d: of %s %v are selected: %v, want %v", seed, filter, got, err, want)
		}
	}
}

// openStream makes a message stream S of the subjects s.>, in a store that ends with the test.
func openStream(t *testing.T, opts Options) (*Front, *stream) {
	t.Helper()
	store, err := bucket.OpenMemory(bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(store, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(f.Close(context.Background()), store.Close()); err != nil {
			t.Error(err)
		}
	})
	cfg, refused := streamconfig.Parse([]byte(`{"name":"S","subjects":["s.>"]}`), "S")
	if refused != nil {
		t.Fatal(refused)
	}
	if _, err = store.CreateBucket(t.Context(), cfg.BucketConfig(1<<20)); err != nil {
		t.Fatal(err)
	}
	s, err := f.streamNamed(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	return f, s
}

// A selected message that was erased meanwhile does not come, and those after it do.
func TestAnErasedMessageIsNotDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, p *peer) {
		for _, subject := range []string{"s.x", "s.y", "s.z", "s.x"} { // 3 to 6
			answerTo(t, p, subject, "", "v")
		}
		answerTo(t, p, "$JS.API.CONSUMER.CREATE.S.c", "", `{"stream_name":"S","config":{"name":"c","ack_policy":"none","deliver_policy":"last_per_subject","filter_subjects":["s.x","s.y","s.z"],"inactive_threshold":60000000000}}`)
		next := func(want string) {
			t.Helper()
			p.send(t, "SUB n 5\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.c n 0\r\n\r\n", false)
			if got := p.next(t); !strings.HasPrefix(got, "MSG "+want) {
				t.Errorf("got %s, want %s", got, want)
			}
			p.send(t, "UNSUB 5\r\n", false)
		}
		next("s.y 5 $JS.ACK.S.c.1.4.1.")
		if got := answerTo(t, p, "$JS.API.STREAM.PURGE.S", "", `{"filter":"s.z"}`); !strings.Contains(got, `"purged":1`) {
			t.Error(got)
		}
		next("s.x 5 $JS.ACK.S.c.1.6.2.")
	})
}

// The selection takes memory of the connection, which gets it back with the end of the consumer.
func TestTheSelectionIsBoundedByMemory(t *testing.T) {
	f, s := openStream(t, Options{ConnMemory: 64 << 10})
	var ms []kv.Mutation
	for n := range 5000 {
		ms = append(ms, kv.Mutation{Bucket: s.name, Op: msglog.Append, Key: fmt.Sprint("s.", n)})
	}
	if err := f.submitter.Submit(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	client, err := f.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	p := greeted(t, client)
	p.send(t, connect, false)
	ask := func(filter string) string {
		return answerTo(t, p, "$JS.API.CONSUMER.CREATE.S.c", "", `{"stream_name":"S","config":{"name":"c","ack_policy":"none","deliver_policy":"last_per_subject","filter_subject":"`+filter+`","deliver_subject":"nobody"}}`)
	}
	for range 20 {
		if got := ask("s.>"); !strings.Contains(got, `"err_code":10023,"description":"insufficient resources: the last messages`) {
			t.Fatal(got)
		}
		if got := ask("s.1"); !strings.Contains(got, `"num_pending":1`) {
			t.Fatal(got)
		}
		if got := answerTo(t, p, "$JS.API.CONSUMER.DELETE.S.c", "", ""); !strings.Contains(got, `"success":true`) {
			t.Fatal(got)
		}
	}
}
