//go:build linux || darwin || freebsd

package vfs

import (
	"os"
	"path/filepath"
	"sync"
)

// names has the open files of the operating system by their paths, so that the errors of a
// file that was renamed name the path that it has now. Renaming a directory changes none.
type names struct {
	mu    sync.Mutex
	files map[string]*osFile // by cleaned path: the first of a list, by osFile.next
}

// named has the files of this process.
var named = names{files: make(map[string]*osFile)}

// open returns an open file of that path.
func (n *names) open(path string, f *os.File) *osFile {
	path = filepath.Clean(path)
	n.mu.Lock()
	defer n.mu.Unlock()
	file := &osFile{f: f, next: n.files[path]}
	n.files[path] = file
	return file
}

// close forgets a file. A second time it does nothing.
func (n *names) close(f *osFile) {
	n.mu.Lock()
	defer n.mu.Unlock()
	path := filepath.Clean(f.pathLocked())
	first := n.files[path]
	for at := &first; *at != nil; at = &(*at).next {
		if *at == f {
			*at = f.next
			break
		}
	}
	n.set(path, first)
}

// set sets the first file of a path; nil for none.
func (n *names) set(path string, first *osFile) {
	if first == nil {
		delete(n.files, path)
	} else {
		n.files[path] = first
	}
}

// rename records that the files of a path have another one. Those of the other path were
// replaced, have none any more, and keep the name.
func (n *names) rename(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, path := filepath.Clean(from), filepath.Clean(to)
	if old == path {
		return
	}
	replaced := n.files[path]
	end := &replaced
	for *end != nil {
		end = &(*end).next
	}
	for f := n.files[old]; f != nil; f = f.next {
		f.renamed = to
	}
	*end = n.files[old]
	delete(n.files, old)
	n.set(path, replaced)
}
