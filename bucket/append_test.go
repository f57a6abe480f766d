package bucket

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/kv/msglog"
)

func appendTo(b *Bucket, key, value string) kv.Mutation {
	return kv.Mutation{Bucket: b.name, Op: msglog.Append, Key: key, Value: []byte(value)}
}

func appended(key string, r kv.Revision) string {
	return string(msglog.AppendSuffix([]byte(key+"."), r))
}

func mustAppend(t testing.TB, b *Bucket, key, value string) kv.Revision {
	t.Helper()
	m := []kv.Mutation{appendTo(b, key, value)}
	if err := b.store.Submit(ctx, m); err != nil || m[0].Err != nil {
		t.Fatal(err, m[0].Err)
	}
	return m[0].Revision
}

// Every append has its own key, whatever else is in its group. Of the appends to one key
// the newest is listed first.
func TestAppend(t *testing.T) {
	for name, change := range map[string]func(*kv.Config){"file": messageLog, "memory": inMemory, "compressed": func(c *kv.Config) { c.Compression = true }} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			b := h.bucket("b", change)
			text := strings.Repeat("text ", 100)
			for i, m := range h.submit(
				appendTo(b, "a", "1"), appendTo(b, "a.b", text),
				kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "a", Value: []byte("3")},
				appendTo(b, "a", ""),
			) {
				if m.Err != nil || m.Revision != kv.Revision(i+1) {
					t.Fatalf("mutation %d: revision %d, error %v", i, m.Revision, m.Err)
				}
			}
			mustAppend(t, b, "a", "5")
			if keys, want := collect(t, b), []string{"a", "a.b." + appended("", 2)[1:], appended("a", 5), appended("a", 4), appended("a", 1)}; fmt.Sprint(keys) != fmt.Sprint(want) {
				t.Errorf("keys are %q, want %q", keys, want)
			}
			if name != "memory" {
				h.powerCut()
				h.open()
				b = h.find("b")
			}
			for key, value := range map[string]string{
				appended("a", 1): "1", appended("a.b", 2): text, "a": "3", appended("a", 4): "", appended("a", 5): "5",
			} {
				mustGet(t, b, key, value)
			}
		})
	}
}

func TestWatchersOfAppendsGetTheirKeys(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	w := mustWatch(t, b, []string{"a.*"}, kv.UpdatesOnly())
	drain(t, w)
	h.submit(appendTo(b, "a", "1"), appendTo(b, "b", "2"), appendTo(b, "a", "3"))
	h.submit(appendTo(b, "c", "4")) // reuses the memory of the keys before it
	var got []string
	for _, u := range drain(t, w) {
		got = append(got, spell(u.Entry))
	}
	if want := []string{appended("a", 1) + "=1", appended("a", 3) + "=3"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events are %q, want %q", got, want)
	}
}

func TestAppendRefuses(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	longest := strings.Repeat("k", kv.MaxKeySize-msglog.AppendedKeySize)
	with := func(change func(*kv.Mutation)) kv.Mutation {
		m := appendTo(b, "k", "v")
		change(&m)
		return m
	}
	want := []error{
		nil, kv.ErrInvalidKey, kv.ErrInvalidKey, kv.ErrInvalidKey, kv.ErrInvalidOption, kv.ErrInvalidOption,
		kv.ErrKeyRevisionMismatch, nil,
	}
	for i, m := range h.submit(
		appendTo(b, longest, "v"),
		appendTo(b, longest+"k", "v"),
		appendTo(b, "", "v"),
		appendTo(b, "k.", "v"),
		with(func(m *kv.Mutation) { m.TTL = 1 }),
		with(func(m *kv.Mutation) { m.Rollup = true }),
		with(func(m *kv.Mutation) { m.IfNewest, m.Newest = true, 2 }),
		with(func(m *kv.Mutation) { m.IfNewest, m.Newest = true, 1 }),
	) {
		if want[i] != nil {
			wantError(t, m.Err, want[i])
		} else if m.Err != nil {
			t.Errorf("mutation %d: %v", i, m.Err)
		}
	}
	wantShown(t, b, showing{appended(longest, 1): revs{1}, appended("k", 2): revs{2}})
}

// If the log is full, a group is judged again after the checkpoint.
func TestAppendsThatAreJudgedAgain(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.LogFileSize, o.LogMaxSize = 16<<10, 32<<10 })
	b := h.bucket("b", messageLog)
	value := strings.Repeat("v", 3000)
	for i := range 40 {
		if rev := mustAppend(t, b, "k", value); rev != kv.Revision(i+1) {
			t.Fatalf("revision %d, want %d", rev, i+1)
		}
	}
	h.powerCut()
	h.open()
	for i := range 40 {
		mustGet(t, h.find("b"), appended("k", kv.Revision(i+1)), value)
	}
}

// Revisions of a failed group are used again, and then make other keys.
func TestAnAppendAfterARefusalHasTheNextKey(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withMaxBytes(200))
	got := h.submit(appendTo(b, "a", strings.Repeat("v", 300)), appendTo(b, "a", "v"))
	wantError(t, got[0].Err, kv.ErrBucketFull)
	if got[1].Err != nil {
		t.Fatal(got[1].Err)
	}
	wantShown(t, b, showing{appended("a", 1): revs{1}})
}

func TestAnAppendAllocatesNoMoreThanAPut(t *testing.T) {
	h := osHarness(t)
	b := h.bucket("b", messageLog)
	for _, op := range []kv.MutationOp{kv.MutatePut, msglog.Append} {
		m := make([]kv.Mutation, 100)
		for i := range m {
			m[i] = kv.Mutation{Bucket: "b", Op: op, Key: "some.key", Value: []byte("v")}
		}
		allocs := testing.AllocsPerRun(50, func() {
			if err := b.store.Submit(ctx, m); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 50 {
			t.Errorf("%v allocates %v times for %d", op, allocs, len(m))
		}
	}
}

// LastAppended finds the newest append of a key among other keys that begin with it,
// whichever of the appends are kept.
func TestLastAppended(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", messageLog)
	want := func(key string, r kv.Revision) {
		t.Helper()
		e, err := b.LastAppended(ctx, key)
		if e.Revision != r || (r == 0) != errors.Is(err, kv.ErrKeyNotFound) {
			t.Errorf("the newest append of %q is %d, want %d: %v", key, e.Revision, r, err)
		}
	}
	want("a", 0)
	mustPut(t, b, "a", "no append")
	want("a", 0)
	for range 2 { // 2 to 11
		for _, key := range []string{"a", "a.b", "a.g", "a.b.c", "a.ffffffffffffffff"} {
			mustAppend(t, b, key, "v")
		}
	}
	for round := range 2 {
		want("a", 7)
		want("a.b", 8)
		want("a.g", 9)
		want("a.b.c", 10)
		want("a.ffffffffffffffff", 11)
		want("a.f", 0)
		want("b", 0)
		want("", 0)
		if round == 0 {
			h.powerCut()
			h.open()
			b = h.find("b")
		}
	}
	if _, err := b.Erase(ctx, appended("a", 7), 0, 0); err != nil {
		t.Fatal(err)
	}
	want("a", 2)
	mustTrim(t, b, 9, 0, 0, 7)
	want("a", 0)
	want("a.b", 0)
	want("a.g", 9)
}
