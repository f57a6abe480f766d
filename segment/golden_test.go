package segment

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"testing"

	"kvd/kv"
)

// Files as this version writes them. If one changes, the format has changed: that needs
// a new version, and the old file stays.
var (
	//go:embed testdata/v2.golden
	goldenV2 string
	//go:embed doc.go
	specification string
)

// dump is a hex dump without the lines of zeros.
func dump(b []byte) string {
	var out strings.Builder
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		if len(bytes.Trim(line, "\x00")) == 0 {
			continue
		}
		fmt.Fprintf(&out, "%04x ", at)
		for i := 0; i < len(line); i += 8 {
			fmt.Fprintf(&out, " % x ", line[i:min(i+8, len(line))])
		}
		text := bytes.Clone(line)
		for i, c := range text {
			if c < ' ' || c > '~' {
				text[i] = '.'
			}
		}
		fmt.Fprintf(&out, " %s\n", text)
	}
	fmt.Fprintf(&out, "%04x\n", len(b))
	return out.String()
}

func TestGolden(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	if got := dump(x.bytes()); got != goldenV2 {
		t.Errorf("the format changed:\n%s", got)
	}
}

// The worked example of the package doc is correct.
func TestWorkedExample(t *testing.T) {
	o := memOptions(t)
	o.Seed = 0x0123456789abcdef
	s, err := Create(o, 2, 1, testLimit)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{BucketID: 1, Revision: 1, Floor: 1, Created: 1790000000000000000, Op: Put, Reason: kv.ReasonNone,
		First: true, Key: []byte("greeting"), Value: []byte("hello")}
	encoded := o.Seed.AppendRecord(nil, &r)
	if err := s.Reserve(int64(len(encoded)), int64(EntryBound(len(r.Key), false))); err != nil {
		t.Fatal(err)
	}
	offset, err := s.Append(encoded)
	if err != nil {
		t.Fatal(err)
	}
	e := entryOf(&r, offset)
	e.HeadSum = HeadSum(encoded)
	s.AddEntry(&e)
	b, _ := s.BeginIndex()
	if err := s.WriteIndex(b); err != nil {
		t.Fatal(err)
	}
	x := fixture{t: t, o: o, s: s}
	for line := range strings.Lines(dump(x.bytes())) {
		if !strings.Contains(specification, "//\t"+line) {
			t.Errorf("not in the package doc: %s", line)
		}
	}
	<-s.Retire()
}
