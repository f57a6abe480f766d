package fuzz

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"kvd/bucket"
	"kvd/kv"
)

// answers is what a store's readers are told: an answer for each question. A question
// names its bucket first.
type answers map[string]string

// refusedAnswer is the answer to whatever is in doubt or damaged.
const refusedAnswer = "CORRUPT"

// ask reads everything in a store: the buckets, and in each bucket the keys, the count,
// the initial entries of watches, and each key and each of its revisions.
func ask(s *bucket.Store, keys []string, upTo kv.Revision) answers {
	a := answers{}
	names, err := gather(s.BucketNames(context.Background()), func(name string) string { return name })
	a["buckets"] = answer(fmt.Sprint(names), err)
	for _, name := range names {
		if b, err := s.Bucket(context.Background(), name); err == nil {
			a.bucket(b, keys, upTo)
		}
	}
	return a
}

func (a answers) bucket(b kv.Bucket, keys []string, upTo kv.Revision) {
	ctx, name := context.Background(), b.Name()
	list, err := gather(b.Keys(ctx), func(key string) string { return key })
	a[name+" keys"] = answer(fmt.Sprint(list), err)
	for mode, opts := range map[string][]kv.WatchOption{"last": nil, "history": {kv.IncludeHistory()}} {
		list, err := gather(initial(b, opts...), told)
		a[name+" watch "+mode] = answer(fmt.Sprint(list), err)
	}
	for _, key := range keys {
		e, err := b.Get(ctx, key)
		a[name+" get "+key] = answer(told(e), err)
		list, err := gather(b.History(ctx, key), told)
		a[name+" history "+key] = answer(fmt.Sprint(list), err)
		for rev := kv.Revision(1); rev <= upTo; rev++ {
			e, err := b.GetRevision(ctx, key, rev)
			a[fmt.Sprintf("%s at %s %d", name, key, rev)] = answer(told(e), err)
		}
	}
}

// initial yields the initial entries of a watch.
func initial(b kv.Bucket, opts ...kv.WatchOption) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		w, err := b.Watch(context.Background(), nil, opts...)
		if err != nil {
			yield(kv.Entry{}, err)
			return
		}
		defer func() { _ = w.Stop() }()
		for u, err := range w.All() {
			if err != nil {
				yield(kv.Entry{}, err)
				return
			}
			if u.Entry == nil || !yield(*u.Entry, u.Err) {
				return
			}
		}
	}
}

// gather collects what a sequence yields up to its first error.
func gather[T any](seq iter.Seq2[T, error], show func(T) string) (list []string, err error) {
	for v, e := range seq {
		if e != nil {
			return list, e
		}
		list = append(list, show(v))
	}
	return list, nil
}

func told(e kv.Entry) string {
	return fmt.Sprintf("%s %d %v %x", e.Key, e.Revision, e.Operation, e.Value)
}

func answer(text string, err error) string {
	switch {
	case err == nil:
		return text
	case errors.Is(err, kv.ErrCorrupt):
		return refusedAnswer
	case errors.Is(err, kv.ErrKeyNotFound):
		return "not found"
	}
	return err.Error()
}

// lies returns the answers that differ from those of the sound store, and the questions
// that were refused. written has every record by the question for its revision: in a bucket
// in doubt a sound record may be read by its revision, also if the history would no longer
// keep it.
func (a answers) lies(got, written answers) (lies, refused []string) {
	for question, want := range a {
		switch g, ok := got[question]; {
		case g == want:
		case g == refusedAnswer, !ok && got["buckets"] == refusedAnswer:
			refused = append(refused, question)
		case written[question] == g && got[bucketOf(question)+" keys"] == refusedAnswer:
		default:
			lies = append(lies, fmt.Sprintf("%s: %.60q, not %.60q", question, g, want))
		}
	}
	for question, g := range got {
		bucket := bucketOf(question)
		if strings.HasPrefix(bucket, "recovered-") {
			continue // its creation is missing: its sound records can be read by their revisions
		}
		if _, ok := a[question]; !ok && g != refusedAnswer && g != "not found" && g != "[]" {
			lies = append(lies, fmt.Sprintf("%s of %s: %.60q, and there is nothing", question, bucket, g))
		}
	}
	slices.Sort(lies)
	slices.Sort(refused)
	return lies, refused
}

func bucketOf(question string) string {
	bucket, _, _ := strings.Cut(question, " ")
	return bucket
}
