package repo

import (
	"context"

	"kvd/wal"
)

// Range is LSNs that the repository has all frames of.
type Range struct {
	First, Last wal.LSN
	Objects     int
	Stored      int64 // bytes of the objects
	Gap         bool  // the place was away for so long that the frames behind it were given up
}

// Logs returns the ranges of the log that the repository has, ascending: between two of them there is a gap, of
// which bases alone can be restored. Positions in a range behind a base can be restored.
func (r *Repository) Logs(ctx context.Context) ([]Range, error) {
	objects, err := r.generations(ctx)
	if err != nil {
		return nil, err
	}
	gaps := make(map[epoch]bool)
	for _, o := range objects {
		gaps[o.epoch] = gaps[o.epoch] || o.gap
	}
	var ranges []Range
	for _, l := range counting(logsOf(objects)) {
		n := len(ranges)
		if n == 0 || l.first > ranges[n-1].Last+1 {
			ranges = append(ranges, Range{First: l.first})
			n++
		}
		x := &ranges[n-1]
		if l.until >= x.Last {
			x.Last, x.Gap = l.until, gaps[l.epoch]
		}
		x.Objects++
		x.Stored += l.size
	}
	return ranges, nil
}
