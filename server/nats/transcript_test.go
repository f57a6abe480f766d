package nats

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
)

// serve serves a new store until the test ends.
func serve(t testing.TB, opts server.Options) net.Addr {
	addr, _ := serveBoth(t, opts)
	return addr
}

// serveBoth serves sockets and pipes. A pipe has no buffer.
func serveBoth(t testing.TB, opts server.Options) (addr net.Addr, pipe func() *peer) {
	t.Helper()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv, addr := listen(t, store, store, opts)
	return addr, func() *peer {
		client, own := net.Pipe()
		srv.ServeConn(own)
		return greeted(t, client)
	}
}

// listen serves a front end of before, which wraps store, until the test ends. Then it
// closes the store.
func listen(t testing.TB, store *bucket.Store, before kv.Store, opts server.Options) (*server.Server, net.Addr) {
	t.Helper()
	front, err := New(before, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return listenFront(t, store, front, opts)
}

// listenFront is listen for a front end.
func listenFront(t testing.TB, store *bucket.Store, front *Front, opts server.Options) (*server.Server, net.Addr) {
	t.Helper()
	srv, err := server.New(front, opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := srv.Listen()
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	t.Cleanup(func() {
		err := errors.Join(srv.Shutdown(context.Background()), front.Close(context.Background()), store.Close())
		if err != nil {
			t.Error(err)
		}
	})
	return srv, l.Addr()
}

// peer is the client's end of a connection.
type peer struct {
	net.Conn
	in *bufio.Reader
}

func dial(t testing.TB, addr net.Addr) *peer {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return greeted(t, c)
}

// greeted returns the peer of a connection after INFO.
func greeted(t testing.TB, c net.Conn) *peer {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	p := &peer{c, bufio.NewReader(c)}
	if info := p.next(t); !strings.HasPrefix(info, "INFO {") {
		t.Fatalf("greeting is %q", info)
	}
	return p
}

// next returns the next line, with its payload if it has one.
func (p *peer) next(t testing.TB) string {
	t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := p.in.ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return "EOF"
	}
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	line = strings.TrimSuffix(line, "\r\n")
	if f := strings.Fields(line); len(f) > 0 && strings.HasSuffix(f[0], "MSG") {
		size, _ := strconv.Atoi(f[len(f)-1])
		payload := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(p.in, payload); err != nil {
			t.Fatal(err)
		}
		line += `\r\n` + strings.ReplaceAll(string(payload[:size]), "\r\n", `\r\n`)
	}
	return line
}

// TestTranscripts plays what clients send, and compares what they get, to the letter.
//
//	A> TEXT   client A sends the text and CRLF; \r\n within it is CRLF
//	A< TEXT   client A gets the text; … at its end stands for the rest
//	A< EOF    client A's connection is closed
//
// {n} stands for the size of a message, and {h} for that of its headers.
//
// Every transcript is played twice: the second time, each byte is sent on its own.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) { play(t, string(text), false) })
		t.Run(name+"/byte_by_byte", func(t *testing.T) { play(t, string(text), true) })
	}
}

func play(t *testing.T, transcript string, single bool) {
	t.Parallel()
	addr := serve(t, server.Options{})
	peers := map[byte]*peer{}
	for n, line := range strings.Split(transcript, "\n") {
		if len(line) < 3 || line[0] == '#' {
			continue
		}
		name, what, text := line[0], line[1], line[3:]
		p := peers[name]
		if p == nil {
			p = dial(t, addr)
			peers[name] = p
		}
		if what == '>' {
			p.send(t, sized(strings.ReplaceAll(text, `\r\n`, "\r\n"))+"\r\n", single)
			continue
		}
		got := p.next(t)
		if strings.Contains(text, "{n}") {
			got = unsized(got)
		}
		prefix, open := strings.CutSuffix(text, "…")
		if got != text && !(open && strings.HasPrefix(got, prefix)) {
			t.Fatalf("line %d: got  %s\nwant %s", n+1, got, text)
		}
	}
}

// sized fills in the sizes of an operation.
func sized(text string) string {
	line, message, _ := strings.Cut(text, "\r\n")
	header, _, _ := strings.Cut(message, "\r\n\r\n")
	line = strings.Replace(line, "{h}", strconv.Itoa(len(header)+len("\r\n\r\n")), 1)
	line = strings.Replace(line, "{n}", strconv.Itoa(len(message)), 1)
	if !strings.Contains(text, "\r\n") {
		return line
	}
	return line + "\r\n" + message
}

// unsized hides the sizes of a message.
func unsized(text string) string {
	line, message, _ := strings.Cut(text, `\r\n`)
	f := strings.Fields(line)
	f[len(f)-1] = "{n}"
	if f[0] == "HMSG" {
		f[len(f)-2] = "{h}"
	}
	return strings.Join(f, " ") + `\r\n` + message
}

// send sends a text, byte by byte if single is set.
func (p *peer) send(t testing.TB, text string, single bool) {
	t.Helper()
	if !single {
		if _, err := io.WriteString(p, text); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i := range len(text) {
		if _, err := p.Write([]byte{text[i]}); err != nil {
			return // the server has heard enough
		}
	}
}
