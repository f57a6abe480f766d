package nats

import (
	"context"

	"kvd/kv"
)

// A stream with discard old is trimmed after a batch is stored and before it is
// acknowledged. These are two writes: after a crash between them the stream has too many
// messages until the next batch.

// trim removes the oldest messages of a stream that has too many. It does so also if the
// client's connection has ended.
func (s *stream) trim(ctx context.Context) error {
	if !s.config.DiscardsOldest() {
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

// erase erases the messages whose keys match and whose sequences are below the given one (0
// for all), except for the newest keep of them. It returns the number of erased messages.
func (s *stream) erase(ctx context.Context, pattern string, below kv.Revision, keep uint64) (uint64, error) {
	if pattern == ">" && s.layout.IsMessageStream() && (below == 0 || keep == 0) {
		return s.eraseOldest(ctx, below, keep)
	}
	if s.records == nil {
		return 0, kv.ErrNotSupported
	}
	return s.records.Erase(ctx, pattern, below, keep)
}

// eraseOldest is erase for all keys, either below a sequence or except for the newest keep.
// It is one record in the log, where erase would write one for each key.
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
