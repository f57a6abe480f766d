package kv

import (
	"fmt"
	"maps"
	"time"
)

// Limits of a bucket's configuration.
const (
	MaxHistory                  = 64
	MaxValueSizeDefault         = 1 << 20  // bytes
	MaxValueSizeLimit           = 64 << 20 // bytes
	MaxKeySize                  = 1024     // bytes
	MaxBucketNameSize           = 255      // bytes
	MaxDescriptionSize          = 4096     // bytes
	MaxMetadataSize             = 128 << 10
	MaxHeadersSize              = 1<<16 - 1 // bytes of a record
	SyncIntervalDefault         = 100 * time.Millisecond
	MarkerTTLDefault            = 15 * time.Minute
	historyDefault              = 1
	metadataEntryOverhead       = 2 // bytes a pair counts beyond its text
	unlimited             int64 = -1
)

// BucketKind says what a bucket is for.
type BucketKind uint8

// KeyValue is the kind of a bucket of keys and values. The other kind is a log of
// messages: msglog.Kind of package kvd/kv/msglog.
const KeyValue BucketKind = 0

const kindMax BucketKind = 1

// Storage says where a bucket lives.
type Storage uint8

// The kinds of storage. The numbers are part of the on-disk format.
const (
	FileStorage   Storage = 0 // in the log and in segment files
	MemoryStorage Storage = 1 // in memory, up to twice its live records; empty after a restart, with another id
)

// String returns file or memory.
func (s Storage) String() string {
	switch s {
	case FileStorage:
		return "file"
	case MemoryStorage:
		return "memory"
	}
	return fmt.Sprintf("Storage(%d)", uint8(s))
}

// SyncMode says when a write is acknowledged.
type SyncMode uint8

// The modes. The numbers are part of the on-disk format.
const (
	SyncAlways   SyncMode = 0 // after it is durable
	SyncInterval SyncMode = 1 // at once; it is durable within Config.SyncInterval
)

// String returns always or interval.
func (m SyncMode) String() string {
	switch m {
	case SyncAlways:
		return "always"
	case SyncInterval:
		return "interval"
	}
	return fmt.Sprintf("SyncMode(%d)", uint8(m))
}

// Config is what a bucket's owner chooses. The zero value of each field but
// Bucket means its default. The maps are not retained.
type Config struct {
	Bucket       string        // [A-Za-z0-9_-]+, at most 255 bytes
	Description  string        // at most 4,096 bytes
	History      int           // revisions kept per key, 1 (default) to 64
	TTL          time.Duration // a record expires when it is this old; default 0: never
	MarkerTTL    time.Duration // how long expiry markers stay; default 15 min
	MaxValueSize int64         // bytes, before compression; default 1 MiB, at most 64 MiB; -1 is the default too
	MaxBytes     int64         // bytes of the bucket's live records, as stored; default -1: no limit
	Storage      Storage
	Compression  bool // store values compressed, one by one, where that saves; concerns later writes
	Sync         SyncMode
	SyncInterval time.Duration     // how long after its acknowledgement a write may not be durable, with Sync = SyncInterval; default 100 ms
	Metadata     map[string]string // at most 128 KiB in all

	// Kind is KeyValue unless a front end keeps something else in the bucket. kvd's own
	// protocol and tools neither make nor show other kinds. It cannot be changed.
	Kind BucketKind
}

// WithDefaults returns the configuration with every default filled in: two that
// are Equal afterwards mean the same bucket.
func (c Config) WithDefaults() Config {
	if c.History == 0 {
		c.History = historyDefault
	}
	if c.MaxValueSize == 0 || c.MaxValueSize == unlimited {
		c.MaxValueSize = MaxValueSizeDefault
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = unlimited
	}
	if c.MarkerTTL == 0 {
		c.MarkerTTL = MarkerTTLDefault
	}
	if c.Sync == SyncInterval && c.SyncInterval == 0 {
		c.SyncInterval = SyncIntervalDefault
	}
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	} else {
		c.Metadata = maps.Clone(c.Metadata)
	}
	return c
}

// Equal reports whether two configurations mean the same bucket.
func (c Config) Equal(d Config) bool {
	c, d = c.WithDefaults(), d.WithDefaults()
	return c.Bucket == d.Bucket && c.Description == d.Description && c.History == d.History &&
		c.TTL == d.TTL && c.MarkerTTL == d.MarkerTTL && c.MaxValueSize == d.MaxValueSize &&
		c.MaxBytes == d.MaxBytes && c.Storage == d.Storage && c.Compression == d.Compression &&
		c.Sync == d.Sync && c.SyncInterval == d.SyncInterval && c.Kind == d.Kind && maps.Equal(c.Metadata, d.Metadata)
}

// Validate checks every field, defaults filled in or not. It returns a
// *NameError for the name, ErrHistoryTooLarge, or an error matching
// ErrInvalidConfig that names the field, its value and the range.
func (c Config) Validate() error {
	if err := CheckBucketName(c.Bucket); err != nil {
		return err
	}
	c = c.WithDefaults()
	if c.History > MaxHistory {
		return &LimitError{What: "history", Got: int64(c.History), Min: 1, Max: MaxHistory, Err: ErrHistoryTooLarge}
	}
	metadata := 0
	for k, v := range c.Metadata {
		metadata += len(k) + len(v) + metadataEntryOverhead
	}
	for _, f := range []struct {
		what          string
		got, min, max int64
		duration      bool
	}{
		{"description size", int64(len(c.Description)), 0, MaxDescriptionSize, false},
		{"metadata size", int64(metadata), 0, MaxMetadataSize, false},
		{"history", int64(c.History), 1, MaxHistory, false},
		{"TTL", int64(c.TTL), 0, 0, true},
		{"marker TTL", int64(c.MarkerTTL), 1, 0, true},
		{"max value size", c.MaxValueSize, 1, MaxValueSizeLimit, false},
		{"max bytes", c.MaxBytes, unlimited, 0, false},
		{"storage", int64(c.Storage), 0, int64(MemoryStorage), false},
		{"sync", int64(c.Sync), 0, int64(SyncInterval), false},
		{"kind", int64(c.Kind), 0, int64(kindMax), false},
		{"sync interval", int64(c.SyncInterval), 0, int64(time.Hour), true},
	} {
		if f.got < f.min || f.max > 0 && f.got > f.max {
			return &LimitError{What: f.what, Got: f.got, Min: f.min, Max: f.max, Duration: f.duration, Err: ErrInvalidConfig}
		}
	}
	if c.Sync != SyncInterval && c.SyncInterval != 0 {
		return fmt.Errorf("%w: a sync interval needs sync=interval", ErrInvalidConfig)
	}
	return nil
}
