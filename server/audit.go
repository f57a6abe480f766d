package server

import (
	"log/slog"
	"strings"
)

// Act is an administrative act: what an operator wants to find again in the log.
type Act struct {
	What   string // in the past tense, such as "bucket deleted"
	Bucket string // empty: not about one bucket
	Origin Origin
	Err    error // why it failed; nil: it was done
}

// Log logs the act as a line "audit" with the attributes act, user and remote, and bucket and
// error where there are any. The level is info, so --log-level warn leaves acts out.
func (a Act) Log(log *slog.Logger, more ...any) {
	attrs := []any{"act", a.What, "user", a.Origin.User, "remote", a.Origin.Remote}
	if a.Bucket != "" {
		attrs = append(attrs, "bucket", strings.Clone(a.Bucket)) // it may be a view of a connection's buffer
	}
	if a.Err != nil {
		attrs = append(attrs, "error", a.Err.Error())
	}
	log.Info("audit", append(attrs, more...)...)
}

// Audit logs an administrative act of the client. err is why it failed; nil: it was done.
func (c *Conn) Audit(what, bucket string, err error) {
	Act{What: what, Bucket: bucket, Origin: c.origin(), Err: err}.Log(c.Logger())
}
