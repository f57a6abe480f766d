package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"kvd/kv"
)

// follower is one watch of a bucket, over disconnects and restarts of the store:
// it resumes where it was, as the client of a server does. Its goroutine is
// started for each time that the power is on.
type follower struct {
	name     string
	bucket   string
	chapter  *chapter
	patterns []string
	options  kv.WatchOptions // of the first time
	polls    bool
	starts   kv.Revision // when the bucket has come so far
	random   *rand.Rand
	lie      func(kv.Update) []kv.Update // a bug of watches; nil: there is none

	// Guarded by the journal's mu.
	began   bool
	before  kv.Revision // acknowledged when it began the first time
	after   kv.Revision // … had begun
	next    kv.Revision // to resume from; 0: begin anew
	got     map[kv.Revision]bool
	newest  kv.Revision      // delivered
	joined  kv.Revision      // everything from it on is due; 0: not known yet
	anew    kv.Revision      // the newest when it last began anew
	forgot  kv.Revision      // markers, or where there are trims records, up to it may have been dropped before it had the initial entries
	missing [][2]kv.Revision // it was told that these may be, the second not included

	// Of the present connection.
	from    kv.Revision
	signals int
	delta   uint64

	trace []string // what became of its connections
}

// randomFollower makes a follower of a bucket.
func randomFollower(r *rand.Rand, n int, bucket string, c *chapter) *follower {
	f := &follower{
		name: fmt.Sprintf("%s/%d", bucket, n), bucket: bucket, chapter: c, polls: r.IntN(2) == 0,
		starts: kv.Revision(r.IntN(2000)), random: rand.New(rand.NewPCG(r.Uint64(), 1)), got: map[kv.Revision]bool{},
	}
	if n == 0 { // who sees everything
		f.options.IncludeHistory, f.starts = true, 0
		return f
	}
	f.options.IgnoreDeletes = r.IntN(4) == 0
	f.options.MetaOnly = r.IntN(4) == 0
	switch r.IntN(4) {
	case 0:
		f.options.IncludeHistory = true
	case 1:
		f.options.UpdatesOnly = true
	case 2:
		f.options.ResumeFrom = 1 + f.starts/2
	}
	if r.IntN(3) > 0 {
		f.patterns = []string{endKey}
		for range 1 + r.IntN(3) {
			f.patterns = append(f.patterns, pick(r, []string{"a.>", "*.1", "b.*", "c.7", "*.*", "a.3", "a.*", "c.>"}))
		}
	}
	return f
}

func (f *follower) selects(s seen) bool {
	return kv.MatchAny(f.patterns, s.key) && !(f.options.IgnoreDeletes && s.operation.IsMarker())
}

// follow watches until the run or the power ends.
func (f *follower) follow(ctx context.Context, j *journal, b kv.Bucket) error {
	select {
	case <-j.alarm(f.chapter, f.starts):
	case <-j.off:
		return nil
	}
	for {
		from := f.next
		err := f.connect(ctx, j, b)
		f.trace = append(f.trace, fmt.Sprintf("%d to %d, %d signals: %v", from, f.newest, f.signals, err))
		var gone *kv.CompactedError
		switch {
		case j.over(f):
			return nil
		case errors.As(err, &gone):
			if err := f.gap(j, gone); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
}

// over reports whether the follower is not to go on.
func (j *journal) over(f *follower) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dark || f.chapter.last != 0 && max(f.newest+1, f.next, f.joined) > f.chapter.last
}

// gap notes that records may be missing, and goes on behind them.
func (f *follower) gap(j *journal, gone *kv.CompactedError) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dark {
		return nil
	}
	from := max(f.next, f.options.ResumeFrom)
	if f.signals == 0 { // the initial entries are owed as a whole
		from = max(f.from, f.options.ResumeFrom)
	}
	if !f.chapter.purges && !f.chapter.trims || gone.First <= from {
		return fmt.Errorf("%w, and nothing was dropped from %d on", gone, from)
	}
	f.missing = append(f.missing, [2]kv.Revision{from, gone.First})
	f.next = max(gone.First, f.newest+1)
	f.joinedLocked(f.next)
	return nil
}

