package admin_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/descriptors"
	"kvd/kv"
	"kvd/server"
	"kvd/server/admin"
)

var ctx = context.Background()

// running is a server that is served for as long as the test runs.
type running struct {
	t *testing.T
	*admin.Server
	url string
}

func start(t *testing.T, opts admin.Options) running {
	t.Helper()
	s := admin.New(opts)
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-ended; !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("serve ended with %v", err)
		}
	})
	return running{t, s, "http://" + l.Addr().String()}
}

// get returns what a path answers.
func (r running) get(path string) (status int, body string) {
	r.t.Helper()
	response, err := http.Get(r.url + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

func (r running) want(path string, status int, text string) {
	r.t.Helper()
	got, body := r.get(path)
	if got != status || !strings.Contains(body, text) {
		r.t.Errorf("%s answers %d %q, want %d with %q", path, got, body, status, text)
	}
}

func TestHealth(t *testing.T) {
	sick := errors.New("bucket \"b\": read-only")
	var health error
	var remarks []string
	s := start(t, admin.Options{Health: func(context.Context) error { return health }, Remarks: func() []string { return remarks }})

	s.want("/livez", 200, "ok")
	s.want("/readyz", 503, "starting")
	s.want("/healthz", 503, "starting")

	s.SetReady(nil)
	s.want("/readyz", 200, "ok")
	s.want("/healthz", 200, "ok")

	health = sick
	remarks = []string{"clock: it leapt", "another"}
	s.want("/readyz", 200, "ok\nclock: it leapt\nanother\n")
	s.want("/healthz", 503, sick.Error())

	s.SetReady(errors.New("stopping"))
	s.want("/livez", 200, "ok")
	s.want("/readyz", 503, "stopping")
	if _, body := s.get("/readyz"); strings.Contains(body, "clock") {
		t.Errorf("a server that is not ready remarks %q", body)
	}
}

func TestClockMetrics(t *testing.T) {
	m := admin.NewMetrics("", "")
	m.Clock(func() time.Duration { return 48 * time.Hour }, func() time.Duration { return 90 * time.Second })
	s := start(t, admin.Options{Metrics: m})
	s.want("/metrics", 200, "\nkvd_clock_leap_seconds 172800\n")
	s.want("/metrics", 200, "\nkvd_clock_suspended_seconds 90\n")
}

func TestFileMetrics(t *testing.T) {
	m := admin.NewMetrics("", "")
	m.Files(func() (int, int) { return 17, 512 })
	s := start(t, admin.Options{Metrics: m})
	s.want("/metrics", 200, "\nkvd_store_files_open 17\n")
	s.want("/metrics", 200, "\nkvd_store_files_max 512\n")
}

// Connections of the admin port count in the limit of all listeners, but for the first few.
func TestConnectionsCountTogether(t *testing.T) {
	limit := server.NewConnLimit(2)
	s := start(t, admin.Options{Together: limit})
	addr := strings.TrimPrefix(s.url, "http://")
	answers := func(n int) (answered int) {
		for range n {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				answered++
			}
		}
		return answered
	}
	if n := answers(descriptors.Admin + 5); n != descriptors.Admin+2 {
		t.Errorf("%d connections were answered, want %d that do not count and the limit of 2", n, descriptors.Admin)
	}
}

func TestWhatWasNotAskedForIsNotThere(t *testing.T) {
	s := start(t, admin.Options{})
	for _, path := range []string{"/", "/metrics", "/debug/pprof/", "/debug/pprof/heap"} {
		s.want(path, 404, "")
	}
	response, err := http.Post(s.url+"/readyz", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered %d", response.StatusCode)
	}
}

func TestPprof(t *testing.T) {
	s := start(t, admin.Options{Pprof: true})
	s.want("/debug/pprof/", 200, "goroutine")
	s.want("/debug/pprof/cmdline", 200, "admin.test")
}

func TestListen(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		if _, err := admin.New(admin.Options{Addr: addr}).Listen(); !errors.Is(err, server.ErrExposed) {
			t.Errorf("listening on %s: %v, want %v", addr, err, server.ErrExposed)
		}
	}
	l, err := admin.New(admin.Options{Addr: "0.0.0.0:0", Insecure: true}).Listen()
	if err != nil {
		t.Fatalf("insecure is not taken for an answer: %v", err)
	}
	defer l.Close()

	s := start(t, admin.Options{})
	taken := strings.TrimPrefix(s.url, "http://")
	if _, err := admin.New(admin.Options{Addr: taken}).Listen(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port in use is %v", err)
	}
	if _, err := admin.New(admin.Options{Addr: "nonsense"}).Listen(); err == nil {
		t.Error("an address without a port is taken")
	}
}

