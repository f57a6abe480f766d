package line

import "kvd/internal/lineproto"

// acts name the administrative acts for the audit log, by verb. IMPORT, RECORDS and DISCARD have
// none: nothing is visible before COMMIT.
var acts = [...]string{
	lineproto.VerbAdd:          "bucket created",
	lineproto.VerbEdit:         "bucket edited",
	lineproto.VerbRemove:       "bucket deleted",
	lineproto.VerbPurgeDeletes: "markers removed",
	lineproto.VerbReclaim:      "disk space reclaimed",
	lineproto.VerbAccept:       "loss accepted",
	lineproto.VerbCommit:       "bucket imported",
	lineproto.VerbBackup:       "backup sent",
}

// audit logs a command that is an administrative act. err is why it failed; nil: it was done.
func (c *conn) audit(cmd *lineproto.Command, bucket string, err error) {
	if int(cmd.Verb) < len(acts) && acts[cmd.Verb] != "" {
		c.Audit(acts[cmd.Verb], bucket, err)
	}
}
