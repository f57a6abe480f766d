package blob

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Backoff says how often a call is tried, and when again. A field that is zero has its default.
type Backoff struct {
	Tries int           // 8
	First time.Duration // the first wait, 200 ms; every further one is twice as long
	Most  time.Duration // the longest wait, 10 s
	Each  time.Duration // how long one try may take, 2 min
}

func (b Backoff) withDefaults() Backoff {
	if b.Tries == 0 {
		b.Tries = 8
	}
	if b.First == 0 {
		b.First = 200 * time.Millisecond
	}
	if b.Most == 0 {
		b.Most = 10 * time.Second
	}
	if b.Each == 0 {
		b.Each = 2 * time.Minute
	}
	return b
}

// Retry returns a store that tries a call again while its error matches [ErrUnavailable]. A wait is
// between half of its time and all of it, at random, so that clients which failed together do not
// return together.
func Retry(s Store, b Backoff) Store { return &retry{s, b.withDefaults()} }

type retry struct {
	store   Store
	backoff Backoff
}

// do makes a call up to Tries times. An error of the last try says how many there were.
func (r *retry) do(ctx context.Context, call func(context.Context) error) error {
	wait := r.backoff.First
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		each, cancel := context.WithTimeout(ctx, r.backoff.Each)
		err := call(each)
		late := each.Err() != nil
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !late && !errors.Is(err, ErrUnavailable):
			return err
		case try == r.backoff.Tries:
			return tried(err, try)
		}
		if err := pause(ctx, wait/2+rand.N(wait/2+1)); err != nil {
			return err
		}
		wait = min(2*wait, r.backoff.Most)
	}
}

// tried adds the number of tries to an error.
func tried(err error, tries int) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	return &Error{e.Op, e.Place, e.Name, fmt.Errorf("%w (tried %d times)", e.Err, tries)}
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *retry) String() string { return r.store.String() }

func (r *retry) Put(ctx context.Context, name string, data []byte) error {
	return r.do(ctx, func(ctx context.Context) error { return r.store.Put(ctx, name, data) })
}

func (r *retry) GetRange(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	err = r.do(ctx, func(ctx context.Context) error {
		data, err = r.store.GetRange(ctx, name, offset, length)
		return err
	})
	return data, err
}

func (r *retry) List(ctx context.Context, prefix string) (infos []Info, err error) {
	err = r.do(ctx, func(ctx context.Context) error {
		infos, err = r.store.List(ctx, prefix)
		return err
	})
	return infos, err
}

func (r *retry) Delete(ctx context.Context, name string) error {
	return r.do(ctx, func(ctx context.Context) error { return r.store.Delete(ctx, name) })
}

func (r *retry) Stat(ctx context.Context, name string) (info Info, err error) {
	err = r.do(ctx, func(ctx context.Context) error {
		info, err = r.store.Stat(ctx, name)
		return err
	})
	return info, err
}
