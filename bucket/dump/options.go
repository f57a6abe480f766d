package dump

import (
	"fmt"
	"strings"

	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// Options says what of a store is told. The zero value is everything, without values.
type Options struct {
	What What

	// Bucket is the name of the only bucket that is told of, and Key the only key: of the parts
	// of files, those that have something of them. Empty: all.
	Bucket, Key string

	// First and Last bound the frames of the log, both inclusive. Last 0: no bound. If either is
	// set, nothing but the log is told.
	First, Last wal.LSN

	// Offset is the only place of the file that is told of, for [File]; nil: all of it.
	Offset *int64

	Values Values

	// Seed is the store's, for files whose store is gone; 0: that of the manifest, or the one
	// in the header of a segment.
	Seed uint64

	// Snapshot reads the directory of a store that may be open, as it stands: what changes
	// meanwhile may look damaged.
	Snapshot bool

	env environment.Env // of tests; only FS is used
}

func init() {
	environment.Register(func(o *Options, env environment.Env) { o.env = env })
}

// What is a set of kinds of files, or of parts of them.
type What uint8

// The kinds of files. Zero is all of them, or what has records if only a key is told of.
const (
	Manifest What = 1 << iota
	Log
	Segments // their records, and value files
	Index    // index pages of segments, and images
)

// ParseWhat returns the set that a list of manifest, log, segments, index and all stands for,
// joined by commas.
func ParseWhat(text string) (w What, err error) {
	for name := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(name) {
		case "manifest":
			w |= Manifest
		case "log":
			w |= Log
		case "segments":
			w |= Segments
		case "index":
			w |= Index
		case "all":
			w |= Manifest | Log | Segments | Index
		default:
			return 0, fmt.Errorf("%w: %q is none of manifest, log, segments, index and all", kv.ErrInvalidOption, name)
		}
	}
	return w, nil
}

// Values says how much of each value is told.
type Values uint8

// None of a value, its first 64 bytes, or all of it.
const (
	ValuesNone Values = iota
	ValuesPrefix
	ValuesFull
)

// ParseValues returns the value of none, prefix or full.
func ParseValues(text string) (Values, error) {
	switch text {
	case "none":
		return ValuesNone, nil
	case "prefix":
		return ValuesPrefix, nil
	case "full":
		return ValuesFull, nil
	}
	return 0, fmt.Errorf("%w: %q is none of none, prefix and full", kv.ErrInvalidOption, text)
}

// withDefaults returns the options with their defaults. The error matches kv.ErrInvalidOption.
func (o Options) withDefaults() (Options, error) {
	if o.env.FS == nil {
		o.env.FS = vfs.OS()
	}
	if o.What == 0 && o.Key != "" {
		o.What = Log | Segments
	}
	if o.What == 0 {
		o.What = Manifest | Log | Segments | Index
	}
	if o.First != 0 || o.Last != 0 {
		if o.Last != 0 && o.First > o.Last {
			return o, fmt.Errorf("%w: LSN %d to %d is no range", kv.ErrInvalidOption, o.First, o.Last)
		}
		o.What = Log
	}
	return o, nil
}

// tells reports whether a kind of files is told.
func (o *Options) tells(w What) bool { return o.What&w != 0 }

// filtered reports whether only the parts of a bucket or a key are told.
func (o *Options) filtered() bool { return o.Bucket != "" || o.Key != "" }

// wantsFrame reports whether the frames of an LSN are told.
func (o *Options) wantsFrame(lsn wal.LSN) bool {
	return lsn >= o.First && (o.Last == 0 || lsn <= o.Last)
}

// wantsRecord reports whether the records of a key are told.
func (o *Options) wantsRecord(bucket string, key []byte) bool {
	return o.wantsBucket(bucket) && (o.Key == "" || o.Key == string(key))
}

func (o *Options) wantsBucket(name string) bool { return o.Bucket == "" || o.Bucket == name }

func (o *Options) seed() segment.Seed { return segment.Seed(o.Seed) }
