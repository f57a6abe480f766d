package streamconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"kvd/internal/patterns"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/wire"
)

// Config is the configuration of a stream as clients send and read it, in nats-server's
// order.
type Config struct {
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
	Republish              *Republish        `json:"republish,omitempty"`
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

	isMessageStream bool
}

// request is a configuration with the fields that kvd refuses.
type request struct {
	Config
	Mirror           json.RawMessage `json:"mirror"`
	Sources          json.RawMessage `json:"sources"`
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
	Pedantic         bool            `json:"pedantic"` // has no effect
}

// Limits and defaults of nats-server, and texts of fields.
const (
	streamNameMax      = 255
	duplicatesDefault  = 2 * time.Minute
	maxAgeMin          = 100 * time.Millisecond
	markerTTLMin       = time.Second
	serverMetadata     = "_nats."                         // begins the metadata keys that a server sets: they are not stored
	extrasMetadata     = msglog.ReservedMetadata + "nats" // see extras
	replicasMax        = 5
	compressionNone    = "none"
	compressionS2      = "s2"
	storageFile        = "file"
	StorageMemory      = "memory"
	discardNew         = "new"
	discardOld         = "old"
	retentionLimits    = "limits"
	persistModeDefault = "default"
)

// Parse reads and normalises the body of a request to create or update the stream of that
// name, and checks what does not depend on the stream's kind: see CheckKind.
func Parse(body []byte, name string) (*Config, *jsapi.Error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, jsapi.ErrNameMismatch
	}
	var r request
	if err := jsapi.DecodeBody(body, &r); err != nil {
		return nil, err
	}
	var placement struct { // kept as it was sent
		Cluster   string   `json:"cluster"`
		Tags      []string `json:"tags"`
		Preferred string   `json:"preferred"`
	}
	if err := jsapi.DecodeBody(r.Placement, &placement); err != nil {
		return nil, err
	}
	if r.Name != name {
		return nil, jsapi.ErrNameMismatch
	}
	if err := r.checkEnums(); err != nil {
		return nil, err
	}
	if err := r.checkUnsupported(); err != nil {
		return nil, err
	}
	c := &r.Config
	c.normalise()
	_, named := KeyBucketOf(name)
	c.isMessageStream = !named || c.notABucket() != nil
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func (r *request) checkEnums() *jsapi.Error {
	failure := jsapi.CheckEnums(
		jsapi.OneOf(r.Retention, "", retentionLimits, "interest", "workqueue"),
		jsapi.OneOf(r.Discard, "", discardOld, discardNew),
		jsapi.OneOf(r.Storage, "", storageFile, StorageMemory),
	)
	if failure != nil {
		return failure
	}
	if !slices.Contains([]string{"", compressionNone, compressionS2}, r.Compression) {
		return jsapi.InvalidJSON(errors.New("unknown compression algorithm"))
	}
	return nil
}

// checkUnsupported refuses the fields that kvd does not support, if they ask for
// anything: a client must not rely on them.
func (r *request) checkUnsupported() *jsapi.Error {
	switch {
	case jsapi.IsGiven(r.Mirror) && len(r.Subjects) > 0:
		return jsapi.ErrMirrorSubjects
	case jsapi.IsGiven(r.Mirror):
		return jsapi.UnsupportedConfig("mirrors are not supported")
	case jsapi.IsGiven(r.Sources):
		return jsapi.UnsupportedConfig("sources are not supported")
	case jsapi.IsGiven(r.SubjectTransform):
		return jsapi.UnsupportedConfig("subject transforms are not supported")
	case jsapi.IsGiven(r.Limits):
		return jsapi.UnsupportedConfig("consumer limits are not supported")
	case r.Retention != "" && r.Retention != retentionLimits:
		return jsapi.UnsupportedConfig("retention %s is not supported: choose limits", r.Retention)
	case r.Replicas > replicasMax:
		return jsapi.InvalidConfig("maximum replicas is %d", replicasMax)
	case r.Replicas < 0:
		return jsapi.ErrReplicasNegative
	case r.Replicas > 1:
		return jsapi.ErrReplicas
	}
	for _, f := range []struct {
		on   bool
		what string
	}{
		{r.FirstSeq > 1, "a first sequence is"}, {r.NoAck, "no_ack is"},
		{r.PerSubject, "discard_new_per_subject is"}, {r.AllowAtomic, "atomic batch publish is"},
		{r.AllowBatched, "batch publish is"}, {r.AllowCounter, "message counters are"}, {r.AllowSchedules, "message schedules are"},
		{r.PersistMode != "" && r.PersistMode != persistModeDefault, "persist mode " + r.PersistMode + " is"},
		{r.Template != "", "a stream template is"}, {r.MaxConsumers > 0, "max_consumers is"},
	} {
		if f.on {
			return jsapi.UnsupportedConfig("%s not supported", f.what)
		}
	}
	return nil
}

