package streamconfig

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
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// extras are the fields of a stream's configuration that a bucket has no field for. They
// are JSON in the bucket's metadata, under extrasMetadata. The zero value stands for the
// configuration that NATS' key/value clients ask for by default.
type extras struct {
	MaxMsgSize      int64           `json:"max_msg_size,omitempty"` // if it differs from the bucket's; 0 if not
	DiscardOld      bool            `json:"discard_old,omitempty"`
	DuplicateWindow time.Duration   `json:"duplicate_window,omitempty"` // 0 for the default
	Placement       json.RawMessage `json:"placement,omitempty"`
	NoDirect        bool            `json:"no_direct,omitempty"`
	MayDelete       bool            `json:"may_delete,omitempty"`
	DenyPurge       bool            `json:"deny_purge,omitempty"`
	NoRollup        bool            `json:"no_rollup,omitempty"`
	MsgTTL          bool            `json:"msg_ttl,omitempty"`    // TTLs of messages, without a marker TTL
	NoMarkers       bool            `json:"no_markers,omitempty"` // no marker TTL was asked for
	Republish       *Republish      `json:"republish,omitempty"`

	// Of message streams.
	Sealed    bool     `json:"sealed,omitempty"`
	Subjects  []string `json:"subjects,omitempty"`
	MaxMsgs   int64    `json:"max_msgs,omitempty"`
	MaxBytes  int64    `json:"max_bytes,omitempty"` // with discard old; with discard new it is the bucket's
	Unlimited bool     `json:"unlimited,omitempty"` // no max_msgs_per_subject
}

// SubjectsOf returns the pattern of the subjects of a key/value bucket.
func SubjectsOf(bucket string) string { return wire.KeyPrefix + bucket + ".>" }

// Bucket returns the name of the stream's bucket.
func (c *Config) Bucket() string {
	bucketOf := KeyBucketOf
	if c.isMessageStream {
		bucketOf = MessageBucketOf
	}
	bucket, _ := bucketOf(c.Name) // it is valid
	return bucket
}

