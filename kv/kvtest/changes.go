package kvtest

import (
	"strings"

	"kvd/kv"
)

// changeFacts are about the events of a watch after its initial entries.
var changeFacts = []fact{
	{"every write comes, once, in order", func(t *trial) {
		l := t.logged(2)
		w := l.watch("")
		w.initial("")
		w.sees("a=1 a=2 b=1 -a a=3 --b -b never=1 --never a=4 empty= a=5")
	}},
	{"creates, updates and touches come as puts", func(t *trial) {
		b := t.bucket(5)
		w, err := b.Watch(t.ctx, nil, kv.UpdatesOnly())
		t.ok(err)
		defer w.Stop()
		in := &watching{Watcher: w, t: t}
		created := t.create(b, "k", "1")
		t.entry(*in.next().Entry, kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("1"), Revision: created, Operation: kv.Put})
		updated := t.update(b, "k", "2", created)
		t.entry(*in.next().Entry, kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("2"), Revision: updated, Operation: kv.Put})
		touched, err := b.Touch(t.ctx, "k")
		t.ok(err)
		t.entry(*in.next().Entry, kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("2"), Revision: touched, Operation: kv.Put})
	}},
	{"a write that is refused does not come", func(t *trial) {
		l := t.logged(1)
		l.write("k=1")
		w := l.watch("")
		w.initial("k=1")
		_, err := l.Create(t.ctx, "k", nil)
		t.fails(err, kv.ErrKeyExists)
		_, err = l.Update(t.ctx, "k", nil, 77)
		t.fails(err, kv.ErrKeyRevisionMismatch)
		w.sees("k=2")
	}},
	{"those that no pattern selects do not come", func(t *trial) {
		l := t.logged(1)
		w := l.watch("a b.* c.>")
		w.initial("")
		for _, words := range []string{"b=1 a", "a.a=1 b.x", "b.x.y=1 c.x", "c=1 c.x.y", "d=1 b.c"} {
			others, key, _ := strings.Cut(words, " ")
			l.write(others)
			w.sees(key + "=2")
		}
	}},
	{"those that several patterns select come once", func(t *trial) {
		l := t.logged(5)
		w := l.watch("b.* *.c b.c b.>")
		w.end()
		l.write("b.c=1 -b.c a.b=1 c.c=1")
		for _, word := range []string{"b.c=1", "-b.c", "c.c=1"} {
			w.entry(word)
		}
	}},
	{"IgnoreDeletes leaves markers out", func(t *trial) {
		l := t.logged(5)
		w := l.watch("", kv.IgnoreDeletes(), kv.UpdatesOnly())
		w.sees("a=1")
		l.write("-a --a")
		w.sees("a=2")
	}},
	{"what was trimmed before the watch began does not come", func(t *trial) {
		l := t.logged(1)
		l.write("k=1 k=2")
		w := l.watch("", kv.IncludeHistory())
		w.initial("k=2")
		w.sees("k=3 k=4")
	}},
	{"every watch gets them, and each of its own bucket alone", func(t *trial) {
		one, two := t.logged(5), t.logged(5)
		watches := []*watching{one.watch(""), two.watch(""), one.watch("a"), two.watch("a"), one.watch(">")}
		for _, w := range watches {
			w.initial("")
		}
		one.write("a=1")
		two.write("a=2")
		one.write("a=3")
		for _, w := range watches {
			if w.log == one {
				w.changes("a=1 a=3")
			} else {
				w.changes("a=2")
			}
		}
	}},
	{"those of a key whose history is dropped come too", func(t *trial) {
		l := t.logged(5)
		w := l.watch("")
		w.initial("")
		w.sees("k=1 -k")
		t.ok(l.PurgeDeletes(t.ctx, -1))
		w.sees("k=2")
	}},
	{"an update says how large the value is, if it says anything", func(t *trial) {
		l := t.logged(5)
		l.write("a=value empty= d=1 -d")
		for _, w := range []*watching{l.watch(""), l.watch("", kv.MetaOnly())} {
			for _, size := range []int{5, 0, 0} {
				if u := w.next(); u.ValueSize != 0 {
					equal(t, "size of "+word(u.Entry), u.ValueSize, size)
				}
			}
		}
	}},
	{"All yields what Updates would", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 b=1")
		w := l.watch("")
		var got []kv.Update
		for u, err := range w.All() {
			t.ok(err)
			if got = append(got, u); u.Entry == nil {
				l.write("c=1")
			}
			if len(got) == 4 {
				break
			}
		}
		t.ok(w.Stop())
		equal(t, "that the third is the end", got[2].Entry == nil, true)
		for i, word := range []string{"a=1", "b=1", "", "c=1"} {
			if word != "" {
				want := l.entries[word]
				want.Delta = got[i].Entry.Delta
				t.entry(*got[i].Entry, want)
			}
		}
	}},
}
