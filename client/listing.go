package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// listing is a command that is answered by many replies. It runs on a connection
// of its own, so that neither its length nor a slow consumer holds up calls.
type listing[T any] struct {
	client  *Client
	command lineproto.Command
	check   error // why it cannot be sent; nil: it can
	decode  func(*lineproto.Reply) (item[T], error)
	name    func(error) error      // adds bucket and key to an error; nil: adds nothing
	ended   func(*lineproto.Reply) // is given the last reply, before the sequence ends; nil: it is not
	changes bool                   // the command writes: it is sent once, on a new connection
}

// item is one result of a listing, in memory of its own.
type item[T any] struct {
	value T
	err   error // of this one; the listing goes on
	size  int   // bytes held
	skip  bool  // it does not match
}

// all returns the listing as a sequence.
func (l *listing[T]) all(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := ctx.Err()
		if err == nil {
			err = l.check
		}
		pauses := l.client.newBackoff()
		for n := 0; err == nil; n++ {
			var begun bool
			begun, err = l.once(ctx, yield)
			if err == nil {
				return
			}
			var broken *ConnError
			if begun || l.changes || n+1 >= attempts || !errors.As(err, &broken) || broken.refused {
				break
			}
			err = pauses.pause(ctx)
		}
		if l.name != nil {
			err = l.name(err)
		}
		var none T
		yield(none, err)
	}
}

