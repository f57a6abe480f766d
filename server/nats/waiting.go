package nats

import (
	"slices"
	"strconv"
	"time"

	"kvd/server/nats/wire"
)

// pullRequest is a request of CONSUMER.MSG.NEXT that waits for messages.
type pullRequest struct {
	reply     []byte
	targets   *[]*subscription // to the reply subject; not changed, but replaced
	messages  int              // that may still be delivered
	bytes     int              // that may still be delivered; 0 for no limit
	delivered int
	noWait    bool
	expires   time.Time // zero: never
	heartbeat time.Duration
	beatDue   time.Time // zero: no heartbeats
}

// conn returns the connection that the request's messages go to first.
func (r *pullRequest) conn() *conn { return (*r.targets)[0].conn }

// hasExpired reports whether the request has expired.
func (r *pullRequest) hasExpired(now time.Time) bool {
	return !r.expires.IsZero() && !now.Before(r.expires)
}

// waiting holds the requests that wait, the next to be served first. A request that was
// served goes to the end. The consumer's polling guards it.
type waiting struct {
	queue []*pullRequest
	max   int
}

func (w *waiting) first() *pullRequest { return w.queue[0] }

func (w *waiting) add(r *pullRequest) { w.queue = append(w.queue, r) }

func (w *waiting) isEmpty() bool { return len(w.queue) == 0 }

// isFull reports whether no more requests may wait.
func (w *waiting) isFull() bool { return len(w.queue) >= w.max }

// shift removes the first request.
func (w *waiting) shift() *pullRequest {
	r := w.queue[0]
	w.queue[0] = nil
	if w.queue = w.queue[1:]; len(w.queue) == 0 {
		w.queue = nil // idle consumers hold no memory
	}
	return r
}

// cycle moves the first request to the end.
func (w *waiting) cycle() {
	if len(w.queue) > 1 {
		w.add(w.shift())
	}
}

// count returns the number of messages that the requests ask for.
func (w *waiting) count() (messages int) {
	for _, r := range w.queue {
		messages += r.messages
	}
	return messages
}

// removeIf removes the requests for which remove reports true.
func (w *waiting) removeIf(remove func(*pullRequest) bool) {
	if w.queue = slices.DeleteFunc(w.queue, remove); len(w.queue) == 0 {
		w.queue = nil
	}
}

// due returns when the first request expires or needs a heartbeat; zero for never.
func (w *waiting) due() (at time.Time) {
	for _, r := range w.queue {
		at = earlier(earlier(at, r.expires), r.beatDue)
	}
	return at
}

// earlier returns the earlier of two times, of which zero is the latest.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// The statuses that end a request. Some of them say what was not delivered.
const (
	endTimeout   = "408 Request Timeout"
	endNothing   = "404 No Messages"
	endPending   = "408 Requests Pending"
	endSize      = "409 Message Size Exceeds MaxBytes"
	endCompleted = "409 Batch Completed"
	endDeleted   = "409 Consumer Deleted"
	endFull      = "409 Exceeded MaxWaiting"
	endPush      = "409 Consumer is push based"
	endLevel     = "412 Required Api Level"
)

// appendStatus appends the header block of a status.
func appendStatus(b []byte, status string) []byte {
	b = append(b, "NATS/1.0 "...)
	b = append(b, status...)
	return append(b, "\r\n\r\n"...)
}

// appendLeft appends the header block of a status with what the request has left.
func (r *pullRequest) appendLeft(b []byte, status string) []byte {
	b = append(b, "NATS/1.0 "...)
	b = append(b, status...)
	b = append(b, "\r\nNats-Pending-Messages: "...)
	b = strconv.AppendInt(b, int64(r.messages), 10)
	b = append(b, "\r\nNats-Pending-Bytes: "...)
	b = strconv.AppendInt(b, int64(r.bytes), 10)
	return append(b, wire.HeaderEnd+wire.HeaderEnd...)
}
