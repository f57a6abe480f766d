package streamconfig

import (
	"errors"

	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// Republish says that a stream's messages are also published to other subjects once they are
// stored. An empty Destination publishes nothing.
type Republish struct {
	Source      string `json:"src,omitempty"` // a pattern of the stream's subjects; > by default
	Destination string `json:"dest"`          // see Transform
	HeadersOnly bool   `json:"headers_only,omitempty"`
}

// check refuses a destination that the stream would store again, and a transform that is not
// one.
func (r *Republish) check(subjects []string) *jsapi.Error {
	for _, subject := range subjects {
		if wire.Overlap(r.Destination, subject) {
			return jsapi.InvalidConfig("stream configuration for republish destination forms a cycle")
		}
	}
	if r.Destination == "" {
		return nil
	}
	_, err := NewTransform(r.Source, r.Destination)
	switch {
	case errors.Is(err, errFunction):
		return jsapi.UnsupportedConfig("republish to %q: %v", r.Destination, err)
	case err != nil:
		return jsapi.InvalidConfig("stream configuration for republish with transform from '%s' to '%s' not valid", r.Source, r.Destination)
	}
	return nil
}

// Transform returns the transform of the subjects, nil if nothing is published.
func (r *Republish) Transform() *Transform {
	if r == nil || r.Destination == "" {
		return nil
	}
	t, err := NewTransform(r.Source, r.Destination)
	if err != nil { // it was checked; the extras of a bucket that another tool changed
		return nil
	}
	return t
}
