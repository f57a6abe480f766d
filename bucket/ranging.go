package bucket

import (
	"context"
	"runtime"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
)

// ranging is one pass over a range of keys of a frozen bucket.
type ranging struct {
	walk
	options *kv.RangeOptions                   // valid
	found   func(string, index.Version) bool   // is given what the range has, and reports whether to go on; nil: yield is
	yield   func(entry kv.Entry, _ error) bool // the same, of entries

	shown   int
	bytes   int64 // shown
	stopped bool  // nothing more is to be shown
}

// walk is a pass over keys of a frozen bucket, as ranges and children make it.
type walk struct {
	frozen *frozen
	ctx    context.Context
	seen   int   // keys
	err    error // why it ends early
}

// goesOn counts a key and reports whether the walk goes on. Now and then it lets other goroutines run.
func (w *walk) goesOn() bool {
	if w.seen++; w.seen%listTurn == 0 {
		runtime.Gosched()
	}
	if w.seen%contextCheck == 0 || w.frozen.owner.over.Load() {
		w.err = w.frozen.goesOn(w.ctx)
	}
	return w.err == nil
}

// span is a range of keys, in bytes: from is included, to is not. An empty to is above all keys.
type span struct{ from, to string }

// run shows the range. The error is why it is not complete.
func (r *ranging) run() error {
	if err := r.frozen.doubts(r.ctx, 0); err != nil {
		return err
	}
	if r.found == nil {
		r.found = r.showEntry
	}
	spans := spansOf(r.options)
	for i := range spans {
		s := spans[i]
		if r.options.Reverse {
			s = spans[len(spans)-1-i]
			r.frozen.index.Descend(s.to, func(key []byte, v index.Version) bool { return view.String(key) >= s.from && r.visit(key, v) })
		} else {
			r.frozen.index.Ascend(s.from, func(key []byte, v index.Version) bool { return s.below(key) && r.visit(key, v) })
		}
		if r.stopped || r.err != nil {
			break
		}
	}
	return r.err
}

// below reports whether a key is below the end of the span.
func (s *span) below(key []byte) bool { return s.to == "" || view.String(key) < s.to }

// visit shows a key of the span if the options select it, and reports whether to go on.
func (r *ranging) visit(key []byte, newest index.Version) bool {
	if !r.goesOn() {
		return false
	}
	if newest.Revision <= r.options.ChangedAfter || !r.frozen.shows(&newest, r.options.Markers) ||
		!kv.MatchAny(r.options.Patterns, view.String(key)) {
		return true
	}
	r.stopped = !r.found(string(key), newest)
	return !r.stopped
}

// showEntry yields an entry within the limits, and reports whether to go on.
func (r *ranging) showEntry(key string, v index.Version) bool {
	var e kv.Entry
	var err error
	if r.options.KeysOnly {
		e = r.frozen.bucket.withoutValue(key, v)
	} else {
		e, err = r.frozen.read(key, v)
	}
	r.bytes += int64(len(e.Key) + len(e.Value) + len(e.Headers))
	if r.shown > 0 && r.options.MaxBytes > 0 && r.bytes > r.options.MaxBytes {
		return false
	}
	r.shown++
	return r.yield(e, err) && (r.options.Limit == 0 || r.shown < r.options.Limit)
}

// spansOf returns the keys that a range can have, ascending and disjoint.
func spansOf(o *kv.RangeOptions) []span {
	bounds := span{o.From, o.To}
	switch {
	case o.After == "":
	case o.Reverse && (o.To == "" || o.After < o.To):
		bounds.to = o.After
	case !o.Reverse && o.After >= o.From:
		bounds.from = o.After + "\x00" // the next string
	}
	var spans []span
	for _, prefix := range prefixes(o.Patterns) {
		s := span{max(prefix, bounds.from), endOf(prefix)}
		if s.to == "" || bounds.to != "" && bounds.to < s.to {
			s.to = bounds.to
		}
		if s.to == "" || s.from < s.to {
			spans = append(spans, s)
		}
	}
	return spans
}

// endOf returns the first string above all that begin with prefix; empty: there is none.
func endOf(prefix string) string {
	for n := len(prefix); n > 0; n-- {
		if c := prefix[n-1]; c < 0xff {
			return prefix[:n-1] + string([]byte{c + 1})
		}
	}
	return ""
}
