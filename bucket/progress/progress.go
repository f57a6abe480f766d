// Package progress tells how far a long piece of work has come: opening a store, or
// verifying one.
package progress

import (
	"sync"
	"time"
)

// Stage is a part of the work, in words for people.
type Stage string

// Progress says how far a stage has come.
type Progress struct {
	Stage Stage
	Done  int64 // of Total, in the stage's unit
	Total int64 // 0: not known
}

// Meter reports the progress of one stage: at its start, and then a few times a
// second at most. All methods are safe for concurrent use.
type Meter struct {
	report func(Progress)
	stage  Stage
	total  int64

	mu   sync.Mutex
	done int64
	last time.Time
}

// pause is the least time between two reports.
const pause = 200 * time.Millisecond

// Start reports the start of a stage of that total, 0 if it is not known, and returns
// its meter. report runs under the meter's lock, in the goroutine that calls Add; nil: nothing is
// reported.
func Start(stage Stage, total int64, report func(Progress)) *Meter {
	if report == nil {
		report = func(Progress) {}
	}
	report(Progress{Stage: stage})
	return &Meter{report: report, stage: stage, total: total, last: time.Now()}
}

// Add says that n more is done.
func (m *Meter) Add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if now := time.Now(); now.Sub(m.last) >= pause {
		m.last = now
		m.report(Progress{Stage: m.stage, Done: m.done, Total: m.total})
	}
}
