package nats

import (
	"errors"
	"strconv"
	"strings"
	"sync"

	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// transfersMax bounds the backups and restores of a connection at a time: each holds a few MiB.
const transfersMax = 4

// transfers are the backups and restores of a connection. Its goroutine begins them. They end
// with it.
type transfers struct {
	conn *conn

	mu        sync.Mutex // guards the fields below
	count     uint64     // that were begun
	snapshots map[string]*snapshot
	restores  map[string]*restore
}

// errConnectionEnded ends the restores of a connection.
var errConnectionEnded = errors.New("the connection has ended")

// newID returns the id of the next transfer, unless there are too many.
func (t *transfers) newID() (string, *jsapi.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.snapshots)+len(t.restores) >= transfersMax {
		return "", jsapi.NewError(503, jsapi.ErrNoResources.ErrCode,
			"insufficient resources: a connection has at most "+strconv.Itoa(transfersMax)+" backups and restores at a time")
	}
	t.count++
	return strconv.FormatUint(t.count, 36), nil
}

func (t *transfers) addSnapshot(s *snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snapshots == nil {
		t.snapshots = make(map[string]*snapshot)
	}
	t.snapshots[s.id] = s
}

func (t *transfers) addRestore(r *restore) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.restores == nil {
		t.restores = make(map[string]*restore)
	}
	t.restores[r.id] = r
}

// remove removes the transfer of that id.
func (t *transfers) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.snapshots, id)
	delete(t.restores, id)
}

// find returns the transfer of that id: one of the two, or none.
func (t *transfers) find(id string) (*snapshot, *restore) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshots[id], t.restores[id]
}

// list returns all transfers.
func (t *transfers) list() (snapshots []*snapshot, restores []*restore) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.snapshots {
		snapshots = append(snapshots, s)
	}
	for _, r := range t.restores {
		restores = append(restores, r)
	}
	return snapshots, restores
}

// wake has the snapshots go on that wait for a subscription, or for the answer to their
// request.
func (t *transfers) wake() {
	snapshots, _ := t.list()
	for _, s := range snapshots {
		s.wake()
	}
}

// serve takes a message to one of the transfers: the acknowledgement of a chunk, or a chunk. It
// reports false if there is no such transfer.
//
//	$JS.SNAPSHOT.ACK.<stream>.<id>.<bytes>.<chunk>
//	$JS.SNAPSHOT.RESTORE.<stream>.<id>
func (t *transfers) serve(o *wire.Operation) bool {
	tokens := strings.Split(string(o.Subject[len(wire.SnapshotPrefix):]), ".")
	switch {
	case len(tokens) == 5 && tokens[0] == "ACK":
		s, _ := t.find(tokens[2])
		if s == nil || s.stream.config.Name != tokens[1] {
			return false
		}
		s.acknowledged(tokens[4])
		return true
	case len(tokens) == 3 && tokens[0] == "RESTORE":
		_, r := t.find(tokens[2])
		if r == nil || r.config.Name != tokens[1] {
			return false
		}
		r.take(o)
		return true
	}
	return false
}

// end ends all transfers, and waits until the restores have discarded what they have.
func (t *transfers) end() {
	snapshots, restores := t.list()
	for _, s := range snapshots {
		s.end()
	}
	for _, r := range restores {
		r.stop(errConnectionEnded)
		<-r.done
	}
}
