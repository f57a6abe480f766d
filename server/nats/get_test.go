package nats

import (
	"errors"
	"fmt"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/streamconfig"
)

// The newest record that matches a pattern is found, whether it is among the newest of all
// or far behind them.
func TestTheNewestOfManyKeys(t *testing.T) {
	const messages = 20_000
	ctx := t.Context()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	f, err := New(store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, max := range []int64{-1, 1} {
		t.Run(fmt.Sprint("max_msgs_per_subject=", max), func(t *testing.T) {
			cfg, refused := streamconfig.Parse(fmt.Appendf(nil, `{"name":"S%d","subjects":["s%d.>"],"max_msgs_per_subject":%d}`, max, max, max), fmt.Sprint("S", max))
			if refused != nil {
				t.Fatal(refused)
			}
			b, err := store.CreateBucket(ctx, cfg.BucketConfig(1<<20))
			if err != nil {
				t.Fatal(err)
			}
			s, err := f.stream(ctx, b.Name())
			if err != nil {
				t.Fatal(err)
			}
			var ms []kv.Mutation
			for n := range messages { // x.0 to x.9 are the first, y.0 to y.9 the last
				key := fmt.Sprint("s.m.", n)
				switch {
				case n < 10:
					key = fmt.Sprint("s.x.", n)
				case n >= messages-10:
					key = fmt.Sprint("s.y.", n-messages+10)
				}
				m := kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: key}
				if s.layout.OnePerMessage {
					m.Op = msglog.Append
				}
				ms = append(ms, m)
			}
			if err := store.Submit(ctx, ms); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				filter string
				want   kv.Revision
			}{{"s.x.*", 10}, {"*.x.>", 10}, {"s.y.*", messages}, {"s.*.3", messages - 6}, {"s.>", messages}, {"s.z.*", 0}} {
				pattern, _ := s.layout.Pattern(c.filter)
				e, err := s.lastMatching(ctx, pattern)
				if e.Revision != c.want || (c.want == 0) != errors.Is(err, kv.ErrKeyNotFound) {
					t.Errorf("of %s the newest is %d: %v, want %d", c.filter, e.Revision, err, c.want)
				}
			}
		})
	}
}
