package nats

import (
	"fmt"
	"testing"

	"kvd/kv"
)

// The newest thousand messages are remembered, and no more.
func TestRecentSubjects(t *testing.T) {
	var r recentSubjects
	last := map[string]kv.Revision{}
	for n := kv.Revision(1); n <= 10*recentMax; n++ {
		subject := fmt.Sprint("s.", n%(1+n%700))
		r.add(subject, n)
		last[subject] = n
		if n%97 != 0 {
			continue
		}
		for subject, want := range last {
			if want+recentMax <= n {
				want = 0
			}
			if got := r.last[subject]; got != want {
				t.Fatalf("after %d messages the last one of %q is %d, want %d", n, subject, got, want)
			}
		}
		if len(r.last) > recentMax || len(r.order) > recentMax {
			t.Fatalf("%d subjects, %d messages", len(r.last), len(r.order))
		}
	}
}
