package nats

import (
	"context"

	"kvd/kv"
)

// A stream that discards its oldest messages is trimmed before what made it too large
// is acknowledged. It is a decision of its own: a crash in between leaves some messages
// more, which go with the next.

// trim drops the oldest messages of a stream that has more than it may, whether or not
// the client that is to wait for it is still there.
func (s *stream) trim(ctx context.Context) error {
	if !s.config.DropsOldest() {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return err
	}
	count, size := max(s.config.MaxMsgs, 0), max(s.config.MaxBytes, 0)
	if (count == 0 || st.Values <= uint64(count)) && (size == 0 || st.Bytes <= uint64(size)) {
		return nil
	}
	if s.records == nil {
		return kv.ErrNotSupported
	}
	if _, err = s.records.Trim(ctx, 0, uint64(count), size); err != nil {
		return err
	}
	s.status, err = s.bucket.Status(ctx)
	return err
}

// erase drops the messages whose keys match, those below a sequence (0: all) but for the
// newest keep, and returns how many went.
func (s *stream) erase(ctx context.Context, pattern string, below kv.Revision, keep uint64) (uint64, error) {
	if pattern == ">" && s.layout.IsMessageStream() && (below == 0 || keep == 0) {
		return s.eraseOldest(ctx, below, keep)
	}
	if s.records == nil {
		return 0, kv.ErrNotSupported
	}
	return s.records.Erase(ctx, pattern, below, keep)
}

// eraseOldest is erase of whatever key, below a sequence or but for the newest keep: one
// decision, where it would be one for each key.
func (s *stream) eraseOldest(ctx context.Context, below kv.Revision, keep uint64) (uint64, error) {
	if below == 0 && keep == 0 {
		st, err := s.bucket.Status(ctx)
		if err != nil || st.Revision == 0 {
			return 0, err
		}
		below = st.Revision + 1
	}
	if s.records == nil {
		return 0, kv.ErrNotSupported
	}
	return s.records.Trim(ctx, below, keep, 0)
}
