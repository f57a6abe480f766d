package bucket

import "time"

// share is the part of a group that requests of low priority may take: the sweep's. Its
// cost for the writers of the group is the time that the commit path works on it. So it
// is bounded by time: about as long as the group's sync takes, on any disk. A group with
// its full share takes twice as long as one without, and the sweep makes progress with
// every group.
//
// # Why
//
// The sweep's requests used to be groups between those of the writers. Requests of 512
// markers held the path for 2 ms each, as long as ten syncs. Requests of 128 got the path
// too seldom. Now the sweep has a share of every group, together with the writers.
type share struct {
	now float64 // mutations; 0: nothing was measured yet
}

const (
	shareLeast = 32
	shareMost  = 4096
	// shareTime is the least time that a share may take, also if the group's sync is
	// faster or if there is none.
	shareTime = 100 * time.Microsecond
	// shareRoom is the part of a frame that is reserved for requests of low priority while
	// there are any, bytes.
	shareRoom = 256 << 10
)

func (s *share) mutations() int { return int(max(s.now, shareLeast)) }

// adapt adjusts the share to the measurement of a group with its full share: how long the
// path worked on it, and how long the sync took. It moves a quarter of the way, and one
// measurement asks for at most twice or half the share: a goroutine that was preempted
// seems to have worked for long.
func (s *share) adapt(worked, synced time.Duration) {
	now := max(s.now, shareLeast)
	want := now * float64(max(synced, shareTime)) / float64(max(worked, 1))
	want = min(max(want, now/2), 2*now)
	s.now = min(now+(want-now)/4, shareMost)
}
