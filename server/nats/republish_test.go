package nats

import (
	"fmt"
	"strings"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
)

// A user receives a republished message if the user is permitted to watch its key. In a queue
// group one member receives it.
func TestWhomRepublishedMessagesReach(t *testing.T) {
	addr := serve(t, server.Options{Users: usersOf(t, [][3]string{
		{"admin", "nimda", "b=all"}, {"watcher", "rehctaw", "b/app.>=watch"}, {"getter", "retteg", "b=get"},
	})})
	clients := map[string]*peer{}
	for _, c := range [][2]string{{"admin", "nimda"}, {"watcher", "rehctaw"}, {"getter", "retteg"}} {
		p := dial(t, addr)
		exchange(t, p, fmt.Sprintf(`> CONNECT {"verbose":false,"headers":true,"user":%q,"pass":%q}`, c[0], c[1]), "> SUB copy.> 1", "> PING", "< PONG")
		clients[c[0]] = p
	}
	admin, watcher := clients["admin"], clients["watcher"]
	exchange(t, watcher, "> SUB copy.> group 2", "> SUB copy.app.* group 3", "> PING", "< PONG")
	exchange(t, admin, "> SUB i 2", `> PUB $JS.API.STREAM.CREATE.KV_b i {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"republish":{"src":"$KV.b.>","dest":"copy.>"}}`, "< MSG i 2 {n}\\r\\n…")
	for _, key := range []string{"app.k", "other.k", "app.k"} {
		exchange(t, admin, "> PUB $KV.b."+key+` {n}\r\nv`, "< HMSG copy."+key+" 1 {h} {n}…")
	}
	sids := map[string]int{}
	for range 4 { // of two messages one alone and one of the group each
		line := watcher.next(t)
		if !strings.HasPrefix(line, "HMSG copy.app.k ") {
			t.Fatal(line)
		}
		sids[strings.Fields(line)[2]]++
	}
	if sids["1"] != 2 || sids["2"]+sids["3"] != 2 {
		t.Errorf("messages by subscription: %v", sids)
	}
	exchange(t, clients["getter"], "> PING", "< PONG")
	exchange(t, watcher, "> PING", "< PONG")
}

// A subscriber that does not read holds neither writers nor other subscribers.
func TestASlowSubscriberOfRepublishedMessages(t *testing.T) {
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	front, err := New(store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, addr := listenFront(t, store, front, server.Options{})
	slow, fast := dial(t, addr), dial(t, addr)
	for _, p := range []*peer{slow, fast} {
		exchange(t, p, `> CONNECT {"verbose":false,"headers":true}`, "> SUB copy.> 1", "> SUB i 2", "> PING", "< PONG")
	}
	exchange(t, fast, `> PUB $JS.API.STREAM.CREATE.KV_b i {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"republish":{"src":"$KV.b.>","dest":"copy.>"}}`, "< MSG i 2 {n}\\r\\n…")
	b, err := store.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	const count, size = 400, 100 << 10 // more than sockets hold, and than may wait for a client
	for n := range count {
		if _, err := b.Put(t.Context(), fmt.Sprintf("k.%d", n), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if line := fast.next(t); !strings.HasPrefix(line, fmt.Sprintf("HMSG copy.k.%d 1 ", n)) {
			t.Fatalf("%.100q", line)
		}
	}
	if err := store.DeleteBucket(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b"}); err != nil { // without it
		t.Fatal(err)
	}
	exchange(t, fast, `> PUB $KV.b.k i {n}\r\nv`, `< MSG i 2 {n}\r\n{"stream":"KV_b","seq":1}`, "> PING", "< PONG")
}
