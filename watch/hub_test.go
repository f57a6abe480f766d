package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/kv"
)

// world is a hub and its log in memory.
type world struct {
	t   testing.TB
	log *memLog
	hub *Hub
}

func newWorld(t testing.TB) *world {
	log := &memLog{}
	return &world{t: t, log: log, hub: NewHub(log, new(Budget))}
}

// write appends records and publishes them together. A word is "key=value",
// "-key" for a delete or "--key" for a purge.
func (x *world) write(words ...string) {
	var records []kv.Entry
	for _, word := range words {
		records = append(records, x.append(word))
	}
	if x.hub.Active() {
		x.hub.Publish(records)
	}
}

func (x *world) append(word string) kv.Entry {
	switch key, value, put := strings.Cut(word, "="); {
	case put:
		return x.log.add(key, value, kv.Put)
	case strings.HasPrefix(word, "--"):
		return x.log.add(word[2:], "", kv.Purge)
	default:
		return x.log.add(word[1:], "", kv.Delete)
	}
}

func (x *world) watch(patterns string, opts ...kv.WatchOption) *Watcher {
	x.t.Helper()
	var o kv.WatchOptions
	for _, opt := range opts {
		opt(&o)
	}
	w, err := x.hub.Watch(x.t.Context(), strings.Fields(patterns), o)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = w.Stop() })
	return w
}

// word returns an event in the notation of write. "." is the signal.
func word(u kv.Update) string {
	switch {
	case u.Entry == nil:
		return "."
	case u.Entry.Operation == kv.Delete:
		return "-" + u.Entry.Key
	case u.Entry.Operation == kv.Purge:
		return "--" + u.Entry.Key
	}
	return u.Entry.Key + "=" + string(u.Entry.Value)
}

// wantEvents polls until there are no more events and compares them with want.
func (x *world) wantEvents(w *Watcher, want string) {
	x.t.Helper()
	var got []string
	for more := true; more; {
		var err error
		if more, err = w.Poll(func(u kv.Update) bool { got = append(got, word(u)); return true }); err != nil {
			x.t.Fatal(err)
		}
	}
	if s := strings.Join(got, " "); s != want {
		x.t.Fatalf("polled %q, want %q", s, want)
	}
}

