package s3test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"

	"kvd/backup/blob"
	"kvd/backup/blob/blobtest"
	"kvd/backup/blob/s3"
)

var seed = flag.Uint64("kvd.seed", 0, "seed of the proxy's misdeeds; 0: another one each time")

// theSeed returns the seed of a test, and prints it if the test fails.
func theSeed(t *testing.T) uint64 {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("reproduce with -kvd.seed=%d", s)
		}
	})
	return s
}

// The credentials of the tests. Nothing may show the secret ones.
const (
	keyID   = "AKIDEXAMPLEKVD"
	secret  = "wJalrXUtnFEMIkvdSECRETkey"
	session = "sessionTOKENkvdSECRET"
)

// setEnvironment gives the test credentials, and hides those of the machine.
func setEnvironment(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": session, "AWS_REGION": "eu-test-1",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
	} {
		t.Setenv(name, value)
	}
}

const bucketName = "kvd-backups"

// fake returns an S3 service in memory, with one bucket.
func fake(t *testing.T) http.Handler {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucketName); err != nil {
		t.Fatal(err)
	}
	return gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
}

func init() { minio.DefaultRetryUnit = time.Microsecond } // its wait behind a try

// fast are tries without noticeable waits.
var fast = blob.Backoff{Tries: 30, First: time.Microsecond, Most: time.Millisecond, Each: 20 * time.Second}

func open(t *testing.T, endpoint string) blob.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), "s3://"+bucketName+"/some/prefix", s3.Options{Endpoint: endpoint, Backoff: fast})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestS3(t *testing.T) {
	setEnvironment(t)
	blobtest.Run(t, func(t *testing.T) blob.Store {
		server := httptest.NewServer(fake(t))
		t.Cleanup(server.Close)
		return open(t, server.URL)
	})
}

// The client that a proxy cuts off, delays and lies to behaves as any other.
func TestS3BehindAProxy(t *testing.T) {
	setEnvironment(t)
	s := theSeed(t)
	blobtest.Run(t, func(t *testing.T) blob.Store {
		s++
		_, url := startProxy(t, fake(t), sometimes(s))
		return open(t, url)
	})
}

// Each misdeed alone, at each of the first requests.
func TestEachMisdeed(t *testing.T) {
	setEnvironment(t)
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	for _, m := range misdeeds {
		for at := range 5 {
			request := 0
			p, url := startProxy(t, fake(t), func() misdeed {
				if request++; request == at+1 {
					return m
				}
				return nothing
			})
			s := open(t, url)
			err := s.Put(t.Context(), "a/object", data)
			if err != nil {
				t.Errorf("%s at %d: %v", m, at, err)
				continue
			}
			if err := s.Put(t.Context(), "a/object", data[1:]); !errors.Is(err, blob.ErrExists) {
				t.Errorf("%s at %d: %v", m, at, err)
			}
			if got, err := s.GetRange(t.Context(), "a/object", 17, 50_000); err != nil || !bytes.Equal(got, data[17:50_017]) {
				t.Errorf("%s at %d: %d bytes, %v", m, at, len(got), err)
			}
			if infos, err := s.List(t.Context(), "a/"); err != nil || len(infos) != 1 {
				t.Errorf("%s at %d: %v, %v", m, at, infos, err)
			}
			if p.done[m] != 1 {
				t.Errorf("%s at %d: it was done %d times", m, at, p.done[m])
			}
		}
	}
}

