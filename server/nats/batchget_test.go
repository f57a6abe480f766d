package nats

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/kv"
	"kvd/server"
)

// slowGet is a client that has asked for more messages than it reads.
type slowGet struct {
	t     *testing.T
	front *Front
	store kv.Store
	peer  *peer
	conn  *conn // the server's end
}

const slowCount, slowSize = 1000, 10 << 10

// inSlowGet calls test in a bubble in which a client has asked for 1,000 messages of 10 KiB.
func inSlowGet(t *testing.T, request string, test func(*slowGet)) {
	synctest.Test(t, func(t *testing.T) {
		srv, front, store := prepare(t)
		b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "c"})
		if err != nil {
			t.Fatal(err)
		}
		for n := range slowCount {
			if _, err := b.Put(t.Context(), fmt.Sprintf("k%03d", n), make([]byte, slowSize)); err != nil {
				t.Fatal(err)
			}
		}
		client, own := net.Pipe()
		srv.ServeConn(own)
		s := &slowGet{t: t, front: front, store: store, peer: &peer{client, bufio.NewReader(client)}}
		s.peer.next(t)
		s.peer.send(t, connect, false)
		s.ask(request)
		s.conn = front.subs.match(nil, []byte("i"))[0].conn
		test(s)
		client.Close()
		if err := errors.Join(srv.Shutdown(t.Context()), front.Close(t.Context()), store.Close()); err != nil {
			t.Error(err)
		}
	})
}

// ask sends a direct get from bucket c, and waits until the server has nothing more to do.
func (s *slowGet) ask(body string) {
	s.t.Helper()
	s.peer.send(s.t, fmt.Sprintf("PUB $JS.API.DIRECT.GET.KV_c i %d\r\n%s\r\n", len(body), body), false)
	synctest.Wait()
}

// readAll reads until a status, and returns the number of messages before it.
func (s *slowGet) readAll() (messages int, status string) {
	s.t.Helper()
	for {
		line := s.peer.next(s.t)
		if _, status, ended := strings.Cut(line, `\r\nNATS/1.0 `); ended {
			return messages, status
		}
		if want := fmt.Sprintf(`\r\nNats-Subject: $KV.c.k%03d\r\n`, messages); !strings.Contains(line, want) {
			s.t.Fatalf("message %d: %.200s", messages, line)
		}
		messages++
	}
}

var slowRequests = map[string]string{
	"batch":  `{"seq":1,"batch":1000}`,
	"filter": `{"next_by_subj":"$KV.*.*","batch":1000}`,
	"last":   `{"multi_last":["$KV.c.*"]}`,
}

// A client that does not read has a cursor, and about a MiB of messages. It gets everything
// in the end, as of the moment of its request, and then the answers to its next requests.
func TestASlowGetIsACursor(t *testing.T) {
	for name, request := range slowRequests {
		t.Run(name, func(t *testing.T) {
			inSlowGet(t, request, func(s *slowGet) {
				g := s.conn.gets.first()
				if g == nil || g.messages == 0 || g.messages > (2<<20)/slowSize {
					t.Fatalf("%+v is served", g)
				}
				before := s.conn.memory.used.Load()
				s.ask(`{"seq":999,"batch":2}`)
				if s.conn.memory.used.Load() <= before {
					t.Error("a request that waits costs nothing")
				}
				b, err := s.store.Bucket(t.Context(), "c")
				if err == nil {
					_, err = b.PutString(t.Context(), "later", "v")
				}
				if err != nil {
					t.Fatal(err)
				}
				if n, status := s.readAll(); n != slowCount || !strings.HasPrefix(status, "204 EOB") {
					t.Errorf("%d messages and %q", n, status)
				}
				for _, want := range []string{"k998", "k999", "204 EOB"} {
					if line := s.peer.next(t); !strings.Contains(line, want) {
						t.Errorf("no %s in %.200s", want, line)
					}
				}
				synctest.Wait()
				if used := s.conn.memory.used.Load(); s.conn.gets.first() != nil || used != costOf("i")+costOf("d") {
					t.Errorf("afterwards %d bytes are charged", used)
				}
			})
		})
	}
}

