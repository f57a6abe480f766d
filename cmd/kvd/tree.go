package main

import (
	"context"
	"fmt"
	"strings"

	"kvd/kv"
)

// childJSON is a name in the tree of keys in JSON.
type childJSON struct {
	Bucket string `json:"bucket"`
	Name   string `json:"name"` // with the prefix
	Key    bool   `json:"key"`  // it is a key itself
	Keys   int    `json:"keys"` // below it
	More   bool   `json:"more"` // there are more than keys
}

// children prints one level of the tree of keys, below the prefix if there is one.
func (l *lister) children(ctx context.Context, a *app, b kv.Bucket, prefix []string) error {
	r, err := readerOf(b)
	if err != nil {
		return err
	}
	parent := l.parent(prefix)
	title := fmt.Sprintf("Tree of bucket '%s'", b.Name())
	if parent != "" {
		title += fmt.Sprintf(" below '%s'", a.key(parent))
	}
	t := a.newList(title, "Name", "Keys below", "Is a key")
	found := false
	for child, err := range r.Children(ctx, parent, l.separators, l.bounds.Limit) {
		if err != nil {
			return err
		}
		found = true
		name := parent + child.Name
		if a.json {
			if err := a.printJSON(childJSON{b.Name(), name, child.Key, child.Keys, child.More}); err != nil {
				return err
			}
			continue
		}
		below, key := fmt.Sprint(child.Keys), "no"
		if child.More {
			below += "+"
		}
		if child.Key {
			key = "yes"
		}
		t.add(a.key(name), below, key)
	}
	return a.endList(t, found, "No keys found in bucket")
}

// parent returns the prefix of an argument, which may lack the separator at its end. Without an
// argument it is that of the root.
func (l *lister) parent(args []string) string {
	if len(args) == 0 || args[0] == "" {
		return ""
	}
	prefix := args[0]
	if last := prefix[len(prefix)-1]; strings.IndexByte(l.separators, last) < 0 {
		prefix += l.separators[:1]
	}
	return prefix
}
