package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"kvd/server/admin"
)

func (a *app) topCommand() *cobra.Command {
	var addr string
	var once bool
	interval := ageFlag(2 * time.Second)
	c := &cobra.Command{
		Use:   "top",
		Short: "Show what clients ask of a server, live",
		Long: `Show the rates of all operations by bucket, and their latencies: calls into the store,
without the network. One get in 16 is timed, and pipelined writes count as one call.
The screen is renewed until Ctrl-C; with --once it is one interval, for scripts.
On a server with users it needs a user with "admin" on "*".`,
		Example: `  kvd top
  kvd top --once --json`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if interval <= 0 {
				return usageOf(c, errors.New("--interval must be above 0"))
			}
			return a.top(c.Context(), addr, time.Duration(interval), once)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "show one interval, and end")
	c.Flags().Var(&interval, "interval", "time between two looks at the server")
	a.addAdmin(c, &addr)
	a.addJSON(c)
	return c
}

// top shows interval after interval until the context ends.
func (a *app) top(ctx context.Context, addr string, interval time.Duration, once bool) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	var before admin.Top
	if err := a.askAdmin(ctx, addr, http.MethodGet, "/api/v1/top", nil, &before); err != nil {
		return err
	}
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil // Ctrl-C is how it ends
		}
		var now admin.Top
		if err := a.askAdmin(ctx, addr, http.MethodGet, "/api/v1/top", nil, &now); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := a.printTop(newTopView(&before, &now), !once); err != nil || once {
			return err
		}
		if err := a.out.Flush(); err != nil {
			return err
		}
		before = now
	}
}

// topView is what happened between two looks at a server. It is the output in JSON.
type topView struct {
	Seconds    float64      `json:"seconds"`
	Operations []topRate    `json:"operations"` // the most frequent first
	Latencies  []topLatency `json:"latencies"`
}

// topRate is the rate of an operation on a bucket.
type topRate struct {
	Bucket    string  `json:"bucket"`
	Operation string  `json:"operation"`
	PerSecond float64 `json:"per_second"`
	Failed    float64 `json:"failed_per_second"`
	Mean      float64 `json:"mean_seconds"` // of the calls that were timed; 0: none
}

// topLatency is how long calls of an operation took, in all buckets.
type topLatency struct {
	Operation string  `json:"operation"`
	Mean      float64 `json:"mean_seconds"`
	P50       float64 `json:"p50_seconds"`
	P99       float64 `json:"p99_seconds"`
}

func newTopView(before, now *admin.Top) *topView {
	v := &topView{Seconds: now.Time.Sub(before.Time).Seconds(), Operations: []topRate{}, Latencies: []topLatency{}}
	type id struct{ bucket, operation string }
	earlier := make(map[id]admin.TopOperation, len(before.Operations))
	for _, o := range before.Operations {
		earlier[id{o.Bucket, o.Operation}] = o
	}
	for _, o := range now.Operations {
		was := earlier[id{o.Bucket, o.Operation}]
		if o.OK < was.OK || o.Failed < was.Failed { // of a new bucket of that name, or a new server
			was = admin.TopOperation{}
		}
		done, failed := o.OK-was.OK, o.Failed-was.Failed
		if done+failed == 0 || v.Seconds <= 0 {
			continue
		}
		v.Operations = append(v.Operations, topRate{
			Bucket: o.Bucket, Operation: o.Operation, PerSecond: float64(done+failed) / v.Seconds,
			Failed: float64(failed) / v.Seconds, Mean: mean(o.Seconds-was.Seconds, o.Calls-was.Calls),
		})
	}
	slices.SortStableFunc(v.Operations, func(a, b topRate) int { return cmp.Compare(b.PerSecond, a.PerSecond) })
	for _, l := range now.Latencies {
		if d := since(before, l); d.Calls > 0 {
			v.Latencies = append(v.Latencies, topLatency{l.Operation, mean(d.Seconds, d.Calls), quantile(d, 0.5), quantile(d, 0.99)})
		}
	}
	return v
}

// mean returns the mean of a sum; 0 of nothing.
func mean(sum float64, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return max(sum, 0) / float64(n)
}

// since returns the part of a histogram that has come since an earlier look.
func since(before *admin.Top, l admin.TopLatency) admin.TopLatency {
	i := slices.IndexFunc(before.Latencies, func(b admin.TopLatency) bool { return b.Operation == l.Operation })
	if i < 0 || before.Latencies[i].Calls > l.Calls || len(before.Latencies[i].Buckets) != len(l.Buckets) {
		return l // there was none yet, or it is another server
	}
	was := &before.Latencies[i]
	l.Calls -= was.Calls
	l.Seconds -= was.Seconds
	l.Buckets = slices.Clone(l.Buckets)
	for i := range l.Buckets {
		l.Buckets[i].Calls -= min(was.Buckets[i].Calls, l.Buckets[i].Calls)
	}
	return l
}

// quantile estimates the duration that the part q of the calls does not exceed, by a straight line
// within a bucket of the histogram. Beyond the last bound it is that bound.
func quantile(l admin.TopLatency, q float64) float64 {
	rank := q * float64(l.Calls)
	low, below := 0.0, 0.0
	for _, b := range l.Buckets {
		if n := float64(b.Calls); n >= rank && n > below {
			return low + (b.Seconds-low)*(rank-below)/(n-below)
		}
		low, below = b.Seconds, float64(b.Calls)
	}
	return low
}

// topRows is how many operations a screen has.
const topRows = 20

// printTop prints a view. On a terminal a live one replaces what is on the screen.
func (a *app) printTop(v *topView, live bool) error {
	if a.json {
		return a.printJSON(v)
	}
	if live && a.outTTY {
		fmt.Fprint(a.out, "\x1b[H\x1b[2J") // cursor to the corner, erase the screen
	}
	t := a.newList("Operations", "Bucket", "Operation", "Per Second", "Failed", "Mean")
	rows := v.Operations
	if a.outTTY {
		rows = rows[:min(len(rows), topRows)]
	}
	for _, o := range rows {
		t.add(o.Bucket, o.Operation, rateText(o.PerSecond), rateText(o.Failed), latencyText(o.Mean))
	}
	t.end()
	if !a.outTTY {
		return nil // one table, for scripts; --json has both
	}
	t = a.newList("Latencies", "Operation", "Mean", "p50", "p99")
	for _, l := range v.Latencies {
		t.add(l.Operation, latencyText(l.Mean), latencyText(l.P50), latencyText(l.P99))
	}
	t.end()
	return nil
}

func rateText(perSecond float64) string { return fmt.Sprintf("%.1f", perSecond) }

// latencyText returns a duration for people; "-" where nothing was timed.
func latencyText(s float64) string {
	if s == 0 {
		return "-"
	}
	return seconds(s).Round(100 * time.Nanosecond).String()
}
