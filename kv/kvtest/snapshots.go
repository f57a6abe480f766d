package kvtest

import (
	"errors"
	"strings"

	"kvd/kv"
)

// initialFacts are about the initial entries of a watch.
var initialFacts = []fact{
	{"the newest record of each key comes, markers included, in ascending order of revisions, and then the end", func(t *trial) {
		l := t.logged(5)
		l.write("z=1 a=1 z=2 m=1 -m p=1 --p a=2 b.c=1 -never")
		l.watch("").initial("z=2 -m --p a=2 b.c=1 -never")
	}},
	{"the end comes also from an empty bucket", func(t *trial) {
		l := t.logged(1)
		w := l.watch("")
		w.initial("")
		w.sees("a=1")
	}},
	{"the end comes also when nothing matches", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 b.c=1")
		w := l.watch("b c.*")
		w.initial("")
		w.sees("b=1")
	}},
	{"a pattern selects", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 b=1 b.c=1 b.d=1 b.c.d=1 c.c=1 c.c.d=1")
		for patterns, want := range map[string]string{
			">":       "a=1 b=1 b.c=1 b.d=1 b.c.d=1 c.c=1 c.c.d=1",
			"a":       "a=1",
			"*":       "a=1 b=1",
			"b.*":     "b.c=1 b.d=1",
			"b.>":     "b.c=1 b.d=1 b.c.d=1",
			"*.c":     "b.c=1 c.c=1",
			"*.c.>":   "b.c.d=1 c.c.d=1",
			"a b.c.d": "a=1 b.c.d=1",
			"c.> a":   "a=1 c.c=1 c.c.d=1",
		} {
			t.Logf("pattern %s", patterns)
			l.watch(patterns).initial(want)
		}
	}},
	{"what several patterns select comes once", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 b.c=1 b.d=1 c.c=1")
		w := l.watch("b.* *.c b.c b.>")
		w.entry("b.c=1")
		w.entry("b.d=1")
		w.entry("c.c=1")
		w.end()
	}},
	{"the same pattern twice is the pattern", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 b=1")
		l.watch("a a").initial("a=1")
	}},
	{"the caller's patterns are left alone, and may be changed", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 b=1")
		patterns := []string{"b", "a"}
		w, err := l.Watch(t.ctx, patterns)
		t.ok(err)
		defer w.Stop()
		t.lists(patterns, "b", "a")
		patterns[0] = "c"
		(&watching{Watcher: w, t: t, log: l}).initial("a=1 b=1")
		l.write("c=1")
		(&watching{Watcher: w, t: t, log: l}).sees("b=2")
	}},
	{"a bad pattern is refused", func(t *trial) {
		b := t.bucket(1)
		for _, pattern := range badPatterns {
			_, err := b.Watch(t.ctx, []string{"fine", pattern})
			var bad *kv.NameError
			if !errors.As(err, &bad) || !errors.Is(err, kv.ErrInvalidPattern) {
				t.Fatalf("pattern %q: error is %v, want a NameError of a pattern", pattern, err)
			}
		}
	}},
	{"an entry of it is what a get returns", func(t *trial) {
		l := t.logged(1)
		l.write("k=v empty=")
		t.put(l, "bytes", string(everyByte))
		t.put(l, "large", strings.Repeat("v", 1<<20))
		w := l.watch("")
		for _, key := range []string{"k", "empty", "bytes", "large"} {
			want := t.get(l, key)
			got := *w.next().Entry
			want.Delta = got.Delta
			t.entry(got, want)
			equal(t, "creation time", got.Created.UnixNano(), want.Created.UnixNano())
		}
		w.end()
	}},
	{"IncludeHistory begins with every kept record", func(t *trial) {
		l := t.logged(3)
		l.write("a=1 b=1 a=2 a=3 a=4 -b p=1 p=2 --p b=2 p=3")
		w := l.watch("", kv.IncludeHistory())
		w.initial("b=1 a=2 a=3 a=4 -b --p b=2 p=3")
		w.sees("a=5 b=3")
	}},
	{"IncludeHistory of patterns begins with every kept record of their keys", func(t *trial) {
		l := t.logged(3)
		l.write("a.x=1 b=1 a.y=1 a.x=2 -b a.x=3 b=2")
		l.watch("a.*", kv.IncludeHistory()).initial("a.x=1 a.y=1 a.x=2 a.x=3")
	}},
	{"UpdatesOnly begins with nothing, not even the end", func(t *trial) {
		l := t.logged(3)
		l.write("a=1 b=1 -b")
		w := l.watch("", kv.UpdatesOnly())
		w.sees("a=2 b=2 -a --b")
	}},
	{"IncludeHistory and UpdatesOnly exclude each other", func(t *trial) {
		b := t.bucket(1)
		_, err := b.Watch(t.ctx, nil, kv.IncludeHistory(), kv.UpdatesOnly())
		t.fails(err, kv.ErrInvalidOption)
		_, err = b.Watch(t.ctx, nil, kv.UpdatesOnly(), kv.IncludeHistory())
		t.fails(err, kv.ErrInvalidOption)
	}},
	{"IgnoreDeletes leaves markers out, and the end still comes", func(t *trial) {
		l := t.logged(3)
		l.write("a=1 d=1 -d p=1 --p b=1 -never")
		w := l.watch("", kv.IgnoreDeletes())
		w.initial("a=1 b=1")
		l.write("-a")
		w.sees("c=1")
		w = l.watch("", kv.IgnoreDeletes(), kv.IncludeHistory())
		w.initial("a=1 d=1 b=1 c=1")
		l.write("-b --c")
		w.sees("d=2")
		w = l.watch("p", kv.IgnoreDeletes())
		w.initial("")
		w.sees("p=2")
	}},
	{"MetaOnly leaves values out", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 d=1 -d empty=")
		w := l.watch("", kv.MetaOnly())
		for _, word := range []string{"a=1", "-d", "empty="} {
			w.bare(word)
		}
		w.end()
		l.write("a=2")
		w.bare("a=2")
	}},
}

// bare takes the next event. It must be this record without its value.
func (w *watching) bare(word string) {
	w.t.Helper()
	w.log.entries[word] = withoutValue(w.log.entries[word])
	w.entry(word)
}

func withoutValue(e kv.Entry) kv.Entry {
	e.Value = nil
	return e
}
