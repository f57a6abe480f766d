package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"kvd/server/admin"
)

func (a *app) slowCommand() *cobra.Command {
	var addr string
	var threshold ageFlag
	c := &cobra.Command{
		Use:   "slow",
		Short: "Show the slow calls of a server",
		Long: `Show the newest 128 calls into the store that took at least the threshold: --slow of
the server, or what --threshold has set since its start. All writes and listings are
timed, and one get in 16. A listing takes as long as its client reads.
On a server with users it needs a user with "admin" on "*".`,
		Example: `  kvd slow
  kvd slow --threshold 20ms`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			method, body := http.MethodGet, any(nil)
			if c.Flags().Changed("threshold") {
				method, body = http.MethodPut, map[string]string{"threshold": time.Duration(threshold).String()}
			}
			var log admin.SlowLog
			if err := a.askAdmin(c.Context(), addr, method, "/api/v1/slow", body, &log); err != nil {
				return err
			}
			return a.printSlow(&log)
		},
	}
	c.Flags().Var(&threshold, "threshold", "set the threshold until the next start of the server; 0 switches the slow log off")
	a.addAdmin(c, &addr)
	a.addJSON(c)
	return c
}

func (a *app) printSlow(log *admin.SlowLog) error {
	title := fmt.Sprintf("Calls of %s and more: %d since the start", log.Threshold, log.Count)
	t := a.newList(title, "Time", "Took", "Operation", "Bucket", "Key", "Writes", "User", "Address", "Error")
	for i := range log.Calls {
		c := &log.Calls[i]
		if a.json {
			if err := a.printJSON(c); err != nil {
				return err
			}
			continue
		}
		t.add(t.time(c.Time), seconds(c.Seconds).Round(time.Microsecond), c.Operation, c.Bucket, t.cell([]byte(c.Key)), max(c.Writes, 1), c.User, c.Remote, t.cell([]byte(c.Error)))
	}
	if !a.json {
		t.end()
	}
	return nil
}
