package simdisk

import (
	"cmp"
	"container/list"
	"slices"
)

// view is one of the two states of a disk.
type view int

const (
	live    view = iota // the state that processes see
	durable             // the state after a power cut that loses everything pending
	views
)

// node is a file or directory. It has a face in each view. Changes of the live face
// that the durable face does not have yet are pending.
type node struct {
	dir     bool
	path    string // its last name
	faces   [views]face
	pending []*list.Element // a file's data changes, a directory's entry changes
	entries int             // pending entry changes that move this node
	handles int             // open files and mappings
	twin    struct {        // its copy in the image that is being made
		stamp uint64
		node  *node
	}
}

// face is the state of a node in one view.
type face struct {
	parent  *node // nil: it has no name
	name    string
	entries []entry // of a directory, ascending by name
	content content // of a file
}

type entry struct {
	name string
	node *node
}

// place is a directory and a name in it. The zero place means no place.
type place struct {
	dir  *node
	name string
}

func (n *node) search(v view, name string) (int, bool) {
	return slices.BinarySearchFunc(n.faces[v].entries, name,
		func(e entry, name string) int { return cmp.Compare(e.name, name) })
}

// child returns the node with that name in directory n, or nil.
func (n *node) child(v view, name string) *node {
	if i, found := n.search(v, name); found {
		return n.faces[v].entries[i].node
	}
	return nil
}

// attach gives n a name. The node that had the name loses it.
func (n *node) attach(v view, at place) {
	n.detach(v)
	f := &at.dir.faces[v]
	i, found := at.dir.search(v, at.name)
	if found {
		f.entries[i].node.faces[v].parent = nil
		f.entries[i].node = n
	} else {
		f.entries = slices.Insert(f.entries, i, entry{at.name, n})
	}
	n.faces[v].parent, n.faces[v].name = at.dir, at.name
}

// detach removes n's name.
func (n *node) detach(v view) {
	parent := n.faces[v].parent
	if parent == nil {
		return
	}
	n.faces[v].parent = nil
	if i, found := parent.search(v, n.faces[v].name); found {
		parent.faces[v].entries = slices.Delete(parent.faces[v].entries, i, i+1)
	}
}

// at reports whether n has that name.
func (n *node) at(v view, p place) bool {
	return n.faces[v].parent == p.dir && n.faces[v].name == p.name
}

// gone reports whether no view can ever show n again.
func (n *node) gone() bool {
	return n.faces[live].parent == nil && n.faces[durable].parent == nil && n.entries == 0
}
