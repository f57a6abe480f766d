package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvd/kv"
)

// streamConfig is a stream's configuration as clients send and read it, in
// nats-server's order.
type streamConfig struct {
	Name                   string            `json:"name"`
	Description            string            `json:"description,omitempty"`
	Subjects               []string          `json:"subjects,omitempty"`
	Retention              string            `json:"retention"`
	MaxConsumers           int64             `json:"max_consumers"`
	MaxMsgs                int64             `json:"max_msgs"`
	MaxBytes               int64             `json:"max_bytes"`
	MaxAge                 time.Duration     `json:"max_age"`
	MaxMsgsPerSubject      int64             `json:"max_msgs_per_subject"`
	MaxMsgSize             int64             `json:"max_msg_size"`
	Discard                string            `json:"discard"`
	Storage                string            `json:"storage"`
	Replicas               int               `json:"num_replicas"`
	DuplicateWindow        time.Duration     `json:"duplicate_window"`
	Placement              json.RawMessage   `json:"placement,omitempty"`
	Compression            string            `json:"compression"`
	AllowDirect            bool              `json:"allow_direct"`
	MirrorDirect           bool              `json:"mirror_direct"`
	Sealed                 bool              `json:"sealed"`
	DenyDelete             bool              `json:"deny_delete"`
	DenyPurge              bool              `json:"deny_purge"`
	AllowRollup            bool              `json:"allow_rollup_hdrs"`
	ConsumerLimits         struct{}          `json:"consumer_limits"`
	AllowMsgTTL            bool              `json:"allow_msg_ttl"`
	SubjectDeleteMarkerTTL time.Duration     `json:"subject_delete_marker_ttl,omitempty"`
	Metadata               map[string]string `json:"metadata,omitempty"`
}

// streamRequest is a configuration with what kvd refuses.
type streamRequest struct {
	streamConfig
	Mirror           json.RawMessage `json:"mirror"`
	Sources          json.RawMessage `json:"sources"`
	Republish        json.RawMessage `json:"republish"`
	SubjectTransform json.RawMessage `json:"subject_transform"`
	Limits           json.RawMessage `json:"consumer_limits"`
	FirstSeq         uint64          `json:"first_seq"`
	NoAck            bool            `json:"no_ack"`
	PerSubject       bool            `json:"discard_new_per_subject"`
	AllowAtomic      bool            `json:"allow_atomic"`
	AllowBatched     bool            `json:"allow_batched"`
	AllowCounter     bool            `json:"allow_msg_counter"`
	AllowSchedules   bool            `json:"allow_msg_schedules"`
	PersistMode      string          `json:"persist_mode"`
	Template         string          `json:"template_owner"`
}

// What names and texts may take, bytes; nats-server's limits where kv has none.
const (
	streamNameMax      = 255
	duplicatesDefault  = 2 * time.Minute
	maxAgeMin          = 100 * time.Millisecond
	markerTTLMin       = time.Second
	serverMetadata     = "_nats."                     // keys that belong to a server: clients hide them
	extrasMetadata     = kv.ReservedMetadata + "nats" // see extras
	replicasMax        = 5
	compressionNone    = "none"
	compressionS2      = "s2"
	storageFile        = "file"
	storageMemory      = "memory"
	discardNew         = "new"
	discardOld         = "old"
	retentionLimits    = "limits"
	persistModeDefault = "default"
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
}

// parseStreamConfig reads and normalises the body of a create or update request for
// the stream of that name.
func parseStreamConfig(body []byte, name string, maxPayload int) (*streamConfig, *apiError) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errNameMismatch
	}
	var r streamRequest
	if err := decodeJSON(body, &r); err != nil {
		return nil, err
	}
	if r.Name != name {
		return nil, errNameMismatch
	}
	if err := r.checkEnums(); err != nil {
		return nil, err
	}
	if err := r.checkUnsupported(); err != nil {
		return nil, err
	}
	c := &r.streamConfig
	c.normalise()
	if err := c.check(maxPayload); err != nil {
		return nil, err
	}
	return c, nil
}

// given reports whether a field holds something.
func given(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "{}", "[]":
		return false
	}
	return true
}

// enum is a field's text, and what it may be.
type enum struct {
	got     string
	allowed []string
}

// checkEnums refuses a text that is not allowed.
func checkEnums(enums ...enum) *apiError {
	for _, e := range enums {
		if !slices.Contains(e.allowed, e.got) {
			return invalidJSON(fmt.Errorf("can not unmarshal %q", strconv.Quote(e.got)))
		}
	}
	return nil
}