func TestWatchersOfOneTopicShareEvents(t *testing.T) {
	x := newWorld(t)
	a, b := x.watch("k l"), x.watch("l k k")
	x.wantEvents(a, ".")
	x.wantEvents(b, ".")
	x.write("k=1")
	var first *kv.Entry
	for _, w := range []*Watcher{a, b} {
		if _, err := w.Poll(func(u kv.Update) bool {
			if first == nil {
				first = u.Entry
			} else if u.Entry != first {
				t.Error("each watcher received a copy of its own")
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if first == nil || len(x.hub.mu.topics) != 1 {
		t.Errorf("%d topics, want 1; the event is %v", len(x.hub.mu.topics), first)
	}
}

func TestAWatcherThatIsBehindReadsTheLog(t *testing.T) {
	x := newWorld(t)
	x.hub.recentMax = 4 * recentCost
	w := x.watch("")
	x.wantEvents(w, ".")
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("k=%d", i))
		x.write(want[i])
	}
	if st := x.hub.Stats(); st.Watchers != 1 || st.Lag != 20 {
		t.Errorf("stats are %+v", st)
	}
	x.wantEvents(w, strings.Join(want, " "))
	reads := x.log.reads
	if reads == 0 {
		t.Error("the watcher did not read the log")
	}
	x.write("k=x")
	x.wantEvents(w, "k=x")
	if x.log.reads != reads {
		t.Error("the watcher still reads the log after it has caught up")
	}
}

func TestALargeEventIsReadFromTheLog(t *testing.T) {
	x := newWorld(t)
	w, other := x.watch(""), x.watch("k")
	x.wantEvents(w, ".")
	x.wantEvents(other, ".")
	large := "l=" + strings.Repeat("v", eventMax)
	x.write("k=1", large, "k=2")
	x.wantEvents(w, "k=1 "+large+" k=2")
	x.wantEvents(other, "k=1 k=2")
	if x.hub.mu.queuedBytes > eventMax {
		t.Errorf("%d bytes are queued", x.hub.mu.queuedBytes)
	}
}

func TestMemoryDoesNotGrowWithTheBacklog(t *testing.T) {
	x := newWorld(t)
	x.hub.recentMax = 100 * recentCost
	for _, patterns := range []string{"", "k", "k *"} {
		x.wantEvents(x.watch(patterns), ".")
	}
	for i := range 10_000 {
		x.write(fmt.Sprintf("k=%d", i))
		queued := 0
		for _, topic := range x.hub.mu.topics {
			queued += len(topic.queue)
		}
		if queued > 100 || len(x.hub.mu.recent) > 100 {
			t.Fatalf("after %d events %d are queued", i, queued)
		}
	}
}

func TestAQueueThatAllHaveSeenIsEmptied(t *testing.T) {
	x := newWorld(t)
	a, b := x.watch("k"), x.watch("k")
	x.wantEvents(a, ".")
	x.wantEvents(b, ".")
	x.write("k=1", "k=2")
	x.wantEvents(a, "k=1 k=2")
	topic := a.topic
	if len(topic.queue) != 2 {
		t.Errorf("%d events are queued for the watcher that has not seen them, want 2", len(topic.queue))
	}
	_ = b.Stop()
	if len(topic.queue) != 0 {
		t.Errorf("%d events are queued although every watcher has seen them", len(topic.queue))
	}
}

// Records that do not match a parked watcher do not count as its backlog.
func TestAParkedWatcherSkipsOtherRecords(t *testing.T) {
	x := newWorld(t)
	x.hub.recentMax = recentCost
	w := x.watch("k")
	x.wantEvents(w, ".")
	for i := range 100 {
		x.write(fmt.Sprintf("other=%d", i))
	}
	x.write("k=1")
	x.wantEvents(w, "k=1")
	if x.log.reads > 1 {
		t.Errorf("the watcher read the log %d times for one event", x.log.reads)
	}
	if st := x.hub.Stats(); st.Watchers != 1 || st.Lag != 0 {
		t.Errorf("stats are %+v", st)
	}
}

func TestTheSignalWaitsForSuccessors(t *testing.T) {
	x := newWorld(t)
	x.write("a=1", "b=1", "c=1")
	w := x.watch("")
	if n := w.Pending(); n != 3 {
		t.Errorf("%d initial entries are pending, want 3", n)
	}
	x.write("b=2", "d=1", "a=2")
	x.wantEvents(w, "c=1 b=2 d=1 a=2 .")
	if n := w.Pending(); n != 0 {
		t.Errorf("%d initial entries are pending", n)
	}
	x.write("a=3")
	x.wantEvents(w, "a=3")
}

// The successor is a marker that the watcher ignores: the signal comes without it.
func TestTheSignalComesWithoutAnIgnoredSuccessor(t *testing.T) {
	x := newWorld(t)
	x.write("a=1")
	w := x.watch("", kv.IgnoreDeletes())
	x.write("-a")
	x.wantEvents(w, ".")
}

func TestRoundsOfInitialEntries(t *testing.T) {
	x := newWorld(t)
	x.hub.budget.taken.Store(budgetRefs) // the rounds have their minimum size
	var want []string
	for i := range roundMin + 10 {
		want = append(want, fmt.Sprintf("k%d=v", i))
	}
	x.log.records = make([]kv.Entry, 0, len(want))
	for _, s := range want {
		x.append(s)
	}
	w := x.watch("", kv.IncludeHistory())
	x.wantEvents(w, strings.Join(want, " ")+" .")
	if taken := x.hub.budget.taken.Load(); taken != budgetRefs {
		t.Errorf("%d references of the budget were not given back", taken-budgetRefs)
	}
}

func TestAStoppedWatcherReturnsItsBudget(t *testing.T) {
	x := newWorld(t)
	x.write("a=1", "b=1")
	w := x.watch("")
	if taken := x.hub.budget.taken.Load(); taken != 2 {
		t.Errorf("%d references are taken, want 2", taken)
	}
	_ = w.Stop()
	if taken := x.hub.budget.taken.Load(); taken != 0 {
		t.Errorf("%d references are taken after Stop", taken)
	}
}

func TestACompactedLogEndsAWatcherThatIsBehind(t *testing.T) {
	x := newWorld(t)
	x.hub.recentMax = 0
	w := x.watch("")
	x.wantEvents(w, ".")
	x.write("a=1", "a=2")
	x.log.first = 2
	_, err := w.Poll(func(kv.Update) bool { t.Error("an event came"); return true })
	var gone *kv.CompactedError
	if !errors.As(err, &gone) || gone.First != 2 || !errors.Is(w.Err(), kv.ErrCompacted) {
		t.Errorf("error is %v, and %v", err, w.Err())
	}
}

// The marker is removed after it was selected and before it is loaded. It has no
// successor.
func TestAResumedWatchLearnsOfAnEndForgottenMeanwhile(t *testing.T) {
	x := newWorld(t)
	x.write("a=1", "-a", "b=1")
	w, anew := x.watch("", kv.ResumeFromRevision(1)), x.watch("", kv.IncludeHistory())
	x.log.gone, x.log.first = map[kv.Revision]bool{1: true, 2: true}, 3
	_, err := w.Poll(func(u kv.Update) bool {
		if u.Entry == nil {
			t.Error("the signal came although an end is missing")
		}
		return true
	})
	var gone *kv.CompactedError
	if !errors.As(err, &gone) || gone.First != 4 || gone.Wanted != 1 {
		t.Errorf("error is %v", err) // First is the revision after b=1, which was delivered
	}
	x.wantEvents(anew, "b=1 .") // this client does not know the key
}

// The watch has delivered an old record of a key. The rest of the key is removed.
func TestAWatchOfHistoriesLearnsOfAnEndForgottenMeanwhile(t *testing.T) {
	x := newWorld(t)
	x.write("a=1")
	for i := range batchMax {
		x.write(fmt.Sprint("b=", i))
	}
	x.write("-a")
	w := x.watch("", kv.IncludeHistory())
	if _, err := w.Poll(func(kv.Update) bool { return false }); err != nil {
		t.Fatal(err)
	}
	x.log.gone, x.log.first = map[kv.Revision]bool{batchMax + 2: true}, batchMax+3
	_, err := w.Poll(func(u kv.Update) bool { return true })
	var gone *kv.CompactedError
	if !errors.As(err, &gone) || gone.First != batchMax+3 {
		t.Errorf("error is %v", err)
	}
}

func TestADamagedValueIsAnEventWithAnError(t *testing.T) {
	x := newWorld(t)
	x.write("a=1", "b=1")
	x.log.bad = map[kv.Revision]error{1: kv.ErrCorrupt}
	w := x.watch("")
	var errs []error
	for more := true; more; {
		more, _ = w.Poll(func(u kv.Update) bool { errs = append(errs, u.Err); return true })
	}
	if len(errs) != 3 || errs[0] != kv.ErrCorrupt || errs[1] != nil || errs[2] != nil {
		t.Errorf("errors are %v", errs)
	}
}

func TestEndsOfAWatch(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(x *world, w *Watcher, cancel func())
		want error
	}{
		"Stop":        {func(_ *world, w *Watcher, _ func()) { _ = w.Stop() }, nil},
		"its context": {func(_ *world, _ *Watcher, cancel func()) { cancel() }, context.Canceled},
		"its hub":     {func(x *world, _ *Watcher, _ func()) { x.hub.Close(kv.ErrClosed) }, kv.ErrClosed},
	} {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/begun=%v", name, begun), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					x := newWorld(t)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					w, err := x.hub.Watch(ctx, nil, kv.WatchOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if begun {
						<-w.Updates()
						synctest.Wait() // parked
					}
					tt.end(x, w, cancel)
					for range w.Updates() {
					}
					if !errors.Is(w.Err(), tt.want) || tt.want == nil && w.Err() != nil {
						t.Errorf("it ended with %v, want %v", w.Err(), tt.want)
					}
					if x.hub.Active() || len(x.hub.mu.topics) > 0 || !x.hub.mu.trie.IsEmpty() {
						t.Error("the hub still has a topic or a pattern of the watch")
					}
				})
			})
		}
	}
}

