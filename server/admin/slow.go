package admin

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kvd/server"
)

// SlowCall is a call into the store that took at least the threshold. It has no value.
type SlowCall struct {
	Time      time.Time `json:"time"` // when it began
	Seconds   float64   `json:"seconds"`
	Operation string    `json:"operation"` // as in kvd_operations_total
	Bucket    string    `json:"bucket"`
	Key       string    `json:"key,omitempty"`    // or a pattern; the first 256 bytes
	Writes    int       `json:"writes,omitempty"` // pipelined writes of one call; the other fields are those of the first
	User      string    `json:"user,omitempty"`
	Remote    string    `json:"remote,omitempty"` // address of the client; empty: the server itself
	Error     string    `json:"error,omitempty"`
}

const (
	// SlowDefault is the threshold of a new slow log.
	SlowDefault = 100 * time.Millisecond

	slowKept   = 128              // calls
	slowKeyMax = 256              // bytes
	slowPace   = 10 * time.Second // between two lines in the log
)

// slowLog keeps the newest slow calls.
type slowLog struct {
	threshold atomic.Int64 // ns; math.MaxInt64: off
	count     atomic.Uint64
	logger    atomic.Pointer[slog.Logger] // nil: none

	mu       sync.Mutex // guards the fields below
	newest   [slowKept]SlowCall
	next     int // the place of the next call in newest
	logged   time.Time
	unlogged int // since then
}

// set sets the threshold; 0 switches the log off.
func (l *slowLog) set(threshold time.Duration) {
	if threshold <= 0 {
		threshold = math.MaxInt64
	}
	l.threshold.Store(int64(threshold))
}

// current returns the threshold; 0: off.
func (l *slowLog) current() time.Duration {
	if t := l.threshold.Load(); t != math.MaxInt64 {
		return time.Duration(t)
	}
	return 0
}

// call is a call into the store, for the slow log. Its strings may be views of a connection's
// buffer.
type call struct {
	op          operation
	bucket, key string
	writes      int
}

// add adds a call that took at least the threshold.
func (l *slowLog) add(ctx context.Context, c call, start time.Time, took time.Duration, err error) {
	l.count.Add(1)
	origin := server.OriginOf(ctx)
	s := SlowCall{
		Time: start.UTC(), Seconds: took.Seconds(), Operation: operationNames[c.op],
		Bucket: strings.Clone(c.bucket), Key: strings.Clone(c.key[:min(len(c.key), slowKeyMax)]), Writes: c.writes,
		User: origin.User, Remote: origin.Remote,
	}
	if err != nil {
		s.Error = err.Error()
	}
	unlogged, log := l.keep(s)
	if logger := l.logger.Load(); log && logger != nil {
		logger.Info("slow call", "op", s.Operation, "bucket", s.Bucket, "seconds", s.Seconds, "user", s.User, "remote", s.Remote, "unlogged", unlogged)
	}
}

// keep keeps a call in place of the oldest one. It reports whether the call gets a line in the
// log, and how many got none since the last one that did.
func (l *slowLog) keep(s SlowCall) (unlogged int, log bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest[l.next] = s
	l.next = (l.next + 1) % slowKept
	if !l.logged.IsZero() && s.Time.Sub(l.logged) < slowPace {
		l.unlogged++
		return 0, false
	}
	unlogged, l.unlogged, l.logged = l.unlogged, 0, s.Time
	return unlogged, true
}

// list returns the calls, the newest first.
func (l *slowLog) list() []SlowCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := make([]SlowCall, 0, slowKept)
	for i := range slowKept {
		c := l.newest[(l.next-1-i+2*slowKept)%slowKept]
		if c.Time.IsZero() {
			break
		}
		calls = append(calls, c)
	}
	return calls
}

// Slow returns the threshold of the slow log; 0: it is off.
func (m *Metrics) Slow() time.Duration { return m.slow.current() }

// SetSlow sets how long a call into the store takes at least to be in the slow log, and where
// such calls are logged, one in ten seconds. A threshold of 0 switches the slow log off; a nil
// logger logs none.
func (m *Metrics) SetSlow(threshold time.Duration, logger *slog.Logger) {
	m.slow.set(threshold)
	m.slow.logger.Store(logger)
}
