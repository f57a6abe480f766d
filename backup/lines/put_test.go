package lines_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvd/backup/lines"
	"kvd/kv"
)

// record returns a line as other programs write them.
func record(key, op, value string) string {
	if op != "put" {
		return fmt.Sprintf("{\"key\":%q,\"op\":%q}\n", key, op)
	}
	return fmt.Sprintf("{\"key\":%q,\"op\":%q,\"value\":%q}\n", key, op, value)
}

// state returns the keys of a bucket with their values, in one line.
func state(t *testing.T, b kv.Bucket) string {
	t.Helper()
	var all []string
	for key, err := range b.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := b.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, key+"="+string(e.Value))
	}
	return strings.Join(all, " ")
}

func TestPutDecidesConflicts(t *testing.T) {
	text := record("a", "put", "1") + record("b", "put", "1") + record("a", "put", "2") + record("c", "put", "1") + record("c", "del", "") +
		record("d", "del", "") + record("e", "purge", "") + record("f", "put", "1") + record("f", "purge", "") + record("f", "put", "2")
	for _, c := range []struct {
		name   string
		before string // of the bucket
		on     lines.Conflict
		want   string
		report lines.PutReport
		failed int // line of the error; 0: none
	}{
		{"nothing is there", "", lines.Fail, "a=2 b=1 f=2", lines.PutReport{Written: 8, Skipped: 2}, 0},
		{"fail", "a d", lines.Fail, "a=old b=1 d=old", lines.PutReport{Written: 1}, 1},
		{"skip", "a d", lines.Skip, "a=old b=1 d=old f=2", lines.PutReport{Written: 6, Skipped: 4}, 0},
		{"replace", "a d e", lines.Replace, "a=2 b=1 f=2", lines.PutReport{Written: 10}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := memory(t)
			b := makeBucket(t, s, kv.Config{Bucket: "b", History: 5})
			for key := range strings.FieldsSeq(c.before) {
				if _, err := b.PutString(t.Context(), key, "old"); err != nil {
					t.Fatal(err)
				}
			}
			report, err := put(t, s, text, lines.PutOptions{Bucket: "b", OnConflict: c.on})
			var failed *lines.PutError
			switch {
			case c.failed == 0 && err != nil, c.failed != 0 && (!errors.As(err, &failed) || failed.Line != c.failed || !errors.Is(err, kv.ErrKeyExists)):
				t.Errorf("error %v", err)
			case report != c.report:
				t.Errorf("%+v, want %+v", report, c.report)
			}
			if got := state(t, b); got != c.want {
				t.Errorf("the bucket has %s, want %s", got, c.want)
			}
		})
	}
}

// A Put that failed goes on with the line that its error names, and ends as one that did not fail.
func TestPutGoesOn(t *testing.T) {
	var text, want strings.Builder
	for n := range 3000 {
		text.WriteString(record(fmt.Sprintf("k%04d", n), "put", fmt.Sprint(n)))
		if n == 7 || n == 9 || n == 2500 {
			fmt.Fprintf(&want, "k%04d=old ", n)
		} else {
			fmt.Fprintf(&want, "k%04d=%d ", n, n)
		}
	}
	s := memory(t)
	b := makeBucket(t, s, kv.Config{Bucket: "b"})
	for _, key := range []string{"k0007", "k0009", "k2500"} {
		if _, err := b.PutString(t.Context(), key, "old"); err != nil {
			t.Fatal(err)
		}
	}
	from, lost := 0, 0
	for {
		_, err := put(t, s, text.String(), lines.PutOptions{Bucket: "b", From: from})
		if err == nil {
			break
		}
		var failed *lines.PutError
		if !errors.As(err, &failed) || failed.Next <= from {
			t.Fatal(err)
		}
		from, lost = failed.Next, lost+failed.Failed
	}
	if got := state(t, b) + " "; got != want.String() || lost != 3 {
		t.Errorf("%d records were refused, the bucket has %.200s", lost, got)
	}
}

// Where the store takes no more, the lines from there on are not done.
func TestPutIntoAFullBucket(t *testing.T) {
	s := memory(t)
	b := makeBucket(t, s, kv.Config{Bucket: "b", MaxBytes: 2000})
	var text strings.Builder
	for n := range 100 {
		text.WriteString(record(fmt.Sprint("k", n), "put", strings.Repeat("v", 50)))
	}
	report, err := put(t, s, text.String(), lines.PutOptions{Bucket: "b"})
	var failed *lines.PutError
	if !errors.As(err, &failed) || !errors.Is(err, kv.ErrBucketFull) || failed.Next != failed.Line || report.Written != uint64(failed.Line-1) || report.Written == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := b.Get(t.Context(), fmt.Sprint("k", failed.Line-2)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := lines.NewReader(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = lines.Put(ctx, s, r, lines.PutOptions{Bucket: "b"}); !errors.As(err, &failed) || failed.Next != 1 || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A record keeps what is left of its time to live. One whose deadline has passed is left out, and ends
// its key.
func TestPutKeepsDeadlines(t *testing.T) {
	s := memory(t)
	b := makeBucket(t, s, kv.Config{Bucket: "b"})
	now := time.Now()
	deadline := func(key string, d time.Duration) string {
		return fmt.Sprintf("{\"key\":%q,\"op\":\"put\",\"value\":\"v\",\"deadline\":%q}\n", key, now.Add(d).Format(time.RFC3339Nano))
	}
	text := deadline("later", time.Hour) + deadline("past", -time.Hour) + record("twice", "put", "1") + deadline("twice", -time.Hour)
	report, err := put(t, s, text, lines.PutOptions{Bucket: "b", Now: func() time.Time { return now }})
	if err != nil || report != (lines.PutReport{Written: 3, Expired: 1}) {
		t.Errorf("%+v, %v", report, err)
	}
	if got := state(t, b); got != "later=v" {
		t.Errorf("the bucket has %s", got)
	}
	e, err := b.Get(t.Context(), "later")
	if err != nil || e.Deadline.Sub(e.Created) != time.Hour {
		t.Errorf("%v, %v", e, err)
	}
}

// An export is put with its end checked, and headers and binary values come along.
func TestPutAnExport(t *testing.T) {
	s := memory(t)
	makeBucket(t, s, kv.Config{Bucket: "b"})
	list := []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: "k", Value: []byte("\x00\xff"), Headers: []byte("h\r\n")}}
	if err := s.Submit(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	text := string(export(t, find(t, s, "b"), lines.ExportOptions{}))
	c := makeBucket(t, s, kv.Config{Bucket: "c"})
	if report, err := put(t, s, text, lines.PutOptions{Bucket: "c"}); err != nil || report.Written != 1 {
		t.Fatal(report, err)
	}
	if e, err := c.Get(t.Context(), "k"); err != nil || string(e.Value) != "\x00\xff" || string(e.Headers) != "h\r\n" {
		t.Error(e, err)
	}
	cut := text[:strings.Index(text, `{"end":`)]
	if _, err := put(t, s, cut, lines.PutOptions{Bucket: "c", OnConflict: lines.Skip}); !errors.Is(err, lines.ErrIncomplete) {
		t.Error(err)
	}
}
