package kvtest

import (
	"errors"
	"strings"
	"time"

	"kvd/kv"
)

// patience is the longest time that a fact waits for an expected event. A store has
// failed if an event takes longer. A store that passes is not slowed down by it.
var patience = 20 * time.Second

// watching is a watch of a logged bucket. Its methods end the test if an event is not the
// expected one.
type watching struct {
	kv.Watcher
	t   *trial
	log *logged
}

// watch begins a watch. It is stopped when the test ends. Patterns are words.
func (l *logged) watch(patterns string, opts ...kv.WatchOption) *watching {
	l.t.Helper()
	w, err := l.Watch(l.t.ctx, strings.Fields(patterns), opts...)
	l.t.ok(err)
	l.t.Cleanup(func() { _ = w.Stop() })
	return &watching{Watcher: w, t: l.t, log: l}
}

// next returns the next event.
func (w *watching) next() kv.Update {
	w.t.Helper()
	u, open := w.receive()
	if !open {
		w.t.Fatalf("the watch ended: %v", w.Err())
	}
	return u
}

// receive returns the next event, or false if the channel is closed.
func (w *watching) receive() (kv.Update, bool) {
	w.t.Helper()
	select {
	case u, open := <-w.Updates():
		return u, open
	case <-time.After(patience):
		w.t.Fatalf("no event, and no end of the watch, within %v", patience)
		panic("unreachable")
	}
}

// entry returns the next event. It must be this record.
func (w *watching) entry(want string) kv.Entry {
	w.t.Helper()
	u := w.next()
	if u.Entry == nil {
		w.t.Fatalf("the end of the initial entries came where %s is due", want)
	}
	got := *u.Entry
	e := w.log.entries[want]
	e.Delta = got.Delta
	if got.Revision != e.Revision {
		w.t.Fatalf("%s came where %s at revision %d is due", word(&got), want, e.Revision)
	}
	w.t.entry(got, e)
	return got
}

// end takes the end of the initial entries.
func (w *watching) end() {
	w.t.Helper()
	if u := w.next(); u.Entry != nil {
		w.t.Fatalf("%s came where the end of the initial entries is due", word(u.Entry))
	}
}

// initial takes the initial entries, whose deltas count the ones still to come, and their
// end.
func (w *watching) initial(words string) {
	w.t.Helper()
	want := strings.Fields(words)
	for i, word := range want {
		w.delta(w.entry(word), len(want)-1-i)
	}
	w.end()
}

// changes takes the events after the initial entries.
func (w *watching) changes(words string) {
	w.t.Helper()
	for word := range strings.FieldsSeq(words) {
		w.delta(w.entry(word), 0)
	}
}

// sees writes, and takes the changes that the watch has to deliver for it.
func (w *watching) sees(words string) {
	w.t.Helper()
	for word := range strings.FieldsSeq(words) {
		w.log.write(word)
		w.changes(word)
	}
}

func (w *watching) delta(e kv.Entry, want int) {
	w.t.Helper()
	if w.t.differs(DeltasDrift) {
		equal(w.t, "that the delta of "+word(&e)+" is large enough", e.Delta >= uint64(want), true)
		return
	}
	equal(w.t, "delta of "+word(&e), e.Delta, uint64(want))
}

// ended waits until the channel is closed, and ends the test if the reason is another
// one. Before the close there may be as many events as the watch had ready for the
// receiver.
func (w *watching) ended(want error) {
	w.t.Helper()
	for open := true; open; {
		_, open = w.receive()
	}
	if err := w.Err(); !errors.Is(err, want) || want == nil && err != nil {
		w.t.Fatalf("the watch ended with %v, want %v", err, want)
	}
}
