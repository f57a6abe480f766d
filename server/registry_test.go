package server

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
)

// origins is the echo protocol that tells the origin of each connection.
type origins struct {
	echo
	seen chan Origin
}

func (o origins) Serve(ctx context.Context, c *Conn) {
	o.seen <- OriginOf(ctx)
	o.echo.Serve(ctx, c)
}

func TestConnectionsAreListedAndKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := serve(t, Options{MaxConnsPerAddr: 1})
		first, second := l.dial(net.IPv4(10, 0, 0, 1)), l.dial(net.IPv4(10, 0, 0, 2))
		defer first.Close()
		defer second.Close()
		synctest.Wait()

		list := s.List()
		if len(list) != 2 || list[0].Remote != "10.0.0.1:1" || list[1].Remote != "10.0.0.2:1" || list[0].ID == 0 || list[0].ID >= list[1].ID {
			t.Fatalf("the connections are %+v", list)
		}
		if _, ok := s.Kill(list[1].ID + 1); ok {
			t.Error("a connection that is not there was killed")
		}
		if c, ok := s.Kill(list[0].ID); !ok || c.Remote != "10.0.0.1:1" {
			t.Errorf("killed: %+v, %v", c, ok)
		}
		if _, err := first.Read(make([]byte, 1)); err == nil {
			t.Error("a killed connection is open")
		}
		synctest.Wait()
		if list := s.List(); len(list) != 1 || list[0].Remote != "10.0.0.2:1" {
			t.Errorf("after the kill there are %+v", list)
		}

		third := l.dial(net.IPv4(10, 0, 0, 2)) // one too many from there
		defer third.Close()
		_, _ = third.Read(make([]byte, 1000))
		synctest.Wait()
		if n := s.Counts(); n != (Counts{Accepted: 2, Refused: 1}) {
			t.Errorf("counted: %+v", n)
		}
	})
}

func TestTheStoreKnowsTheClient(t *testing.T) {
	protocol := origins{seen: make(chan Origin, 1)}
	s, err := New(protocol, Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, conn := net.Pipe()
	s.ServeConn(pipeFrom{conn, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7}})
	if o := <-protocol.seen; o != (Origin{Remote: "10.0.0.1:7"}) {
		t.Errorf("the origin is %+v", o)
	}
	client.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if o := OriginOf(t.Context()); o != (Origin{}) {
		t.Errorf("without a connection the origin is %+v", o)
	}
}
