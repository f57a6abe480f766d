package bucket

import (
	"fmt"

	"kvd/internal/vfs"
	"kvd/kv"
)

// failure is why a store takes no more writes. There is only ever one: the
// first. Nothing is retried on a file after an error, since the system marks
// pages clean that never reached the disk, and a second sync would say so.
type failure struct{ cause error }

// poison turns the store read-only and returns what the writers on their way
// must be told: that nobody knows what became of their writes.
func (s *Store) poison(cause error) error {
	if s.failure.CompareAndSwap(nil, &failure{cause}) {
		s.opts.Logger.Error("store is read-only from now on: reopen it to go on", "dir", s.dir, "cause", cause)
	}
	return fmt.Errorf("%w: %w", kv.ErrOutcomeUnknown, s.failure.Load().cause)
}

// checkFailure returns nil, or why the store takes no writes.
func (s *Store) checkFailure() error {
	if f := s.failure.Load(); f != nil {
		return fmt.Errorf("%w: %w", kv.ErrReadOnly, f.cause)
	}
	return nil
}

// readOnlyFS makes the system's refusal to write match kv.ErrReadOnly.
func readOnlyFS(err error) error {
	if vfs.RefusesWrites(err) {
		return fmt.Errorf("%w: %w", kv.ErrReadOnly, err)
	}
	return err
}
