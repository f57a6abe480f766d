//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"time"
)

// idleCount is the number of idle connections; a server accepts 4,096 by default.
const idleCount = 4000

// idlers are connections that have sent one command and are idle.
type idlers []net.Conn

// drainTime is the time in which the server may free the buffers of idle connections, and
// the connections that were closed.
const drainTime = 2 * time.Second

// openIdle opens the idle connections.
func openIdle(addr string) (idlers, error) {
	var all idlers
	for range idleCount {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, c)
		reply := make([]byte, len("+OK\r\n"))
		if _, err = c.Write([]byte("PING\r\n")); err == nil {
			_, err = io.ReadFull(c, reply)
		}
		if err != nil {
			all.close()
			return nil, fmt.Errorf("after %d idle connections: %w", len(all), err)
		}
	}
	time.Sleep(drainTime)
	return all, nil
}

func (all idlers) close() {
	for _, c := range all {
		c.Close()
	}
	time.Sleep(drainTime)
}
