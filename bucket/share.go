package bucket

import "time"

// share is how much of a patient request, the sweep's, a group takes along. What it
// costs the writers of the group is the time that the path works on it, so it is
// measured in that: about as long as the group's sync takes, whatever the disk.
// A group that carries its share takes twice as long as one without, and the sweep
// goes on with every group.
//
// # Why
//
// Requests of 512 markers that took their turn with the writers' held the path for
// 2 ms each, ten syncs; of 128 they had it too seldom. The sweep has a share of
// every group instead, beside the writers and not between them.
type share struct {
	now float64 // mutations; 0: nothing was measured yet
}

const (
	shareLeast = 32
	shareMost  = 4096
	// shareTime is what the share of a group may take that is not synced, or faster.
	shareTime = 100 * time.Microsecond
	// shareRoom is how much of a frame is left to patient requests while there are
	// any, bytes.
	shareRoom = 256 << 10
)

func (s *share) mutations() int { return int(max(s.now, shareLeast)) }

// adapt notes what a group that carried its share took. It moves a quarter of the
// way, and one measurement counts at most twofold: a goroutine that was preempted
// looks like much work.
func (s *share) adapt(worked, synced time.Duration) {
	now := max(s.now, shareLeast)
	want := now * float64(max(synced, shareTime)) / float64(max(worked, 1))
	want = min(max(want, now/2), 2*now)
	s.now = min(now+(want-now)/4, shareMost)
}
