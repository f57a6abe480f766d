//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"kvd/client"
	"kvd/kv"
)

// flags of the program.
var (
	rounds  = flag.Int("rounds", 5, "how often each variant runs")
	counted = flag.Duration("time", time.Second, "how long each run counts")
	only    = flag.String("only", "", "measure only lines whose name contains this")
	warm    = 200 * time.Millisecond // before each measurement
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == generateVerb {
		exit(generate(os.Args[2:]))
	}
	flag.Parse()
	exit(measure())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func measure() error {
	s, err := start(context.Background())
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.prefill(); err != nil {
		return err
	}
	if strings.Contains("idle", *only) {
		if err := s.idleMemory(); err != nil {
			return err
		}
	}
	for _, m := range s.measurements() {
		if strings.Contains(m.name, *only) {
			if err := m.run(); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return nil
}

// variant is one way to do the work.
type variant struct {
	name string
	run  func() (perSecond float64, err error)
}

// measurement compares variants. The ratio is that of the last one to the first.
type measurement struct {
	name     string
	target   string
	variants []variant
}

// run runs the variants alternately and prints a line.
func (m *measurement) run() error {
	rates := make([][]float64, len(m.variants))
	for range *rounds {
		for i, v := range m.variants {
			rate, err := v.run()
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			rates[i] = append(rates[i], rate)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "%s (target %s)\n", m.name, m.target)
	base := median(rates[0])
	for i, v := range m.variants {
		fmt.Fprintf(w, "  %s\t%.0f/s\t× %.2f\t(%.0f to %.0f)\n", v.name, median(rates[i]), median(rates[i])/base, slices.Min(rates[i]), slices.Max(rates[i]))
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func (s *servers) measurements() []measurement {
	all := []measurement{s.raw("put", 16, 1, "1.0")}
	for _, n := range []int{16, 256} {
		all = append(all, measurement{
			name: fmt.Sprintf("put, %d callers", n), target: "1.5",
			variants: []variant{
				{"rueidis on Redis", callersOf(n, func() (call, func(), error) { return rueidisPut(s.redisAddr) })},
				{"kvd/client on kvd", callersOf(n, func() (call, func(), error) { return kvdPut(s.kvdAddr) })},
			},
		})
	}
	return append(all,
		s.raw("get", 16, 1, "1.2"),
		s.raw("get", 1, 64, "1.2"),
		s.raw("get", 16, 64, "1.2"),
		s.besideIdle("get"),
		s.besideIdle("put"),
	)
}

// raw compares redis-benchmark on Redis and the generator on kvd.
func (s *servers) raw(command string, conns, depth int, target string) measurement {
	return measurement{
		name: fmt.Sprintf("%s, raw, %d connections, %d in flight on each", command, conns, depth), target: target,
		variants: []variant{
			{"redis-benchmark on Redis", func() (float64, error) { return redisBenchmark(s.redisAddr, command, conns, depth) }},
			{"generator on Redis", func() (float64, error) { return generated("resp", s.redisAddr, command, conns, depth) }},
			{"generator on kvd", func() (float64, error) { return generated("line", s.kvdAddr, command, conns, depth) }},
		},
	}
}

// besideIdle compares kvd with and without thousands of idle connections.
func (s *servers) besideIdle(command string) measurement {
	busy := func() (float64, error) { return generated("line", s.kvdAddr, command, 16, 1) }
	return measurement{
		name: fmt.Sprintf("%s, raw, 16 connections beside %d idle ones", command, idleCount), target: "0.9",
		variants: []variant{
			{"none idle", busy},
			{"idle", func() (float64, error) {
				idle, err := openIdle(s.kvdAddr)
				if err != nil {
					return 0, err
				}
				defer idle.close()
				return busy()
			}},
		},
	}
}

func callersOf(n int, dial func() (call, func(), error)) func() (float64, error) {
	return func() (float64, error) {
		put, done, err := dial()
		if err != nil {
			return 0, err
		}
		defer done()
		return callers(n, warm, *counted, put)
	}
}

// prefill writes every key of the load to both servers, and makes kvd's bucket.
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
	mutations := make([]kv.Mutation, keySpace)
	for i := range mutations {
		mutations[i] = kv.Mutation{
			Op: kv.MutatePut, Bucket: loadBucket, Key: fmt.Sprintf("key%0*d", keyDigits, i), Value: []byte(strings.Repeat("x", valueSize)),
		}
	}
	if err := c.Submit(ctx, mutations); err != nil {
		return err
	}
	const times = 30 // the probability that a random key is never written is e^-30
	host, port := splitAddr(s.redisAddr)
	out, err := exec.Command("redis-benchmark", "-h", host, "-p", port, "-t", "set", "-d", strconv.Itoa(valueSize),
		"-r", strconv.Itoa(keySpace), "-n", strconv.Itoa(times*keySpace), "-P", "64", "-q").CombinedOutput()
	if err != nil {
		return fmt.Errorf("redis-benchmark: %w\n%s", err, out)
	}
	return nil
}
