package conformance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"kvd/kv"
	natsfront "kvd/server/nats"
)

// Messages are published again as nats-server does it: to which subjects, with which headers,
// in which order. Both get the same writes, of NATS' clients.
func TestRepublish(t *testing.T) {
	for name, c := range map[string]struct{ config, prefix string }{
		"bucket":    {`"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"discard":"new"`, "$KV.b."},
		"history":   {`"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":3,"discard":"new"`, "$KV.b."},
		"log":       {`"name":"S","subjects":["s.>"]`, "s."},
		"short log": {`"name":"S","subjects":["s.>"],"max_msgs":2`, "s."},
	} {
		for republish, subjects := range map[string]string{
			`{"dest":"copy.>"}`:                                 "copy.>",
			`{"src":"` + c.prefix + `>","dest":"copy.>"}`:       "copy.>",
			`{"src":"` + c.prefix + `*.*","dest":"to.$2.x.$1"}`: "to.>",
			`{"src":">","dest":"copy.>","headers_only":true}`:   "copy.>",
			`{"src":"` + c.prefix + `a.1","dest":"one.k"}`:      "one.>",
			`{"src":"` + c.prefix + `*.>","dest":"rest.>"}`:     "rest.>",
			`{"src":"other.>","dest":"none.>"}`:                 "none.>",
		} {
			t.Run(name+republish, func(t *testing.T) {
				p := startPair(t)
				stream, _, _ := strings.Cut(strings.TrimPrefix(c.config, `"name":"`), `"`)
				p.ask(fmt.Sprintf(`$JS.API.STREAM.CREATE.%s {%s,"allow_rollup_hdrs":true,"allow_direct":true,"republish":%s}`, stream, c.config, republish))
				var got [2][]string
				subs := [2]*nats.Subscription{subscribe(t, p.theirs, subjects), subscribe(t, p.ours, subjects)}
				for _, write := range []string{"a.1 v", "a.2 [X: y] w", "a.1 v2", "b.1", "a.1 [KV-Operation: DEL]", "a.1 again", "a.2 [KV-Operation: PURGE] [Nats-Rollup: sub]", "a.2 last", "c v"} {
					p.ask(c.prefix + write)
				}
				if err := p.theirs.Publish(strings.TrimSuffix(subjects, ">")+"end", nil); err != nil {
					t.Fatal(err)
				}
				got[0] = readRepublished(t, subs[0], "end")
				for range got[0] { // kvd acknowledges a message before it publishes it
					got[1] = append(got[1], readRepublished(t, subs[1], "")...)
				}
				if want := strings.Join(got[0], "\n"); strings.Join(got[1], "\n") != want {
					t.Errorf("nats-server\n%s\nkvd\n%s", want, strings.Join(got[1], "\n"))
				}
				if len(got[0]) == 0 && !strings.HasPrefix(subjects, "none") {
					t.Error("nothing was republished")
				}
			})
		}
	}
}

func subscribe(t *testing.T, conn *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := conn.SubscribeSync(subject)
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// readRepublished reads messages until one whose subject ends in last, which is left out
// unless last is empty.
func readRepublished(t *testing.T, sub *nats.Subscription, last string) (all []string) {
	t.Helper()
	for {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("after %q: %v", all, err)
		}
		if last != "" && strings.HasSuffix(m.Subject, last) {
			return all
		}
		all = append(all, m.Subject+" "+m.Reply+show(m))
		if last == "" {
			return all
		}
	}
}

// Writes that no NATS client makes are published too, and those after a restart.
func TestRepublishOfOtherWrites(t *testing.T) {
	dir := t.TempDir()
	f := start(t, dir, natsfront.Options{})
	ask(f.conn, `$JS.API.STREAM.CREATE.KV_b {"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"discard":"new","republish":{"src":"$KV.b.>","dest":"copy.>"}}`)
	for life := range 2 {
		sub := subscribe(t, f.conn, "copy.>")
		b, err := f.engine.Bucket(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		for _, write := range []func() (kv.Revision, error){
			func() (kv.Revision, error) { return b.PutString(t.Context(), "k", "v") },
			func() (kv.Revision, error) { return b.PutString(t.Context(), "end", "v") },
		} {
			if _, err := write(); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"copy.k Nats-Last-Sequence: 0; Nats-Sequence: 1; Nats-Stream: KV_b; Nats-Subject: $KV.b.k; v"}
		if life == 1 {
			want = []string{"copy.k Nats-Last-Sequence: 1; Nats-Sequence: 3; Nats-Stream: KV_b; Nats-Subject: $KV.b.k; v"}
		}
		if got := readRepublished(t, sub, "end"); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q, want %q", got, want)
		}
		f.stop(t)
		if life == 0 {
			f = start(t, dir, natsfront.Options{})
		}
	}
}