// BucketConfig returns the configuration of the bucket that c, which is valid, asks for.
// maxPayload is the front end's, bytes.
func (c *Config) BucketConfig(maxPayload int) kv.Config {
	cfg := kv.Config{
		Bucket: c.Bucket(), Description: c.Description,
		History: int(max(c.MaxMsgsPerSubject, 1)), TTL: c.MaxAge, MarkerTTL: c.SubjectDeleteMarkerTTL,
		MaxValueSize: c.MaxMsgSize, MaxBytes: c.MaxBytes, Compression: c.Compression == compressionS2,
		Metadata: maps.Clone(c.Metadata),
	}
	if c.isMessageStream {
		cfg.Kind = msglog.Kind
	}
	if c.Storage == StorageMemory {
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
	x.Republish = c.Republish
	if c.isMessageStream {
		x.Sealed, x.Subjects, x.MaxMsgs, x.Unlimited = c.Sealed, c.Subjects, max(c.MaxMsgs, 0), c.MaxMsgsPerSubject < 0
		if c.Discard == discardOld && c.MaxBytes > 0 { // such a stream is trimmed, where a full bucket refuses
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

// ClearExtras prepares an update of a bucket from have to a configuration without extras.
// Since an update keeps the metadata that it does not mention, it gets empty extras if
// the bucket has some.
func ClearExtras(to, have *kv.Config) {
	if _, had := have.Metadata[extrasMetadata]; !had || to.Metadata[extrasMetadata] != "" {
		return
	}
	if to.Metadata == nil {
		to.Metadata = make(map[string]string)
	}
	to.Metadata[extrasMetadata] = "{}"
}

// FromBucket returns the configuration of a bucket's stream, whichever tool made the
// bucket.
func FromBucket(cfg *kv.Config) *Config {
	var x extras
	if text, ok := cfg.Metadata[extrasMetadata]; ok {
		_ = json.Unmarshal([]byte(text), &x) // extras that are damaged are the default
	}
	c := &Config{
		Description: cfg.Description, Subjects: []string{SubjectsOf(cfg.Bucket)},
		Retention: retentionLimits, MaxConsumers: -1, MaxMsgs: -1, MaxBytes: cfg.MaxBytes, MaxAge: cfg.TTL,
		MaxMsgsPerSubject: int64(cfg.History), MaxMsgSize: cfg.MaxValueSize,
		Discard: discardNew, Storage: storageFile, Replicas: 1, DuplicateWindow: duplicatesFor(cfg.TTL),
		Placement: x.Placement, Republish: x.Republish, Compression: compressionNone, AllowDirect: !x.NoDirect,
		DenyDelete: !x.MayDelete, DenyPurge: x.DenyPurge, AllowRollup: !x.NoRollup,
		AllowMsgTTL: !x.NoMarkers || x.MsgTTL, SubjectDeleteMarkerTTL: cfg.MarkerTTL,
	}
	c.Name, _ = StreamOf(cfg.Bucket)
	if c.isMessageStream = strings.HasPrefix(cfg.Bucket, MessageStreamPrefix); c.isMessageStream {
		x.applyToMessageStream(c)
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
		c.Storage = StorageMemory
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

// applyToMessageStream sets the fields of c that a message stream has in its extras.
func (x *extras) applyToMessageStream(c *Config) {
	c.Sealed, c.Subjects = x.Sealed, x.Subjects
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

// OnePerMessage reports whether every message has a key of its own: the stream is a
// message stream without max_msgs_per_subject.
func (c *Config) OnePerMessage() bool { return c.isMessageStream && c.MaxMsgsPerSubject < 0 }

// RefusesNewest reports whether a message is refused when the stream has max_msgs of them.
func (c *Config) RefusesNewest() bool { return c.Discard == discardNew && c.MaxMsgs > 0 }

// DiscardsOldest reports whether the oldest messages are removed when the stream has more
// than max_msgs or max_bytes.
func (c *Config) DiscardsOldest() bool {
	return c.isMessageStream && c.Discard == discardOld && (c.MaxMsgs > 0 || c.MaxBytes > 0)
}

// SizeLimit returns the largest size of a message, header and payload, bytes.
func (c *Config) SizeLimit() int64 {
	if c.MaxMsgSize < 0 {
		return math.MaxInt64
	}
	return c.MaxMsgSize
}

// Equal reports whether two normalised configurations are the same.
func (c *Config) Equal(d *Config) bool {
	a, b := *c, *d
	a.Placement, b.Placement = nil, nil
	return reflect.DeepEqual(a, b) && bytes.Equal(c.Placement, d.Placement)
}

// AdoptDefaults makes a request to create or update a stream agree with a bucket that
// kvd's own tools made, where both leave a field to the server: the largest message and
// the marker TTL. have is the stream's present configuration.
func (c *Config) AdoptDefaults(bucket *kv.Config, have *Config) {
	if _, fromNATS := bucket.Metadata[extrasMetadata]; fromNATS {
		return
	}
	if c.MaxMsgSize < 0 && have.MaxMsgSize == kv.MaxValueSizeDefault {
		c.MaxMsgSize = have.MaxMsgSize
	}
	if c.SubjectDeleteMarkerTTL == 0 && have.SubjectDeleteMarkerTTL == kv.MarkerTTLDefault {
		c.SubjectDeleteMarkerTTL = have.SubjectDeleteMarkerTTL
		c.normalise()
	}
}

// CheckCreate refuses a configuration that only an update can ask for.
func (c *Config) CheckCreate() *jsapi.Error {
	if c.Sealed {
		return jsapi.InvalidConfig("stream configuration for create can not be sealed")
	}
	return nil
}

// Seal sets the fields that follow from sealed, which means that the stream takes no messages
// and loses none.
func (c *Config) Seal() {
	if c.Sealed {
		c.MaxAge, c.Discard, c.DenyDelete, c.DenyPurge, c.AllowRollup = 0, discardNew, true, true, false
	}
}

// CheckUpdate refuses an update of a stream from old to c that changes what must not
// change.
func (c *Config) CheckUpdate(old *Config) *jsapi.Error {
	switch {
	case c.Storage != old.Storage:
		return jsapi.InvalidConfig("stream configuration update can not change storage type")
	case old.Sealed && !c.Sealed:
		return jsapi.InvalidConfig("stream configuration update can not unseal a sealed stream")
	case c.Sealed && !c.isMessageStream:
		return jsapi.UnsupportedConfig("sealed is not supported in a bucket: grant its users get and watch alone")
	case old.DenyDelete && !c.DenyDelete:
		return jsapi.InvalidConfig("stream configuration update can not cancel deny message deletes")
	case old.DenyPurge && !c.DenyPurge:
		return jsapi.InvalidConfig("stream configuration update can not cancel deny purge")
	case old.AllowMsgTTL && !c.AllowMsgTTL:
		return jsapi.InvalidConfig("message TTL status can not be disabled")
	case old.OnePerMessage() != c.OnePerMessage():
		return jsapi.UnsupportedConfig("max_msgs_per_subject can not change between a number and no limit: make another stream")
	}
	return nil
}
