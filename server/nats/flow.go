package nats

import (
	"strconv"

	"kvd/server/nats/wire"
)

const (
	flowWindow    = 2 << 20  // bytes on their way to the client at most, at first
	flowWindowMax = 32 << 20 // at last
)

// flow is the flow control of a consumer: it asks the client, once half of the window
// is on its way, to say when that has been dealt with, and stalls when the window is
// full.
type flow struct {
	window  int
	unheard int    // bytes sent that the client has not answered for
	asked   int    // bytes that the request is about
	request string // the subject of the answer; empty: none is on its way
	count   uint64
}

// sent counts a message and returns the reply subject of the request to send, if it is
// time for one.
func (f *flow) sent(k *consumer, size int) string {
	f.unheard += size
	if f.window == 0 {
		f.window = flowWindow
	}
	if f.request != "" || f.unheard <= f.window/2 {
		return ""
	}
	f.count++
	f.asked = f.unheard
	f.request = wire.FlowControlPrefix + k.layout.Stream + "." + k.name + "." + strconv.FormatUint(f.count, 36)
	return f.request
}

// stalled reports whether the client has to answer first.
func (f *flow) stalled() bool { return f.window > 0 && f.unheard > f.window }

// heard takes the client's answer, and reports whether it was one to the request.
func (f *flow) heard(subject string) bool {
	if f.request == "" || subject != f.request {
		return false
	}
	f.unheard -= f.asked
	f.request = ""
	f.window = min(2*f.window, flowWindowMax)
	return true
}
