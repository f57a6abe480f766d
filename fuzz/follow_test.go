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

// follower is one watch of a bucket across disconnects and restarts of the store. Like a
// server's client it resumes at its last position. A new goroutine is started for it
// each time the power is on.
type follower struct {
	name     string
	bucket   string
	chapter  *chapter
	patterns []string
	options  kv.WatchOptions // of its first connection
	polls    bool
	starts   kv.Revision // the follower starts when the bucket has reached it
	random   *rand.Rand
	lie      func(kv.Update) []kv.Update // a seeded bug; nil: none

	// Guarded by the journal's mu.
	began       bool
	before      kv.Revision // newest acknowledged revision before the first connection
	after       kv.Revision // and after it
	next        kv.Revision // revision to resume from; 0: begin anew
	got         map[kv.Revision]bool
	newest      kv.Revision      // newest delivered revision
	joined      kv.Revision      // every record from it on must come; 0: not known yet
	anew        kv.Revision      // newest revision when it last began anew
	removedUpTo kv.Revision      // markers, or with trims records, up to it may have been removed before the initial entries were read
	missing     [][2]kv.Revision // ranges that an error reported as possibly missing, end exclusive

	// Of the current connection.
	from    kv.Revision
	signals int
	delta   uint64

	trace []string // the end of each connection
}

// randomFollower makes a follower of a bucket.
func randomFollower(r *rand.Rand, n int, bucket string, c *chapter) *follower {
	f := &follower{
		name: fmt.Sprintf("%s/%d", bucket, n), bucket: bucket, chapter: c, polls: r.IntN(2) == 0,
		starts: kv.Revision(r.IntN(2000)), random: rand.New(rand.NewPCG(r.Uint64(), 1)), got: map[kv.Revision]bool{},
	}
	if n == 0 { // this one sees everything
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

// follow watches until the run ends or the power is off.
func (f *follower) follow(ctx context.Context, j *journal, b kv.Bucket) error {
	select {
	case <-j.reached(f.chapter, f.starts):
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

// over reports whether the follower is finished.
func (j *journal) over(f *follower) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.noPower || f.chapter.last != 0 && max(f.newest+1, f.next, f.joined) > f.chapter.last
}

// gap records a range that may be missing, and continues after it.
func (f *follower) gap(j *journal, gone *kv.CompactedError) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.noPower {
		return nil
	}
	from := max(f.next, f.options.ResumeFrom)
	if f.signals == 0 { // all initial entries are still due
		from = max(f.from, f.options.ResumeFrom)
	}
	if !f.chapter.purges && !f.chapter.trims || gone.First <= from {
		return fmt.Errorf("%w, although nothing was removed from %d on", gone, from)
	}
	f.missing = append(f.missing, [2]kv.Revision{from, gone.First})
	f.next = max(gone.First, f.newest+1)
	f.joinedLocked(f.next)
	return nil
}

// connect watches until the watch ends; now and then the follower ends it itself.
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
			default: // the end of the watch, after events that were not read
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

// begin records that a watch began between two revisions.
func (j *journal) begin(f *follower, before, after kv.Revision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f.from, f.signals, f.delta = f.next, 0, 1<<63
	if f.next == 0 {
		f.anew = after
		f.removedUpTo = max(f.removedUpTo, f.chapter.removedUpTo)
	}
	if f.began || j.noPower {
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
		case <-j.reached(f.chapter, j.acknowledged(f.chapter)+kv.Revision(f.random.IntN(500))):
		case <-j.off:
		}
	}
	return f.random.IntN(40) == 0
}

// take checks a single event and records it.
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
	case j.noPower:
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
			return fmt.Errorf("revision %d has a value although the watch asked for none", e.Revision)
		}
		if known, ok := f.chapter.records[e.Revision]; ok {
			s.value = known.value
		}
	}
	switch {
	case e.Revision <= f.newest:
		return fmt.Errorf("revision %d came after %d", e.Revision, f.newest)
	case e.Revision < f.next || e.Revision < f.options.ResumeFrom || f.options.UpdatesOnly && e.Revision <= f.before:
		return fmt.Errorf("revision %d came, but nothing before %d is due", e.Revision, max(f.next, f.options.ResumeFrom, f.before+1))
	case !f.selects(s):
		return fmt.Errorf("%+v came at revision %d, but the watch does not ask for it", s, e.Revision)
	case f.signals > 0 && e.Delta != 0, f.signals == 0 && !f.options.UpdatesOnly && e.Delta > f.delta:
		return fmt.Errorf("the delta of revision %d is %d, after %d", e.Revision, e.Delta, f.delta)
	}
	if f.signals > 0 {
		f.joinedLocked(e.Revision)
	} else if f.from == 0 {
		f.removedUpTo = max(f.removedUpTo, f.chapter.removedUpTo)
	}
	f.delta, f.newest, f.next = e.Delta, e.Revision, e.Revision+1
	f.got[e.Revision] = true
	if _, known := f.chapter.records[e.Revision]; f.options.MetaOnly && !known {
		return nil // other followers check it
	}
	return f.chapter.noteLocked(e.Revision, s)
}

// signalLocked handles the end of the initial entries.
func (f *follower) signalLocked() error {
	if f.signals++; f.signals > 1 || f.options.UpdatesOnly {
		return errors.New("an end of the initial entries that is not due")
	}
	if f.from == 0 {
		f.removedUpTo = max(f.removedUpTo, f.chapter.removedUpTo)
	}
	return nil
}

// joinedLocked records that everything from a revision on is due.
func (f *follower) joinedLocked(rev kv.Revision) {
	if f.joined == 0 {
		f.joined = rev
	}
}

// complete compares the delivered events with the journal after the run.
func (f *follower) complete() error {
	c := f.chapter
	newest := map[string]kv.Revision{} // before it joined or began anew
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
		return fmt.Errorf("revision %d, %+v, did not come; joined at %d, removed up to %d, reported as possibly missing: %v",
			rev, s, f.joined, f.removedUpTo, f.missing)
	}
	return nil
}

// due reports whether a record must come unless it was removed before.
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

// excused reports whether a record may be missing: the history has no room for it, a
// marker has removed it, or an error reported it as possibly missing.
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
	dropped := (s.operation.IsMarker() || f.chapter.trims) && rev <= f.removedUpTo // removed before it was read
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
