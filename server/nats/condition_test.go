package nats

import (
	"context"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
)

// meddler is a store to which somebody else writes just before a conditional mutation
// Of the bucket.
type meddler struct {
	*bucket.Store
	writes int // still to come
}

func (m *meddler) Submit(ctx context.Context, mutations []kv.Mutation) error {
	if mutations[0].IfNewest && m.writes > 0 {
		m.writes--
		_ = m.Store.Submit(ctx, []kv.Mutation{{Bucket: mutations[0].Bucket, Op: kv.MutatePut, Key: "other"}}) // what follows shows whether it was written
	}
	return m.Store.Submit(ctx, mutations)
}

// TestAConditionIsLookedUpAgain has others write between the look at what a message
// expects and the store of it: a message that still may be stored is.
func TestAConditionIsLookedUpAgain(t *testing.T) {
	const guarded = "Nats-Expected-Last-Subject-Sequence: 1\r\nNats-Expected-Last-Subject-Sequence-Subject: $KV.b.k\r\n"
	for _, c := range []struct {
		name, headers string
		writes        int
		want          string
	}{
		{"another subject's sequence holds", guarded, 1, `{"stream":"KV_b","seq":3}`},
		{"it holds however many write", guarded, 5, `{"stream":"KV_b","seq":7}`},
		{"those who always write win", guarded, 1000, `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 66"},"stream":"KV_b","seq":0}`},
		{"a message id does not", "Nats-Expected-Last-Msg-Id: one\r\n", 1, `{"error":{"code":400,"err_code":10070,"description":"wrong last msg ID: "},"stream":"KV_b","seq":0}`},
		{"nor does the stream's sequence", guarded + "Nats-Expected-Last-Sequence: 1\r\n", 1, `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 2"},"stream":"KV_b","seq":0}`},
		{"of its own alone neither", "Nats-Expected-Last-Sequence: 1\r\n", 1, `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 2"},"stream":"KV_b","seq":0}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, err := bucket.Open(t.TempDir(), bucket.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b"}); err != nil {
				t.Fatal(err)
			}
			_, addr := listen(t, store, &meddler{store, c.writes}, server.Options{})
			p := dial(t, addr)
			p.send(t, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB i 1\r\n", false)
			for _, m := range []struct{ message, want string }{
				{"HPUB $KV.b.k i {h} {n}\r\nNATS/1.0\r\nNats-Msg-Id: one\r\n\r\nx", `{"stream":"KV_b","seq":1}`},
				{"HPUB $KV.b.l i {h} {n}\r\nNATS/1.0\r\n" + c.headers + "\r\nx", c.want},
			} {
				p.send(t, sized(m.message)+"\r\n", false)
				if got := unsized(p.next(t)); got != `MSG i 1 {n}\r\n`+m.want {
					t.Errorf("got  %s\nwant %s", got, m.want)
				}
			}
		})
	}
}
