package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"kvd/bucket"
	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
	"kvd/server/line"
	"kvd/server/nats"
)

// grantsOf are the users of TestDoorsAgree. Bucket b has the keys app.k and other.k.
var grantsOf = map[string]string{
	"get": "b=get", "put": "b=put", "del": "b=del", "watch": "b=watch", "admin": "b=admin",
	"reader": "b=read-only",
	"all":    "b=all",
	"appget": "b/app.>=get", "appput": "b/app.>=put", "appdel": "b/app.>=del", "appwatch": "b/app.>=watch",
	"token":    "b/app.*=read-write", // one token below app
	"one":      "b/app.k=get",
	"split":    "b/app.>=get b/other.>=get", // all keys there are, by two grants
	"stranger": "c=all b2=all _kvd_stream_c=all",
	"root":     "*=all",
	"nobody":   "",
}

// Users by what they may do. The name of a list says what that is.
const (
	gets      = "get reader all root "
	getsApp   = gets + "appget split "
	getsToken = getsApp + "token "
	getsKey   = getsToken + "one "
	puts      = "put all root "
	putsApp   = puts + "appput token "
	dels      = "del all root "
	delsApp   = dels + "appdel token "
	watches   = "watch reader all root "
	watchApp  = watches + "appwatch "
	watchTok  = watchApp + "token "
	admins    = "admin all root "
	everybody = "get put del watch admin reader all root appget appput appdel appwatch token one split "
)

// streamOfB is the configuration of bucket b for NATS' clients. It allows what they can ask for.
const streamOfB = `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"storage":"memory","allow_direct":true,"allow_rollup_hdrs":true}`