// normalise fills in the defaults, as nats-server does.
func (c *Config) normalise() {
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
	if !jsapi.IsGiven(c.Placement) {
		c.Placement = nil
	}
	if r := c.Republish; r != nil && r.Source == "" {
		r.Source = ">"
	}
	maps.DeleteFunc(c.Metadata, func(key, _ string) bool { return strings.HasPrefix(key, serverMetadata) })
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
}

// duplicatesFor returns the default duplicate window of a stream with that max_age.
func duplicatesFor(maxAge time.Duration) time.Duration {
	if maxAge > 0 {
		return min(maxAge, duplicatesDefault)
	}
	return duplicatesDefault
}

// check refuses a configuration that no kind of stream can have.
func (c *Config) check() *jsapi.Error {
	failure := c.checkName()
	if failure == nil {
		failure = c.checkTimes()
	}
	if failure != nil {
		return failure
	}
	switch {
	case c.MirrorDirect:
		return jsapi.InvalidConfig("stream has no mirror but does have mirror direct")
	case c.AllowRollup && c.DenyPurge:
		return jsapi.InvalidConfig("roll-ups require the purge permission")
	}
	if c.Republish != nil {
		if failure := c.Republish.check(c.Subjects); failure != nil {
			return failure
		}
	}
	for key := range c.Metadata {
		if strings.HasPrefix(key, msglog.ReservedMetadata) {
			return jsapi.UnsupportedConfig("metadata key %q: keys that begin with %q are kvd's own", key, msglog.ReservedMetadata)
		}
	}
	return nil
}

// IsMessageStream reports whether the stream is not that of a key/value bucket.
func (c *Config) IsMessageStream() bool { return c.isMessageStream }

// CheckKind refuses a configuration that the kind of the stream cannot have. have is the
// stream's present configuration, nil if there is none. A message stream stays one, also if a
// bucket could have the new configuration. maxPayload is the front end's, bytes.
func (c *Config) CheckKind(have *Config, maxPayload int) *jsapi.Error {
	if have != nil && have.isMessageStream != c.isMessageStream {
		if c.isMessageStream {
			return c.notABucket()
		}
		c.isMessageStream = true
	}
	if c.isMessageStream {
		if refused := c.checkMessageStream(); refused != nil {
			return refused
		}
	}
	cfg := c.BucketConfig(maxPayload)
	if err := cfg.Validate(); err != nil {
		return jsapi.InvalidConfig("%v", err)
	}
	return nil
}

func (c *Config) checkName() *jsapi.Error {
	if len(c.Name) > streamNameMax {
		return jsapi.InvalidConfig("stream name is too long, maximum allowed is %d", streamNameMax)
	}
	if _, ok := MessageBucketOf(c.Name); ok || !c.isMessageStream {
		return nil
	}
	if isStreamName(c.Name) {
		return jsapi.UnsupportedConfig("stream name %q is too long: its escaped form may have %d bytes", c.Name, kv.MaxBucketNameSize-len(MessageStreamPrefix))
	}
	return jsapi.InvalidConfig(`stream name is required and can not contain '.', '*', '>', '\', '/'`)
}

