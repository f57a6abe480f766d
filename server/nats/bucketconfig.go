package nats

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"strings"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// extras are what a stream's configuration says beyond the bucket's. They are kept in
// the bucket's metadata, hidden from NATS' clients. The zero value is what the
// clients of NATS ask for where they are asked for nothing.
type extras struct {
	MaxMsgSize      int64           `json:"max_msg_size,omitempty"` // where the bucket's is not the same; 0: it is
	DiscardOld      bool            `json:"discard_old,omitempty"`
	DuplicateWindow time.Duration   `json:"duplicate_window,omitempty"` // 0: the default
	Placement       json.RawMessage `json:"placement,omitempty"`
	NoDirect        bool            `json:"no_direct,omitempty"`
	MayDelete       bool            `json:"may_delete,omitempty"`
	DenyPurge       bool            `json:"deny_purge,omitempty"`
	NoRollup        bool            `json:"no_rollup,omitempty"`
	MsgTTL          bool            `json:"msg_ttl,omitempty"`    // without a marker's TTL
	NoMarkers       bool            `json:"no_markers,omitempty"` // no marker's TTL was asked for

	// Of plain streams.
	Subjects  []string `json:"subjects,omitempty"`
	MaxMsgs   int64    `json:"max_msgs,omitempty"`
	MaxBytes  int64    `json:"max_bytes,omitempty"` // where the oldest messages make room
	Unlimited bool     `json:"unlimited,omitempty"` // any number of messages of a subject
}

func subjectsOf(bucket string) string { return keyPrefix + bucket + ".>" }

// bucketConfig is the bucket that a valid configuration asks for.
func (c *streamConfig) bucketConfig(maxPayload int) kv.Config {
	bucket, _ := bucketOf(c.Name) // it is valid
	cfg := kv.Config{
		Bucket: bucket, Description: c.Description,
		History: int(max(c.MaxMsgsPerSubject, 1)), TTL: c.MaxAge, MarkerTTL: c.SubjectDeleteMarkerTTL,
		MaxValueSize: c.MaxMsgSize, MaxBytes: c.MaxBytes, Compression: c.Compression == compressionS2,
		Metadata: maps.Clone(c.Metadata),
	}
	if c.isPlain() {
		cfg.Kind = msglog.Kind
	}
	if c.Storage == storageMemory {
		cfg.Storage = kv.MemoryStorage
	}
	var x extras
	if c.MaxMsgSize < 0 || c.MaxMsgSize > kv.MaxValueSizeLimit {
		x.MaxMsgSize = c.MaxMsgSize
		cfg.MaxValueSize = min(max(kv.MaxValueSizeDefault, int64(maxPayload)), kv.MaxValueSizeLimit)
	}
	if c.DuplicateWindow != duplicatesFor(c.MaxAge) {
		x.DuplicateWindow = c.DuplicateWindow
	}
	x.DiscardOld, x.Placement = c.Discard == discardOld, c.Placement
	x.NoDirect, x.MayDelete = !c.AllowDirect, !c.DenyDelete
	x.DenyPurge, x.NoRollup = c.DenyPurge, !c.AllowRollup
	x.NoMarkers = c.SubjectDeleteMarkerTTL == 0
	x.MsgTTL = x.NoMarkers && c.AllowMsgTTL
	if c.isPlain() {
		x.Subjects, x.MaxMsgs, x.Unlimited = c.Subjects, max(c.MaxMsgs, 0), c.MaxMsgsPerSubject < 0
		if c.Discard == discardOld && c.MaxBytes > 0 { // a full bucket refuses, a full stream of this kind is trimmed
			x.MaxBytes, cfg.MaxBytes = c.MaxBytes, -1
		}
	}
	if !reflect.ValueOf(x).IsZero() {
		if cfg.Metadata == nil {
			cfg.Metadata = make(map[string]string)
		}
		text, _ := json.Marshal(x) // plain fields and JSON that was read as such
		cfg.Metadata[extrasMetadata] = string(text)
	}
	return cfg
}

// overrule makes a configuration without extras say so to a bucket that has some: what
// is not mentioned stays.
func overrule(to, have *kv.Config) {
	if _, had := have.Metadata[extrasMetadata]; !had || to.Metadata[extrasMetadata] != "" {
		return
	}
	if to.Metadata == nil {
		to.Metadata = make(map[string]string)
	}
	to.Metadata[extrasMetadata] = "{}"
}

