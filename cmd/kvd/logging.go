package main

import "log/slog"

// logFormat is the format of the log.
type logFormat string

const (
	formatAuto logFormat = "auto" // text on a terminal, else JSON
	formatText logFormat = "text"
	formatJSON logFormat = "json"
)

// newLogger returns the log of a server, on standard error.
func (a *app) newLogger(f logFormat, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if a.isText(f) {
		return slog.New(slog.NewTextHandler(a.err, opts))
	}
	return slog.New(slog.NewJSONHandler(a.err, opts))
}

func (a *app) isText(f logFormat) bool { return f == formatText || f == formatAuto && a.errTTY }
