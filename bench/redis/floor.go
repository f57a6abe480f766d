//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
)

// The floor is a server of Go that looks up nothing and keeps nothing: it splits each GET
// into its words and sends the same answer to all, with one write for all commands that one
// read brought. Its figures show what the sockets and Go's scheduler take of each get.

// floorVerb is the first argument of its process; the second is its address.
const floorVerb = "floor"

// startFloor starts the floor in a process of its own, as the other servers have.
func (s *servers) startFloor() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.floor = exec.Command(self, floorVerb, s.floorAddr)
	s.floor.Stderr = os.Stderr
	return s.floor.Start()
}

// serveFloor is the main function of that process.
func serveFloor(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := answerAll(c); err != nil {
				fmt.Fprintln(os.Stderr, "floor:", err)
			}
		}()
	}
}

// answerAll answers until the client closes the connection.
func answerAll(c net.Conn) error {
	const size = 64 << 10
	in := bufio.NewReaderSize(c, size)
	out := make([]byte, 0, size)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("a line of more than %d bytes", size)
		case err != nil:
			return nil // the client has gone
		}
		if out, err = appendAnswer(out, line); err != nil {
			return err
		}
		if in.Buffered() == 0 {
			if _, err := c.Write(out); err != nil {
				return nil
			}
			out = out[:0]
		}
	}
}

// appendAnswer appends the reply to a GET, as kvd formats it.
func appendAnswer(out, line []byte) ([]byte, error) {
	verb, rest, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\r\n")), []byte(" "))
	bucket, key, found := bytes.Cut(rest, []byte(" "))
	if string(verb) != "GET" || string(bucket) != loadBucket || !found {
		return nil, fmt.Errorf("the floor has no answer to %q", line)
	}
	out = append(out, "+ENTRY "...)
	out = append(out, key...)
	out = append(out, " 1 PUT 2026-11-22T18:00:00.123456789Z 128\r\n"...)
	out = append(out, value...)
	return append(out, "\r\n"...), nil
}
