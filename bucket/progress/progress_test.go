package progress

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAMeterReportsAFewTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []Progress
		m := Start("work", 100, func(p Progress) { got = append(got, p) })
		for range 10 {
			<-time.After(50 * time.Millisecond)
			m.Add(10)
		}
		want := []Progress{{Stage: "work"}, {"work", 40, 100}, {"work", 80, 100}}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
