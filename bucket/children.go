package bucket

import (
	"context"
	"iter"
	"strings"

	"kvd/index"
	"kvd/kv"
)

// Children yields the next level of the tree of keys below prefix. It visits the first key of each
// child and counts those that follow up to kv.ChildKeysMax, so that a child with many keys costs no
// more than that.
func (f *frozen) Children(ctx context.Context, prefix, separators string, limit int) iter.Seq2[kv.Child, error] {
	return func(yield func(kv.Child, error) bool) {
		err := f.within(ctx, kv.CheckChildren(prefix, separators, limit), func() error {
			c := children{walk: walk{frozen: f, ctx: ctx}, prefix: prefix, separators: separators}
			return c.run(limit, yield)
		})
		if err != nil {
			yield(kv.Child{}, err)
		}
	}
}

// children is one pass over a level of the tree of keys.
type children struct {
	walk
	prefix, separators string
}

// run yields the children until there are limit, if that is not 0.
func (c *children) run(limit int, yield func(kv.Child, error) bool) error {
	if err := c.frozen.doubts(c.ctx, 0); err != nil {
		return err
	}
	end := endOf(c.prefix)
	for from, shown := c.prefix, 0; limit == 0 || shown < limit; {
		if err := c.frozen.goesOn(c.ctx); err != nil {
			return err
		}
		key, found := c.first(span{from, end})
		if !found {
			return c.err
		}
		at := strings.IndexAny(key[len(c.prefix):], c.separators)
		child, name := kv.Child{Key: at < 0}, key
		if at >= 0 {
			name = key[:len(c.prefix)+at]
		}
		if from = key + "\x00"; at >= 0 { // behind all keys below the child with this separator
			from = endOf(key[:len(name)+1])
		}
		if at >= 0 && c.known(name, key[len(name)]) {
			continue
		}
		child.Name = name[len(c.prefix):]
		if c.count(&child, name); c.err != nil {
			return c.err
		}
		if shown++; !yield(child, nil) {
			return nil
		}
		if from == "" {
			return nil
		}
	}
	return nil
}

// first returns the first key of a span with a value.
func (c *children) first(s span) (key string, found bool) {
	c.visit(s, func(k []byte) bool {
		key, found = string(k), true
		return false
	})
	return key, found
}

// known reports whether a child was yielded before, because it is a key or has keys behind a lower
// separator.
func (c *children) known(name string, separator byte) bool {
	if v, ok := c.frozen.index.Newest(name); ok && c.frozen.shows(&v, false) {
		return true
	}
	for i := range len(c.separators) {
		if lower := c.separators[i]; lower < separator {
			if _, found := c.first(below(name, lower)); found {
				return true
			}
		}
	}
	return false
}

// below returns the span of the keys that begin with a name and a separator.
func below(name string, separator byte) span {
	from := name + string([]byte{separator})
	return span{from, endOf(from)}
}

// count counts the keys below a child.
func (c *children) count(child *kv.Child, name string) {
	for i := range len(c.separators) {
		if strings.IndexByte(c.separators[:i], c.separators[i]) >= 0 {
			continue // it was given twice
		}
		c.visit(below(name, c.separators[i]), func([]byte) bool {
			if child.Keys == kv.ChildKeysMax {
				child.More = true
				return false
			}
			child.Keys++
			return true
		})
	}
}

// visit calls fn for the keys of a span with a value, ascending, until it returns false.
func (c *children) visit(s span, fn func(key []byte) bool) {
	c.frozen.index.Ascend(s.from, func(key []byte, v index.Version) bool {
		switch {
		case !s.below(key) || !c.goesOn():
			return false
		case !c.frozen.shows(&v, false):
			return true
		}
		return fn(key)
	})
}
