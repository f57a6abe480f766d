package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"kvd/backup/blob"
	"kvd/backup/blob/s3"
	"kvd/backup/lines"
	"kvd/backup/repo"
	"kvd/bucket/cut"
	"kvd/client"
	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// exitCode is the status that the process ends with. Scripts branch on it: never
// renumber.
type exitCode int

const (
	exitOK          exitCode = 0
	exitOther       exitCode = 1
	exitUsage       exitCode = 2
	exitNotFound    exitCode = 3
	exitConflict    exitCode = 4
	exitConnection  exitCode = 5
	exitDenied      exitCode = 6
	exitLimit       exitCode = 7
	exitCorrupt     exitCode = 8
	exitInterrupted exitCode = 130
)

var errInterrupted = errors.New("interrupted")

// interrupted is the error of a command that a signal ended. It keeps the warning that
// the outcome of a write is unknown.
func interrupted(err error) error {
	if errors.Is(err, kv.ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	return errInterrupted
}

// codeRules map errors to exit codes; the first match counts. Corruption comes early,
// because the error of a store that is read-only after damage matches both.
var codeRules = []struct {
	code exitCode
	errs []error
}{
	{exitInterrupted, []error{errInterrupted}},
	{exitCorrupt, []error{kv.ErrCorrupt, errDamaged, lines.ErrIncomplete}},
	{exitNotFound, []error{kv.ErrBucketNotFound, kv.ErrKeyNotFound, kv.ErrCompacted, kv.ErrFutureRevision, errNoStore, errNoConn, errNoUser, errNoUsersFile, repo.ErrNoRepo, repo.ErrNoPoint, fs.ErrNotExist}},
	{exitConflict, []error{kv.ErrKeyExists, kv.ErrKeyRevisionMismatch, kv.ErrBucketExists, kv.ErrDigestMismatch, kv.ErrContended, kv.ErrLocked, lines.ErrChanged, errElse, errUserExists, cut.ErrNotEmpty, fs.ErrExist, repo.ErrRepoTaken, repo.ErrBusy, syscall.EADDRINUSE}},
	{exitLimit, []error{kv.ErrValueTooLarge, kv.ErrBucketFull, kv.ErrHistoryTooLarge, kv.ErrTxnTooLarge, kv.ErrNoSpace, kv.ErrTooManyFiles, syscall.ENOSPC, syscall.EDQUOT}},
	{exitUsage, []error{kv.ErrInvalidBucketName, kv.ErrInvalidKey, kv.ErrInvalidPattern, kv.ErrInvalidConfig, kv.ErrInvalidOption, kv.ErrInvalidRecord, kv.ErrInvalidTxn, s3.ErrURL, s3.ErrSecretURL, s3.ErrEndpoint, s3.ErrPlainHTTP}},
	{exitDenied, []error{lineproto.ErrDenied, lineproto.ErrAuthFailed, lineproto.ErrAuthRequired, server.ErrExposed, s3.ErrNoCredentials, fs.ErrPermission}},
	{exitConnection, []error{context.DeadlineExceeded, lineproto.ErrTimeout, lineproto.ErrTooMany, lineproto.ErrShutdown, errUnhealthy, blob.ErrUnavailable}},
}

// codeOf returns the code for an error; nil is exitOK.
func codeOf(err error) exitCode {
	if err == nil {
		return exitOK
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	var limit *kv.LimitError
	if errors.As(err, &limit) && !limit.Duration {
		return exitLimit
	}
	for _, rule := range codeRules {
		for _, target := range rule.errs {
			if errors.Is(err, target) {
				return rule.code
			}
		}
	}
	return codeByType(err)
}

// codeByType is codeOf for errors that no rule names.
func codeByType(err error) exitCode {
	var connection *client.ConnError
	var network *net.OpError
	if errors.As(err, &connection) || errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &network) && network.Op != "listen" {
		return exitConnection
	}
	return exitOther
}

// waysOut are hints for errors whose text does not say what to do.
var waysOut = []struct {
	err  error
	hint string
}{
	{kv.ErrBucketNotFound, `"kvd ls" lists the buckets, "kvd add" creates one`},
	{kv.ErrBucketExists, `"kvd info" shows its configuration, "kvd edit" changes it`},
	{kv.ErrKeyExists, `"kvd update" replaces the value of an existing key`},
	{kv.ErrKeyRevisionMismatch, "read the key again and retry"},
	{kv.ErrLocked, "stop that process, use it with --server, or choose another directory"},
	{kv.ErrValueTooLarge, `"kvd edit --max-value-size" raises the limit, up to 64 MiB`},
	{kv.ErrBucketFull, `"kvd edit --max-bucket-size" raises the limit; deletes are still accepted`},
	{kv.ErrTooManyFiles, "allow the process more files (ulimit -n, LimitNOFILE in systemd's unit), or give the store fewer (--max-files)"},
	{kv.ErrNoSpace, "free disk space; reads and deletes still work"},
	{kv.ErrOutcomeUnknown, "the write may have happened or not: read before you write again"},
	{syscall.EADDRINUSE, "stop the process that listens there, or choose another port: 0 picks a free one"},
	{syscall.ECONNREFUSED, `no server is listening there: start one with "kvd", name another with --server, or use a directory with --dir`},
	{kv.ErrCorrupt, `"kvd verify" lists all damage; restore a backup, or copy what is sound into a new store with "kvd repair"`},
	{lineproto.ErrAuthRequired, "pass --user, and the password in KVD_PASSWORD or --password-file"},
	{lineproto.ErrDenied, "\"kvd user --help\" explains grants"},
	{repo.ErrNoRepo, `"kvd backup" makes one`},
	{repo.ErrNoPoint, `"kvd backup ls" lists the backups`},
	{server.ErrExposed, "set --users and --tls-cert, or --insecure"},
}

// explain returns the error in one line, with a hint.
func explain(err error) string {
	text := strings.ReplaceAll(strings.TrimSpace(plainText(err)), "\n", "; ")
	var hinted *hintedError
	if errors.As(err, &hinted) {
		return text // it has the hint
	}
	var corrupt *kv.CorruptError
	if errors.As(err, &corrupt) && corrupt.UpTo != 0 {
		return text // it names the ways out
	}
	for _, w := range waysOut {
		if errors.Is(err, w.err) {
			return text + " (" + w.hint + ")"
		}
	}
	return text
}

// plainText returns the text of an error with the parts put for people that package kv and
// the client put for programs.
func plainText(err error) string {
	text := err.Error()
	var limit *kv.LimitError
	if errors.As(err, &limit) && !limit.Duration && strings.Contains(limit.What, "size") {
		human := fmt.Sprintf("%v: %s is %s, must be %s to %s", limit.Err, limit.What,
			exactBytes(limit.Got), exactBytes(limit.Min), exactBytes(limit.Max))
		text = strings.Replace(text, limit.Error(), human, 1)
	}
	var mismatch *kv.RevisionMismatchError
	if errors.As(err, &mismatch) && !mismatch.Create && mismatch.Got == 0 && mismatch.Key != "" {
		absent := fmt.Sprintf("%v: %q in bucket %q does not exist, expected revision %d", kv.ErrKeyRevisionMismatch, mismatch.Key, mismatch.Bucket, mismatch.Want)
		text = strings.Replace(text, mismatch.Error(), absent, 1)
	}
	var refused *client.ConnError
	if errors.As(err, &refused) && errors.Is(err, syscall.ECONNREFUSED) {
		text = strings.Replace(text, refused.Error(), fmt.Sprintf("cannot connect to %s: connection refused", refused.Addr), 1)
	}
	return text
}

// exactBytes returns a size for people, and the number where that would be rounded.
func exactBytes(n int64) string {
	text := bytesText(uint64(max(0, n)))
	if back, err := humanize.ParseBytes(text); err != nil || back != uint64(n) {
		return fmt.Sprintf("%d bytes", n)
	}
	return text
}

// hintedError has the way out in its own text, because only its command knows it.
type hintedError struct{ error }

func (e *hintedError) Unwrap() error { return e.error }

// usageError is a mistake in the command line.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v (see %q)", e.err, e.command+" --help")
}

func (e *usageError) Unwrap() error { return e.err }

func usageOf(c *cobra.Command, err error) error { return &usageError{c.CommandPath(), err} }

// flagError explains an error in the flags.
func flagError(c *cobra.Command, err error) error {
	if strings.HasPrefix(err.Error(), "unknown shorthand flag") && strings.Contains(c.Use, "VALUE") {
		err = fmt.Errorf("%w: a value that begins with \"-\" stands behind \"--\", after all flags", err)
	}
	return usageOf(c, err)
}

// takes returns a check of the number of arguments, whose error names the missing or
// the unexpected one. A negative most means no upper bound.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		unprotect(args)
		names := strings.Fields(c.Use)[1:]
		switch {
		case len(args) < least:
			return usageOf(c, fmt.Errorf("%s is missing", strings.TrimSuffix(names[len(args)], "...")))
		case most >= 0 && len(args) > most:
			return usageOf(c, fmt.Errorf("unexpected argument %q", args[most]))
		}
		return nil
	}
}
