package line

import (
	"fmt"
	"strings"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// permissions are those that a verb needs. HELLO, AUTH, PING, QUIT, UNWATCH, DISCARD and TXN itself need none;
// BUCKETS lists the buckets in which the user has any.
var permissions = [...]struct {
	may server.Permission
	of  scope
}{
	lineproto.VerbAdd:          {server.MayAdmin, ofBucket},
	lineproto.VerbEdit:         {server.MayAdmin, ofBucket},
	lineproto.VerbRemove:       {server.MayAdmin, ofBucket},
	lineproto.VerbPurgeDeletes: {server.MayAdmin, ofBucket},
	lineproto.VerbReclaim:      {server.MayAdmin, ofBucket},
	lineproto.VerbAccept:       {server.MayAdmin, ofBucket},
	lineproto.VerbImport:       {server.MayAdmin, ofImport},
	lineproto.VerbRecords:      {server.MayAdmin, ofImport},
	lineproto.VerbCommit:       {server.MayAdmin, ofImport},
	lineproto.VerbBackup:       {server.MayAdmin, ofBuckets},
	lineproto.VerbLost:         {server.MayGet, ofBucket},
	lineproto.VerbInfo:         {server.MayAny, ofAnything},
	lineproto.VerbPut:          {server.MayPut, ofKey},
	lineproto.VerbCreate:       {server.MayPut, ofKey},
	lineproto.VerbUpdate:       {server.MayPut, ofKey},
	lineproto.VerbTouch:        {server.MayPut, ofKey},
	lineproto.VerbDelete:       {server.MayDel, ofKey},
	lineproto.VerbPurge:        {server.MayDel, ofKey},
	lineproto.VerbGet:          {server.MayGet, ofKey},
	lineproto.VerbHistory:      {server.MayGet, ofKey},
	lineproto.VerbIf:           {server.MayGet, ofKey},
	lineproto.VerbIfNewest:     {server.MayGet, ofBucket},
	lineproto.VerbKeys:         {server.MayGet, ofPatterns},
	lineproto.VerbCount:        {server.MayGet, ofPatterns},
	lineproto.VerbGetMany:      {server.MayGet, ofAnything}, // and each key: conn.keysOf
	lineproto.VerbRange:        {server.MayGet, ofPatterns}, // and those in the payload: conn.rangeOf
	lineproto.VerbChildren:     {server.MayGet, ofPrefix},
	lineproto.VerbWatch:        {server.MayWatch, ofPatterns},
}

// scope is what a verb needs its permission for.
type scope uint8

const (
	ofBucket   scope = iota // the bucket as a whole
	ofKey                   // the key of the command
	ofPatterns              // every key that one of its patterns can match
	ofAnything              // the bucket, or some keys of it
	ofImport                // the bucket of the import as a whole; put is needed too
	ofPrefix                // every key that begins with the prefix of the command
	ofBuckets               // each bucket of the command as a whole, and get in it too
)

// permit returns nil, or why the client may not give the command.
func (c *conn) permit(cmd *lineproto.Command) error {
	if int(cmd.Verb) >= len(permissions) || permissions[cmd.Verb].may == 0 {
		return nil
	}
	needs := &permissions[cmd.Verb]
	var err error
	switch needs.of {
	case ofBucket:
		err = c.Permit(needs.may, cmd.Bucket)
	case ofKey:
		err = c.PermitKey(needs.may, cmd.Bucket, cmd.Key)
	case ofPatterns:
		err = c.permitPatterns(needs.may, cmd.Bucket, lineproto.SplitPatterns(cmd.Patterns))
	case ofPrefix:
		err = c.PermitPattern(needs.may, cmd.Bucket, patternOver(cmd.Prefix))
	case ofAnything:
		err = c.PermitAny(needs.may, cmd.Bucket)
	case ofImport:
		err = c.permitImport(needs.may, cmd)
	case ofBuckets:
		err = c.permitBuckets(cmd.Buckets, needs.may, server.MayGet)
	}
	return denied(err)
}

// denied returns the error of a command that a missing permission refuses, or nil.
func denied(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", lineproto.ErrDenied, err)
}

// patternOver returns a pattern that matches all keys that begin with the prefix. It is the narrowest
// one if a point ends the prefix.
func patternOver(prefix string) string {
	pattern := prefix[:strings.LastIndexByte(prefix, '.')+1] + lineproto.AllPatterns
	if kv.CheckPattern(pattern) != nil { // no key begins so
		return lineproto.AllPatterns
	}
	return pattern
}

// permitImport checks the permissions for an import. Another user may have logged in since it began.
func (c *conn) permitImport(p server.Permission, cmd *lineproto.Command) error {
	bucket := cmd.Bucket
	if cmd.Verb != lineproto.VerbImport {
		o := c.imports.open[cmd.Import]
		if o == nil {
			return nil // it is refused later
		}
		bucket = o.bucket
	}
	if err := c.Permit(p, bucket); err != nil {
		return err
	}
	return c.PermitPattern(server.MayPut, bucket, lineproto.AllPatterns)
}

// permitBuckets checks several permissions in each bucket of a word. All buckets need a grant for the
// pattern that matches every bucket.
func (c *conn) permitBuckets(word string, needs ...server.Permission) error {
	for name := range strings.SplitSeq(word, ",") {
		for _, p := range needs {
			if err := c.Permit(p, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// permitPatterns checks patterns as lineproto.SplitPatterns returns them.
func (c *conn) permitPatterns(p server.Permission, bucket string, patterns []string) error {
	if len(patterns) == 0 {
		return c.PermitPattern(p, bucket, lineproto.AllPatterns)
	}
	for _, pattern := range patterns {
		if err := c.PermitPattern(p, bucket, pattern); err != nil {
			return err
		}
	}
	return nil
}
