package line

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/lineproto"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/server"
)

// This file has the stores, the servers on TCP and on pipes, and the clients that the
// tests of the package share. The clients send and expect text.

// instant is the time of every record in a test store.
var instant = time.Date(2026, 11, 22, 18, 0, 0, 123456789, time.UTC)

// openStore opens a store of the engine in memory whose bytes are always the same.
func openStore(t testing.TB) *bucket.Store {
	t.Helper()
	random := uint64(0)
	s, err := bucket.Open("store", environment.With(bucket.Options{ReserveSize: -1, LogFileSize: 1 << 20}, environment.Env{
		FS: simdisk.New(), Manual: true,
		Now: func() time.Time { return instant }, Random: func() uint64 { random++; return random },
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// rig is a server under test.
type rig struct {
	t      testing.TB
	server *server.Server
	dialer func() (net.Conn, error)
}

// serveTCP serves a store on a free port.
func serveTCP(t testing.TB, store kv.Store, opts server.Options) *rig {
	t.Helper()
	srv := newServer(t, store, opts)
	l, err := srv.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, srv, l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) })
}

// servePipes serves a store on pipes. The server reads the bytes of each write of a
// client separately, and a synctest bubble can run it.
func servePipes(t testing.TB, store kv.Store, opts server.Options) *rig {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	return start(t, newServer(t, store, opts), l, l.dial)
}

func newServer(t testing.TB, store kv.Store, opts server.Options) *server.Server {
	t.Helper()
	srv, err := server.New(New(store, "kvd"), opts)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func start(t testing.TB, srv *server.Server, l net.Listener, dial func() (net.Conn, error)) *rig {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v, %d connections are left", err, srv.Conns())
		}
		if err := <-served; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return &rig{t: t, server: srv, dialer: dial}
}

// pipeListener accepts pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// peer is a client that speaks in text.
type peer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// dial connects a client. It is closed when the test ends.
func (r *rig) dial() *peer {
	r.t.Helper()
	c, err := r.dialer()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return &peer{t: r.t, conn: c, r: bufio.NewReaderSize(c, 128<<10)}
}

// send sends text. It sends a line feed as CRLF.
func (p *peer) send(text string) {
	p.t.Helper()
	p.sendRaw(strings.ReplaceAll(text, "\n", "\r\n"))
}

func (p *peer) sendRaw(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Fatalf("sending %.60q: %v", text, err)
	}
}

// next returns the next reply or event as text, in the form that send takes.
func (p *peer) next() string {
	p.t.Helper()
	for size := 1; ; {
		buf, err := p.r.Peek(size)
		if err != nil {
			p.t.Fatalf("after %.200q: %v", buf, err)
		}
		var r lineproto.Reply
		n, err := lineproto.ParseReply(buf, &r)
		switch {
		case err == lineproto.ErrIncomplete:
			size = n
		case err != nil:
			p.t.Fatalf("%.200q: %v", buf, err)
		default:
			text := strings.ReplaceAll(string(buf[:n]), "\r\n", "\n")
			_, _ = p.r.Discard(n)
			return text
		}
	}
}

// expect ends the test unless these are the next replies. A reply may have several lines.
func (p *peer) expect(replies ...string) {
	p.t.Helper()
	for _, want := range replies {
		if got := p.next(); got != want+"\n" {
			p.t.Fatalf("reply is\n%.300q, want\n%.300q", got, want+"\n")
		}
	}
}

// expectPrefix ends the test unless the next reply begins with this text.
func (p *peer) expectPrefix(want string) {
	p.t.Helper()
	if got := p.next(); !strings.HasPrefix(got, want) {
		p.t.Fatalf("reply is %.300q, want one that begins with %q", got, want)
	}
}

// expectClosed ends the test unless the server closes the connection without sending
// anything more.
func (p *peer) expectClosed() {
	p.t.Helper()
	rest, err := io.ReadAll(p.r)
	if len(rest) > 0 || err != nil && !errors.Is(err, io.ErrClosedPipe) {
		p.t.Fatalf("instead of the end: %.300q, %v", rest, err)
	}
}

// ask sends a command and expects its replies.
func (p *peer) ask(command string, replies ...string) {
	p.t.Helper()
	p.send(command + "\n")
	p.expect(replies...)
}

// fakeStore is the part of a store that some tests need: one bucket of values, named b,
// with hooks.
type fakeStore struct {
	kv.Store // nil: nothing else is called
	bucket   fakeBucket
}

