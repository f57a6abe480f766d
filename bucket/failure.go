package bucket

import (
	"fmt"

	"kvd/internal/vfs"
	"kvd/kv"
)

// failure is why a store takes no more writes: the first fault. After an error nothing is
// tried again on a file: the system marks pages clean that never reached the disk, so a
// second sync would wrongly succeed.
type failure struct{ cause error }

// poison makes the store read-only. It returns the error for writes under way: their
// outcome is unknown.
func (s *Store) poison(cause error) error {
	if s.failure.CompareAndSwap(nil, &failure{cause}) {
		s.opts.Logger.Error("store is read-only from now on: reopen it to go on", "dir", s.dir, "cause", cause)
	}
	return fmt.Errorf("%w: %w", kv.ErrOutcomeUnknown, s.failure.Load().cause)
}

// checkFailure returns nil, or the fault because of which the store takes no writes.
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

// waysOut is what a log line about damage tells operators to do.
const waysOut = "kvd lost lists what is lost; restore a backup, or copy what is sound with kvd repair"