// A get ends with its subscription, with its connection, and with the stream. Nothing of it
// is left.
func TestASlowGetEnds(t *testing.T) {
	for name, request := range slowRequests {
		t.Run(name, func(t *testing.T) {
			inSlowGet(t, request, func(s *slowGet) { s.endByUnsubscribing() })
			inSlowGet(t, request, func(s *slowGet) { s.endByDeletion() })
			inSlowGet(t, request, func(*slowGet) {}) // the connection is closed
		})
	}
}

// endByUnsubscribing reads some messages, and ends the subscription. Messages of the pump's
// buffer come after that.
func (s *slowGet) endByUnsubscribing() {
	s.t.Helper()
	s.peer.next(s.t)
	n := 1
	for _, text := range []string{"UNSUB 1\r\nPING\r\n", "PING\r\n"} {
		s.peer.send(s.t, text, false)
		synctest.Wait()
		for s.peer.next(s.t) != "PONG" {
			n++
		}
	}
	synctest.Wait()
	if used := s.conn.memory.used.Load(); n >= slowCount/2 || s.conn.gets.first() != nil || used != costOf("d") {
		s.t.Errorf("%d messages come without a subscription; %d bytes are charged", n, used)
	}
	exchange(s.t, s.peer, "> SUB i 3", "> PING", "< PONG")
}

// endByDeletion deletes the bucket under the get.
func (s *slowGet) endByDeletion() {
	s.t.Helper()
	if err := s.store.DeleteBucket(s.t.Context(), "c"); err != nil {
		s.t.Fatal(err)
	}
	n, status := s.readAll()
	if n == 0 || n >= slowCount/2 || status != `404 Message Not Found\r\n\r\n` {
		s.t.Errorf("of a deleted stream come %d messages and %q", n, status)
	}
	exchange(s.t, s.peer, "> PING", "< PONG")
}

// Requests beyond the connection's memory are refused, and there is memory again afterwards.
func TestGetsThatWaitAreBounded(t *testing.T) {
	inSlowGet(t, slowRequests["batch"], func(s *slowGet) {
		s.conn.memory.max = s.conn.memory.used.Load() + 5*getCost
		const requests = 20
		for range requests {
			s.ask(`{"seq":1000,"batch":1}`)
		}
		s.readAll()
		served, refused := 0, 0
		for served+refused < requests {
			switch line := s.peer.next(t); {
			case strings.Contains(line, "NATS/1.0 429 Too Many Requests"):
				refused++
			case strings.Contains(line, "NATS/1.0 204 EOB"):
				served++
			}
		}
		if served == 0 || served > 5 {
			t.Errorf("%d requests waited, %d were refused", served, refused)
		}
		s.ask(`{"seq":1000,"batch":1}`)
		for _, want := range []string{"k999", "204 EOB"} {
			if line := s.peer.next(t); !strings.Contains(line, want) {
				t.Errorf("no %s in %.200s", want, line)
			}
		}
	})
}

// A get ends silently with the permission of its user.
func TestAGetEndsWithThePermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, front, store := prepare(t)
		srv, err := server.New(front, server.Options{Users: users(t)})
		if err != nil {
			t.Fatal(err)
		}
		client, own := net.Pipe()
		srv.ServeConn(own)
		p := &peer{client, bufio.NewReader(client)}
		p.next(t)
		exchange(t, p, `> CONNECT {"verbose":false,"headers":true,"user":"bob","pass":"bob"}`, "> SUB i 1",
			`> PUB $JS.API.DIRECT.GET.KV_b i {n}\r\n{"seq":4,"batch":1}`, "< HMSG i 1 {h} {n}…", "< HMSG i 1 {h} {n}…")
		c := front.subs.match(nil, []byte("i"))[0].conn
		s, err := front.stream(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		g := &batchGet{asker: c, stream: s, ask: &getRequest{Seq: 1, Batch: 9}, reply: []byte("i"), pattern: ">", subjects: []string{">"}, targets: front.subscriptionsTo("bob", []byte("i"))}
		if err := srv.SetUsers(usersOf(t, [][3]string{{"bob", "bob", "b/k=get"}})); err != nil {
			t.Fatal(err)
		}
		if out, ended := g.poll(nil); !ended || len(out) > 0 {
			t.Errorf("without the permission it answers %q", out)
		}
		client.Close()
		if err := errors.Join(srv.Shutdown(t.Context()), front.Close(t.Context()), store.Close()); err != nil {
			t.Error(err)
		}
	})
}