type fakeBucket struct {
	kv.Bucket // nil
	mu        sync.Mutex
	values    map[string][]byte
	revision  kv.Revision
	gets      int

	history func(yield func(kv.Entry, error) bool)
	watch   func(ctx context.Context, patterns []string, o kv.WatchOptions) (kv.Watcher, error)
	onPut   func()
}

func newFakeStore() *fakeStore { return &fakeStore{bucket: fakeBucket{values: map[string][]byte{}}} }

func (s *fakeStore) Bucket(ctx context.Context, name string) (kv.Bucket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if name != "b" {
		return nil, kv.ErrBucketNotFound
	}
	return &s.bucket, nil
}

// Submit takes puts only.
func (s *fakeStore) Submit(ctx context.Context, mutations []kv.Mutation) error {
	for i := range mutations {
		m := &mutations[i]
		if m.Op != kv.MutatePut || m.Bucket != "b" {
			m.Err = kv.ErrNotSupported
			continue
		}
		m.Revision, m.Err = s.bucket.Put(ctx, m.Key, m.Value)
	}
	return nil
}

func (b *fakeBucket) Name() string { return "b" }
func (b *fakeBucket) ID() uint64   { return 9 }

func (b *fakeBucket) Status(context.Context) (kv.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return kv.Status{Config: kv.Config{Bucket: "b", MaxValueSize: kv.MaxValueSizeDefault}.WithDefaults(), ID: 9, Revision: b.revision}, nil
}

func (b *fakeBucket) Put(_ context.Context, key string, value []byte, _ ...kv.WriteOption) (kv.Revision, error) {
	if b.onPut != nil {
		b.onPut()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revision++
	if old, ok := b.values[key]; ok && len(old) == len(value) {
		copy(old, value)
		return b.revision, nil
	}
	b.values[strings.Clone(key)] = bytes.Clone(value)
	return b.revision, nil
}

func (b *fakeBucket) GetAppend(_ context.Context, dst []byte, key string) ([]byte, kv.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gets++
	v, ok := b.values[key]
	if !ok {
		return dst, kv.Entry{}, kv.ErrKeyNotFound
	}
	return append(dst, v...), kv.Entry{Bucket: "b", Key: key, Value: v, Revision: b.revision, Created: instant, Operation: kv.Put}, nil
}

func (b *fakeBucket) History(context.Context, string) iter.Seq2[kv.Entry, error] {
	return b.history
}

func (b *fakeBucket) Watch(ctx context.Context, patterns []string, opts ...kv.WatchOption) (kv.Watcher, error) {
	var o kv.WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	w, err := b.watch(ctx, patterns, o)
	if fake, ok := w.(*fakeWatcher); ok {
		fake.notify = o.Notify
	}
	return w, err
}

// fakeWatcher delivers the events that a test feeds it. If it is endless, it delivers a
// put of k whenever it is polled.
type fakeWatcher struct {
	endless bool
	stopped chan struct{}

	mu     sync.Mutex
	fed    []kv.Update
	polled int // events
	err    error
	notify func()
	waits  bool // for notify
	once   sync.Once
}

func newFakeWatcher(fed ...kv.Update) *fakeWatcher {
	return &fakeWatcher{fed: fed, stopped: make(chan struct{})}
}

// feed makes the watcher deliver these events.
func (w *fakeWatcher) feed(updates ...kv.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fed = append(w.fed, updates...)
	w.wakeLocked()
}

// fail ends the watch with an error after the events that it was fed.
func (w *fakeWatcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.wakeLocked()
}

func (w *fakeWatcher) wakeLocked() {
	if w.waits {
		w.waits = false
		w.notify()
	}
}

// delivered returns the number of events that were polled.
func (w *fakeWatcher) delivered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.polled
}

func (w *fakeWatcher) Poll(fn func(kv.Update) bool) (more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if w.endless {
			w.fed = append(w.fed, event("k", kv.Revision(w.polled+1)))
		}
		if len(w.fed) == 0 {
			w.waits = w.err == nil
			return false, w.err
		}
		u := w.fed[0]
		w.fed = w.fed[1:]
		w.polled++
		if !fn(u) {
			return true, nil
		}
	}
}

func (w *fakeWatcher) Stop() error {
	w.once.Do(func() { close(w.stopped) })
	return nil
}

func (w *fakeWatcher) Pending() uint64                  { return 0 }
func (w *fakeWatcher) Err() error                       { return w.err }
func (w *fakeWatcher) Updates() <-chan kv.Update        { panic("the server polls") }
func (w *fakeWatcher) All() iter.Seq2[kv.Update, error] { panic("the server polls") }
