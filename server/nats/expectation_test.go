package nats

import (
	"context"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// TestParseExpectation parses the headers of a message to a.b.
func TestParseExpectation(t *testing.T) {
	const (
		sequence   = "Nats-Expected-Last-Sequence: 7\r\n"
		ownSubject = "Nats-Expected-Last-Subject-Sequence: 7\r\n"
		subject    = ownSubject + "Nats-Expected-Last-Subject-Sequence-Subject: a.*\r\n"
		msgID      = "Nats-Expected-Last-Msg-Id: id\r\n"
	)
	seven := expectedSequence{given: true, want: 7}
	for _, c := range []struct {
		name, headers string
		onePerMessage bool
		want          expectation
		guarded, own  bool
	}{
		{"nothing", "", false, expectation{}, false, false},
		{"the stream's sequence", sequence, true, expectation{stream: seven}, false, false},
		{"the key's", ownSubject, false, expectation{key: seven}, false, false},
		{"the key's, named", ownSubject + "Nats-Expected-Last-Subject-Sequence-Subject: a.b\r\n", false, expectation{key: seven}, false, false},
		{"its own subject's", ownSubject, true, expectation{subject: seven, subjectName: "a.b", isOwn: true}, true, true},
		{"another subject's", subject, false, expectation{subject: seven, subjectName: "a.*"}, true, false},
		{"a message id", msgID, false, expectation{msgID: "id"}, true, false},
		{"a message id and its own subject's", msgID + ownSubject, true, expectation{subject: seven, subjectName: "a.b", isOwn: true, msgID: "id"}, true, false},
		{"no number", "Nats-Expected-Last-Sequence: x\r\n", false, expectation{stream: expectedSequence{true, 1<<64 - 1}}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h wire.PublishHeaders
			wire.ReadPublishHeaders([]byte("NATS/1.0\r\n"+c.headers+"\r\n"), &h)
			var x expectation
			if refused := x.parse(&h, []byte("a.b"), c.onePerMessage); refused != nil || x != c.want {
				t.Errorf("got  %+v %v\nwant %+v", x, refused, c.want)
			}
			if x.isGuarded() != c.guarded || x.isAboutOwnSubject() != c.own {
				t.Errorf("guarded %v, of its own subject %v", x.isGuarded(), x.isAboutOwnSubject())
			}
		})
	}
	var h wire.PublishHeaders
	wire.ReadPublishHeaders([]byte("NATS/1.0\r\nNats-Expected-Last-Subject-Sequence-Subject: a\r\n\r\n"), &h)
	if refused := new(expectation).parse(&h, []byte("a.b"), false); refused != jsapi.ErrMissingSequence {
		t.Errorf("a subject without a sequence: %v", refused)
	}
}

// meddler is a store in which another key is written just before each of some conditional
// mutations.
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

// TestAConditionIsLookedUpAgain has another client write between the lookup of an
// expectation and the store of the message. The message is stored if it still may be.
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
