package admin

import (
	"context"
	"log/slog"
	"time"

	"kvd/server"
)

// Operator is what the API under /api/v1/ shows and does. Its functions are called only between
// SetReady(nil) and the next SetReady, possibly often and at the same time.
type Operator struct {
	// Logins are the users: with them, a request needs one with admin in all buckets. Not nil.
	Logins *server.Logins

	// Info describes the server.
	Info func(context.Context) (Info, error)

	// Servers returns the servers whose connections are listed and closed.
	Servers func() []Serving

	// Logger receives the administrative acts. Not nil.
	Logger *slog.Logger
}

// Serving is a server with the name of its protocol: line or nats.
type Serving struct {
	Protocol string
	Server   *server.Server
}

// Info describes a running server. Sizes are bytes.
type Info struct {
	Version  string    `json:"version"`
	Revision string    `json:"revision,omitempty"` // of the source
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Uptime   float64   `json:"uptime_seconds"`

	Listen      Addresses       `json:"listen"`
	Store       StoreInfo       `json:"store"`
	Disk        DiskInfo        `json:"disk"`
	Memory      MemoryInfo      `json:"memory"`
	Connections ConnectionsInfo `json:"connections"`
	Security    SecurityInfo    `json:"security"`
	Slow        string          `json:"slow"` // threshold of the slow log; 0s: off
	Settings    []Setting       `json:"settings"`
}

// Addresses are those that the server listens on; empty: off.
type Addresses struct {
	Line    string `json:"line"`
	NATS    string `json:"nats"`
	Admin   string `json:"admin"`
	Metrics string `json:"metrics"`
}

// StoreInfo describes the store.
type StoreInfo struct {
	ID        string `json:"id"`
	Directory string `json:"directory"`
	Recovery  string `json:"recovery"` // what the last open found
	Buckets   int    `json:"buckets"`
	Keys      uint64 `json:"keys"`
	Bytes     uint64 `json:"bytes"`     // of the records kept
	Disk      uint64 `json:"disk"`      // of the files of the buckets
	ReadOnly  int    `json:"read_only"` // buckets that refuse writes
	InDoubt   int    `json:"in_doubt"`  // buckets that damage may have taken records of
	Watches   int    `json:"watches"`
	Log       int64  `json:"log"` // that a checkpoint has not released yet
	LogMax    int64  `json:"log_max"`
	Reserve   int64  `json:"reserve"` // on the disk
	Full      bool   `json:"full"`    // puts are refused for want of space
	FilesOpen int    `json:"files_open"`
	FilesMax  int    `json:"files_max"`
}

// DiskInfo describes the file system of the store; zeros: not known.
type DiskInfo struct {
	Free  uint64 `json:"free"` // for the server's user
	Total uint64 `json:"total"`
}

// MemoryInfo describes the memory of the process.
type MemoryInfo struct {
	Heap       uint64 `json:"heap"`  // of live objects and those not collected yet
	Total      uint64 `json:"total"` // that the Go runtime has from the system
	Goroutines int    `json:"goroutines"`
}

// ConnectionsInfo counts connections and logins since the start, but for those that are open.
type ConnectionsInfo struct {
	Line           int    `json:"line"` // open
	NATS           int    `json:"nats"` // open
	Accepted       uint64 `json:"accepted"`
	Refused        uint64 `json:"refused"` // over a limit
	LoginsAccepted uint64 `json:"logins_accepted"`
	LoginsFailed   uint64 `json:"logins_failed"`
	LoginsRefused  uint64 `json:"logins_refused"` // without a check: too many attempts
}

// SecurityInfo says what protects the server.
type SecurityInfo struct {
	Users              bool       `json:"users"`
	TLS                bool       `json:"tls"`
	Insecure           bool       `json:"insecure"`
	CertificateExpires *time.Time `json:"certificate_expires,omitempty"`
}

// Setting is a setting in force at the start, with its origin: a flag, an environment variable,
// the file or the default.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Connection is an open connection of a client.
type Connection struct {
	ID       uint64    `json:"id"`
	Protocol string    `json:"protocol"`
	Remote   string    `json:"remote"`
	User     string    `json:"user,omitempty"`
	Since    time.Time `json:"since"`
	TLS      bool      `json:"tls"`
}

func newConnection(protocol string, c server.ConnInfo) Connection {
	return Connection{ID: c.ID, Protocol: protocol, Remote: c.Remote, User: c.User, Since: c.Since.UTC(), TLS: c.HasTLS}
}

// SlowLog is the slow log, the newest call first.
type SlowLog struct {
	Threshold string     `json:"threshold"` // such as 100ms; 0s: off
	Count     uint64     `json:"count"`     // since the start, those that are not kept included
	Calls     []SlowCall `json:"calls"`
}
