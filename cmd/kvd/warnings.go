package main

import (
	"fmt"
	"log/slog"
	"strings"

	"kvd/bucket"
)

// insecureText says what --insecure does.
const insecureText = "anyone who can reach these addresses may have full access"

// warning is what an operator has to know when a server starts. A terminal gets the label and the
// text, a log the message with its attributes.
type warning struct {
	label, text string

	message string
	attrs   []any
}

// warnings returns what the operator has to know, the most important first.
func (d *daemon) warnings(report *bucket.Report, doubtful []string) (list []warning) {
	for _, text := range doubtful {
		list = append(list, warning{"DOUBT", text, "in doubt after damage", []any{"what", text}})
	}
	if stale := strings.Join(d.cfg.store.ServeStale, ","); stale != "" {
		list = append(list, warning{
			"WARNING", fmt.Sprintf("--serve-stale %s: %s", stale, staleText),
			"serving stale", []any{"buckets", stale, "what", staleText},
		})
	}
	if d.cfg.insecure {
		list = append(list, warning{"WARNING", "--insecure: " + insecureText, "serving insecurely", []any{"what", insecureText}})
	}
	for _, text := range report.Notes {
		list = append(list, warning{"note", text, "note on the recovery", []any{"what", text}})
	}
	for _, file := range report.Strays {
		list = append(list, warning{
			"note", "moved a file that is not the store's to " + file,
			"moved a file that is not the store's", []any{"to", file},
		})
	}
	return list
}

// log logs the warning.
func (w *warning) log(l *slog.Logger) { l.Warn(w.message, w.attrs...) }