// configOf is the stream that a bucket is, whoever made it.
func configOf(cfg *kv.Config) *streamConfig {
	var x extras
	if text, ok := cfg.Metadata[extrasMetadata]; ok {
		_ = json.Unmarshal([]byte(text), &x) // what somebody has spoilt is the default
	}
	c := &streamConfig{
		Description: cfg.Description, Subjects: []string{subjectsOf(cfg.Bucket)},
		Retention: retentionLimits, MaxConsumers: -1, MaxMsgs: -1, MaxBytes: cfg.MaxBytes, MaxAge: cfg.TTL,
		MaxMsgsPerSubject: int64(cfg.History), MaxMsgSize: cfg.MaxValueSize,
		Discard: discardNew, Storage: storageFile, Replicas: 1, DuplicateWindow: duplicatesFor(cfg.TTL),
		Placement: x.Placement, Compression: compressionNone, AllowDirect: !x.NoDirect,
		DenyDelete: !x.MayDelete, DenyPurge: x.DenyPurge, AllowRollup: !x.NoRollup,
		AllowMsgTTL: !x.NoMarkers || x.MsgTTL, SubjectDeleteMarkerTTL: cfg.MarkerTTL,
	}
	if c.Name, _ = streamOf(cfg.Bucket); c.isPlain() {
		x.plainTo(c)
	}
	if x.MaxMsgSize != 0 {
		c.MaxMsgSize = x.MaxMsgSize
	}
	if x.DiscardOld {
		c.Discard = discardOld
	}
	if x.DuplicateWindow != 0 {
		c.DuplicateWindow = x.DuplicateWindow
	}
	if cfg.Storage == kv.MemoryStorage {
		c.Storage = storageMemory
	}
	if cfg.Compression {
		c.Compression = compressionS2
	}
	if x.NoMarkers {
		c.SubjectDeleteMarkerTTL = 0
	}
	c.Metadata = maps.Clone(cfg.Metadata)
	maps.DeleteFunc(c.Metadata, func(key, _ string) bool { return strings.HasPrefix(key, msglog.ReservedMetadata) })
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
	return c
}

// plainTo sets what a plain stream has beyond a bucket.
func (x *extras) plainTo(c *streamConfig) {
	c.Subjects = x.Subjects
	if x.MaxMsgs > 0 {
		c.MaxMsgs = x.MaxMsgs
	}
	if x.MaxBytes > 0 {
		c.MaxBytes = x.MaxBytes
	}
	if x.Unlimited {
		c.MaxMsgsPerSubject = -1
	}
}

// isApart reports whether every message has a key of its own.
func (c *streamConfig) isApart() bool { return c.isPlain() && c.MaxMsgsPerSubject < 0 }

// sizeLimit is how large a message may be, header and payload.
func (c *streamConfig) sizeLimit() int64 {
	if c.MaxMsgSize < 0 {
		return math.MaxInt64
	}
	return c.MaxMsgSize
}

// equal reports whether two normalised configurations are the same.
func (c *streamConfig) equal(d *streamConfig) bool {
	a, b := *c, *d
	a.Placement, b.Placement = nil, nil
	return reflect.DeepEqual(a, b) && bytes.Equal(c.Placement, d.Placement)
}

// adopt takes what a request leaves to the server from a stream whose bucket kvd's own
// tools made, where those left it to the store: for whoever asks, that is the same.
func (c *streamConfig) adopt(s *stream) {
	if _, fromNATS := s.status.Config.Metadata[extrasMetadata]; fromNATS {
		return
	}
	if c.MaxMsgSize < 0 && s.config.MaxMsgSize == kv.MaxValueSizeDefault {
		c.MaxMsgSize = s.config.MaxMsgSize
	}
	if c.SubjectDeleteMarkerTTL == 0 && s.config.SubjectDeleteMarkerTTL == kv.MarkerTTLDefault {
		c.SubjectDeleteMarkerTTL = s.config.SubjectDeleteMarkerTTL
		c.normalise()
	}
}

// checkUpdate refuses what an update must not change.
func (c *streamConfig) checkUpdate(old *streamConfig) *apiError {
	switch {
	case c.Storage != old.Storage:
		return invalidConfig("stream configuration update can not change storage type")
	case old.DenyDelete && !c.DenyDelete:
		return invalidConfig("stream configuration update can not cancel deny message deletes")
	case old.DenyPurge && !c.DenyPurge:
		return invalidConfig("stream configuration update can not cancel deny purge")
	case old.AllowMsgTTL && !c.AllowMsgTTL:
		return invalidConfig("message TTL status can not be disabled")
	case old.isApart() != c.isApart():
		return invalidConfig("max_msgs_per_subject can not change between a number and no limit: make another stream")
	}
	return nil
}
