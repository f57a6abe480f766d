package server

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// ConnInfo describes an open connection.
type ConnInfo struct {
	ID      uint64    // of this connection alone, in this process; never 0
	Remote  string    // address of the client
	User    string    // name of the logged-in user; empty: no login
	Since   time.Time // when it was accepted
	HasTLS  bool      // it is encrypted, or is going to be
	Closing bool      // the server shuts down, and the connection finishes its commands
}

// List returns the open connections, in the order in which they were accepted.
func (s *Server) List() []ConnInfo {
	s.mu.Lock()
	list := make([]ConnInfo, 0, len(s.open))
	for c := range s.open {
		list = append(list, c.info())
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b ConnInfo) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Kill closes the connection of that ID at once, without an answer to commands under way. It
// reports whether there was such a connection, and which.
func (s *Server) Kill(id uint64) (ConnInfo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if c.id == id {
			c.plain.Close() // below the encryption, whose end waits for the client
			return c.info(), true
		}
	}
	return ConnInfo{}, false
}

// Counts are the connections of a server since its start.
type Counts struct{ Accepted, Refused uint64 }

// Counts returns the number of connections that were accepted, and of those that were refused
// because of a limit.
func (s *Server) Counts() Counts {
	return Counts{Accepted: s.accepted.Load(), Refused: s.overLimit.Load()}
}

// connIDs is the ID of the newest connection of the process.
var connIDs atomic.Uint64

func (c *Conn) info() ConnInfo {
	return ConnInfo{
		ID: c.id, Remote: c.RemoteAddr().String(), User: c.User(), Since: c.since,
		HasTLS: c.HasTLS(), Closing: c.Draining(),
	}
}

// Origin is the client for whom a call of the store is made. The zero value stands for no
// client: the server itself makes the call.
type Origin struct {
	User   string // empty: a server without users
	Remote string // address
}

// originKey is the key of a connection in the context that its protocol gets.
type originKey struct{}

// OriginOf returns the client whose connection a context comes from.
func OriginOf(ctx context.Context) Origin {
	if c, ok := ctx.Value(originKey{}).(*Conn); ok {
		return c.origin()
	}
	return Origin{}
}

func (c *Conn) origin() Origin { return Origin{User: c.User(), Remote: c.RemoteAddr().String()} }
