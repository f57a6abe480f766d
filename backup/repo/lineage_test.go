package repo

import (
	"errors"
	"strings"
	"testing"

	"kvd/backup"
	"kvd/backup/blob/blobtest"
	"kvd/bucket"
	"kvd/kv"
)

// take takes the frames that are waiting.
func (s *shipped) take() []bucket.TailFrame {
	s.t.Helper()
	frames, err := s.tail.Take(shipBatch)
	if err != nil || len(frames) == 0 {
		s.t.Fatal(frames, err)
	}
	return frames
}

// putAs puts frames as a generation does.
func (s *shipped) putAs(e epoch, frames []bucket.TailFrame) {
	s.t.Helper()
	o := &logObject{store: s.ID(), frames: frames}
	if err := s.place.Put(s.t.Context(), logID{e, o.first(), o.last()}.name(), s.run.packer.pack(o.append(nil))); err != nil {
		s.t.Fatal(err)
	}
}

// Frames of another copy of the store are not replayed on a base, nor behind frames that are right.
func TestFramesOfAnotherCopyAreDamage(t *testing.T) {
	for _, before := range []int{0, 1} {
		place := blobtest.NewMemory()
		s := ship(t, newSource(t), place)
		s.put("k", "0")
		s.flush()
		s.base()
		for range before {
			s.put("k", "1")
			s.flush()
		}
		s.put("k", "2")
		frames := s.take()
		frames[0].Words.Sum++ // of other records before
		s.putAs(s.run.generation.epoch, frames)
		if _, err := openRepo(t, place).Plan(t.Context(), Target{}); !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), "another copy") {
			t.Errorf("behind %d frames: %v", before, err)
		}
	}
}

// Frames that no store makes are an error of the restore, although every sum is right.
func TestARepeatedFrameIsDamage(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.base()
	s.put("k", "1")
	frame := s.take()[0]
	again := frame
	again.LSN, again.Words = frame.LSN+1, frame.Next
	s.putAs(s.run.generation.epoch, []bucket.TailFrame{frame, again})
	if _, _, err := recovered(t, place, Target{}, backup.RestoreOptions{}); !errors.Is(err, kv.ErrCorrupt) {
		t.Error(err)
	}
}

// What a writer put after it was replaced does not count where the later writer has frames: its object may begin
// before the later one's base, and end behind it.
func TestLateFramesDoNotCount(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	early := s.run.generation.epoch
	s.put("k", "1")
	s.base()
	s.put("k", "2") // both writers have it
	frames := s.take()
	s.put("other", "3") // the later one alone
	s.put("other", "4")
	theirs := s.take()
	late := append(frames, theirs...)
	fork := late[len(late)-1]
	fork.Words.Sum++
	fork.Next.Sum += 7
	fork.Payload = frames[0].Payload
	s.putAs(early, append(late[:len(late)-1:len(late)-1], fork))
	s.putAs(early+5, theirs)
	store, p, err := recovered(t, place, Target{}, backup.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, store); got["other"] != "4" || got["k"] != "2" || p.LSN != fork.LSN {
		t.Errorf("%v at %s", got, p.Instant)
	}
	ranges, err := openRepo(t, place).Logs(t.Context())
	if err != nil || len(ranges) != 1 || ranges[0].Last != fork.LSN {
		t.Error(ranges, err)
	}
}

// A plan of the newest state tells of frames behind a gap.
func TestTheNewestStateBeforeAGap(t *testing.T) {
	s, place := shipTwoWrites(t)
	p, err := openRepo(t, place).Plan(t.Context(), Target{})
	if err != nil || p.Cut != 0 {
		t.Fatal(p, err)
	}
	last := s.run.last
	s.put("k", "lost")
	s.take() // as a shipper that was killed
	s.put("k", "3")
	s.flush()
	p, err = openRepo(t, place).Plan(t.Context(), Target{})
	if err != nil || p.Instant != last || p.Cut != s.run.last.LSN {
		t.Error(p, err)
	}
	s.base()
	p, err = openRepo(t, place).Plan(t.Context(), Target{})
	if err != nil || p.LSN != s.run.last.LSN || p.Cut != 0 {
		t.Error(p, err)
	}
}

// An older state is not restored because the newest base is damaged, unless the log leads past it, or it is asked for.
func TestADamagedNewestBase(t *testing.T) {
	place := blobtest.NewMemory()
	s := ship(t, newSource(t), place)
	s.put("k", "1")
	s.base()
	s.put("k", "2")
	s.take() // never shipped
	s.base()
	all := points(t, place)
	place.Change(all[1].id.list(), func(b []byte) []byte { return b[1:] })
	r := openRepo(t, place)
	if _, err := r.Plan(t.Context(), Target{}); !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), all[1].id.list()) {
		t.Error(err)
	}
	if p, err := r.Plan(t.Context(), Target{LSN: all[0].LSN}); err != nil || p.LSN != all[0].LSN {
		t.Error(p, err)
	}
}
