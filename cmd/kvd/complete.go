package main

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvd/kv/msglog"
)

// completer yields values for one argument of a verb, given the arguments before it
// and the text typed so far.
type completer func(ctx context.Context, s store, before []string, prefix string) iter.Seq2[string, error]

const (
	completionTimeout = 500 * time.Millisecond // the shell waits for it
	completionMax     = 1000                   // proposals
)

// completeArgs returns the completion of a verb's arguments. After any error there are
// no proposals.
func (a *app) completeArgs(by ...completer) cobra.CompletionFunc {
	return func(c *cobra.Command, before []string, prefix string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if len(before) >= len(by) {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
		defer cancel()
		var found []string
		_ = a.withStore(ctx, mustExist, func(ctx context.Context, s store) error {
			for name, err := range by[len(before)](ctx, s, before, prefix) {
				if err != nil || len(found) == completionMax {
					break
				}
				if strings.HasPrefix(name, prefix) {
					found = append(found, name)
				}
			}
			return nil
		})
		return found, directive
	}
}

// completeEach is completeArgs of a verb whose last argument may be repeated.
func (a *app) completeEach(first, rest completer) cobra.CompletionFunc {
	return func(c *cobra.Command, before []string, prefix string) ([]string, cobra.ShellCompDirective) {
		by := append([]completer{first}, slices.Repeat([]completer{rest}, len(before))...)
		return a.completeArgs(by...)(c, before, prefix)
	}
}

func completeBucket(ctx context.Context, s store, _ []string, _ string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name, err := range s.BucketNames(ctx) {
			if !strings.HasPrefix(name, msglog.ReservedBucket) && !yield(name, err) {
				return
			}
		}
	}
}

// completeKey proposes the keys of the bucket that the argument before names. The
// server sends the keys that share the complete tokens typed so far.
func completeKey(ctx context.Context, s store, before []string, prefix string) iter.Seq2[string, error] {
	b, err := s.Bucket(ctx, before[0])
	if err != nil {
		return func(func(string, error) bool) {}
	}
	pattern := ">"
	if i := strings.LastIndexByte(prefix, '.'); i > 0 {
		pattern = prefix[:i+1] + ">"
	}
	return b.Keys(ctx, pattern)
}

// completeRevision proposes the kept revisions of the key that the argument before names.
func completeRevision(ctx context.Context, s store, before []string, _ string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		b, err := s.Bucket(ctx, before[0])
		if err != nil {
			return
		}
		for e, err := range b.History(ctx, before[1]) {
			if !yield(strconv.FormatUint(uint64(e.Revision), 10), err) {
				return
			}
		}
	}
}
