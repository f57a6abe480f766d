package line

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"kvd/kv"
	"kvd/server"
)

// users makes users of lines such as "alice b=get"; every user's password is the name
// backwards.
func users(t *testing.T, lines ...string) *server.Users {
	t.Helper()
	var file strings.Builder
	for _, line := range lines {
		name, grants, _ := strings.Cut(line, " ")
		hash, err := bcrypt.GenerateFromPassword([]byte(backwards(name)), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		file.WriteString(name + " " + string(hash) + " " + grants + "\n")
	}
	u, err := server.ParseUsers(strings.NewReader(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func backwards(s string) string {
	b := []byte(s)
	for i := range len(b) / 2 {
		b[i], b[len(b)-1-i] = b[len(b)-1-i], b[i]
	}
	return string(b)
}

func TestBeforeTheLogin(t *testing.T) {
	r := servePipes(t, newFakeStore(), server.Options{Users: users(t, "alice b=get,put")})
	const hello = "+HELLO 1 server=kvd store=00000000000000000000000000000000 sync=always auth=yes"
	const required = "-ERR AUTH_REQUIRED : authentication is required"
	p := r.dial()
	p.ask("HELLO", hello)
	p.ask("PING", "+OK")
	p.ask("AUTH alice ecila", "+OK")
	p.ask("PUT b k 1\nx", "+OK 1")
	p = r.dial()
	p.ask("QUIT", "+OK")
	p.expectClosed()
	for _, command := range []string{
		"GET b k", "PUT b k 0\n", "BUCKETS", "INFO b", "WATCH 1 b >", "UNWATCH 1", "ADD c 100000", "PUT b k 100000", "GET b k color=red",
		"GET b " + strings.Repeat("k", 4000),
	} {
		p := r.dial()
		go func() { _, _ = io.WriteString(p.conn, "PING\r\n"+strings.ReplaceAll(command, "\n", "\r\n")+"\r\n") }()
		p.expect("+OK", required)
		p.expectClosed()
	}
	for _, auth := range []string{"AUTH alice wrong", "AUTH bob ecila", `AUTH alice ""`} {
		p := r.dial()
		p.ask(auth, "-ERR AUTH_FAILED : login failed: wrong name or password")
		p.expectClosed()
		r.dial().ask("AUTH alice ecila", "+OK") // resets the count of failures
	}
}

// TestTheBudgetBeforeTheLogin has a client that sends commands without logging in.
func TestTheBudgetBeforeTheLogin(t *testing.T) {
	r := servePipes(t, newFakeStore(), server.Options{Users: users(t, "alice b=get")})
	for _, command := range []string{"HELLO\r\n", "PING\r\n"} {
		for _, batch := range []int{1, 50} {
			p := r.dial()
			sent := make(chan int)
			go func() {
				n := 0
				for {
					if _, err := io.WriteString(p.conn, strings.Repeat(command, batch)); err != nil {
						sent <- n
						return
					}
					n += batch * len(command)
				}
			}()
			got, _ := io.ReadAll(p.r)
			if !strings.HasSuffix(string(got), "-ERR AUTH_REQUIRED : authentication is required\r\n") {
				t.Errorf("the last words are %.100q", got[max(0, len(got)-100):])
			}
			if len(got) > loginBudget || len(got) < loginBudget/2 && command == "HELLO\r\n" {
				t.Errorf("a stranger was told %d bytes", len(got))
			}
			if n := <-sent; n > loginBudget+batch*len(command) {
				t.Errorf("a stranger was listened to for %d bytes", n)
			}
		}
	}
}

func TestALoginHasTwoSeconds(t *testing.T) {
	for _, text := range []string{"", "AUTH alice ec", "PING\r\n", "PING\r\nAU"} {
		synctest.Test(t, func(t *testing.T) {
			r := servePipes(t, newFakeStore(), server.Options{Users: users(t, "alice b=get")})
			p, start := r.dial(), time.Now()
			go func() { _, _ = io.WriteString(p.conn, text) }()
			got, _ := io.ReadAll(p.r)
			if !strings.HasSuffix(string(got), "-ERR TIMEOUT : log in within 2s\r\n") {
				t.Errorf("the last words are %q", got)
			}
			if took := time.Since(start); took != server.LoginTime {
				t.Errorf("it took %v", took)
			}
			p = r.dial()
			p.ask("AUTH alice ecila", "+OK")
			pass(time.Hour)
			p.ask("PING", "+OK")
		})
	}
}

// TestPermissions tries every verb as users with one permission each.
func TestPermissions(t *testing.T) {
	store := openStore(t)
	for _, name := range []string{"b", "b2", "secret"} {
		if _, err := store.CreateBucket(t.Context(), kv.Config{Bucket: name}); err != nil {
			t.Fatal(err)
		}
	}
	verbs := map[string][]string{
		"get":   {"GET b k", "HISTORY b k", "KEYS b >", "COUNT b >", "GET b k rev=1", "LOST b"},
		"put":   {"PUT b k 1\nx", "CREATE b k 1\nx", "UPDATE b k 9 1\nx", "TOUCH b none"},
		"del":   {"DEL b k rev=99", "PURGE b k rev=99"},
		"watch": {"WATCH 1 b none mode=updates"}, // no events between the replies
		"admin": {"ADD b", "EDIT b history=1", "RM b id=99", "PURGEDELETES b", "RECLAIM b", "ACCEPT b"},
		"any":   {"INFO b"},
	}
	var all []string
	for may := range verbs {
		if may != "any" {
			all = append(all, "may-"+may+" b*="+may)
		}
	}
	r := servePipes(t, store, server.Options{Users: users(t, append(all, "nobody")...)})
	for _, user := range []string{"get", "put", "del", "watch", "admin", ""} {
		p := r.dial()
		if name := "may-" + user; user != "" {
			p.ask("AUTH "+name+" "+backwards(name), "+OK")
			p.ask("BUCKETS", "+BUCKET b", "+BUCKET b2", "+END 2")
		} else {
			p.ask("AUTH nobody ydobon", "+OK")
			p.ask("BUCKETS", "+END 0")
			p.ask("BUCKETS status=yes", "+END 0")
		}
		for needs, commands := range verbs {
			for _, command := range commands {
				p.send(command + "\n")
				reply := p.next()
				for strings.HasPrefix(reply, "+KEY") || strings.HasPrefix(reply, "+RECLAIMED") || strings.HasPrefix(reply, "+DOUBT") || strings.HasPrefix(reply, "+ENTRY") && strings.HasPrefix(command, "HISTORY") {
					reply = p.next()
				}
				denied := strings.HasPrefix(reply, "-ERR DENIED : ")
				if want := needs != user && (needs != "any" || user == ""); denied != want {
					t.Errorf("%q may %q: %q", user, command, reply)
				}
				p.send(strings.Replace(command, " b", " secret", 1) + "\n")
				p.expectPrefix("-ERR DENIED : ")
			}
		}
		// The server does not wait for the payload.
		if user != "put" {
			go func() {
				_, _ = io.WriteString(p.conn, "PUT b k 300000\r\n"+strings.Repeat("x", 300_000)+"\r\nPING\r\n")
			}()
			p.expect(`-ERR DENIED : needs "put" in bucket "b"`, "+OK")
		}
	}
}

func TestNewUsersHoldAtOnce(t *testing.T) {
	s := newFakeStore()
	w := newFakeWatcher()
	s.bucket.watch = watching(w)
	r := servePipes(t, s, server.Options{Users: users(t, "alice b=get,put,watch", "bob b=get,put")})
	alice, bob := r.dial(), r.dial()
	alice.ask("AUTH alice ecila", "+OK")
	bob.ask("AUTH bob bob", "+OK")
	alice.ask("PUT b k 1\nx", "+OK 1")
	bob.ask("PUT b k 1\nx", "+OK 2")
	alice.ask("WATCH 1 b >", "+OK")
	w.feed(event("k", 1))
	alice.expectPrefix("EVENT 1 k 1 ") // the watch was polled, and waits
	if err := r.server.SetUsers(users(t, "alice b=get")); err != nil {
		t.Fatal(err)
	}
	// The password is the same, but the hash is another one.
	alice.ask("GET b k", `-ERR DENIED : needs "get" in bucket "b"`)
	bob.ask("GET b k", `-ERR DENIED : needs "get" in bucket "b"`)
	w.feed(event("k", 2))
	alice.expect(`END 1 DENIED next=2 : needs "watch" in bucket "b"`)
	alice.ask("AUTH alice ecila", "+OK")
	alice.ask("GET b k", "+ENTRY k 2 PUT 2026-11-22T18:00:00.123456789Z 1\nx")
	alice.ask("PUT b k 1\ny", `-ERR DENIED : needs "put" in bucket "b"`)
	bob.ask("AUTH bob bob", "-ERR AUTH_FAILED : login failed: wrong name or password")
}

func TestAServerWithoutUsersTakesNoPassword(t *testing.T) {
	p := servePipes(t, newFakeStore(), server.Options{}).dial()
	p.ask("AUTH alice ecila", "-ERR AUTH_FAILED : login failed: this server has no users")
	p.expectClosed()
}

// certificate makes a certificate for 127.0.0.1, and a pool of roots that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	r := serveTCP(t, newFakeStore(), server.Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	plain := r.dialer
	encrypted := func(version uint16) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			c, err := plain()
			if err != nil {
				return nil, err
			}
			t := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MaxVersion: version})
			return t, t.Handshake()
		}
	}
	r.dialer = encrypted(tls.VersionTLS13)
	p := r.dial()
	p.ask("PUT b k 1\nx", "+OK 1")
	p.ask("GET b k", "+ENTRY k 1 PUT 2026-11-22T18:00:00.123456789Z 1\nx")
	p.sendRaw("NOSUCH\r\nPING\r\n")
	p.expectPrefix("-ERR SYNTAX")
	p.expectClosed()
	if c, err := encrypted(tls.VersionTLS12)(); err == nil {
		c.Close()
		t.Error("TLS 1.2 is spoken")
	}
	r.dialer = plain
	p = r.dial()
	p.sendRaw("PING\r\n")
	if b, _ := io.ReadAll(p.r); strings.Contains(string(b), "+OK") {
		t.Errorf("plain text is answered: %q", b)
	}
}
