//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// servers are the servers that are measured.
type servers struct {
	dir               string
	redis, kvd, floor *exec.Cmd
	redisAddr         string
	kvdAddr           string
	adminAddr         string // kvd's
	floorAddr         string
}

const startTime = 30 * time.Second

// start builds kvd from this tree and starts all servers.
func start(ctx context.Context) (s *servers, err error) {
	dir, err := os.MkdirTemp("", "kvd-bench-redis-")
	if err != nil {
		return nil, err
	}
	s = &servers{dir: dir}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	addrs, err := freeAddrs(4)
	if err != nil {
		return nil, err
	}
	s.redisAddr, s.kvdAddr, s.adminAddr, s.floorAddr = addrs[0], addrs[1], addrs[2], addrs[3]
	if err := s.startKVD(ctx); err != nil {
		return s, err
	}
	if err := s.startFloor(); err != nil {
		return s, err
	}
	return s, s.startRedis(ctx)
}

func (s *servers) startKVD(ctx context.Context) error {
	bin := filepath.Join(s.dir, "kvd")
	tree, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "kvd").Output()
	if err != nil {
		return fmt.Errorf("go list, which has to run in this module's directory: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/kvd")
	build.Dir = strings.TrimSpace(string(tree))
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	s.kvd = exec.Command(bin, "--data", filepath.Join(s.dir, "kvd-data"), "--listen", s.kvdAddr, "--admin", s.adminAddr, "--pprof")
	if err := s.kvd.Start(); err != nil {
		return err
	}
	return until(ctx, "kvd", func() bool {
		r, err := http.Get("http://" + s.adminAddr + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

func (s *servers) startRedis(ctx context.Context) error {
	data := filepath.Join(s.dir, "redis-data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(s.redisAddr)
	s.redis = exec.Command("redis-server", "--bind", host, "--port", port, "--dir", data, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	if err := s.redis.Start(); err != nil {
		return err
	}
	return until(ctx, "redis-server", func() bool {
		c, err := net.Dial("tcp", s.redisAddr)
		if err != nil {
			return false
		}
		defer c.Close()
		reply := make([]byte, 5)
		_, _ = c.Write([]byte("PING\r\n"))
		_, _ = c.Read(reply)
		return bytes.Equal(reply, []byte("+PONG"))
	})
}

// stop stops the servers and removes their data.
func (s *servers) stop() {
	for _, c := range []*exec.Cmd{s.redis, s.kvd, s.floor} {
		if c != nil && c.Process != nil {
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
		}
	}
	_ = os.RemoveAll(s.dir)
}

// until repeats a check, because no server reports when it is ready.
func until(ctx context.Context, what string, ready func() bool) error {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for !ready() {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%s did not start: %w", what, ctx.Err())
		}
	}
	return nil
}

// freeAddrs returns loopback addresses that were free a moment ago.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// residentBytes returns the resident memory of a process.
func residentBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
