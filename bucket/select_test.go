package bucket

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// readAll reads a selection to its end.
func readAll(t testing.TB, s msglog.Selection) (revisions []kv.Revision) {
	t.Helper()
	for s.Len() > 0 {
		if err := s.Read(func(e *kv.Entry) { revisions = append(revisions, e.Revision) }); err != nil {
			t.Fatal(err)
		}
	}
	return revisions
}

func mustSelect(t testing.TB, b *Bucket, q msglog.Query) msglog.Selection {
	t.Helper()
	q.Max = max(q.Max, 1000)
	s, err := b.Select(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// selectModel is the kept revisions of each key, oldest first.
type selectModel map[string][]kv.Revision

// newest returns what a query selects.
func (m selectModel) newest(q msglog.Query) (found []kv.Revision) {
	for key, revisions := range m {
		if !kv.MatchAny(q.Patterns, key) {
			continue
		}
		if n := len(revisions) - 1; q.UpTo == 0 {
			found = append(found, revisions[n])
			continue
		}
		for _, r := range slices.Backward(revisions) {
			if r <= q.UpTo {
				found = append(found, r)
				break
			}
		}
	}
	slices.Sort(found)
	return found
}

// kept returns all kept revisions of the keys that match, from one on.
func (m selectModel) kept(pattern string, from kv.Revision) (found []kv.Revision) {
	for key, revisions := range m {
		for _, r := range revisions {
			if kv.Match(pattern, key) && r >= from {
				found = append(found, r)
			}
		}
	}
	slices.Sort(found)
	return found
}

// What Select and Scan find agrees with a model, whatever was written.
func TestSelectAndScanAgreeWithAModel(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	const history = 3
	h := newHarness(t)
	b := h.bucket("b", withHistory(history))
	model := selectModel{}
	patterns := [][]string{{">"}, {"a.*"}, {"*.1"}, {"a.1", "b.2"}, {"a.1", "a.>"}, {"b.3", "*.3", "b.3"}, {"c"}, {"a.>", "*.2", "b.1"}}
	var last kv.Revision
	for step := range 400 {
		key := fmt.Sprintf("%c.%d", 'a'+random.IntN(2), random.IntN(6))
		var err error
		switch random.IntN(6) {
		case 0:
			last, err = b.Delete(ctx, key)
		case 1:
			last, err = b.Purge(ctx, key)
			model[key] = nil
		default:
			last, err = b.PutString(ctx, key, fmt.Sprint(step))
		}
		if err != nil {
			t.Fatal(err)
		}
		kept := append(model[key], last)
		model[key] = kept[max(len(kept), history)-history:]
		if step%100 == 99 {
			h.checkpoint()
			h.reclaim()
		}
		q := msglog.Query{Patterns: patterns[random.IntN(len(patterns))], UpTo: kv.Revision(random.IntN(int(last) + 1))}
		s := mustSelect(t, b, q)
		want := model.newest(q)
		if at := s.At(); at != q.UpTo && (q.UpTo != 0 || at != last) {
			t.Fatalf("%+v is as of %d, last is %d", q, at, last)
		}
		if got := readAll(t, s); !slices.Equal(got, want) {
			t.Fatalf("%+v selects %d, want %d", q, got, want)
		}
		from := kv.Revision(random.IntN(int(last) + 2))
		if got, want := scanAll(t, b, q.Patterns[0], from, random.IntN(5)), model.kept(q.Patterns[0], from); !slices.Equal(got, want) {
			t.Fatalf("a scan of %s from %d is %d, want %d", q.Patterns[0], from, got, want)
		}
	}
}

// scanAll scans in parts of so many records; 0: in one.
func scanAll(t testing.TB, b *Bucket, pattern string, from kv.Revision, part int) (revisions []kv.Revision) {
	t.Helper()
	newest := watchLog{b}.Newest()
	for from <= newest {
		n := 0
		next, err := b.Scan(ctx, pattern, from, newest, func(e *kv.Entry) bool {
			if n++; part > 0 && n > part {
				return false
			}
			revisions = append(revisions, e.Revision)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		from = next
	}
	return revisions
}

// Of the messages that Append has stored, the newest of each subject is selected, among
// subjects and keys that look like keys of others.
func TestSelectAppended(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	mustPut(t, b, "a", "no append")
	mustPut(t, b, "a.fffffffffffffff0", "nor this") // 2
	for range 2 {                                   // 3 to 12
		for _, key := range []string{"a", "a.b", "a.g", "a.b.c", "a.ffffffffffffffff"} {
			mustAppend(t, b, key, "v")
		}
	}
	for _, c := range []struct {
		patterns []string
		upTo     kv.Revision
		want     []kv.Revision
	}{
		{[]string{">"}, 0, []kv.Revision{8, 9, 10, 11, 12}},
		{[]string{">"}, 9, []kv.Revision{5, 6, 7, 8, 9}},
		{[]string{">"}, 4, []kv.Revision{3, 4}},
		{[]string{">"}, 2, nil},
		{[]string{"a"}, 0, []kv.Revision{8}},
		{[]string{"a", "a.b"}, 8, []kv.Revision{4, 8}},
		{[]string{"a.*"}, 0, []kv.Revision{9, 10, 12}},
		{[]string{"a.*", "a.b", "a"}, 0, []kv.Revision{8, 9, 10, 12}},
		{[]string{"a.ffffffffffffffff"}, 11, []kv.Revision{7}},
		{[]string{"a.fffffffffffffff0", "b"}, 0, nil},
	} {
		if got := readAll(t, mustSelect(t, b, msglog.Query{Patterns: c.patterns, UpTo: c.upTo, Appended: true})); !slices.Equal(got, c.want) {
			t.Errorf("%q up to %d selects %d, want %d", c.patterns, c.upTo, got, c.want)
		}
	}
	if _, err := b.Select(ctx, msglog.Query{Patterns: []string{"a.*"}, Max: 2, Appended: true}); !errors.Is(err, msglog.ErrTooMany) {
		t.Errorf("three of at most two: %v", err)
	}
}

// A selection shows one moment, also after newer records, as long as the records are
// there. A record that compaction has removed is an error, not a gap.
func TestASelectionIsOfOneMoment(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	for _, key := range []string{"a", "b", "c", "d"} {
		mustPut(t, b, key, "old")
	}
	h.checkpoint()
	q := msglog.Query{Patterns: []string{">"}, Max: 4}
	early, err := b.Select(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	late, err := b.Select(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	late.Skip(2)
	mustPut(t, b, "c", "new")
	mustPut(t, b, "e", "new")
	if got, want := readAll(t, early), []kv.Revision{1, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("read %d, want %d", got, want)
	}
	if _, err := b.Select(ctx, q); !errors.Is(err, msglog.ErrTooMany) {
		t.Errorf("five keys of at most four: %v", err)
	}
	h.checkpoint()
	h.reclaim()
	var got []kv.Revision
	err = late.Read(func(e *kv.Entry) { got = append(got, e.Revision) })
	if !errors.Is(err, kv.ErrKeyNotFound) || !slices.Equal(got, []kv.Revision{2}) {
		t.Errorf("read %d and %v, want 2 and that the next is gone", got, err)
	}
	if got := readAll(t, late); !slices.Equal(got, []kv.Revision{4}) {
		t.Errorf("the rest is %d, want 4", got)
	}
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Select(ctx, q); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("of a bucket that was deleted: %v", err)
	}
}

// A key that has expired has no record, not even an older one.
func TestSelectLeavesOutWhatHasExpired(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", withHistory(2))
	mustPut(t, b, "a", "1")
	putTTL(t, b, "a", "2", time.Minute)
	mustPut(t, b, "b", "3")
	a.clock.advance(time.Hour)
	for upTo := range kv.Revision(4) {
		want := []kv.Revision{3}
		if upTo == 1 || upTo == 2 {
			want = nil
		}
		if got := readAll(t, mustSelect(t, b, msglog.Query{Patterns: []string{"*"}, UpTo: upTo})); !slices.Equal(got, want) {
			t.Errorf("up to %d: %d, want %d", upTo, got, want)
		}
	}
}
