package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"

	"kvd/backup/blob"
	"kvd/kv"
	"kvd/wal"
)

// logID names a log object.
type logID struct {
	epoch       epoch
	first, last wal.LSN
}

func (id logID) name() string {
	return fmt.Sprintf("%slog/%016x-%016x.kvl.zst", id.epoch.dir(), uint64(id.first), uint64(id.last))
}

// logName is the name of a log object.
var logName = regexp.MustCompile(`^gen/([0-9a-f]{16})/log/([0-9a-f]{16})-([0-9a-f]{16})\.kvl\.zst$`)

// parseLog reads a name; false: it is no name of a log object.
func parseLog(name string) (id logID, ok bool) {
	m := logName.FindStringSubmatch(name)
	if m == nil {
		return id, false
	}
	e, _ := strconv.ParseUint(m[1], 16, 64) // 16 digits always fit
	first, _ := strconv.ParseUint(m[2], 16, 64)
	last, _ := strconv.ParseUint(m[3], 16, 64)
	id = logID{epoch(e), wal.LSN(first), wal.LSN(last)}
	return id, first > 0 && first <= last
}

// storedLog is a log object as the place lists it.
type storedLog struct {
	logID
	size  int64   // bytes
	until wal.LSN // the frames up to it count
}

// logsOf returns the log objects among the objects of all generations, ascending by LSN.
func logsOf(objects []listedObject) (logs []storedLog) {
	for _, o := range objects {
		if o.log.first != 0 {
			logs = append(logs, storedLog{o.log, o.Size, o.log.last})
		}
	}
	slices.SortFunc(logs, func(a, b storedLog) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last), cmp.Compare(a.epoch, b.epoch))
	})
	return logs
}

// counting returns the objects whose frames count, or some of them: of two generations with one LSN that is the
// later one. The earlier writer put its frame after it was replaced, and before it found out.
func counting(logs []storedLog) (some []storedLog) {
	begins := make(map[epoch]wal.LSN)
	for _, l := range logs { // ascending
		if begins[l.epoch] == 0 {
			begins[l.epoch] = l.first
		}
	}
	ends := make(map[epoch]wal.LSN)
	end := wal.LSN(math.MaxUint64)
	for _, e := range slices.Backward(slices.Sorted(maps.Keys(begins))) {
		ends[e] = end
		end = min(end, begins[e]-1)
	}
	for _, l := range logs {
		if l.until = min(l.last, ends[l.epoch]); l.until >= l.first {
			some = append(some, l)
		}
	}
	return some
}

// logPacker makes objects of logs, and logs of objects. It is for one goroutine.
type logPacker struct{ packer }

func newLogPacker() (*logPacker, error) {
	p, err := newPackerMax(logMax)
	if err != nil {
		return nil, err
	}
	return &logPacker{*p}, nil
}

// readLog reads a log object. The error matches kv.ErrCorrupt if it is missing or not right.
func (p *logPacker) readLog(ctx context.Context, r *Repository, l storedLog) (*logObject, error) {
	name := l.name()
	if l.size > blob.SizeMax {
		return nil, corrupt(r.place, name, "it has %d bytes, at most %d are allowed", l.size, blob.SizeMax)
	}
	object, err := r.place.GetRange(ctx, name, 0, l.size)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrRange) {
		return nil, corrupt(r.place, name, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	raw, err := p.open(object, nil)
	if err != nil {
		return nil, corrupt(r.place, name, "%v", err)
	}
	o, err := decodeLog(raw)
	switch {
	case errors.Is(err, kv.ErrVersion):
		return nil, fmt.Errorf("%s in %s: %w", name, r.place, err)
	case err != nil:
		return nil, corrupt(r.place, name, "%v", err)
	case o.store != r.StoreID():
		return nil, corrupt(r.place, name, "it is of store %x", o.store)
	case o.first() != l.first || o.last() != l.last:
		return nil, corrupt(r.place, name, "it has LSN %d to %d", o.first(), o.last())
	}
	return o, nil
}
