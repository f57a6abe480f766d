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

// idleMemory prints the memory of an idle connection in a server that had none before.
func (s *servers) idleMemory() error {
	before, err := residentBytes(s.kvd.Process.Pid)
	if err != nil {
		return err
	}
	idle, err := openIdle(s.kvdAddr)
	if err != nil {
		return err
	}
	defer idle.close()
	after, err := residentBytes(s.kvd.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("%d idle connections (target 16 KiB each)\n  %.1f KiB each\n", idleCount, float64(after-before)/1024/idleCount)
	return nil
}
