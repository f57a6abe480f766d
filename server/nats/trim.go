package nats

import (
	"context"
	"log/slog"

	"kvd/kv"
)

// A stream that discards its oldest messages is trimmed before what made it too large
// is acknowledged. It is a decision of its own: a crash in between leaves some messages
// more, which go with the next. One that refuses the newest instead, by the number of
// all, is looked at before each message, which is then stored if nothing else was.

// isTrimmed reports whether the oldest messages make room for new ones.
func (c *streamConfig) isTrimmed() bool {
	return c.isPlain() && c.Discard == discardOld && (c.MaxMsgs > 0 || c.MaxBytes > 0)
}

// isBounded reports whether a message is refused where there are as many as may be.
func (c *streamConfig) isBounded() bool { return c.Discard == discardNew && c.MaxMsgs > 0 }

// roomFor refuses a message that would be one too many.
func (s *stream) roomFor(ctx context.Context) *apiError {
	if !s.config.isBounded() {
		return nil
	}
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return refusal(err)
	}
	if st.Values >= uint64(s.config.MaxMsgs) {
		return errMaxMessages
	}
	return nil
}

// trim drops the oldest messages of a stream that has more than it may.
func (s *stream) trim(ctx context.Context) error {
	if !s.config.isTrimmed() {
		return nil
	}
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return err
	}
	count, size := max(s.config.MaxMsgs, 0), max(s.config.MaxBytes, 0)
	if (count == 0 || st.Values <= uint64(count)) && (size == 0 || st.Bytes <= uint64(size)) {
		return nil
	}
	trimmer, ok := s.bucket.(kv.Trimmer)
	if !ok {
		return kv.ErrNotSupported
	}
	if _, err = trimmer.Trim(ctx, 0, uint64(count), size); err != nil {
		return err
	}
	s.status, err = s.bucket.Status(ctx)
	return err
}

// trim trims the streams that the run has stored to. What is stored stays so if that
// fails: the next message tries again.
func (r *run) trim(ctx context.Context, log *slog.Logger) {
	var done *stream
	for i := range r.entries {
		s := r.entries[i].stream
		if s == done || r.mutations[i].Err != nil {
			continue
		}
		done = s
		if err := s.trim(ctx); err != nil {
			log.Error("trim a stream", "stream", s.config.Name, "cause", err)
		}
	}
}