// connect watches until something ends it: the follower itself now and then.
func (f *follower) connect(ctx context.Context, j *journal, b kv.Bucket) error {
	opts := []kv.WatchOption{func(o *kv.WatchOptions) {
		*o = f.options
		if f.next != 0 {
			o.ResumeFrom = f.next
		}
	}}
	notified := make(chan struct{}, 1)
	if f.polls {
		opts = append(opts, kv.Notify(func() {
			select {
			case notified <- struct{}{}:
			default: // the end of the watch, after what was not looked at any more
			}
		}))
	}
	before := j.acknowledged(f.chapter)
	w, err := b.Watch(ctx, f.patterns, opts...)
	if err != nil {
		return err
	}
	defer w.Stop()
	st, err := b.Status(ctx)
	if err != nil {
		return err
	}
	j.begin(f, before, st.Revision)
	if f.polls {
		return f.poll(ctx, j, w.(kv.Poller), notified)
	}
	return f.receive(ctx, j, w)
}

// begin notes that a watch is there, which began between two revisions.
func (j *journal) begin(f *follower, before, after kv.Revision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f.from, f.signals, f.delta = f.next, 0, 1<<63
	if f.next == 0 {
		f.anew = after
		f.forgot = max(f.forgot, f.chapter.forgot)
	}
	if f.began || j.dark {
		return
	}
	f.began, f.before, f.after = true, before, after
	if f.options.UpdatesOnly && f.options.ResumeFrom == 0 {
		f.next, f.joined = f.before+1, f.after+1
	}
	if f.options.ResumeFrom != 0 {
		f.joined = f.options.ResumeFrom
	}
}

