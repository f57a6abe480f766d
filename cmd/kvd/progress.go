package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// progress shows how far long work has come: a line that is rewritten on a
// terminal, a log line every ten seconds elsewhere. Short work shows nothing.
// One goroutine at a time uses it.
type progress struct {
	terminal io.Writer // nil: none
	logger   *slog.Logger
	began    time.Time // of the stage
	stage    string
	said     time.Time
	shown    bool
}

const (
	progressPatience = time.Second      // before a terminal is bothered
	progressPause    = 10 * time.Second // between two lines of a log
)

func (a *app) newProgress(logger *slog.Logger) *progress {
	p := &progress{logger: logger}
	if a.errTTY {
		p.terminal = a.err
	}
	return p
}

// show takes done of total, in bytes or whatever the stage counts; a total of 0
// is not known.
func (p *progress) show(stage string, done, total int64) {
	now := time.Now()
	if stage != p.stage {
		p.stage, p.began, p.said = stage, now, now
	}
	switch {
	case p.terminal != nil && now.Sub(p.began) >= progressPatience:
		p.clear()
		fmt.Fprint(p.terminal, p.line(done, total, now))
		p.shown = true
	case p.terminal == nil && now.Sub(p.said) >= progressPause:
		p.said = now
		p.logger.Info(stage, "done", done, "total", total)
	}
}

func (p *progress) line(done, total int64, now time.Time) string {
	if total <= 0 {
		return fmt.Sprintf("%s: %d", p.stage, done)
	}
	share := min(1, float64(done)/float64(total))
	s := fmt.Sprintf("%s: %3.0f %%", p.stage, 100*share)
	if share > 0 {
		left := time.Duration(float64(now.Sub(p.began)) * (1 - share) / share)
		s += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	return s
}

// clear takes the line away.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.terminal, "\r"+strings.Repeat(" ", widthDefault-1)+"\r")
		p.shown = false
	}
}
