package compaction

// Usage is how much of the disk a bucket takes, and what for.
type Usage struct {
	Disk     int64 // bytes of its segments and value files
	Need     int64 // of those, the bytes that are not garbage
	Sweeping bool  // a sweep for expired records is under way
}

// How many times what it needs a bucket's segments may take while there are
// writers: a compaction costs a checkpoint, and the later it comes the more it
// gives back for it.
const (
	swollen = 1.75 // from here on it is compacted
	bloated = 2.5  // from here on faster

	usageSlack = 1 << 20 // bytes that any bucket may take beyond what it needs
)

// Bloated reports whether the bucket takes so much that compaction has to hurry.
func (u *Usage) Bloated() bool { return u.factor() > bloated }

func (u *Usage) factor() float64 { return float64(u.Disk) / float64(u.Need+usageSlack) }

// Policy returns the policy for the bucket. idle says that hardly anybody writes, and
// full that the disk has no room.
func (u *Usage) Policy(idle, full bool) Policy {
	switch {
	case full:
		return Full
	case u.Sweeping: // the sweep may remove what would be copied, and writers have enough beside them
		return None
	case idle:
		return Idle
	case u.Bloated():
		return Bloated
	case u.factor() > swollen:
		return Busy
	}
	return None
}
