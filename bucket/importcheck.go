package bucket

import (
	"fmt"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// recordCheck checks records one after another.
type recordCheck struct {
	config  *kv.Config
	next    kv.Revision // no record has it, nor one above; 0: that is not known
	now     int64       // unix ns
	last    kv.Revision // of the record before
	created int64       // its time, unix ns
}

// check returns the rule that a record breaks, nil if none. The mutation that is made of it
// checks key and sizes again.
func (c *recordCheck) check(r *kv.Entry) error {
	if err := kv.CheckKey(r.Key); err != nil {
		return err
	}
	if err := checkSizes(c.config, len(r.Value), len(r.Headers)); err != nil {
		return err
	}
	if r.Revision <= c.last || r.Revision > kv.MaxImportRevision || c.next != 0 && r.Revision >= c.next {
		highest := kv.MaxImportRevision
		if c.next != 0 {
			highest = c.next - 1
		}
		return fmt.Errorf("%w: revisions ascend: it must be %d to %d", kv.ErrInvalidRecord, c.last+1, highest)
	}
	created := r.Created.UnixNano()
	if r.Created.Before(time.Unix(0, max(c.created, 1))) || r.Created.After(time.Unix(0, c.now)) {
		return fmt.Errorf("%w: created %v, must be %v to %v: not before the record before it, and not in the future", kv.ErrInvalidRecord,
			r.Created.UTC().Format(time.RFC3339Nano), time.Unix(0, max(c.created, 1)).UTC().Format(time.RFC3339Nano), time.Unix(0, c.now).UTC().Format(time.RFC3339Nano))
	}
	if err := c.checkOperation(r); err != nil {
		return err
	}
	if err := c.checkDeadline(r, created); err != nil {
		return err
	}
	c.last, c.created = r.Revision, created
	return nil
}

func (c *recordCheck) checkOperation(r *kv.Entry) error {
	ok := false
	switch r.Operation {
	case kv.Put:
		ok = r.Reason == kv.ReasonNone
	case kv.Delete:
		ok = r.Reason == kv.ReasonClient
	case kv.Purge:
		ok = r.Reason == kv.ReasonClient || r.Reason == kv.ReasonExpiry
	}
	switch {
	case !ok:
		return fmt.Errorf("%w: %v with reason %v", kv.ErrInvalidRecord, r.Operation, r.Reason)
	case r.Operation.IsMarker() && len(r.Value) > 0:
		return fmt.Errorf("%w: %v with a value of %d bytes", kv.ErrInvalidRecord, r.Operation, len(r.Value))
	}
	return nil
}

func (c *recordCheck) checkDeadline(r *kv.Entry, created int64) error {
	switch {
	case r.Deadline.IsZero():
		return nil
	case r.Operation == kv.Delete || c.config.Kind == msglog.Kind:
		return fmt.Errorf("%w: a deadline of a %v, and in a bucket of kind %d: neither deletes nor records of message logs have one",
			kv.ErrInvalidRecord, r.Operation, c.config.Kind)
	case r.Deadline.Before(time.Unix(0, created+1)) || r.Deadline.After(time.Unix(0, 1<<63-1)):
		return fmt.Errorf("%w: deadline %v, must be after its creation at %v and before 2262", kv.ErrInvalidRecord,
			r.Deadline.UTC().Format(time.RFC3339Nano), r.Created.UTC().Format(time.RFC3339Nano))
	}
	return nil
}
