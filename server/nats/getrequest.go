package nats

import (
	"context"
	"errors"
	"time"

	"kvd/kv"
)

// getRequest is the body of a request for stored messages.
type getRequest struct {
	Seq       uint64     `json:"seq"`
	LastFor   string     `json:"last_by_subj"`
	NextFor   string     `json:"next_by_subj"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes"`
	StartTime *time.Time `json:"start_time"`
	MultiLast []string   `json:"multi_last"`
	UpToSeq   uint64     `json:"up_to_seq"`
	UpToTime  *time.Time `json:"up_to_time"`
	NoHeader  bool       `json:"no_hdr"`
}

// namesOne reports whether the request says which message is to be found.
func (r *getRequest) namesOne() bool {
	return r.Seq > 0 || r.LastFor != "" || r.NextFor != "" || r.StartTime != nil
}

// isEmpty reports whether the request names no messages at all.
func (r *getRequest) isEmpty() bool { return !r.namesOne() && len(r.MultiLast) == 0 }

// contradicts reports whether the request names messages in two ways, as nats-server judges
// it for a direct get.
func (r *getRequest) contradicts() bool {
	multi := len(r.MultiLast) > 0
	return r.contradictsOne() ||
		r.LastFor != "" && (r.Batch > 0 || multi) ||
		r.NextFor != "" && multi ||
		r.UpToSeq > 0 && r.UpToTime != nil
}

// contradictsOne is contradicts for a request that can only be for one message.
func (r *getRequest) contradictsOne() bool {
	return r.Seq > 0 && (r.LastFor != "" || r.StartTime != nil) ||
		r.LastFor != "" && (r.StartTime != nil || r.NextFor != "")
}

// hasOnlyNoHeader reports whether no field but no_hdr is set.
func (r *getRequest) hasOnlyNoHeader() bool {
	return r.isEmpty() && r.Batch == 0 && r.UpToSeq == 0 && r.UpToTime == nil
}

// isForMany reports whether the answer is any number of messages and a status.
func (r *getRequest) isForMany() bool { return r.Batch != 0 || len(r.MultiLast) > 0 }

// filters returns the subjects that a request for many messages reads.
func (r *getRequest) filters() []string {
	switch {
	case len(r.MultiLast) > 0:
		return r.MultiLast
	case r.NextFor != "":
		return []string{r.NextFor}
	}
	return []string{">"}
}

// start returns the sequence at which the request begins to search.
func (r *getRequest) start(ctx context.Context, s *stream) (kv.Revision, error) {
	if r.StartTime == nil {
		return kv.Revision(r.Seq), nil
	}
	return s.sequenceAt(ctx, *r.StartTime)
}

// sequenceAt returns the sequence of the first message that was stored at a time or later,
// and the one after the newest if there is none.
func (s *stream) sequenceAt(ctx context.Context, t time.Time) (kv.Revision, error) {
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return 0, err
	}
	from, err := s.firstSince(ctx, t, 1, st.Revision)
	if err != nil || from > st.Revision {
		return st.Revision + 1, err
	}
	e, err := s.next(ctx, ">", from)
	if errors.Is(err, kv.ErrKeyNotFound) { // it was removed meanwhile, or the stream is empty
		return st.Revision + 1, nil
	}
	return e.Revision, err
}
