package kv_test

import (
	"errors"
	"math"
	"testing"

	"kvd/kv"
)

func TestADigestIsASum(t *testing.T) {
	a := kv.Digest{High: 1, Low: math.MaxUint64}
	b := kv.Digest{High: math.MaxUint64, Low: 2}
	sum := kv.Digest{High: 1, Low: 1} // the carry of Low, and High has gone round
	if got := a.Add(b); got != sum {
		t.Errorf("sum is %v, want %v", got, sum)
	}
	if got := sum.Sub(b); got != a {
		t.Errorf("the sum without %v is %v, want %v", b, got, a)
	}
	if got := sum.Sub(a); got != b {
		t.Errorf("the sum without %v is %v, want %v", a, got, b)
	}
}

func TestTheTextOfADigest(t *testing.T) {
	d := kv.Digest{High: 0x0102030405060708, Low: 0xf0}
	const text = "010203040506070800000000000000f0"
	if d.String() != text {
		t.Errorf("text is %s, want %s", d, text)
	}
	if got, err := kv.ParseDigest("010203040506070800000000000000F0"); err != nil || got != d {
		t.Errorf("parsed: %v, %v", got, err)
	}
	for _, bad := range []string{"", "0", text[1:], text + "00", "0x" + text[2:], text[:31] + "g", text[:31] + " "} {
		if got, err := kv.ParseDigest(bad); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}
