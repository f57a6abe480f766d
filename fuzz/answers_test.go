package fuzz

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"kvd/bucket"
	"kvd/kv"
)

// question is something that the readers of a store ask.
type question struct {
	bucket   string
	kind     string
	key      string      // of the kinds get, history and at
	revision kv.Revision // of the kind at
}

// bucketKinds are the questions about a bucket as a whole.
var bucketKinds = []string{"keys", "count", "all", "watch last", "watch history"}

// theBuckets asks which buckets there are.
var theBuckets = question{kind: "buckets"}

func (q question) String() string {
	switch {
	case q == theBuckets:
		return q.kind
	case q.kind == "at":
		return fmt.Sprintf("%s at %s %d", q.bucket, q.key, q.revision)
	case q.key != "":
		return q.bucket + " " + q.kind + " " + q.key
	}
	return q.bucket + " " + q.kind
}

// questions returns the questions about buckets with these keys: as a whole, of each key,
// and of each key and each revision up to upTo.
func questions(buckets, keys []string, upTo kv.Revision) []question {
	list := []question{theBuckets}
	for _, b := range buckets {
		for _, kind := range bucketKinds {
			list = append(list, question{bucket: b, kind: kind})
		}
		for _, key := range keys {
			list = append(list, question{bucket: b, kind: "get", key: key}, question{bucket: b, kind: "history", key: key})
			for rev := kv.Revision(1); rev <= upTo; rev++ {
				list = append(list, question{b, "at", key, rev})
			}
		}
	}
	return list
}

// refusedAnswer is the answer to whatever is in doubt or damaged.
const refusedAnswer = "CORRUPT"

// ask asks a store the questions, those about a bucket one after the other. known are
// answers to them, or nil: one that is given again shares their memory.
func ask(s *bucket.Store, questions []question, known []string) []string {
	a := asker{store: s}
	got := make([]string, len(questions))
	for i, q := range questions {
		text := a.answer(q)
		if known != nil && string(text) == known[i] {
			got[i] = known[i]
		} else {
			got[i] = string(text)
		}
	}
	return got
}

// asker asks one store.
type asker struct {
	store  *bucket.Store
	bucket kv.Bucket // that of the last question
	text   []byte    // the last answer
}

// answer returns the answer to a question. It is valid until the next one.
func (a *asker) answer(q question) []byte {
	a.text = a.text[:0]
	err := a.find(q)
	if err == nil {
		err = a.tell(q)
	}
	switch {
	case err == nil:
		return a.text
	case errors.Is(err, kv.ErrCorrupt):
		return []byte(refusedAnswer)
	case errors.Is(err, kv.ErrKeyNotFound):
		return []byte("not found")
	}
	return []byte(err.Error())
}

// find looks the question's bucket up, unless the question before was about it too.
func (a *asker) find(q question) (err error) {
	if q.bucket != "" && (a.bucket == nil || a.bucket.Name() != q.bucket) {
		a.bucket, err = a.store.Bucket(context.Background(), q.bucket)
	}
	if err != nil {
		a.bucket = nil
	}
	return err
}

func (a *asker) tell(q question) error {
	ctx, b := context.Background(), a.bucket
	switch q.kind {
	case "buckets":
		return list(a, a.store.BucketNames(ctx), appendName)
	case "keys":
		return list(a, b.Keys(ctx), appendName)
	case "count":
		status, err := b.Status(ctx)
		if err == nil && status.Doubt > 0 {
			err = kv.ErrCorrupt
		}
		a.text = strconv.AppendUint(a.text, status.Keys, 10)
		return err
	case "all":
		return list(a, b.All(ctx), appendEntry)
	case "watch last":
		return list(a, initial(b), appendEntry)
	case "watch history":
		return list(a, initial(b, kv.IncludeHistory()), appendEntry)
	case "history":
		return list(a, b.History(ctx, q.key), appendEntry)
	}
	var e kv.Entry
	var err error
	if q.kind == "get" {
		e, err = b.Get(ctx, q.key)
	} else {
		e, err = b.GetRevision(ctx, q.key, q.revision)
	}
	a.text = appendEntry(a.text, e)
	return err
}

// list appends what a sequence yields to the answer, up to its first error.
func list[T any](a *asker, seq iter.Seq2[T, error], show func([]byte, T) []byte) error {
	a.text = append(a.text, '[')
	for v, err := range seq {
		if err != nil {
			return err
		}
		if len(a.text) > 1 {
			a.text = append(a.text, ' ')
		}
		a.text = show(a.text, v)
	}
	a.text = append(a.text, ']')
	return nil
}

func appendName(dst []byte, name string) []byte { return append(dst, name...) }

func appendEntry(dst []byte, e kv.Entry) []byte {
	dst = append(append(dst, e.Key...), ' ')
	dst = append(strconv.AppendUint(dst, uint64(e.Revision), 10), ' ')
	dst = append(append(dst, e.Operation.String()...), ' ')
	return hex.AppendEncode(dst, e.Value)
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

// truth is what the readers of a sound store are told.
type truth struct {
	questions []question
	answers   []string
	// written are the records that were ever written, by the question for their revision.
	written map[question]string
}

// compare returns the answers that are neither right nor a refusal, and the questions
// that were refused. In a bucket in doubt a sound record may be read by its revision, also
// if the history would no longer keep it.
func (w *truth) compare(got []string) (lies []string, refused []question) {
	doubted := map[string]bool{}
	for i, q := range w.questions {
		if q.kind == "keys" && got[i] == refusedAnswer {
			doubted[q.bucket] = true
		}
	}
	for i, q := range w.questions {
		switch {
		case got[i] == w.answers[i]:
		case got[i] == refusedAnswer:
			refused = append(refused, q)
		case doubted[q.bucket] && got[i] == w.written[q]:
		default:
			lies = append(lies, fmt.Sprintf("%v: %.60q, not %.60q", q, got[i], w.answers[i]))
		}
	}
	return lies, refused
}

// first returns the first few of a list, shortened.
func first[T any](list []T) string {
	var texts []string
	for _, v := range list[:min(3, len(list))] {
		texts = append(texts, fmt.Sprintf("%.80q", fmt.Sprint(v)))
	}
	return strings.Join(texts, ", ")
}

// only returns the questions that keep says.
func only(list []question, keep func(question) bool) []question {
	return slices.DeleteFunc(slices.Clone(list), func(q question) bool { return !keep(q) })
}
