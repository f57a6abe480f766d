package nats

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
)

// users are alice with all permissions in a*, bob with read permissions in all buckets, root
// with all permissions, and a token. A password is the name backwards.
func users(t *testing.T) *server.Users {
	t.Helper()
	return usersOf(t, [][3]string{
		{"alice", "ecila", "a*=get,put,del,watch,admin"}, {"bob", "bob", "*=get"}, {"token", "s3cret", "a*=put"},
		{"root", "toor", "*=get,put,del,watch,admin"},
	})
}

// usersOf makes users of names, passwords and grants.
func usersOf(t *testing.T, all [][3]string) *server.Users {
	t.Helper()
	var file strings.Builder
	for _, u := range all {
		hash, err := bcrypt.GenerateFromPassword([]byte(u[1]), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		file.WriteString(u[0] + " " + string(hash) + " " + u[2] + "\n")
	}
	users, err := server.ParseUsers(strings.NewReader(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// exchange plays lines, as TestTranscripts does.
func exchange(t *testing.T, p *peer, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "> "); ok {
			p.send(t, sized(strings.ReplaceAll(text, `\r\n`, "\r\n"))+"\r\n", false)
			continue
		}
		want := strings.TrimPrefix(line, "< ")
		got := p.next(t)
		if strings.Contains(want, "{n}") {
			got = unsized(got)
		}
		if prefix, open := strings.CutSuffix(want, "…"); got != want && !(open && strings.HasPrefix(got, prefix)) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func TestLogin(t *testing.T) {
	addr := serve(t, server.Options{Users: users(t)})
	for _, lines := range [][]string{
		{"> PING", "< -ERR 'Authorization Violation'", "< EOF"},
		{"> PUB a 0\r\n", "< -ERR 'Authorization Violation'", "< EOF"},
		{"> CONNECT {}", "< -ERR 'Authorization Violation'", "< EOF"},
		{`> CONNECT {"user":"alice","pass":"wrong"}`, "< -ERR 'Authorization Violation'", "< EOF"},
		{`> CONNECT {"user":"alice","pass":"ecila"}`, "< +OK", "> PING", "< PONG"},
		{`> CONNECT {"auth_token":"alice:ecila"}`, "< +OK"},
		{`> CONNECT {"auth_token":"s3cret"}`, "< +OK"},
	} {
		exchange(t, dial(t, addr), lines...)
	}
}

// A user with a key signs the nonce of INFO.
func TestLoginWithAKey(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := pair.PublicKey()
	file := "kim " + key + " a=all\n"
	all, err := server.ParseUsers(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, server.Options{Users: all})
	connect := func(nonce string) string {
		signature, err := pair.Sign([]byte(nonce))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`> CONNECT {"nkey":%q,"sig":%q}`, key, base64.RawURLEncoding.EncodeToString(signature))
	}
	p, nonce := dialNonce(t, addr)
	exchange(t, p, connect(nonce), "< +OK", "> PING", "< PONG",
		connect(nonce), "< -ERR 'Authorization Violation'", "< EOF") // a nonce is signed once
	p, other := dialNonce(t, addr)
	if other == nonce || len(nonce) < 20 {
		t.Fatalf("the nonces are %q and %q", nonce, other)
	}
	exchange(t, p, connect(nonce), "< -ERR 'Authorization Violation'", "< EOF") // of another connection
	exchange(t, dial(t, addr), `> CONNECT {"nkey":"`+key+`"}`, "< -ERR 'Authorization Violation'", "< EOF")
	exchange(t, dial(t, addr), `> CONNECT {"user":"kim","pass":"`+key+`"}`, "< -ERR 'Authorization Violation'", "< EOF")
}

// dialNonce is dial, and returns the nonce of INFO.
func dialNonce(t *testing.T, addr net.Addr) (*peer, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &peer{c, bufio.NewReader(c)}
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(p.next(t), "INFO ")), &info); err != nil {
		t.Fatal(err)
	}
	return p, info.Nonce
}

// A user may do what was granted, and gets an error for everything else.
func TestPermissions(t *testing.T) {
	addr := serve(t, server.Options{Users: users(t)})
	alice, bob, token := dial(t, addr), dial(t, addr), dial(t, addr)
	exchange(t, alice, `> CONNECT {"verbose":false,"headers":true,"user":"alice","pass":"ecila"}`, "> SUB i.* 1",
		`> PUB $JS.API.STREAM.CREATE.KV_a i.1 {n}\r\n{"name":"KV_a","subjects":["$KV.a.>"],"max_msgs_per_subject":1,"allow_direct":true,"allow_rollup_hdrs":true}`,
		"< MSG i.1 1 {n}\\r\\n{\"type\":\"io.nats.jetstream.api.v1.stream_create_response\",\"config\"…",
		`> PUB $JS.API.STREAM.CREATE.KV_b i.2 {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}`,
		`< MSG i.2 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_create_response","error":{"code":403,"err_code":10003,"description":"permissions violation: needs \"admin\" in bucket \"b\""}}`,
		`> PUB $KV.a.k i.3 {n}\r\nv`, `< MSG i.3 1 {n}\r\n{"stream":"KV_a","seq":1}`)
	exchange(t, bob, `> CONNECT {"verbose":false,"headers":true,"user":"bob","pass":"bob"}`, "> SUB > 1", "> SUB d 2",
		`> PUB $JS.API.DIRECT.GET.KV_a.$KV.a.k i.1 0\r\n`, "< MSG $JS.API.DIRECT.GET.KV_a.$KV.a.k 1 i.1 0\\r\\n", "< HMSG i.1 1…",
		`> PUB $KV.a.k i.2 {n}\r\nw`, `< MSG $KV.a.k 1 i.2 1\r\nw`,
		`< MSG i.2 1 {n}\r\n{"error":{"code":403,"err_code":10003,"description":"permissions violation: needs \"put\" in bucket \"a\""},"stream":"KV_a","seq":0}`)
	exchange(t, token, `> CONNECT {"verbose":false,"headers":true,"auth_token":"s3cret"}`, "> SUB i.* 1",
		`> PUB $KV.a.k i.1 {n}\r\nx`, `< MSG i.1 1 {n}\r\n{"stream":"KV_a","seq":2}`,
		`> PUB $JS.API.DIRECT.GET.KV_a.$KV.a.k i.2 0\r\n`, `< -ERR 'Permissions Violation for Publish to "$JS.API.DIRECT.GET.KV_a.$KV.a.k"'`,
		`> HPUB $KV.a.k i.3 {h} {n}\r\nNATS/1.0\r\nKV-Operation: DEL\r\n\r\n`,
		`< MSG i.3 1 {n}\r\n{"error":{"code":403,"err_code":10003,"description":"permissions violation: needs \"del\" in bucket \"a\""},"stream":"KV_a","seq":0}`,
		`> HPUB $KV.a.k i.4 {h} {n}\r\nNATS/1.0\r\nNats-Rollup: all\r\n\r\n`,
		`< MSG i.4 1 {n}\r\n{"error":{"code":403,"err_code":10003,"description":"permissions violation: needs \"admin\" in bucket \"a\""},"stream":"KV_a","seq":0}`)
	// Permissions for a message stream use the name of its bucket.
	exchange(t, alice, `> PUB $JS.API.STREAM.CREATE.S i.4 {n}\r\n{"name":"S"}`,
		`< MSG i.4 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_create_response","error":{"code":403,"err_code":10003,"description":"permissions violation: needs \"admin\" in bucket \"_kvd_stream_S\""}}`)
	root := dial(t, addr)
	exchange(t, root, `> CONNECT {"verbose":false,"headers":true,"user":"root","pass":"toor"}`, "> SUB i.* 1",
		`> PUB $JS.API.STREAM.CREATE.S i.1 {n}\r\n{"name":"S","subjects":["s.*"]}`, `< MSG i.1 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_create_response","config"…`,
		`> PUB s.1 i.2 {n}\r\nv`, `< MSG i.2 1 {n}\r\n{"stream":"S","seq":1}`)
	// A user with read permission gets an error for a publish; for a user without any, the stream does not exist.
	exchange(t, bob, `> PUB s.1 i.5 {n}\r\nv`, `< MSG s.1 1 i.5 1\r\nv`,
		`< MSG i.5 1 {n}\r\n{"error":{"code":403,"err_code":10003,"description":"permissions violation: needs \"put\" in bucket \"_kvd_stream_S\""},"stream":"S","seq":0}`)
	exchange(t, alice, `> PUB s.1 i.6 {n}\r\nv`, "> PING", "< PONG")
	// Users do not get each other's messages: bob subscribes to everything and got none of these.
	exchange(t, bob, "> PING", "< PONG")
}

// selfSigned returns a certificate for the server, and the pool that trusts it.
func selfSigned(t *testing.T) (serverSide, clientSide *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// INFO is sent without encryption, and everything after it on the same connection with TLS.
func TestTLSOnTheSameConnection(t *testing.T) {
	serverSide, clientSide := selfSigned(t)
	addr := serve(t, server.Options{TLS: serverSide})
	plain, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	info := make([]byte, 0, 4096)
	for one := make([]byte, 1); !strings.HasSuffix(string(info), "\n"); info = append(info, one[0]) {
		if _, err := plain.Read(one); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(string(info), `"tls_required":true`) {
		t.Errorf("greeting is %s", info)
	}
	secure := tls.Client(plain, clientSide)
	exchange(t, &peer{secure, bufio.NewReader(secure)}, `> CONNECT {"verbose":false}`, "> SUB a 1", `> PUB a 2\r\nhi`, `< MSG a 1 2\r\nhi`)
	// Without a handshake the server sends nothing else.
	exchange(t, dial(t, addr), "> CONNECT {}", "< …")
}

// A consumer ends when its user may no longer read, also before its initial messages are
// delivered.
func TestAConsumerEndsWithThePermission(t *testing.T) {
	store := openWith(t, t.TempDir(), bucket.Options{})
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "a"})
	if err == nil {
		_, err = b.PutString(t.Context(), "k", "v")
	}
	if err != nil {
		t.Fatal(err)
	}
	front, err := New(store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv, addr := listenFront(t, store, front, server.Options{Users: users(t)})
	p := dial(t, addr)
	exchange(t, p, `> CONNECT {"verbose":false,"headers":true,"user":"bob","pass":"bob"}`, "> SUB i.* 1",
		`> PUB $JS.API.CONSUMER.CREATE.KV_a.x i.1 {n}\r\n{"stream_name":"KV_a","config":{"name":"x","deliver_subject":"d","ack_policy":"none"}}`,
		"< MSG i.1 1 {n}\\r\\n{\"type\":\"io.nats.jetstream.api.v1.consumer_create_response\",\"stream_name\"…")
	k := front.consumers.find("bob", "a", "x")
	if out, _ := k.poll(nil, nil); len(out) != 0 || k.consumerSeq != 1 {
		t.Fatalf("%d messages are delivered, 1 is there", k.consumerSeq)
	}
	if err := srv.SetUsers(usersOf(t, [][3]string{{"bob", "bob", "b=get"}})); err != nil {
		t.Fatal(err)
	}
	if k.poll(nil, nil); front.consumers.find("bob", "a", "x") != nil {
		t.Error("the consumer goes on without the permission")
	}
}