func TestAClosedHubRefusesWatches(t *testing.T) {
	x := newWorld(t)
	x.hub.Close(kv.ErrClosed)
	if _, err := x.hub.Watch(t.Context(), nil, kv.WatchOptions{UpdatesOnly: true}); err != kv.ErrClosed {
		t.Errorf("error is %v", err)
	}
}

// TestAnUnreadChannelBlocksNoWriter has ten watchers that never read, and one that
// does.
func TestAnUnreadChannelBlocksNoWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWorld(t)
		for range 10 {
			x.watch("").Updates()
		}
		w := x.watch("")
		for i := range 1000 {
			x.write(fmt.Sprintf("k=%d", i))
		}
		n := 0
		for u := range w.Updates() {
			if u.Entry != nil {
				if n++; u.Entry.Revision != kv.Revision(n) {
					t.Fatalf("event %d has revision %d", n, u.Entry.Revision)
				}
			}
			if n == 1000 {
				_ = w.Stop()
			}
		}
	})
}

// TestRandomWatchers polls watchers of random patterns and options at random
// moments, with memory for few events. It compares what each watcher receives with
// the log.
func TestRandomWatchers(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			x := newWorld(t)
			x.hub.recentMax = rng.IntN(20) * recentCost
			var all []*reader
			for range 500 {
				switch rng.IntN(6) {
				case 0:
					if len(all) < 30 {
						all = append(all, x.reader(rng))
					}
				case 1, 2:
					words := make([]string, 1+rng.IntN(4))
					for i := range words {
						words[i] = randomWord(rng)
					}
					x.write(words...)
				default:
					if len(all) > 0 {
						all[rng.IntN(len(all))].poll(x, 1+rng.IntN(5))
					}
				}
			}
			for _, r := range all {
				for r.poll(x, 100) {
				}
				r.check(x)
			}
		})
	}
}