// Which reads are timed is chance, so that none waits for another's count.
func TestSomeReadsAreTimed(t *testing.T) {
	m := admin.NewMetrics("", "")
	s := start(t, admin.Options{Metrics: m})
	b, err := m.Observe(openStore(t, m)).CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutString(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	const reads = 1000 // none of them timed: once in 10^28 runs
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range reads / 4 {
				if _, err := b.Get(ctx, "k"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	_, text := s.get("/metrics")
	if want := fmt.Sprintf("kvd_operations_total{bucket=\"b\",op=\"get\",result=\"ok\"} %d\n", reads); !strings.Contains(text, want) {
		t.Errorf("there is no %s", want)
	}
	if strings.Contains(text, "kvd_operation_duration_seconds_count{op=\"get\"} 0\n") {
		t.Error("no read was timed")
	}
}

func TestMetricsOfOperations(t *testing.T) {
	m := admin.NewMetrics("1.2.3", "abcdef")
	s := start(t, admin.Options{Metrics: m})
	store := openStore(t, m)
	m.Describe(store)
	m.Connections("line", func() int { return 7 })
	observed := m.Observe(store)
	exercise(t, observed)
	b, err := store.Bucket(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Watch(t.Context(), nil); err != nil {
		t.Fatal(err)
	}

	_, text := s.get("/metrics")
	for _, want := range []string{
		`kvd_operations_total{bucket="b",op="put",result="ok"} 4`, // two by Submit
		`kvd_operations_total{bucket="b",op="put",result="invalid"} 1`,
		`kvd_operations_total{bucket="b",op="put",result="limit"} 1`,
		`kvd_operations_total{bucket="b",op="create",result="ok"} 1`,
		`kvd_operations_total{bucket="b",op="create",result="conflict"} 2`,
		`kvd_operations_total{bucket="b",op="update",result="conflict"} 1`,
		`kvd_operations_total{bucket="b",op="touch",result="ok"} 1`,
		`kvd_operations_total{bucket="b",op="delete",result="ok"} 1`,
		`kvd_operations_total{bucket="b",op="purge",result="ok"} 1`,
		`kvd_operations_total{bucket="b",op="get",result="ok"} 3`,
		`kvd_operations_total{bucket="b",op="get",result="not_found"} 1`,
		`kvd_operations_total{bucket="b",op="history",result="ok"} 1`,
		`kvd_operations_total{bucket="b",op="history",result="not_found"} 1`,
		`kvd_operations_total{bucket="b",op="keys",result="ok"} 2`,
		`kvd_operations_total{bucket="b",op="compact",result="ok"} 1`,
		`kvd_operations_total{bucket="",op="put",result="not_found"} 1`,
		`kvd_operations_total{bucket="",op="put",result="invalid"} 1`, // or clients would choose the series
		`kvd_cas_conflicts_total 3`,
		`kvd_operation_duration_seconds_count{op="configure"} 2`,
		`kvd_operation_duration_seconds_count{op="compact"} 1`,
		`kvd_commit_batch_size_count 7`,
		`kvd_commit_batch_size_sum 8`, // the two of Submit shared one
		`kvd_fsync_duration_seconds_count 7`,
		`kvd_buckets 1`,
		`kvd_keys{bucket="b"} 2`,
		`kvd_revision{bucket="b"} 8`,
		`kvd_watchers{bucket="b"} 1`,
		`kvd_watch_lag_revisions{bucket="b"} 0`,
		`kvd_bucket_writable{bucket="b"} 1`,
		`kvd_bucket_info{bucket="b",storage="file",sync="always"} 1`,
		`kvd_bucket_bytes{bucket="b",state="dead"}`,
		`kvd_connections{protocol="line"} 7`,
		`kvd_ready 0`,
		`kvd_build_info{goversion=`,
		`revision="abcdef",version="1.2.3"} 1`,
		`process_start_time_seconds`,
	} {
		if last := want[len(want)-1]; '0' <= last && last <= '9' {
			want += "\n" // the whole number
		}
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", strings.TrimSpace(want))
		}
	}
	if t.Failed() {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "kvd_") && !strings.Contains(line, "_bucket{le") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}

	if err := observed.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	_, text = s.get("/metrics")
	if strings.Contains(text, `bucket="b"`) {
		t.Error("a bucket that is gone has series")
	}
	if !strings.Contains(text, "kvd_cas_conflicts_total 3\n") {
		t.Error("the sum of conflicts fell with a bucket")
	}
}

// openStore opens a store whose commits the metrics see.
func openStore(t *testing.T, m *admin.Metrics) *bucket.Store {
	t.Helper()
	s, err := bucket.Open(t.TempDir(), bucket.Options{
		LogFileSize: 64 << 10, ReserveSize: -1, Observer: commits{m},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

type commits struct{ *admin.Metrics }

func (c commits) Committed(one bucket.Commit) {
	c.Metrics.Committed(one.Records, one.Expired, one.Bytes, one.Sync)
}

// exercise does everything that is counted, well and badly.
func exercise(t *testing.T, s kv.Store) {
	t.Helper()
	check := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: "b", History: 3, MaxValueSize: 10})
	check(err, nil)
	_, err = b.Put(ctx, "k", []byte("v")) // 1
	check(err, nil)
	_, err = b.PutString(ctx, "k", "w") // 2
	check(err, nil)
	_, err = b.Put(ctx, "bad key", nil)
	check(err, kv.ErrInvalidKey)
	_, err = b.Put(ctx, "k", make([]byte, 11))
	check(err, kv.ErrValueTooLarge)
	_, err = b.Create(ctx, "c", nil) // 3
	check(err, nil)
	_, err = b.Create(ctx, "c", nil)
	check(err, kv.ErrKeyExists)
	_, err = b.Update(ctx, "c", nil, 1)
	check(err, kv.ErrKeyRevisionMismatch)
	_, err = b.Touch(ctx, "k") // 4
	check(err, nil)
	_, err = b.Delete(ctx, "c") // 5
	check(err, nil)
	_, err = b.Purge(ctx, "c") // 6
	check(err, nil)
	mutations := []kv.Mutation{
		{Bucket: "b", Op: kv.MutatePut, Key: "x"}, // 7
		{Bucket: "b", Op: kv.MutateCreate, Key: "k"},
		{Bucket: "b", Op: kv.MutatePut, Key: "x"}, // 8
		{Bucket: "none", Op: kv.MutatePut, Key: "x"},
		{Bucket: "no name", Op: kv.MutatePut, Key: "x"},
	}
	check(submitter(t, s).Submit(ctx, mutations), nil)
	check(mutations[1].Err, kv.ErrKeyExists)

	b, err = s.Bucket(ctx, "b")
	check(err, nil)
	_, err = b.Get(ctx, "none")
	check(err, kv.ErrKeyNotFound)
	_, err = b.Get(ctx, "k")
	check(err, nil)
	_, err = b.GetRevision(ctx, "k", 2)
	check(err, nil)
	_, _, err = b.GetAppend(ctx, nil, "k")
	check(err, nil)
	for _, err := range b.History(ctx, "k") {
		check(err, nil)
	}
	for _, err := range b.History(ctx, "none") {
		check(err, kv.ErrKeyNotFound)
	}
	for _, err := range b.Keys(ctx) {
		check(err, nil)
	}
	for _, err := range b.Keys(ctx) {
		check(err, nil)
		break
	}
	check(b.PurgeDeletes(ctx, time.Hour), nil)
	_, err = s.UpdateBucket(ctx, kv.Config{Bucket: "b", History: 3, MaxValueSize: 10, Description: "d"})
	check(err, nil)
}

func submitter(t *testing.T, s kv.Store) kv.Submitter {
	t.Helper()
	submitter, ok := kv.As[kv.Submitter](s)
	if !ok {
		t.Fatal("the store takes no many mutations in one call")
	}
	return submitter
}

// TestSeriesAreBounded has more buckets than have series of their own.
func TestSeriesAreBounded(t *testing.T) {
	const all, own = 260, 256
	m := admin.NewMetrics("", "")
	s := start(t, admin.Options{Metrics: m})
	store := openStore(t, m)
	m.Describe(store)
	observed := m.Observe(store)
	for i := range all {
		b, err := observed.CreateBucket(ctx, kv.Config{Bucket: fmt.Sprintf("b%03d", i)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Get(ctx, "k"); !errors.Is(err, kv.ErrKeyNotFound) {
			t.Fatal(err)
		}
	}
	if err := submitter(t, observed).Submit(ctx, []kv.Mutation{{Bucket: "b259", Op: kv.MutatePut, Key: "k", Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	_, text := s.get("/metrics")
	for name, want := range map[string]int{
		`kvd_operations_total{bucket="b`:                                       own,
		`kvd_operations_total{bucket="",op="get",result="not_found"} 4` + "\n": 1,
		`kvd_operations_total{bucket="",op="put",result="ok"} 1` + "\n":        1,
		`kvd_keys{bucket="b`:               own,
		`kvd_keys{bucket=""} 1` + "\n":     1,
		`kvd_revision{bucket="b`:           own,
		fmt.Sprintf("kvd_buckets %d", all): 1,
	} {
		if got := strings.Count(text, name); got != want {
			t.Errorf("%d series begin with %q, want %d", got, name, want)
		}
	}
}

// TestCountingDoesNotAllocate has a read through the metrics allocate no more
// than without.
func TestCountingDoesNotAllocate(t *testing.T) {
	m := admin.NewMetrics("", "")
	s := m.Observe(openStore(t, m))
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutString(ctx, "k", "value"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	allocs := testing.AllocsPerRun(200, func() {
		b, err := s.Bucket(ctx, "b")
		if err == nil {
			buf, _, err = b.GetAppend(ctx, buf[:0], "k")
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("a counted read allocates %v times", allocs)
	}
}

func TestFirstFault(t *testing.T) {
	m := admin.NewMetrics("", "")
	s := openStore(t, m)
	if _, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := admin.FirstFault(ctx, s); err != nil {
		t.Errorf("a sound store: %v", err)
	}
	if err := admin.FirstFault(ctx, broken{s}); !errors.Is(err, kv.ErrReadOnly) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("a store with a bucket that is read-only: %v", err)
	}
}

// broken is a store whose buckets take no writes.
type broken struct{ kv.Store }

func (b broken) Buckets(ctx context.Context) iter.Seq2[kv.Status, error] {
	return func(yield func(kv.Status, error) bool) {
		for st, err := range b.Store.Buckets(ctx) {
			st.ReadOnly = kv.ErrReadOnly
			if !yield(st, err) {
				return
			}
		}
	}
}
