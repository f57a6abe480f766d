package s3test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// misdeed is what the proxy does to a request or to its answer.
type misdeed string

const (
	nothing    misdeed = ""
	cutBefore  misdeed = "the connection ends before the service has the request"
	cutAfter   misdeed = "the connection ends before the client has the answer"
	cutBody    misdeed = "the connection ends in the middle of the answer's body"
	status500  misdeed = "status 500 instead of the request"
	status503  misdeed = "status 503 instead of the answer"
	slowDown   misdeed = "SlowDown instead of the request"
	truncate   misdeed = "a shorter answer that says it is whole"
	twice      misdeed = "the service gets the request twice"
	otherRange misdeed = "another range than the one asked for"
)

var misdeeds = []misdeed{cutBefore, cutAfter, cutBody, status500, status503, slowDown, truncate, twice, otherRange}

// proxy passes requests to a service and does misdeeds in between. choose is called for one request
// after the other.
type proxy struct {
	service http.Handler
	mu      sync.Mutex
	choose  func() misdeed
	done    map[misdeed]int
}

// startProxy returns the proxy's URL.
func startProxy(t *testing.T, service http.Handler, choose func() misdeed) (*proxy, string) {
	p := &proxy{service: service, choose: choose, done: make(map[misdeed]int)}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, server.URL
}

// sometimes returns a random misdeed for one request of three.
func sometimes(seed uint64) func() misdeed {
	random := rand.New(rand.NewPCG(seed, 0))
	return func() misdeed {
		if random.IntN(3) > 0 {
			return nothing
		}
		return misdeeds[random.IntN(len(misdeeds))]
	}
}

func (p *proxy) next() misdeed {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.choose()
	p.done[m]++
	return m
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	ask := func() *httptest.ResponseRecorder {
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		p.service.ServeHTTP(rec, again)
		return rec
	}
	m := p.next()
	switch m {
	case cutBefore:
		panic(http.ErrAbortHandler)
	case status500:
		refuse(w, http.StatusInternalServerError, "InternalError")
		return
	case slowDown:
		refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return
	case twice:
		ask()
	case otherRange:
		if r.Header.Get("Range") != "" {
			r.Header.Set("Range", "bytes=0-0")
		}
	}
	answer := ask()
	if m == status503 {
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable")
		return
	}
	pass(w, answer, m, r.Method)
}

// pass gives the client the answer, or a part of it.
func pass(w http.ResponseWriter, answer *httptest.ResponseRecorder, m misdeed, method string) {
	data := answer.Body.Bytes()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	if method != http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	switch m {
	case cutAfter:
		panic(http.ErrAbortHandler)
	case truncate:
		if method == http.MethodGet && answer.Header().Get("Content-Range") != "" {
			data = data[:len(data)/2]
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		}
	case cutBody:
		w.WriteHeader(answer.Code)
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(data)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>later</Message></Error>`, code)
}