// More objects than one answer lists.
func TestLongLists(t *testing.T) {
	setEnvironment(t)
	server := httptest.NewServer(fake(t))
	t.Cleanup(server.Close)
	s := open(t, server.URL)
	const objects = 2050
	for i := range objects {
		if err := s.Put(t.Context(), fmt.Sprintf("log/%08d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	infos, err := s.List(t.Context(), "log/")
	if err != nil || len(infos) != objects {
		t.Fatalf("%d objects, %v", len(infos), err)
	}
	for i, info := range infos {
		if info.Name != fmt.Sprintf("log/%08d", i) {
			t.Fatalf("object %d is %s", i, info.Name)
		}
	}
}

// echo answers every request with a status and an error that repeats all that the client has sent.
func echo(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := r.URL.String() + " " + r.Header.Get("Authorization") + " " + r.Header.Get("X-Amz-Security-Token") + " " + secret
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("X-Amz-Request-Id", said)
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message><Resource>%s</Resource></Error>", said, said, said)
	})
}

// No error, and nothing that is logged, shows a secret, a signature or a header, whatever the service
// answers.
func TestNothingShowsASecret(t *testing.T) {
	setEnvironment(t)
	var logged lockedBuffer
	log.SetOutput(&logged)
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	var said []string
	call := func(s blob.Store) {
		_, getErr := s.GetRange(t.Context(), "a/object", 0, 10)
		_, statErr := s.Stat(t.Context(), "a/object")
		_, listErr := s.List(t.Context(), "")
		for _, err := range []error{getErr, statErr, listErr, s.Put(t.Context(), "a/object", []byte("one")), s.Delete(t.Context(), "a/object")} {
			if err == nil {
				continue // what is not found needs no deletion
			}
			said = append(said, err.Error(), fmt.Sprintf("%#v", err))
		}
	}
	short := blob.Backoff{Tries: 2, First: time.Microsecond}
	for _, status := range []int{301, 307, 400, 401, 403, 404, 409, 412, 416, 500, 501, 503} {
		server := httptest.NewServer(echo(status))
		s, err := s3.Open(t.Context(), "s3://"+bucketName, s3.Options{Endpoint: server.URL, Backoff: short})
		if err != nil {
			t.Fatal(err)
		}
		call(s)
		server.Close()
		if status == 400 {
			call(s) // nobody listens
		}
	}
	for _, raw := range []string{"s3://" + keyID + ":" + secret + "@bucket/prefix", "s3://bucket/" + secret + "?x", "s3://" + secret, "https://" + keyID + ":" + secret + "@host/b"} {
		if _, err := s3.Open(t.Context(), raw, s3.Options{}); err == nil {
			t.Errorf("%s is accepted", raw)
		} else {
			said = append(said, err.Error())
		}
	}
	for _, endpoint := range []string{"https://" + keyID + ":" + secret + "@host", "http://%zz" + secret, secret, "http://127.0.0.1/" + secret} {
		if _, err := s3.Open(t.Context(), "s3://bucket", s3.Options{Endpoint: endpoint}); err == nil {
			t.Errorf("%s is accepted", endpoint)
		} else {
			said = append(said, err.Error())
		}
	}
	if len(said) < 100 {
		t.Errorf("there were only %d errors", len(said))
	}
	for _, text := range append(said, logged.String()) {
		for _, bad := range []string{secret, session, keyID, "AWS4-HMAC", "Signature", "Credential="} {
			if strings.Contains(text, bad) {
				t.Errorf("%q is in %q", bad, text)
			}
		}
	}
}

// lockedBuffer collects what several goroutines log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// An error has the kind that callers branch on.
func TestKindsOfErrors(t *testing.T) {
	setEnvironment(t)
	server := httptest.NewServer(fake(t))
	t.Cleanup(server.Close)
	s, err := s3.Open(t.Context(), "s3://other-bucket", s3.Options{Endpoint: server.URL, Backoff: fast})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(t.Context(), ""); !errors.Is(err, blob.ErrNotFound) || !strings.Contains(err.Error(), "bucket does not exist") {
		t.Error(err)
	}
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusForbidden, "AccessDenied") }))
	t.Cleanup(denied.Close)
	if err := open(t, denied.URL).Put(t.Context(), "a", nil); !errors.Is(err, blob.ErrDenied) || !strings.Contains(err.Error(), "403 AccessDenied") {
		t.Error(err)
	}
	_, url := startProxy(t, fake(t), func() misdeed { return slowDown })
	if err := open(t, url).Put(t.Context(), "a", nil); !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "503 SlowDown (tried 30 times)") {
		t.Error(err)
	}
}

// A put is signed with the hash of its bytes, and asks for If-None-Match.
func TestHeadersOfAPut(t *testing.T) {
	setEnvironment(t)
	service := fake(t)
	puts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			puts++
			if r.Header.Get("If-None-Match") != "*" || len(r.Header.Get("X-Amz-Content-Sha256")) != 64 ||
				!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") || r.Header.Get("X-Amz-Security-Token") != session {
				t.Errorf("%v", r.Header)
			}
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	if err := open(t, server.URL).Put(t.Context(), "a", []byte("one")); err != nil || puts != 1 {
		t.Errorf("%d puts, %v", puts, err)
	}
}
