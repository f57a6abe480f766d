package kv_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"kvd/kv"
)

type (
	wrapped  struct{ kv.Store }
	submits  struct{ kv.Store }
	wrapper  struct{ kv.Store }
	watchful struct{ wrapper }
)

func (s submits) Submit([]kv.Mutation) {}
func (w wrapper) Unwrap() kv.Store     { return w.Store }
func (w watchful) As(target any) (ok bool) {
	if target, is := target.(*interface{ Submit([]kv.Mutation) }); is {
		var inside interface{ Submit([]kv.Mutation) }
		if inside, ok = kv.As[interface{ Submit([]kv.Mutation) }](w.Store); ok {
			*target = counted{inside}
		}
	}
	return ok
}

type counted struct {
	inside interface{ Submit([]kv.Mutation) }
}

func (c counted) Submit(m []kv.Mutation) { c.inside.Submit(m) }

func TestAs(t *testing.T) {
	type submitter = interface{ Submit([]kv.Mutation) }
	for name, c := range map[string]struct {
		v       any
		ok, own bool // found; as the wrapper's own
	}{
		"nil":                               {nil, false, false},
		"a value without":                   {wrapped{}, false, false},
		"a value with":                      {submits{}, true, false},
		"embedding alone hides it":          {wrapped{submits{}}, false, false},
		"a wrapper of nothing":              {wrapper{}, false, false},
		"a wrapper passes on":               {wrapper{wrapper{submits{}}}, true, false},
		"a wrapper that sees the calls":     {wrapper{watchful{wrapper{wrapper{submits{}}}}}, true, true},
		"a wrapper that could see them":     {watchful{wrapper{wrapped{}}}, false, false},
		"a wrapper is found as what it is":  {watchful{wrapper{submits{}}}, true, true},
		"a wrapper of a wrapper that hides": {wrapper{wrapped{submits{}}}, false, false},
	} {
		got, ok := kv.As[submitter](c.v)
		if _, own := got.(counted); ok != c.ok || own != c.own {
			t.Errorf("%s: found %v, as the wrapper's own %v", name, ok, own)
		}
	}
}

// TestNobodyAssertsCapabilities has the whole tree ask for what only some stores have by
// kv.As: a type assertion does not see through a wrapper.
func TestNobodyAssertsCapabilities(t *testing.T) {
	assertion := regexp.MustCompile(`\.\((kv\.(Submitter|Reclaimer|Poller|Watched)|msglog\.Log|interface\{ ID\(\) [^}]*\})\)`)
	err := fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile("../" + path)
		if at := assertion.FindIndex(text); at != nil {
			t.Errorf("%s: %s at byte %d: use kv.As", path, text[at[0]:at[1]], at[0])
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
