// Package environment is what a store takes from the machine: files, clocks, random
// bits and background goroutines. A test replaces them and attaches them to the
// store's options with [With]:
//
//	bucket.Open(dir, environment.With(bucket.Options{}, environment.Env{Manual: true}))
//
// The options of package bucket keep an environment in an unexported field, so its
// documentation does not show it to programs. Packages with such options register them
// ([Register]). Programs never import this package; a lint rule enforces that.
package environment

import (
	"fmt"
	"time"

	"kvd/internal/vfs"
)

// Env is the environment of a store. The zero value is the machine's.
type Env struct {
	// FS is the file system of the store; nil: the operating system's.
	FS vfs.FS

	// Now is the wall clock; nil: time.Now. The store's time begins at the wall clock's
	// time, and continues by the monotonic clock. Stored times never decrease, whatever
	// Now returns.
	Now func() time.Time

	// Elapsed is the monotonic clock: the time since some fixed instant. Nil: differences
	// of Now are used; those of time.Now are monotonic.
	Elapsed func() time.Duration

	// Suspended is the time for which the machine was suspended since some fixed instant:
	// the monotonic clock stands still meanwhile. Nil: [Suspended], or 0 where Now or
	// Elapsed is not nil.
	Suspended func() time.Duration

	// Random returns 64 random bits: for the store's id, its seed and the salts of the
	// log. It is called from any goroutine. Nil: crypto/rand.
	Random func() uint64

	// Manual leaves out every background goroutine. The caller calls Checkpoint itself,
	// and a write that finds the log full makes a checkpoint inline. So the calls of the
	// file system have a repeatable order.
	Manual bool

	// TailBuckets is how many buckets a group of writes touches at least whose records are held in
	// memory before they are written to the segments' files; 0: the store's choice, and none with
	// Manual. With Manual they are held until something needs them in the files, such as a
	// checkpoint.
	TailBuckets int

	// LargeValue is the size in bytes from which on a value has a file of its own; 0: the
	// store's choice.
	LargeValue int
}

// setters get a pointer to options and set their environment. They report whether the
// options are of their type.
var setters []func(options any, env Env) bool

// Register makes [With] take options of type O. It is for the init functions of the
// packages that have such options.
func Register[O any](set func(options *O, env Env)) {
	setters = append(setters, func(options any, env Env) bool {
		o, ok := options.(*O)
		if ok {
			set(o, env)
		}
		return ok
	})
}

// With returns the options with an environment. It panics if no package has
// registered options of that type.
func With[O any](options O, env Env) O {
	for _, set := range setters {
		if set(&options, env) {
			return options
		}
	}
	panic(fmt.Sprintf("environment: %T has none", options))
}
