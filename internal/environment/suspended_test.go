package environment

import "testing"

// The time of suspension never falls, but for the time between two readings of a clock.
func TestSuspensionIsSteady(t *testing.T) {
	first := Suspended()
	for range 100 {
		if next := Suspended(); next < 0 || next > first+first/2+1e9 {
			t.Fatalf("the machine was suspended for %v, then for %v", first, next)
		}
	}
}
