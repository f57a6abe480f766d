package view

import (
	"strings"
	"testing"
)

func TestViewsShareMemory(t *testing.T) {
	b := []byte("abc")
	s := String(b)
	b[1] = 'x'
	if s != "axc" {
		t.Errorf("String is %q", s)
	}
	word := strings.Clone("abc")
	if got := Bytes(word); string(got) != "abc" || len(got) != 3 || cap(got) != 3 {
		t.Errorf("Bytes is %q with room for %d", got, cap(got))
	}
	if allocs := testing.AllocsPerRun(10, func() { _ = String(Bytes(word)) }); allocs != 0 {
		t.Errorf("views allocate %v times", allocs)
	}
}

func TestViewsOfNothing(t *testing.T) {
	if got := String(nil); got != "" {
		t.Errorf("String of nil is %q", got)
	}
	if got := Bytes(""); len(got) != 0 {
		t.Errorf("Bytes of nothing is %q", got)
	}
}
