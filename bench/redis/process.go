//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// generateVerb is the first argument of the generator's process. Like redis-benchmark the
// generator has a process of its own, whose scheduler has nothing else to do.
const generateVerb = "generate"

// generated runs the generator in its own process.
func generated(protocol, addr, command string, conns, depth, keys int) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	c := exec.Command(self, generateVerb, "-protocol", protocol, "-addr", addr, "-command", command,
		"-conns", strconv.Itoa(conns), "-depth", strconv.Itoa(depth), "-keys", strconv.Itoa(keys), "-time", counted.String())
	c.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// generate is the main function of the generator's process. It prints the rate.
func generate(args []string) error {
	f := flag.NewFlagSet(generateVerb, flag.ContinueOnError)
	protocol := f.String("protocol", "line", "line or resp")
	addr := f.String("addr", "127.0.0.1:5830", "the server")
	command := f.String("command", "get", "put or get")
	conns := f.Int("conns", 16, "connections")
	depth := f.Int("depth", 1, "commands in flight on each")
	keys := f.Int("keys", fewKeys, "keys that are used")
	length := f.Duration("time", time.Second, "how long to count")
	if err := f.Parse(args); err != nil {
		return err
	}
	g := &generator{addr: *addr, conns: *conns, depth: *depth, dialect: lineDialect, warm: warm, counted: *length, keys: *keys}
	if *protocol == "resp" {
		g.dialect = respDialect
	}
	if *command == "get" {
		g.tail = append(bytes.Clone(value), "\r\n"...)
	}
	g.command, g.digits = g.load(*command)
	rate, err := g.run()
	if err != nil {
		return err
	}
	fmt.Println(rate)
	return nil
}

// redisBenchmark runs redis-benchmark for about as long as the other variants. Its length is
// a number of commands, so a short run first finds how many it needs.
func redisBenchmark(addr, command string, conns, depth, keys int) (float64, error) {
	rate, err := redisBenchmarkOf(addr, command, conns, depth, keys, 5000*min(depth, 8))
	if err != nil {
		return 0, err
	}
	return redisBenchmarkOf(addr, command, conns, depth, keys, max(1000, int(rate*counted.Seconds())))
}

func redisBenchmarkOf(addr, command string, conns, depth, keys, n int) (float64, error) {
	name, db := "get", "0"
	if command == "put" {
		name, db = "set", "1" // its values are not those that the generator expects
	}
	host, port := splitAddr(addr)
	out, err := exec.Command("redis-benchmark", "-h", host, "-p", port, "-t", name, "--dbnum", db, "-c", strconv.Itoa(conns), "-P", strconv.Itoa(depth),
		"-d", strconv.Itoa(valueSize), "-r", strconv.Itoa(keys), "-n", strconv.Itoa(n), "--csv").Output()
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	fields := strings.Split(lines[len(lines)-1], ",")
	if len(fields) < 2 {
		return 0, fmt.Errorf("redis-benchmark printed %q", out)
	}
	return strconv.ParseFloat(strings.Trim(fields[1], `"`), 64)
}

func splitAddr(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr) // addr is from freeAddrs
	return host, port
}
