package nats

import (
	"strings"

	"kvd/kv"
)

// recentSubjects remembers the last message of each subject among the newest ones that it was
// told of. A limit of the stream may have removed it meanwhile. The zero value is empty.
type recentSubjects struct {
	last  map[string]kv.Revision
	order []recentSubject // a ring, once it is full
	at    int             // the oldest in it
}

type recentSubject struct {
	subject  string
	revision kv.Revision
}

// recentMax is the number of messages that are remembered, in some 100 KB.
const recentMax = 1024

// add adds a message. Messages come in the order of revisions. subject is copied.
func (r *recentSubjects) add(subject string, revision kv.Revision) {
	if r.last == nil {
		r.last = make(map[string]kv.Revision)
	}
	m := recentSubject{strings.Clone(subject), revision}
	if len(r.order) < recentMax {
		r.order = append(r.order, m)
	} else {
		if oldest := r.order[r.at]; r.last[oldest.subject] == oldest.revision {
			delete(r.last, oldest.subject)
		}
		r.order[r.at] = m
		r.at = (r.at + 1) % recentMax
	}
	r.last[m.subject] = revision
}
