package client

import (
	"testing"
	"time"
)

func TestBackoffDoublesUpToItsMaximum(t *testing.T) {
	b := backoff{min: 10 * time.Millisecond, max: time.Second}
	want := []time.Duration{0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000}
	for n, want := range want {
		if got := b.next(0); got != want*time.Millisecond {
			t.Errorf("pause %d is %v, want %v", n, got, want*time.Millisecond)
		}
	}
	for range 1000 {
		if got := b.next(0); got != time.Second {
			t.Fatalf("pause after many is %v", got)
		}
	}
}

func TestBackoffIsLessUpToHalf(t *testing.T) {
	const nearlyOne = 1 - 1e-9
	b := backoff{min: time.Second, max: time.Second}
	if got := b.next(nearlyOne); got < time.Second-time.Microsecond || got > time.Second {
		t.Errorf("first pause is %v", got)
	}
	if got := b.next(nearlyOne); got < time.Second/2 || got > time.Second/2+time.Microsecond {
		t.Errorf("second pause is %v", got)
	}
}

func TestBackoffOfHugeMinimumDoesNotOverflow(t *testing.T) {
	b := backoff{min: 1 << 60, max: 1<<63 - 1}
	for range 80 {
		if got := b.next(0); got < 0 {
			t.Fatalf("pause is %v", got)
		}
	}
}

func TestBackoffForgetsOnlyAfterAConnectionThatLasted(t *testing.T) {
	b := backoff{min: time.Millisecond, max: time.Second, failures: 5}
	if b.reset(time.Millisecond); b.failures != 5 {
		t.Error("a short connection counts as a success")
	}
	if b.reset(time.Second); b.failures != 0 {
		t.Error("a long connection does not count as a success")
	}
}