// poll takes events as a server does.
func (f *follower) poll(ctx context.Context, j *journal, w kv.Poller, notified <-chan struct{}) error {
	for done := j.done; ; {
		var failed error
		limit := 1 + f.random.IntN(100)
		more, err := w.Poll(func(u kv.Update) bool {
			failed = f.take(j, u)
			limit--
			return failed == nil && limit > 0
		})
		switch {
		case failed != nil:
			return failed
		case err != nil || j.over(f) || f.leaves(j):
			return err
		case more:
			continue
		}
		for waits := true; waits && !j.over(f); {
			select {
			case <-notified:
				waits = false
			case <-done:
				done = nil
			case <-j.off:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// receive takes events from the channel.
func (f *follower) receive(ctx context.Context, j *journal, w kv.Watcher) error {
	for done := j.done; !j.over(f); {
		select {
		case u, open := <-w.Updates():
			if !open {
				return w.Err()
			}
			if err := f.take(j, u); err != nil {
				return err
			}
			if f.random.IntN(50) == 0 && f.leaves(j) {
				return nil
			}
		case <-done:
			done = nil
		case <-j.off:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leaves stalls now and then, and reports whether the follower disconnects.
func (f *follower) leaves(j *journal) bool {
	if f.random.IntN(20) == 0 {
		select {
		case <-j.alarm(f.chapter, j.acknowledged(f.chapter)+kv.Revision(f.random.IntN(500))):
		case <-j.off:
		}
	}
	return f.random.IntN(40) == 0
}

// take checks an event by itself, and notes it.
func (f *follower) take(j *journal, u kv.Update) error {
	all := []kv.Update{u}
	if f.lie != nil {
		all = f.lie(u)
	}
	for _, u := range all {
		if err := f.note(j, u); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) note(j *journal, u kv.Update) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.dark:
		return nil
	case u.Entry == nil:
		return f.signalLocked()
	case u.Err != nil:
		return u.Err
	}
	e := u.Entry
	s := seen{e.Key, e.Operation, string(e.Value), e.Operation == kv.Put && !e.Deadline.IsZero()}
	if f.options.MetaOnly {
		if len(e.Value) != 0 {
			return fmt.Errorf("a value came at revision %d", e.Revision)
		}
		if known, ok := f.chapter.records[e.Revision]; ok {
			s.value = known.value
		}
	}
	switch {
	case e.Revision <= f.newest:
		return fmt.Errorf("revision %d came after %d", e.Revision, f.newest)
	case e.Revision < f.next || e.Revision < f.options.ResumeFrom || f.options.UpdatesOnly && e.Revision <= f.before:
		return fmt.Errorf("revision %d came, and nothing before %d is due", e.Revision, max(f.next, f.options.ResumeFrom, f.before+1))
	case !f.selects(s):
		return fmt.Errorf("%+v came at revision %d, which nobody asked for", s, e.Revision)
	case f.signals > 0 && e.Delta != 0, f.signals == 0 && !f.options.UpdatesOnly && e.Delta > f.delta:
		return fmt.Errorf("the delta of revision %d is %d, after %d", e.Revision, e.Delta, f.delta)
	}
	if f.signals > 0 {
		f.joinedLocked(e.Revision)
	} else if f.from == 0 {
		f.forgot = max(f.forgot, f.chapter.forgot)
	}
	f.delta, f.newest, f.next = e.Delta, e.Revision, e.Revision+1
	f.got[e.Revision] = true
	if _, known := f.chapter.records[e.Revision]; f.options.MetaOnly && !known {
		return nil // others will tell
	}
	return f.chapter.noteLocked(e.Revision, s)
}

// signalLocked takes the end of the initial entries.
func (f *follower) signalLocked() error {
	if f.signals++; f.signals > 1 || f.options.UpdatesOnly {
		return errors.New("an end of the initial entries that is not due")
	}
	if f.from == 0 {
		f.forgot = max(f.forgot, f.chapter.forgot)
	}
	return nil
}

// joinedLocked notes that everything from a revision on is due.
func (f *follower) joinedLocked(rev kv.Revision) {
	if f.joined == 0 {
		f.joined = rev
	}
}

// complete compares what came with the journal, once the run is over.
func (f *follower) complete() error {
	c := f.chapter
	newest := map[string]kv.Revision{} // before it joined, or began anew
	later := map[string][]kv.Revision{}
	for rev, s := range c.records {
		later[s.key] = append(later[s.key], rev)
		if f.joined == 0 || rev < f.joined || rev <= f.anew {
			newest[s.key] = max(newest[s.key], rev)
		}
	}
	for _, revs := range later {
		slices.Sort(revs)
	}
	for rev, s := range c.records {
		if f.got[rev] || rev > c.last || !f.selects(s) || !f.due(rev, newest[s.key]) || f.excused(rev, s, later[s.key]) {
			continue
		}
		return fmt.Errorf("revision %d, %+v, did not come; joined at %d, forgot up to %d, told that %v may be missing",
			rev, s, f.joined, f.forgot, f.missing)
	}
	return nil
}

// due reports whether a record has to come, unless it was dropped before.
func (f *follower) due(rev, newest kv.Revision) bool {
	switch {
	case f.options.ResumeFrom != 0:
		return rev >= f.options.ResumeFrom
	case f.options.UpdatesOnly:
		return rev > f.after
	case f.options.IncludeHistory, f.joined != 0 && rev >= f.joined:
		return true
	}
	return rev == newest
}

// excused reports whether a record need not have come: the history has no room for
// it, a marker has dropped it, or the follower was told.
func (f *follower) excused(rev kv.Revision, s seen, ofKey []kv.Revision) bool {
	for _, m := range f.missing {
		if rev >= m[0] && rev < m[1] {
			return true
		}
	}
	at, _ := slices.BinarySearch(ofKey, rev)
	after := ofKey[at+1:]
	if len(after) >= f.chapter.history {
		return true
	}
	dropped := (s.operation.IsMarker() || f.chapter.trims) && rev <= f.forgot // before it was looked at
	dropped = dropped || s.expires
	for _, r := range after {
		dropped = dropped || f.chapter.records[r].expires
		op := f.chapter.records[r].operation
		dropped = dropped || op == kv.Purge || op == kv.Delete && f.chapter.purges
	}
	return dropped
}

func (f *follower) String() string {
	return fmt.Sprintf("%s %q %+v polls:%v, at %d, next %d of %d\n%s\n", f.name, f.patterns, f.options, f.polls, f.newest, f.next, f.chapter.last, strings.Join(f.trace, "\n"))
}