func randomWord(rng *rand.Rand) string {
	key := randomName(rng, "a", "b")
	switch rng.IntN(4) {
	case 0:
		return "-" + key
	default:
		return fmt.Sprintf("%s=%d", key, rng.IntN(100))
	}
}

// reader is a watcher and the events that it received.
type reader struct {
	*Watcher
	options kv.WatchOptions
	began   kv.Revision
	got     []kv.Update
}

func (x *world) reader(rng *rand.Rand) *reader {
	var patterns []string
	for range rng.IntN(3) {
		if p := randomName(rng, "a", "b", "*", ">"); kv.CheckPattern(p) == nil {
			patterns = append(patterns, p)
		}
	}
	r := &reader{began: x.log.Newest()}
	r.options = kv.WatchOptions{IgnoreDeletes: rng.IntN(3) == 0, MetaOnly: rng.IntN(3) == 0}
	switch rng.IntN(4) {
	case 0:
		r.options.UpdatesOnly = true
	case 1:
		r.options.IncludeHistory = true
	case 2:
		r.options.ResumeFrom = 1 + kv.Revision(rng.IntN(int(r.began)+2))
	}
	w, err := x.hub.Watch(x.t.Context(), patterns, r.options)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = w.Stop() })
	r.Watcher = w
	return r
}

// poll polls for at most n events and reports whether there may be more.
func (r *reader) poll(x *world, n int) bool {
	more, err := r.Poll(func(u kv.Update) bool {
		r.got = append(r.got, u)
		n--
		return n > 0
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return more
}

// check compares the received events with the log. Every matching record above the
// revision at which the watch began must have come. The initial entries must be those
// that the options select; records that were superseded meanwhile may be missing.
func (r *reader) check(x *world) {
	x.t.Helper()
	var last kv.Revision
	signals := 0
	seen := make(map[kv.Revision]bool)
	for i, u := range r.got {
		e := u.Entry
		if e == nil {
			signals++
			continue
		}
		want := x.log.records[e.Revision-1]
		if e.Revision <= last || e.Key != want.Key || e.Operation != want.Operation || u.ValueSize != len(want.Value) ||
			!r.options.MetaOnly && string(e.Value) != string(want.Value) || r.options.MetaOnly && e.Value != nil {
			x.t.Fatalf("event %d is %+v after revision %d, the log has %+v", i, e, last, want)
		}
		if signals > 0 && e.Delta != 0 {
			x.t.Fatalf("event %d after the signal has delta %d", i, e.Delta)
		}
		last = e.Revision
		seen[last] = true
	}
	if want := 1; r.options.UpdatesOnly && signals != 0 || !r.options.UpdatesOnly && signals != want {
		x.t.Fatalf("%d signals came", signals)
	}
	for i := range x.log.records {
		e := &x.log.records[i]
		wanted := kv.MatchAny(r.query.Patterns, e.Key) && !(r.options.IgnoreDeletes && e.Operation.IsMarker()) && e.Revision >= r.options.ResumeFrom
		if e.Revision <= r.began {
			switch {
			case r.options.UpdatesOnly:
				wanted = false
			case r.options.ResumeFrom > 0, r.options.IncludeHistory:
			default:
				if !x.log.newestOf(e, x.log.Newest()) {
					continue // it is superseded by now and may be missing
				}
			}
		}
		if seen[e.Revision] != wanted {
			x.t.Fatalf("revision %d (%q): received is %v, want %v; the watch began at %d with %+v", e.Revision, e.Key, seen[e.Revision], wanted, r.began, r.options)
		}
	}
}

func randomName(rng *rand.Rand, tokens ...string) string {
	name := make([]string, 1+rng.IntN(4))
	for i := range name {
		name[i] = tokens[rng.IntN(len(tokens))]
	}
	return strings.Join(name, ".")
}
