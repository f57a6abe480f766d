package nats

import (
	"strconv"

	"kvd/server/nats/wire"
)

const (
	flowWindow    = 2 << 20  // bytes that may be outstanding, at first
	flowWindowMax = 32 << 20 // that is doubled with each reply up to this
)

// flow is the flow control of a consumer. When half of the window was sent, the consumer
// sends a request that the client answers after it has processed the messages before it.
// When the whole window is outstanding, the consumer stalls until the answer comes.
type flow struct {
	window      int
	outstanding int    // bytes sent since the last reply
	requested   int    // bytes sent before the request
	request     string // the reply subject of the request; empty if there is none
	count       uint64
}

// sent counts a message. It returns the reply subject of the flow control request to send,
// and the empty string if none is due.
func (f *flow) sent(k *consumer, size int) string {
	f.outstanding += size
	if f.window == 0 {
		f.window = flowWindow
	}
	if f.request != "" || f.outstanding <= f.window/2 {
		return ""
	}
	f.count++
	f.requested = f.outstanding
	f.request = wire.FlowControlPrefix + k.layout.Stream + "." + k.config.Name + "." + strconv.FormatUint(f.count, 36)
	return f.request
}

// stalled reports whether the consumer must wait for the client's reply.
func (f *flow) stalled() bool { return f.window > 0 && f.outstanding > f.window }

// replied handles a reply of the client, and reports whether it answers the request.
func (f *flow) replied(subject string) bool {
	if f.request == "" || subject != f.request {
		return false
	}
	f.outstanding -= f.requested
	f.request = ""
	f.window = min(2*f.window, flowWindowMax)
	return true
}
