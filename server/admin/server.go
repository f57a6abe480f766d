package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"kvd/internal/descriptors"
	"kvd/server"
)

// Options configures a server. The zero value serves health alone, on a free loopback
// port.
type Options struct {
	// Addr is where Listen listens: host:port. Default 127.0.0.1:0.
	Addr string

	// Insecure allows an address that is not loopback.
	Insecure bool

	// Hosts are names of the server, in lower case and without a port, that requests may have in
	// their header Host beside localhost and IP addresses.
	Hosts []string

	// AnyHost answers all requests whatever their header Host is.
	AnyHost bool

	// Metrics are served under /metrics. Nil: no metrics.
	Metrics *Metrics

	// Operator is what the API under /api/v1/ shows and does. It needs Metrics. Nil: no API.
	Operator *Operator

	// Together bounds the connections together with those of other servers that have the
	// same one. A few connections do not count, so that probes are answered at the limit.
	// Nil: no bound.
	Together *server.ConnLimit

	// Pprof serves profiles of the Go runtime under /debug/pprof/.
	Pprof bool

	// Ready returns nil, or why clients do not get what they ask for. It is called only
	// between SetReady(nil) and the next SetReady, possibly often. Nil: nothing is wrong.
	Ready func(context.Context) error

	// Health returns nil, or why the store is not healthy. It is called only while the
	// server is ready, possibly often. Nil: the store counts as healthy.
	Health func(context.Context) error

	// Remarks returns lines that /readyz adds to its answer while the server is ready: what
	// the operator should know although clients are served. Nil: none.
	Remarks func() []string

	// Logger receives the errors of the listener. Nil discards them.
	Logger *slog.Logger
}

// errStarting is the reason why a new server is not ready.
var errStarting = errors.New("starting")

// Server answers over HTTP. All methods are safe for concurrent use.
type Server struct {
	opts  Options
	http  http.Server
	ready atomic.Pointer[readiness]
}

// readiness is nil, or the reason why the server is not ready.
type readiness struct{ err error }

// New returns a server that is not ready: see SetReady.
func New(opts Options) *Server {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Remarks == nil {
		opts.Remarks = func() []string { return nil }
	}
	if opts.Health == nil {
		opts.Health = func(context.Context) error { return nil }
	}
	if opts.Ready == nil {
		opts.Ready = func(context.Context) error { return nil }
	}
	s := &Server{opts: opts}
	if opts.Metrics != nil {
		isReady := func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
			defer cancel()
			return s.unready(ctx) == nil
		}
		opts.Metrics.ready.Store(&isReady)
	}
	s.SetReady(errStarting)
	s.http = http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// SetReady sets whether clients are served: err is nil, or the reason why not.
func (s *Server) SetReady(err error) { s.ready.Store(&readiness{err}) }

// unready returns nil, or why the server is not ready.
func (s *Server) unready(ctx context.Context) error {
	if err := s.ready.Load().err; err != nil {
		return err
	}
	return s.opts.Ready(ctx)
}

// Listen opens the listener. The error matches server.ErrExposed for an address
// that others can reach, and syscall.EADDRINUSE for a port in use.
func (s *Server) Listen() (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", s.opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin: listen on %q: %w", s.opts.Addr, err)
	}
	if !addr.IP.IsLoopback() && !s.opts.Insecure {
		return nil, fmt.Errorf("admin: listen on %s: %w: it has neither; listen on 127.0.0.1:%d, or set insecure",
			addr, server.ErrExposed, addr.Port)
	}
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return l, nil
}

// Serve answers until the listener fails or Shutdown is called, when it returns
// server.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	if s.opts.Together != nil {
		l = s.opts.Together.Listener(l, descriptors.Admin)
	}
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return server.ErrServerClosed
	}
	return fmt.Errorf("admin: %w", err)
}

// Shutdown stops listening and waits for the requests under way, until the
// context ends.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	s.registerHealth(mux)
	if s.opts.Operator != nil {
		(&api{s, s.opts.Operator, s.opts.Metrics}).register(mux)
	}
	if s.opts.Metrics != nil {
		mux.Handle("GET /metrics", s.opts.Metrics.handler())
	}
	if s.opts.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	if s.opts.AnyHost {
		return mux
	}
	return knownHost(s.opts.Hosts, mux)
}

func (s *Server) registerHealth(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := s.unready(r.Context())
		answer(w, err)
		if err != nil {
			return
		}
		for _, remark := range s.opts.Remarks() {
			fmt.Fprintln(w, remark)
		}
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		err := s.ready.Load().err
		if err == nil {
			err = s.opts.Health(r.Context())
		}
		answer(w, err)
	})
}

// answer answers 200 and ok, or 503 and the reason.
func answer(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}
