//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"

	"kvd/client"
	"kvd/kv"
)

// Numbers of keys: those that fit into the processor's cache with their values, and those
// that do not.
const (
	fewKeys  = 10_000
	manyKeys = 500_000
)

// prefill makes kvd's bucket and writes every key of the load to both servers.
func (s *servers) prefill() error {
	ctx := context.Background()
	c, err := client.Dial(ctx, s.kvdAddr, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.CreateBucket(ctx, kv.Config{Bucket: loadBucket}); err != nil {
		return err
	}
	if err := lineDialect.fill(s.kvdAddr, manyKeys); err != nil {
		return err
	}
	return respDialect.fill(s.redisAddr, manyKeys)
}

// fill puts the keys from 0 to n, a thousand in flight.
func (d *dialect) fill(addr string, n int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	replies := bufio.NewReaderSize(conn, 64<<10)
	for from := 0; from < n; from += 1000 {
		var out []byte
		to := min(n, from+1000)
		for i := from; i < to; i++ {
			out = append(out, d.put(fmt.Sprintf("%s%0*d", d.prefix, keyDigits, i), value)...)
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
		for range to - from {
			if line, err := replies.ReadSlice('\n'); err != nil || line[0] != '+' {
				return fmt.Errorf("a put is answered %q, %v", line, err)
			}
		}
	}
	return nil
}
