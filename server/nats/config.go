package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
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
	serverMetadata     = "_nats."                         // keys that belong to a server: clients hide them
	extrasMetadata     = msglog.ReservedMetadata + "nats" // see extras
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

// check refuses a configuration that is not valid, or that kvd has no bucket for.
func (c *streamConfig) check(maxPayload int) *apiError {
	failure := c.checkName()
	if failure == nil {
		failure = c.checkTimes()
	}
	if failure == nil && c.isPlain() {
		failure = c.checkPlain()
	} else if failure == nil {
		failure = c.checkBucket()
	}
	if failure != nil {
		return failure
	}
	switch {
	case c.MirrorDirect:
		return invalidConfig("stream has no mirror but does have mirror direct")
	case c.AllowRollup && c.DenyPurge:
		return invalidConfig("roll-ups require the purge permission")
	}
	for key := range c.Metadata {
		if strings.HasPrefix(key, msglog.ReservedMetadata) {
			return invalidConfig("metadata key %q: keys that begin with %q are kvd's own", key, msglog.ReservedMetadata)
		}
	}
	cfg := c.bucketConfig(maxPayload)
	if err := cfg.Validate(); err != nil {
		return invalidConfig("%v", err)
	}
	return nil
}

// isPlain reports whether the stream is no key/value bucket.
func (c *streamConfig) isPlain() bool { return !strings.HasPrefix(c.Name, streamPrefix) }

func (c *streamConfig) checkName() *apiError {
	if len(c.Name) > streamNameMax {
		return invalidConfig("stream name is too long, maximum allowed is %d", streamNameMax)
	}
	if _, ok := bucketOf(c.Name); ok {
		return nil
	}
	switch {
	case !c.isPlain():
		return invalidConfig("stream %q is not supported: what follows KV_ names a bucket, of letters, digits, \"-\" and \"_\", and does not begin with %q", c.Name, msglog.ReservedBucket)
	case isStreamName(c.Name):
		return invalidConfig("stream name %q takes more than the %d bytes that kvd has for it", c.Name, kv.MaxBucketNameSize-len(plainPrefix))
	}
	return invalidConfig(`stream name is required and can not contain '.', '*', '>', '\', '/'`)
}

func (c *streamConfig) checkTimes() *apiError {
	switch {
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
	}
	return nil
}

// checkBucket checks what a key/value bucket's stream may be.
func (c *streamConfig) checkBucket() *apiError {
	subjects := subjectsOf(strings.TrimPrefix(c.Name, streamPrefix))
	switch {
	case len(c.Subjects) != 1 || c.Subjects[0] != subjects:
		return invalidConfig("the subjects of stream %q have to be %q: other subjects need a stream whose name does not begin with KV_", c.Name, subjects)
	case c.MaxMsgsPerSubject < 1 || c.MaxMsgsPerSubject > kv.MaxHistory:
		return invalidConfig("max_msgs_per_subject of a bucket is 1 to %d, not %d: choose how many revisions of a key are kept", kv.MaxHistory, c.MaxMsgsPerSubject)
	case c.MaxMsgs > 0:
		return invalidConfig("max_msgs is not supported in a bucket: choose max_msgs_per_subject, max_age or max_bytes")
	case c.Discard == discardOld && c.MaxBytes > 0:
		return invalidConfig("discard old with max_bytes is not supported in a bucket: a full one refuses writes, which is discard new")
	}
	return nil
}

// checkPlain checks what a plain stream may be.
func (c *streamConfig) checkPlain() *apiError {
	switch {
	case c.MaxMsgsPerSubject > kv.MaxHistory:
		return invalidConfig("max_msgs_per_subject of %d is not supported: choose 1 to %d, or no limit", c.MaxMsgsPerSubject, kv.MaxHistory)
	case c.MaxMsgsPerSubject > 0 && c.MaxMsgs > 0 && c.Discard == discardNew:
		return invalidConfig("discard new with both max_msgs and max_msgs_per_subject is not supported: choose one of the two")
	case c.AllowMsgTTL:
		return invalidConfig("TTLs of messages are not supported in a stream that is no bucket: choose max_age")
	}
	return checkSubjects(c.Subjects)
}

// checkSubjects checks the subjects of a plain stream.
func checkSubjects(subjects []string) *apiError {
	for _, s := range subjects {
		switch {
		case !validSubject([]byte(s)) || strings.ContainsAny(s, " \t\r\n"):
			return invalidConfig("invalid subject")
		case s == ">":
			return invalidConfig("capturing all subjects requires no-ack to be true")
		case (overlap(s, "$JS.>") || overlap(s, "$JSC.>") || overlap(s, "$NRG.>")) && !strings.HasPrefix(s, "$JS.EVENT."):
			return invalidConfig("subjects that overlap with jetstream api require no-ack to be true")
		case overlap(s, "$SYS.>") && !strings.HasPrefix(s, "$SYS.ACCOUNT."):
			return invalidConfig("subjects that overlap with system api require no-ack to be true")
		}
	}
	for i, s := range subjects {
		for _, other := range subjects[i+1:] {
			if overlap(s, other) {
				return invalidConfig("subject %q overlaps with %q", s, other)
			}
		}
	}
	return nil
}