func (c *Config) checkTimes() *jsapi.Error {
	switch {
	case c.MaxAge < 0:
		return jsapi.InvalidConfig("max age can not be negative")
	case c.MaxAge > 0 && c.MaxAge < maxAgeMin:
		return jsapi.InvalidConfig("max age needs to be >= 100ms")
	case c.DuplicateWindow < 0:
		return jsapi.InvalidConfig("duplicates window can not be negative")
	case c.MaxAge > 0 && c.DuplicateWindow > c.MaxAge:
		return jsapi.InvalidConfig("duplicates window can not be larger then max age")
	case c.SubjectDeleteMarkerTTL < 0:
		return jsapi.InvalidConfig("subject delete marker TTL must not be negative")
	case c.SubjectDeleteMarkerTTL > 0 && c.SubjectDeleteMarkerTTL < markerTTLMin:
		return jsapi.InvalidConfig("subject delete marker TTL must be at least 1 second")
	}
	return nil
}

// notABucket returns nil if a stream named KV_b can be that of bucket b, and otherwise why it
// cannot.
func (c *Config) notABucket() *jsapi.Error {
	bucket, _ := KeyBucketOf(c.Name)
	subjects := SubjectsOf(bucket)
	switch {
	case len(c.Subjects) != 1 || c.Subjects[0] != subjects:
		return jsapi.UnsupportedConfig("the subjects of stream %q must be %q: it is that of a bucket", c.Name, subjects)
	case c.MaxMsgsPerSubject < 1 || c.MaxMsgsPerSubject > kv.MaxHistory:
		return jsapi.UnsupportedConfig("max_msgs_per_subject of a bucket is 1 to %d, not %d: choose how many revisions of a key are kept", kv.MaxHistory, c.MaxMsgsPerSubject)
	case c.MaxMsgs > 0:
		return jsapi.UnsupportedConfig("max_msgs is not supported in a bucket: choose max_msgs_per_subject, max_age or max_bytes")
	case c.Discard == discardOld && c.MaxBytes > 0:
		return jsapi.UnsupportedConfig("discard old with max_bytes is not supported in a bucket: choose discard new")
	}
	return nil
}

// checkMessageStream checks the fields that only a message stream restricts.
func (c *Config) checkMessageStream() *jsapi.Error {
	switch {
	case c.MaxMsgsPerSubject > kv.MaxHistory:
		return jsapi.UnsupportedConfig("max_msgs_per_subject of %d is not supported: choose 1 to %d, or no limit", c.MaxMsgsPerSubject, kv.MaxHistory)
	case c.MaxMsgsPerSubject > 0 && c.MaxMsgs > 0 && c.Discard == discardNew:
		return jsapi.UnsupportedConfig("discard new with both max_msgs and max_msgs_per_subject is not supported: choose one of the two")
	case c.AllowMsgTTL:
		return jsapi.UnsupportedConfig("TTLs of messages are not supported in a message stream: choose max_age")
	}
	return checkSubjects(c.Subjects)
}

// checkSubjects checks the subjects of a message stream.
func checkSubjects(subjects []string) *jsapi.Error {
	for _, s := range subjects {
		switch {
		case !wire.ValidSubject([]byte(s)) || strings.ContainsAny(s, " \t\r\n"):
			return jsapi.InvalidConfig("invalid subject")
		case s == ">":
			return jsapi.InvalidConfig("capturing all subjects requires no-ack to be true")
		case (wire.Overlap(s, "$JS.>") || wire.Overlap(s, "$JSC.>") || wire.Overlap(s, "$NRG.>")) && !strings.HasPrefix(s, "$JS.EVENT."):
			return jsapi.InvalidConfig("subjects that overlap with jetstream api require no-ack to be true")
		case wire.Overlap(s, "$SYS.>") && !strings.HasPrefix(s, "$SYS.ACCOUNT."):
			return jsapi.InvalidConfig("subjects that overlap with system api require no-ack to be true")
		}
	}
	switch p, q, found, exhausted := patterns.FirstOverlap(subjects); {
	case found:
		return jsapi.InvalidConfig("subject %q overlaps with %q", p, q)
	case exhausted:
		return jsapi.UnsupportedConfig("%d subjects are too many: use fewer wildcards", len(subjects))
	}
	return nil
}