func (r *streamRequest) checkEnums() *apiError {
	failure := checkEnums(
		enum{r.Retention, []string{"", retentionLimits, "interest", "workqueue"}},
		enum{r.Discard, []string{"", discardOld, discardNew}},
		enum{r.Storage, []string{"", storageFile, storageMemory}},
	)
	if failure != nil {
		return failure
	}
	if !slices.Contains([]string{"", compressionNone, compressionS2}, r.Compression) {
		return invalidJSON(errors.New("unknown compression algorithm"))
	}
	return nil
}

// checkUnsupported refuses what a single node of key/value buckets does not do: a
// client that is told nothing would rely on it.
func (r *streamRequest) checkUnsupported() *apiError {
	switch {
	case given(r.Mirror) && len(r.Subjects) > 0:
		return errMirrorSubjects
	case given(r.Mirror):
		return invalidConfig("mirrors are not supported")
	case given(r.Sources):
		return invalidConfig("sources are not supported")
	case given(r.Republish):
		return invalidConfig("republish is not supported")
	case given(r.SubjectTransform):
		return invalidConfig("subject transforms are not supported")
	case given(r.Limits):
		return invalidConfig("consumer limits are not supported")
	case r.Retention != "" && r.Retention != retentionLimits:
		return invalidConfig("retention %s is not supported: choose limits", r.Retention)
	case r.Replicas > replicasMax:
		return invalidConfig("maximum replicas is %d", replicasMax)
	case r.Replicas < 0:
		return errReplicasNegative
	case r.Replicas > 1:
		return errReplicas
	}
	for _, f := range []struct {
		on   bool
		name string
	}{
		{r.FirstSeq > 1, "a first sequence"}, {r.Sealed, "a sealed stream"}, {r.NoAck, "no_ack"},
		{r.PerSubject, "discard_new_per_subject"}, {r.AllowAtomic, "atomic batch publish"},
		{r.AllowBatched, "batch publish"}, {r.AllowCounter, "message counters"}, {r.AllowSchedules, "message schedules"},
		{r.PersistMode != "" && r.PersistMode != persistModeDefault, "persist mode " + r.PersistMode},
		{r.Template != "", "a stream template"}, {r.MaxConsumers > 0, "max_consumers"},
		{r.MaxMsgs > 0, "max_msgs (choose max_msgs_per_subject, max_age or max_bytes)"},
	} {
		if f.on {
			return invalidConfig("%s is not supported", f.name)
		}
	}
	return nil
}

// normalise fills in what was left out, as nats-server does.
func (c *streamConfig) normalise() {
	for _, n := range []*int64{&c.MaxConsumers, &c.MaxMsgs, &c.MaxBytes, &c.MaxMsgsPerSubject, &c.MaxMsgSize} {
		if *n <= 0 {
			*n = -1
		}
	}
	c.Replicas = max(c.Replicas, 1)
	c.Retention = retentionLimits
	for field, value := range map[*string]string{&c.Discard: discardOld, &c.Storage: storageFile, &c.Compression: compressionNone} {
		if *field == "" {
			*field = value
		}
	}
	if c.DuplicateWindow == 0 {
		c.DuplicateWindow = duplicatesFor(c.MaxAge)
	}
	if len(c.Subjects) == 0 {
		c.Subjects = []string{c.Name}
	}
	if c.SubjectDeleteMarkerTTL > 0 {
		c.AllowMsgTTL, c.AllowRollup, c.DenyPurge = true, true, false
	}
	if !given(c.Placement) {
		c.Placement = nil
	}
	maps.DeleteFunc(c.Metadata, func(key, _ string) bool { return strings.HasPrefix(key, serverMetadata) })
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
}

// duplicatesFor is the default duplicate window.
func duplicatesFor(maxAge time.Duration) time.Duration {
	if maxAge > 0 {
		return min(maxAge, duplicatesDefault)
	}
	return duplicatesDefault
}

