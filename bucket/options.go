package bucket

import (
	"fmt"
	"log/slog"
	"time"

	"kvd/bucket/progress"
	"kvd/internal/descriptors"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
)

// Options changes how a store is opened. The zero value is right for almost every
// program.
type Options struct {
	// Logger receives messages about the store: damage, failed checkpoints, a full
	// disk. Nil discards them. They contain keys, and never values.
	Logger *slog.Logger

	// Progress is called during Open, from its goroutine, at the start of each
	// stage and a few times a second. Nil: it is not called.
	Progress func(Progress)

	// Observer is called for every commit. Nil: there is none.
	Observer Observer

	// LogFileSize is the size of one file of the log in bytes while there is load, a multiple
	// of 4,096. Default 16 MiB. The log begins with smaller files, of 64 to 256 KiB, and
	// returns to them at rest.
	LogFileSize int64

	// LogMaxSize bounds all files of the log together, in bytes. Where a write would
	// pass it, it waits for a checkpoint. Default 128 MiB, at least 2 × LogFileSize.
	LogMaxSize int64

	// ReserveSize bounds the disk, in bytes, that is set aside for deletes and checkpoints on
	// a full disk. It is an eighth of the segments, and at least 1 MiB or this bound. Default
	// 64 MiB; negative: none.
	ReserveSize int64

	// CompactionRate bounds the bytes a second that background compaction reads and
	// writes while there are writers. Default 32 MiB. The bound is four times as high
	// without writers, and where a bucket takes several times the disk that its live
	// records need. Negative: there is no background compaction, only Reclaim.
	CompactionRate int64

	// Scrub is the period in which all segments are read and verified in the
	// background, at least a second. Default 0: they are not. Damage is logged, noted
	// (see [kv.Doubtful]) and told to a [ScrubObserver]. The first pass begins at a random
	// segment, because its position does not survive a restart. At most 16 MiB are read in
	// a second, so that a pass of a large store may take longer than the period.
	Scrub time.Duration

	// SegmentSize is the least size in bytes up to which a segment is filled, at most
	// 64 MiB. Default 1 MiB. A new segment of a large bucket may be larger: up to an
	// eighth of the bucket. Files grow as they are written.
	SegmentSize int64

	// MaxFiles bounds the files that the store has open at a time, at least 38. Beyond some
	// 30 they are the newest segments of buckets that are written to: where more buckets are
	// written to at once, the file of the one that was not written to for the longest time is
	// synced and closed. Default: half of what the system allows the process (RLIMIT_NOFILE),
	// 40 to 16,424. The rest is the program's.
	MaxFiles int

	// ImageKeys is the least number of keys for which Close writes the index of a bucket to a
	// file, its image: up to 80 bytes a key beside the key. The next Open reads the image
	// instead of the segments' index blocks, ten times as fast. Default 65,536; negative: there
	// are no images.
	ImageKeys int

	// AcceptClock accepts a wall clock that is more than a day ahead of the newest
	// time in the store. Without it Open adds a note to its Report, and what expired by
	// this leap alone waits: it is invisible, but stays on the disk until its key is
	// written to, its bucket's TTL or history is edited, the store has been open for as
	// long as the leap would have it, or it is opened anew after a write. Other records
	// expire as ever.
	AcceptClock bool

	// ServeStale has the names of buckets that are served as if nothing were in doubt
	// after damage: reads, listings and conditions go by the newest records that are
	// known, which may have been replaced or deleted. [ServeStaleAll] is all buckets.
	ServeStale []string

	env environment.Env // of tests

	replaying bool // for Replay
}

// ServeStaleAll stands for all buckets in Options.ServeStale.
const ServeStaleAll = "*"

func init() {
	environment.Register(func(o *Options, env environment.Env) { o.env = env })
}

const (
	memoryLogFileSize  = 256 << 10
	memoryLogMaxSize   = 4 << 20
	logFileSizeDefault = 16 << 20
	logMaxSizeDefault  = 128 << 20
	logFirstSizeMin    = 64 << 10
	logFirstSizeMax    = 256 << 10
	reserveSizeDefault = 64 << 20
	pageSize           = 4096
)

// Validate returns an error matching kv.ErrInvalidConfig if Open would refuse the options.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

func (o Options) withDefaults() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	if o.LogFileSize == 0 {
		o.LogFileSize = logFileSizeDefault
	}
	if o.LogMaxSize == 0 {
		o.LogMaxSize = max(logMaxSizeDefault, 2*o.LogFileSize)
	}
	if o.ReserveSize == 0 {
		o.ReserveSize = reserveSizeDefault
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = segmentSizeDefault
	}
	if o.CompactionRate == 0 {
		o.CompactionRate = compactionRateDefault
	}
	if o.ImageKeys == 0 {
		o.ImageKeys = imageKeysDefault
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = descriptors.Store(descriptors.Limit())
	}
	if o.env.FS == nil {
		o.env.FS = vfs.OS()
	}
	if o.env.Suspended == nil {
		o.env.Suspended = environment.Suspended
		if o.env.Now != nil || o.env.Elapsed != nil { // the machine's suspension has nothing to do with them
			o.env.Suspended = func() time.Duration { return 0 }
		}
	}
	if o.env.LargeValue == 0 {
		o.env.LargeValue = largeValue
	}
	if o.env.Now == nil {
		o.env.Now = time.Now
	}
	if o.env.Random == nil {
		o.env.Random = randomUint64
	}
	if o.LogFileSize < 4*pageSize || o.LogFileSize%pageSize != 0 {
		return o, fmt.Errorf("%w: LogFileSize is %d, a multiple of %d from %d on is needed", kv.ErrInvalidConfig, o.LogFileSize, pageSize, 4*pageSize)
	}
	if o.SegmentSize < pageSize || o.SegmentSize > segmentSizeMax {
		return o, fmt.Errorf("%w: SegmentSize is %d, must be %d to %d", kv.ErrInvalidConfig, o.SegmentSize, pageSize, segmentSizeMax)
	}
	if o.Scrub < 0 || 0 < o.Scrub && o.Scrub < time.Second {
		return o, fmt.Errorf("%w: Scrub is %v, must be 0 or at least a second", kv.ErrInvalidConfig, o.Scrub)
	}
	if o.MaxFiles < filesMin {
		return o, fmt.Errorf("%w: MaxFiles is %d, at least %d are needed", kv.ErrInvalidConfig, o.MaxFiles, filesMin)
	}
	if o.LogMaxSize < 2*o.LogFileSize {
		return o, fmt.Errorf("%w: LogMaxSize is %d, at least two log files of %d are needed", kv.ErrInvalidConfig, o.LogMaxSize, o.LogFileSize)
	}
	return o, nil
}

// firstLogFileSize returns the size of the log's files without load, bytes.
func (o *Options) firstLogFileSize() int64 {
	size := max(logFirstSizeMin, min(logFirstSizeMax, o.LogFileSize/64&^(pageSize-1)))
	return min(size, o.LogFileSize)
}

// Progress reports how far Open has come.
type Progress = progress.Progress

// The stages, in order.
const (
	StageIndex      progress.Stage = "reading indexes"   // bytes of segment files
	StageReplay     progress.Stage = "replaying the log" // frames; the total is not known
	StageCheckpoint progress.Stage = "checkpoint"        // files
)