// once lists on one connection. It reports whether it yielded anything, and why
// the listing is not complete; nil if it is, or if the consumer has stopped.
func (l *listing[T]) once(ctx context.Context, yield func(T, error) bool) (begun bool, err error) {
	w, err := l.connection(ctx)
	if err != nil {
		return false, err
	}
	s := newStream(l, w)
	if err := l.client.link.spawn(s.read); err != nil {
		w.close()
		return false, err
	}
	defer s.stop()
	for {
		items, err := s.take(ctx)
		for _, it := range items {
			if err := ctx.Err(); err != nil {
				return begun, s.outcome(err)
			}
			begun = true
			if !yield(it.value, it.err) {
				return begun, nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return begun, nil
		case err != nil:
			return begun, s.outcome(err)
		}
	}
}

// connection returns the connection for the listing: for a command that writes, one that
// has just answered.
func (l *listing[T]) connection(ctx context.Context) (*wire, error) {
	if l.changes {
		return l.client.dial(ctx)
	}
	return l.client.takeSpare(ctx)
}

// stream reads the replies of one listing ahead of its consumer, within bounds.
type stream[T any] struct {
	// Immutable.
	listing *listing[T]
	wire    *wire
	limit   int           // bytes
	more    chan struct{} // capacity 1: there may be something to take
	room    chan struct{} // capacity 1: there may be room
	left    chan struct{} // closed when the consumer has stopped

	mu struct { // guards the fields inside
		sync.Mutex
		items []item[T]
		size  int   // bytes of items
		err   error // why nothing follows items: io.EOF after the last

		refused bool // err is the answer of the server
	}
}

func newStream[T any](l *listing[T], w *wire) *stream[T] {
	return &stream[T]{
		listing: l, wire: w, limit: l.client.opts.ReadAhead,
		more: make(chan struct{}, 1), room: make(chan struct{}, 1), left: make(chan struct{}),
	}
}

// read sends the command and reads until the listing is complete, breaks or is
// stopped. It is the stream's goroutine.
func (s *stream[T]) read() {
	var complete bool
	err := s.wire.write(&s.listing.command)
	if err != nil {
		err = s.broken(err)
	}
	for err == nil {
		complete, err = s.readOne()
	}
	s.mu.Lock()
	s.mu.err, s.mu.refused = err, complete && !errors.Is(err, io.EOF)
	if complete {
		s.listing.client.putSpare(s.wire)
	} else {
		s.wire.close()
	}
	s.mu.Unlock()
	signal(s.more)
}

// readOne reads one reply. After the last, which is an error or has the error
// io.EOF, the listing is complete.
func (s *stream[T]) readOne() (complete bool, err error) {
	r, err := s.wire.replies.next()
	switch {
	case err != nil:
		return false, s.broken(err)
	case r.Kind == lineproto.ReplyEnd:
		if s.listing.ended != nil {
			s.listing.ended(r)
		}
		return true, io.EOF
	case r.Kind == lineproto.ReplyError:
		err = r.Err(s.listing.command.Bucket, s.listing.command.Key)
		if shutdown(err) != nil {
			return false, s.broken(err)
		}
		return true, err
	}
	it, err := s.listing.decode(r)
	if err != nil {
		return false, s.broken(err)
	}
	if it.skip {
		return false, nil
	}
	return false, s.put(it)
}

// broken makes the error of a failed connection. It also drops the idle connections,
// which may be broken too.
func (s *stream[T]) broken(err error) error {
	s.listing.client.dropSpares()
	if s.listing.client.link.ctx.Err() != nil {
		return kv.ErrClosed
	}
	return &ConnError{Addr: s.listing.client.address, Err: err}
}

// outcome returns the error of a listing that is not complete: a command that writes may
// have been executed, unless the server says otherwise.
func (s *stream[T]) outcome(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.listing.changes || s.mu.refused || shutdown(err) != nil && !errors.Is(err, kv.ErrClosed) {
		return err
	}
	return unknown(err)
}

// put hands an item to the consumer, and waits while too many are queued.
func (s *stream[T]) put(it item[T]) error {
	s.mu.Lock()
	s.mu.items = append(s.mu.items, it)
	s.mu.size += it.size
	full := s.mu.size >= s.limit
	s.mu.Unlock()
	signal(s.more)
	for full {
		select {
		case <-s.room:
		case <-s.left:
			return errLeft
		case <-s.listing.client.link.ctx.Done():
			return kv.ErrClosed
		}
		s.mu.Lock()
		full = s.mu.size >= s.limit
		s.mu.Unlock()
	}
	return nil
}

// errLeft ends a stream whose consumer has stopped. It is never returned.
var errLeft = errors.New("the consumer has stopped")

// take returns the items read since the last take, and waits for at least one. The error
// comes with the last items.
func (s *stream[T]) take(ctx context.Context) ([]item[T], error) {
	for {
		s.mu.Lock()
		items, err := s.mu.items, s.mu.err
		s.mu.items, s.mu.size = nil, 0
		s.mu.Unlock()
		if len(items) > 0 || err != nil {
			signal(s.room)
			return items, err
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stop ends the stream: the connection too, unless the listing is complete.
func (s *stream[T]) stop() {
	close(s.left)
	s.mu.Lock()
	over := s.mu.err != nil
	s.mu.Unlock()
	if !over {
		s.wire.close()
	}
}

// signal sends to a channel of capacity 1, unless it is full.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// decodeKey takes one key of a listing, unless it matches none of the patterns
// that are left to check.
func decodeKey(left []string) func(*lineproto.Reply) (item[string], error) {
	return func(r *lineproto.Reply) (item[string], error) {
		if r.Kind != lineproto.ReplyKey {
			return item[string]{}, errWrongReply
		}
		if !kv.MatchAny(left, r.Name) {
			return item[string]{skip: true}, nil
		}
		return item[string]{value: strings.Clone(r.Name), size: len(r.Name)}, nil
	}
}

// decodeBucketName takes one name of a listing of buckets.
func decodeBucketName(r *lineproto.Reply) (item[string], error) {
	if r.Kind != lineproto.ReplyBucket {
		return item[string]{}, errWrongReply
	}
	return item[string]{value: strings.Clone(r.Name), size: len(r.Name)}, nil
}

// decodeStatus takes one status of a listing of buckets.
func decodeStatus(r *lineproto.Reply) (item[kv.Status], error) {
	if r.Kind != lineproto.ReplyInfo {
		return item[kv.Status]{}, errWrongReply
	}
	st, err := r.Status()
	size := len(st.Config.Bucket) + len(st.Config.Description)
	for k, v := range st.Config.Metadata {
		size += len(k) + len(v)
	}
	return item[kv.Status]{value: st, size: size}, err
}