// check refuses a configuration that is no bucket's, or not a valid one.
func (c *streamConfig) check(maxPayload int) *apiError {
	bucket, ok := strings.CutPrefix(c.Name, streamPrefix)
	switch {
	case len(c.Name) > streamNameMax:
		return invalidConfig("stream name is too long, maximum allowed is %d", streamNameMax)
	case !ok || kv.CheckBucketName(bucket) != nil:
		return invalidConfig("stream %q is not supported: kvd has the streams of key/value buckets, KV_<bucket>, which \"nats kv add\" makes; other streams need a nats-server", c.Name)
	case len(c.Subjects) != 1 || c.Subjects[0] != subjectsOf(bucket):
		return invalidConfig("the subjects of stream %q have to be %q: a bucket has its keys, and other streams need a nats-server", c.Name, subjectsOf(bucket))
	case c.MaxAge < 0:
		return invalidConfig("max age can not be negative")
	case c.MaxAge > 0 && c.MaxAge < maxAgeMin:
		return invalidConfig("max age needs to be >= 100ms")
	case c.DuplicateWindow < 0:
		return invalidConfig("duplicates window can not be negative")
	case c.MaxAge > 0 && c.DuplicateWindow > c.MaxAge:
		return invalidConfig("duplicates window can not be larger then max age")
	case c.SubjectDeleteMarkerTTL < 0:
		return invalidConfig("subject delete marker TTL must not be negative")
	case c.SubjectDeleteMarkerTTL > 0 && c.SubjectDeleteMarkerTTL < markerTTLMin:
		return invalidConfig("subject delete marker TTL must be at least 1 second")
	case c.MirrorDirect:
		return invalidConfig("stream has no mirror but does have mirror direct")
	case c.AllowRollup && c.DenyPurge:
		return invalidConfig("roll-ups require the purge permission")
	case c.MaxMsgsPerSubject < 1 || c.MaxMsgsPerSubject > kv.MaxHistory:
		return invalidConfig("max_msgs_per_subject of a bucket is 1 to %d, not %d: choose how many revisions of a key are kept", kv.MaxHistory, c.MaxMsgsPerSubject)
	case c.Discard == discardOld && c.MaxBytes > 0:
		return invalidConfig("discard old with max_bytes is not supported: a full bucket refuses writes, which is discard new")
	}
	for key := range c.Metadata {
		if strings.HasPrefix(key, kv.ReservedMetadata) {
			return invalidConfig("metadata key %q: keys that begin with %q are kvd's own", key, kv.ReservedMetadata)
		}
	}
	cfg := c.bucketConfig(maxPayload)
	if err := cfg.Validate(); err != nil {
		return invalidConfig("%v", err)
	}
	return nil
}

func subjectsOf(bucket string) string { return keyPrefix + bucket + ".>" }

// bucketConfig is the bucket that a valid configuration asks for.
func (c *streamConfig) bucketConfig(maxPayload int) kv.Config {
	cfg := kv.Config{
		Bucket: strings.TrimPrefix(c.Name, streamPrefix), Description: c.Description,
		History: int(c.MaxMsgsPerSubject), TTL: c.MaxAge, MarkerTTL: c.SubjectDeleteMarkerTTL,
		MaxValueSize: c.MaxMsgSize, MaxBytes: c.MaxBytes, Compression: c.Compression == compressionS2,
		Metadata: maps.Clone(c.Metadata),
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
	if !reflect.ValueOf(x).IsZero() {
		if cfg.Metadata == nil {
			cfg.Metadata = make(map[string]string)
		}
		text, _ := json.Marshal(x) // plain fields and JSON that was read as such
		cfg.Metadata[extrasMetadata] = string(text)
	}
	return cfg
}

// configOf is the stream that a bucket is, whoever made it.
func configOf(cfg *kv.Config) *streamConfig {
	var x extras
	if text, ok := cfg.Metadata[extrasMetadata]; ok {
		_ = json.Unmarshal([]byte(text), &x) // what somebody has spoilt is the default
	}
	c := &streamConfig{
		Name: streamPrefix + cfg.Bucket, Description: cfg.Description, Subjects: []string{subjectsOf(cfg.Bucket)},
		Retention: retentionLimits, MaxConsumers: -1, MaxMsgs: -1, MaxBytes: cfg.MaxBytes, MaxAge: cfg.TTL,
		MaxMsgsPerSubject: int64(cfg.History), MaxMsgSize: cfg.MaxValueSize,
		Discard: discardNew, Storage: storageFile, Replicas: 1, DuplicateWindow: duplicatesFor(cfg.TTL),
		Placement: x.Placement, Compression: compressionNone, AllowDirect: !x.NoDirect,
		DenyDelete: !x.MayDelete, DenyPurge: x.DenyPurge, AllowRollup: !x.NoRollup,
		AllowMsgTTL: !x.NoMarkers || x.MsgTTL, SubjectDeleteMarkerTTL: cfg.MarkerTTL,
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
	maps.DeleteFunc(c.Metadata, func(key, _ string) bool { return strings.HasPrefix(key, kv.ReservedMetadata) })
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
	return c
}

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
	}
	return nil
}
