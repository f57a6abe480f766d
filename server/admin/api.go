package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"kvd/server"
)

// Code names the kind of an error of the API. The first three are those of the line protocol.
type Code string

// The codes.
const (
	CodeAuthRequired Code = "AUTH_REQUIRED" // 401: a request without a user
	CodeAuthFailed   Code = "AUTH_FAILED"   // 401
	CodeDenied       Code = "DENIED"        // 403: the user has no admin in all buckets, or a page asks
	CodeInvalid      Code = "INVALID"       // 400
	CodeNotFound     Code = "NOT_FOUND"     // 404
	CodeNotReady     Code = "NOT_READY"     // 503: the server starts or stops
	CodeInternal     Code = "INTERNAL"      // 500
)

var codeStatus = map[Code]int{
	CodeAuthRequired: http.StatusUnauthorized, CodeAuthFailed: http.StatusUnauthorized, CodeDenied: http.StatusForbidden,
	CodeInvalid: http.StatusBadRequest, CodeNotFound: http.StatusNotFound, CodeNotReady: http.StatusServiceUnavailable,
	CodeInternal: http.StatusInternalServerError,
}

// APIError is the body of an answer that is an error.
type APIError struct {
	Code    Code   `json:"code"`
	Message string `json:"error"`
}

func (e *APIError) Error() string { return e.Message }

func apiError(code Code, format string, args ...any) *APIError {
	return &APIError{code, fmt.Sprintf(format, args...)}
}

// api answers the requests under /api/v1/.
type api struct {
	server   *Server
	operator *Operator
	metrics  *Metrics
}

func (a *api) register(mux *http.ServeMux) {
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /api/v1/info":          func(r *http.Request) (any, error) { return a.operator.Info(r.Context()) },
		"GET /api/v1/top":           func(*http.Request) (any, error) { return a.metrics.top(), nil },
		"GET /api/v1/slow":          func(*http.Request) (any, error) { return a.slowLog(), nil },
		"PUT /api/v1/slow":          a.setSlow,
		"GET /api/v1/conns":         func(*http.Request) (any, error) { return a.connections(), nil },
		"DELETE /api/v1/conns/{id}": a.kill,
		"/api/v1/": func(r *http.Request) (any, error) {
			return nil, apiError(CodeNotFound, "%s %.128q is not in the API", r.Method, r.URL.Path)
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, answer) })
	}
}

// serve checks a request and answers it.
func (a *api) serve(w http.ResponseWriter, r *http.Request, answer func(*http.Request) (any, error)) {
	if err := a.permit(r); err != nil {
		if codeOf(err) == CodeAuthRequired {
			w.Header().Set("WWW-Authenticate", `Basic realm="kvd", charset="UTF-8"`)
		}
		answerError(w, err)
		return
	}
	if err := a.server.ready.Load().err; err != nil {
		answerError(w, apiError(CodeNotReady, "the server does not serve yet or any more: %v", err))
		return
	}
	body, err := answer(r)
	if err != nil {
		answerError(w, err)
		return
	}
	answerJSON(w, http.StatusOK, body)
}

// permit returns why a request is refused; nil: it is not. Requests that a browser sends for a
// page are refused, so that no page makes the browser of an operator act here.
func (a *api) permit(r *http.Request) error {
	for _, name := range []string{"Origin", "Sec-Fetch-Site"} {
		if r.Header.Get(name) != "" {
			return apiError(CodeDenied, "the API is for programs: a request with the header %s is refused", name)
		}
	}
	if !a.operator.Logins.HasUsers() {
		return nil
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return apiError(CodeAuthRequired, "this server has users: name and password are needed (Authorization: Basic)")
	}
	err := a.operator.Logins.Administrator(r.Context(), remoteOf(r), name, password)
	var denied *server.DeniedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &denied):
		return apiError(CodeDenied, "permission denied: user %q %v", name, denied)
	case errors.Is(err, server.ErrLogin):
		return apiError(CodeAuthFailed, "%v", err)
	}
	return err
}

// remoteOf returns the address of the client.
func remoteOf(r *http.Request) net.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return net.TCPAddrFromAddrPort(at)
	}
	return &net.UnixAddr{Name: r.RemoteAddr} // of no network: it counts as local
}

// audit logs an administrative act of a request.
func (a *api) audit(r *http.Request, what string, more ...any) {
	name := ""
	if a.operator.Logins.HasUsers() {
		name, _, _ = r.BasicAuth() // permit has checked it
	}
	server.Act{What: what, Origin: server.Origin{User: name, Remote: r.RemoteAddr}}.Log(a.operator.Logger, more...)
}

func (a *api) slowLog() SlowLog {
	slow := &a.metrics.slow
	return SlowLog{Threshold: slow.current().String(), Count: slow.count.Load(), Calls: slow.list()}
}

// bodyMax bounds the body of a request, in bytes.
const bodyMax = 4 << 10

// setSlow sets the threshold of the slow log until the next start.
func (a *api) setSlow(r *http.Request) (any, error) {
	var ask struct {
		Threshold string `json:"threshold"`
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, apiError(CodeInvalid, "the Content-Type must be application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, bodyMax))
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		return nil, apiError(CodeInvalid, "the body must be an object such as {\"threshold\":\"50ms\"}: %v", err)
	}
	threshold, err := time.ParseDuration(ask.Threshold)
	if err != nil || threshold < 0 {
		return nil, apiError(CodeInvalid, "threshold %.64q: must be a duration such as 50ms; 0s switches the slow log off", ask.Threshold)
	}
	a.metrics.slow.set(threshold)
	a.audit(r, "slow log changed", "threshold", threshold.String())
	return a.slowLog(), nil
}

// connections returns the open connections of all servers, the oldest first.
func (a *api) connections() []Connection {
	all := []Connection{}
	for _, s := range a.operator.Servers() {
		for _, c := range s.Server.List() {
			all = append(all, newConnection(s.Protocol, c))
		}
	}
	slices.SortFunc(all, func(a, b Connection) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// kill closes a connection.
func (a *api) kill(r *http.Request) (any, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, apiError(CodeInvalid, "connection %.64q: must be a number", r.PathValue("id"))
	}
	for _, s := range a.operator.Servers() {
		if c, ok := s.Server.Kill(id); ok {
			a.audit(r, "connection closed", "connection", c.ID, "client", c.Remote, "client-user", c.User)
			return newConnection(s.Protocol, c), nil
		}
	}
	return nil, apiError(CodeNotFound, "no connection has the ID %d", id)
}

func codeOf(err error) Code {
	var e *APIError
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

func answerError(w http.ResponseWriter, err error) {
	code := codeOf(err)
	answerJSON(w, codeStatus[code], &APIError{code, err.Error()})
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error is that of a client that is gone
}
