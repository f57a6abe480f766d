// Command kvd is a key/value store: the server (kvd, kvd serve), and the verbs
// that work on a running server or on a directory (kvd put, kvd verify, …).
//
// The verbs, their argument order and their flags are those of "nats kv", so that
// people and scripts need not relearn them. They stand directly under kvd, and under
// "kvd kv" too.
//
// # Output
//
// Data goes to standard output, everything else to standard error. Lists are
// tables on a terminal and tab-separated lines elsewhere, without a heading; with
// --json they are one object per line. A value that is not UTF-8 text is base64
// there, and "encoding" in the object says so. Every write prints its revision.
//
// # Exit codes
//
//	0    ok
//	1    anything else
//	2    usage: wrong arguments, flags, names or configuration
//	3    not found: bucket, key, revision, store
//	4    conflict: exists already, another revision, in use by another process
//	5    no connection, or no answer in time
//	6    denied
//	7    a limit: history, value or bucket size, disk
//	8    corruption
//	130  interrupted
//
// # Why
//
// get prints the whole value, where nats cuts it at 120 bytes. put prints the
// revision instead of the value: a script knows the value, and needs the revision for
// its next update. An empty argument is an empty value. Standard input is read for
// "-", and also where the argument is absent and standard input is not a terminal. There it
// must not be empty: an argument is absent too where a variable of a script is not set.
//
// A negative number is a value and not a flag. Suggestions go by what other programs call a
// verb before they go by letters, and by letters never to a verb that removes something.
//
// A conflict, and a store or port in use, share an exit code: another client or
// process was first, and a later attempt may succeed.
package main

import "os"

func main() { os.Exit(int(system().run(os.Args[1:]))) }
