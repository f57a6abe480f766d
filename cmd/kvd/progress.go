package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"kvd/bucket"
)

// progress shows the progress of long work: a line that is rewritten on a terminal, a
// log line every ten seconds elsewhere. It shows nothing for short work. One goroutine
// at a time uses it.
type progress struct {
	terminal io.Writer // nil: none
	logger   *slog.Logger
	began    time.Time // of the stage
	stage    string
	logged   time.Time // when the last line of the log was written
	shown    bool

	rate func(perSecond float64) string // of the stage; nil: it is not shown
}

const (
	progressDelay    = time.Second      // before the line on a terminal
	progressInterval = 10 * time.Second // between two lines of the log
)

func (a *app) newProgress(logger *slog.Logger) *progress {
	p := &progress{logger: logger}
	if a.errTTY {
		p.terminal = a.err
	}
	return p
}

// show reports done of total, in the unit of the stage. A total of 0 is unknown.
func (p *progress) show(stage string, done, total int64) {
	now := time.Now()
	if stage != p.stage {
		p.stage, p.began, p.logged = stage, now, now
	}
	switch {
	case p.terminal != nil && now.Sub(p.began) >= progressDelay:
		p.clear()
		fmt.Fprint(p.terminal, p.line(done, total, now))
		p.shown = true
	case p.terminal == nil && now.Sub(p.logged) >= progressInterval:
		p.logged = now
		p.logger.Info(stage, "done", done, "total", total)
	}
}

// showBytes is show for a stage that counts bytes.
func (p *progress) showBytes(b bucket.Progress) {
	p.rate = func(perSecond float64) string { return bytesText(uint64(perSecond)) + "/s" }
	p.show(string(b.Stage), b.Done, b.Total)
	p.rate = nil
}

// showRecords is show for a stage that counts records.
func (p *progress) showRecords(stage string, done, total uint64) {
	p.rate = func(perSecond float64) string { return fmt.Sprintf("%.0f records/s", perSecond) }
	p.show(stage, int64(done), int64(total))
	p.rate = nil
}

func (p *progress) line(done, total int64, now time.Time) string {
	rate := ""
	if p.rate != nil {
		rate = ", " + p.rate(float64(done)/now.Sub(p.began).Seconds())
	}
	if total <= 0 {
		return fmt.Sprintf("%s: %d%s", p.stage, done, rate)
	}
	share := min(1, float64(done)/float64(total))
	s := fmt.Sprintf("%s: %3.0f %%%s", p.stage, 100*share, rate)
	if share > 0 {
		left := time.Duration(float64(now.Sub(p.began)) * (1 - share) / share)
		s += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	return s
}

// clear removes the line from the terminal.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.terminal, "\r"+strings.Repeat(" ", widthDefault-1)+"\r")
		p.shown = false
	}
}
