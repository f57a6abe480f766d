package vfs

// A Forgetter is a [File] that can tell the system that a range of it is not read again soon, so
// that reading all of a large file does not push what others read out of the page cache. It promises
// nothing, and changes no byte. What somebody has mapped and read stays.
type Forgetter interface {
	Forget(off, n int64)
}

// Forget calls the method of that name, if the file has it.
func Forget(f File, off, n int64) {
	if g, ok := f.(Forgetter); ok {
		g.Forget(off, n)
	}
}
