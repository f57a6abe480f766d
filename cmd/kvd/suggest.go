package main

import (
	"slices"

	"github.com/spf13/cobra"
)

// synonyms are what other programs call a verb.
var synonyms = map[string][]string{
	"serve":   {"start", "server", "run", "daemon"},
	"add":     {"mk", "mkbucket", "create-bucket"},
	"edit":    {"alter", "configure"},
	"info":    {"stats", "stat", "status", "describe", "inspect"},
	"ls":      {"keys", "scan", "buckets", "find", "dir"},
	"count":   {"size", "len", "dbsize"},
	"put":     {"set", "write", "store", "insert"},
	"touch":   {"ttl", "expire", "renew"},
	"get":     {"read", "fetch", "show", "cat", "exists"},
	"history": {"log", "revisions", "versions"},
	"del":     {"delete", "remove", "unset", "drop"},
	"watch":   {"subscribe", "tail", "follow"},
	"reclaim": {"gc", "vacuum"},
	"conns":   {"clients", "connections"},
	"slow":    {"slowlog"},
	"top":     {"monitor"},
	"verify":  {"check", "fsck"},
	"config":  {"settings"},
	"passwd":  {"password"},
}

// removing are the verbs that are suggested for their synonyms alone: a guess must not lead
// to the loss of data.
var removing = []string{"del", "purge", "compact", "accept", "rm"}

// suggestion returns the verb of c that somebody may have meant; empty if there is none.
func suggestion(c *cobra.Command, typed string) string {
	for _, verb := range c.Commands() {
		if verb.IsAvailableCommand() && slices.Contains(synonyms[verb.Name()], typed) {
			return verb.Name()
		}
	}
	// Letters that may differ: a short word with another letter is another word.
	c.SuggestionsMinimumDistance = min(2, max(0, len(typed)-3))
	for _, name := range c.SuggestionsFor(typed) {
		if !slices.Contains(removing, name) {
			return name
		}
	}
	return ""
}