// operations are the operations of all protocols, with the users who may do each. {app} and
// {other} stand for the revisions of the keys app.k and other.k.
var operations = []struct {
	door, text string
	may        string
}{
	{"line", "GET b app.k", getsKey},
	{"line", "GET b other.k", gets + "split"},
	{"line", "GET b app.k rev={app}", getsKey},
	{"line", "HISTORY b app.k", getsKey},
	{"line", "HISTORY b other.k", gets + "split"},
	{"line", "KEYS b >", gets},
	{"line", "KEYS b app.>", getsApp},
	{"line", "KEYS b app.*", getsToken},
	{"line", "KEYS b app.k", getsKey},
	{"line", "KEYS b *.k", gets},
	{"line", "KEYS b app.>,other.>", gets + "split"},
	{"line", `KEYS b "app.x,other",app.*`, getsToken}, // two patterns
	{"line", "COUNT b >", gets},
	{"line", "COUNT b app.*", getsToken},
	{"line", "MGET b 5\r\napp.k", getsKey},
	{"line", "MGET b 13\r\napp.k other.k", gets + "split"},
	{"line", "RANGE b >", gets},
	{"line", "RANGE b app.* limit=1", getsToken},
	{"line", "RANGE b app.* 7\r\nother.k", gets + "split"},
	{"line", `CHILDREN b ""`, gets},
	{"line", "CHILDREN b app.", getsApp},
	{"line", "CHILDREN b app", gets},
	{"line", "CHILDREN b app.* limit=1", getsApp},
	{"line", "WATCH 1 b > mode=updates", watches},
	{"line", "WATCH 1 b app.> mode=updates", watchApp},
	{"line", "WATCH 1 b app.*,app.k mode=updates", watchTok},
	{"line", "WATCH 1 b app.*,other.k mode=updates", watches},
	{"line", "PUT b app.k 1\r\nx", putsApp},
	{"line", "PUT b other.k 1\r\nx", puts},
	{"line", "PUT b app.k.deep 1\r\nx", puts + "appput"},
	{"line", "CREATE b app.k 1\r\nx", putsApp},
	{"line", "CREATE b other.k 1\r\nx", puts},
	{"line", "UPDATE b app.k 9999 1\r\nx", putsApp},
	{"line", "UPDATE b other.k 9999 1\r\nx", puts},
	{"line", "TOUCH b app.k", putsApp},
	{"line", "TOUCH b other.k", puts},
	{"line", "DEL b app.k", delsApp},
	{"line", "DEL b other.k", dels},
	{"line", "PURGE b app.k", delsApp},
	{"line", "PURGE b other.k", dels},
	{"line", "TXN 1 0 0\r\nIF b app.k is=exists", getsKey},
	{"line", "TXN 1 0 0\r\nIF b other.k is=value 1\r\nx", gets + "split"},
	{"line", "TXN 1 0 0\r\nIFNEWEST b 1", gets},
	{"line", "TXN 0 1 0\r\nGET b app.k", getsKey},
	{"line", "TXN 0 1 0\r\nPUT b other.k 1\r\nx", puts},
	{"line", "TXN 0 0 1\r\nDEL b app.k", delsApp}, // a branch that is not carried out
	{"line", "TXN 0 2 0\r\nGET b app.k\r\nPUT b app.k 1\r\nx", "token all root"},
	{"line", "LOST b", gets},
	{"line", "INFO b", everybody},
	{"line", "ADD b", admins},
	{"line", "EDIT b history=2", admins},
	{"line", "RM b", admins},
	{"line", "PURGEDELETES b", admins},
	{"line", "RECLAIM b", admins},
	{"line", "ACCEPT b", admins},
	{"line", "BACKUP b", "all root "},   // admin and get
	{"line", "IMPORT 1 b", "all root "}, // admin and put

	{"nats", "$JS.API.DIRECT.GET.KV_b.$KV.b.app.k", getsKey},
	{"nats", "$JS.API.DIRECT.GET.KV_b.$KV.b.other.k", gets + "split"},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"seq":{app}}`, getsKey},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"seq":{other}}`, gets + "split"},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"last_by_subj":"$KV.b.app.k"}`, getsKey},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"last_by_subj":"$KV.b.app.*"}`, getsToken},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"next_by_subj":"$KV.b.>"}`, gets},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"next_by_subj":"$KV.b.app.>","seq":1}`, getsApp},
	{"nats", `$JS.API.DIRECT.GET.KV_b.$KV.b.app.k {"no_hdr":true}`, getsKey},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"start_time":"2000-01-01T00:00:00Z","next_by_subj":"$KV.b.app.>"}`, getsApp},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"seq":{app},"batch":1}`, gets},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"seq":1,"batch":1,"next_by_subj":"$KV.b.app.*"}`, getsToken},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"seq":1,"batch":1,"next_by_subj":"$KV.b.*.k"}`, gets},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"multi_last":["$KV.b.app.k"]}`, getsKey},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"multi_last":["$KV.b.app.>","$KV.b.app.k"]}`, getsApp},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"multi_last":["$KV.b.app.k","$KV.b.other.k"]}`, gets + "split"},
	{"nats", `$JS.API.DIRECT.GET.KV_b {"multi_last":[">"],"up_to_seq":{other}}`, gets},
	{"nats", `$JS.API.STREAM.MSG.GET.KV_b {"seq":{app}}`, getsKey},
	{"nats", `$JS.API.STREAM.MSG.GET.KV_b {"seq":{other}}`, gets + "split"},
	{"nats", `$JS.API.STREAM.MSG.GET.KV_b {"last_by_subj":"$KV.b.app.>"}`, getsApp},
	{"nats", `$JS.API.STREAM.MSG.DELETE.KV_b {"seq":{app}}`, delsApp},
	{"nats", `$JS.API.STREAM.MSG.DELETE.KV_b {"seq":{other}}`, dels},
	{"nats", "$KV.b.app.k x", putsApp},
	{"nats", "$KV.b.other.k x", puts},
	{"header", "$KV.b.app.k KV-Operation: DEL", delsApp},
	{"header", "$KV.b.other.k KV-Operation: DEL", dels},
	{"header", "$KV.b.app.k KV-Operation: PURGE\r\nNats-Rollup: sub", delsApp},
	{"header", "$KV.b.app.k Nats-Rollup: sub", putsApp},
	{"header", "$KV.b.app.k Nats-Rollup: all", "all root"},
	{"header", "$KV.b.app.k Nats-Expected-Last-Subject-Sequence: 1\r\nNats-Expected-Last-Subject-Sequence-Subject: $KV.b.other.k", puts},
	{"nats", "$JS.API.STREAM.INFO.KV_b", everybody},
	{"nats", `$JS.API.STREAM.INFO.KV_b {"subjects_filter":"$KV.b.app.>"}`, getsApp},
	{"nats", `$JS.API.STREAM.INFO.KV_b {"subjects_filter":">"}`, gets},
	{"nats", `$JS.API.STREAM.CREATE.KV_b {stream}`, admins},
	{"nats", `$JS.API.STREAM.UPDATE.KV_b {stream}`, admins},
	{"nats", "$JS.API.STREAM.DELETE.KV_b", admins},
	{"nats", `$JS.API.STREAM.PURGE.KV_b {"filter":"$KV.b.app.k"}`, admins},
	{"nats", `$JS.API.CONSUMER.CREATE.KV_b {"stream_name":"KV_b","config":{"deliver_subject":"d","ack_policy":"none"}}`, gets + watches},
	{"nats", `$JS.API.CONSUMER.CREATE.KV_b {"stream_name":"KV_b","config":{"deliver_subject":"d","ack_policy":"none","filter_subject":"$KV.b.app.>"}}`, getsApp + watchApp},
	{"nats", `$JS.API.CONSUMER.CREATE.KV_b {"stream_name":"KV_b","config":{"deliver_subject":"d","ack_policy":"none","filter_subjects":["$KV.b.app.*","$KV.b.other.*"]}}`, gets + watches + "split"},
	{"nats", `$JS.API.CONSUMER.DURABLE.CREATE.KV_b.x {"stream_name":"KV_b","config":{"durable_name":"x","deliver_subject":"d","ack_policy":"none","filter_subject":"$KV.b.app.*"}}`, getsToken + watchTok},
	{"nats", "$JS.API.CONSUMER.INFO.KV_b.x", getsKey + watchTok},
	{"nats", "$JS.API.CONSUMER.DELETE.KV_b.x", getsKey + watchTok},
	{"pull", "$JS.API.CONSUMER.MSG.NEXT.KV_b.all >", gets + watches},
	{"pull", "$JS.API.CONSUMER.MSG.NEXT.KV_b.app $KV.b.app.>", getsApp + watchApp},
	{"pull", "$JS.API.CONSUMER.MSG.NEXT.KV_b.key $KV.b.app.k", getsKey + watchTok},
	{"pull", "$JS.API.CONSUMER.MSG.NEXT.KV_b.other $KV.b.other.*", gets + watches + "split"},
	{"nats", "$JS.API.CONSUMER.NAMES.KV_b", getsKey + watchTok},
	{"nats", "$JS.API.CONSUMER.LIST.KV_b", getsKey + watchTok},
}

// deniedLine is a refusal of the line protocol, of a command or of a line of a transaction.
var deniedLine = regexp.MustCompile(`^-ERR DENIED (op=[12] )?: needs `)

// TestDoorsAgree asks for every operation of both protocols as every user. The table says who
// may. The admin address has no users.
func TestDoorsAgree(t *testing.T) {
	checkAllVerbs(t)
	checkAllCalls(t)
	d := openDoors(t)
	for _, op := range operations {
		for name := range grantsOf {
			app, other := d.seed(t)
			text := strings.NewReplacer("{app}", fmt.Sprint(app), "{other}", fmt.Sprint(other), "{stream}", streamOfB).Replace(op.text)
			answer := d.ask(t, op.door, name, text)
			denied := deniedLine.MatchString(answer) || strings.Contains(answer, "permissions violation: needs ") ||
				strings.HasPrefix(answer, "-ERR 'Permissions Violation for Publish")
			if may := slices.Contains(strings.Fields(op.may), name); denied == may {
				t.Errorf("%s (%s): %s %q: %s", name, grantsOf[name], op.door, text, answer)
			}
		}
	}
}

// Users without any grant in a bucket get the same answers whether it exists or not: no door
// tells them of others' buckets. So it is with message streams.
func TestDoorsTellNothing(t *testing.T) {
	d := openDoors(t)
	app, other := d.seed(t)
	d.ask(t, "nats", "root", `$JS.API.STREAM.CREATE.b {"name":"b","subjects":["s.>"]}`)
	named := regexp.MustCompile(`\bb\b|(KV|stream)_b\b`)
	absent := func(text string) string {
		return named.ReplaceAllStringFunc(text, func(name string) string { return strings.TrimSuffix(name, "b") + "q" })
	}
	texts := map[string]string{
		"$JS.API.STREAM.NAMES": "nats", "$JS.API.STREAM.LIST": "nats", "$JS.API.INFO": "nats", "BUCKETS": "line", "$JS.API.CONSUMER.MSG.NEXT.KV_b.x": "nats",
		"$JS.API.STREAM.INFO.b": "nats", "$JS.API.DIRECT.GET.b.s.x": "nats", `$JS.API.STREAM.CREATE.b {"name":"b","subjects":["b.>"]}`: "nats",
		`$JS.API.STREAM.CREATE.mine {"name":"mine","subjects":["$KV.b.>"]}`: "nats", `$JS.API.STREAM.CREATE.KV_b {"name":"KV_b","subjects":["x"]}`: "nats",
		`$JS.API.STREAM.NAMES {"subject":"$KV.b.>"}`: "nats", `$JS.API.STREAM.NAMES {"subject":"b.>"}`: "nats",
	}
	for _, op := range operations {
		texts[strings.NewReplacer("{app}", fmt.Sprint(app), "{other}", fmt.Sprint(other), "{stream}", streamOfB).Replace(op.text)] = op.door
	}
	answered := regexp.MustCompile(`"(ts|total|errors)":[^,}]*|[0-9]+\r\n`) // differ between any two answers
	for text, door := range texts {
		for _, user := range []string{"stranger", "nobody"} {
			got, want := d.answerTo(t, door, user, text), d.answerTo(t, door, user, absent(text))
			got, want = answered.ReplaceAllString(got, ""), answered.ReplaceAllString(want, "")
			if absent(got) != want && got != want {
				t.Errorf("%s: %s %q\nif it exists %s\nif not       %s", user, door, text, got, want)
			}
		}
	}
	// Two users can capture the same subjects, if neither sees the stream of the other.
	if got := d.ask(t, "nats", "stranger", `$JS.API.STREAM.CREATE.c {"name":"c","subjects":["s.x","s.y"]}`); !strings.Contains(got, `"did_create":true`) {
		t.Errorf("a stream with another user's subjects: %s", got)
	}
	for user, stream := range map[string]string{"stranger": "c", "root": "b"} { // the first stream that the user sees
		if got := d.ask(t, "nats", user, "s.x 1"); !strings.Contains(got, `{"stream":"`+stream+`","seq":1}`) {
			t.Errorf("%s: a message to s.x is stored: %s", user, got)
		}
	}
	if got := d.ask(t, "nats", "root", `$JS.API.STREAM.CREATE.e {"name":"e","subjects":["s.y"]}`); !strings.Contains(got, `"err_code":10065`) {
		t.Errorf("a stream with subjects of streams that the user sees: %s", got)
	}
}

// checkAllVerbs checks that no verb of the line protocol is missing.
func checkAllVerbs(t *testing.T) {
	free := []string{"HELLO", "AUTH", "PING", "QUIT", "BUCKETS", "UNWATCH", "RECORDS", "COMMIT", "DISCARD"} // need no permission, or that of an IMPORT before
	free = append(free, "IF", "IFNEWEST")                                                                   // tried as lines of TXN
	for v := lineproto.VerbHello; v.String() != "unknown verb"; v++ {
		tried := slices.ContainsFunc(operations, func(op struct{ door, text, may string }) bool {
			return op.door == "line" && strings.HasPrefix(op.text, v.String()+" ")
		})
		if !tried && !slices.Contains(free, v.String()) {
			t.Errorf("verb %s of the line protocol is not tried", v)
		}
	}
}

// checkAllCalls checks that no request of JetStream's API is missing.
func checkAllCalls(t *testing.T) {
	free := []string{"INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.SNAPSHOT.", "STREAM.RESTORE."} // list what the user may see, or are refused
	source, err := os.ReadFile("nats/api.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`\{"([A-Z.]+)", `).FindAllSubmatch(source, -1)
	for _, served := range []string{"DIRECT.GET.", "CONSUMER.MSG.NEXT."} { // elsewhere
		calls = append(calls, [][]byte{nil, []byte(served)})
	}
	if len(calls) < 10 {
		t.Fatalf("%d requests found", len(calls))
	}
	for _, call := range calls {
		prefix := string(call[1])
		tried := slices.ContainsFunc(operations, func(op struct{ door, text, may string }) bool {
			return strings.HasPrefix(op.text, "$JS.API."+prefix)
		})
		if !tried && !slices.Contains(free, prefix) {
			t.Errorf("request %s is not tried", prefix)
		}
	}
}

// doors are a store and the addresses of both protocols.
type doors struct {
	store      *bucket.Store
	line, nats net.Addr
}

func openDoors(t *testing.T) *doors {
	t.Helper()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	front, err := nats.New(store, nats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := front.Close(t.Context()); err != nil {
			t.Log(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	var file strings.Builder
	for name, grants := range grantsOf {
		hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&file, name, string(hash), grants)
	}
	users, err := server.ParseUsers(strings.NewReader(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	return &doors{store, listenOn(t, line.New(store, "test"), users), listenOn(t, front, users)}
}

// listenOn serves a protocol until the test ends.
func listenOn(t *testing.T, p server.Protocol, users *server.Users) net.Addr {
	t.Helper()
	srv, err := server.New(p, server.Options{Users: users})
	if err != nil {
		t.Fatal(err)
	}
	l, err := srv.Listen()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // ends with the listener
		defer close(served)
		_ = srv.Serve(l) // ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = srv.Shutdown(t.Context()) // the context has ended: connections are cut
		<-served
	})
	return l.Addr()
}

// seed makes the bucket and its keys if an operation removed them, and returns their
// revisions.
func (d *doors) seed(t *testing.T) (app, other kv.Revision) {
	t.Helper()
	b, err := d.store.Bucket(t.Context(), "b")
	if errors.Is(err, kv.ErrBucketNotFound) {
		d.ask(t, "nats", "all", "$JS.API.STREAM.CREATE.KV_b "+streamOfB)
		b, err = d.store.Bucket(t.Context(), "b")
	}
	if err == nil {
		app, err = b.Put(t.Context(), "app.k", []byte("v"))
	}
	if err == nil {
		other, err = b.Put(t.Context(), "other.k", []byte("v"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return app, other
}

// ask is answerTo for an operation that somebody must answer.
func (d *doors) ask(t *testing.T, door, user, text string) string {
	t.Helper()
	answer := d.answerTo(t, door, user, text)
	if strings.HasPrefix(answer, "HMSG i 1 16 16") {
		t.Fatalf("%q: nobody answers", text)
	}
	return answer
}

// answerTo logs in, asks for one operation, and returns the first line of the answer with its
// payload.
func (d *doors) answerTo(t *testing.T, door, user, text string) string {
	t.Helper()
	if door == "line" {
		return exchangeWith(t, d.line, "AUTH "+user+" secret\r\n"+text+"\r\n", 2)
	}
	subject, body, _ := strings.Cut(text, " ")
	connect := fmt.Sprintf("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"user\":%q,\"pass\":\"secret\"}\r\nSUB i 1\r\n", user)
	publish := fmt.Sprintf("PUB %s i %d\r\n%s\r\n", subject, len(body), body)
	if door == "pull" {
		return d.pull(t, connect, subject+user, body)
	}
	if door == "header" {
		header := "NATS/1.0\r\n" + body + "\r\n\r\n"
		publish = fmt.Sprintf("HPUB %s i %d %d\r\n%s\r\n", subject, len(header), len(header), header)
	}
	return exchangeWith(t, d.nats, connect+publish, 2) // INFO comes first
}

// pull makes a pull consumer and asks for its next message by that subject. It returns the
// answer to the first request if that is an error, and to the second otherwise.
func (d *doors) pull(t *testing.T, connect, next, filter string) string {
	t.Helper()
	name := next[strings.LastIndexByte(next, '.')+1:]
	config := fmt.Sprintf(`{"stream_name":"KV_b","config":{"name":%q,"ack_policy":"none","filter_subject":%q}}`, name, filter)
	made := exchangeWith(t, d.nats, fmt.Sprintf("%sPUB $JS.API.CONSUMER.CREATE.KV_b.%s.%s i %d\r\n%s\r\n", connect, name, filter, len(config), config), 2)
	got := exchangeWith(t, d.nats, fmt.Sprintf("%sPUB %s i 0\r\n\r\n", connect, next), 2)
	want := "MSG $KV.b."
	if strings.Contains(made, `"error"`) {
		got, want = made, "MSG i "
	}
	if !strings.HasPrefix(got, want) {
		t.Errorf("%s: %s", next, got)
	}
	return got
}

// exchangeWith sends text to a server and returns line n of its answer, and the line after it
// where n announces a payload.
func exchangeWith(t *testing.T, addr net.Addr, text string, n int) string {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	var got string
	for range n {
		if got, err = r.ReadString('\n'); err != nil {
			t.Fatalf("%q: %q, %v", text, got, err)
		}
	}
	if strings.HasPrefix(got, "MSG ") {
		payload, _ := r.ReadString('\n')
		got += payload
	}
	return strings.TrimSpace(got)
}
