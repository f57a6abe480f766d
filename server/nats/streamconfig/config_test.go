package streamconfig

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/kv"
	"kvd/server/nats/jsapi"
)

// A configuration comes back as it was sent, also the fields that a bucket does not have.
func TestStreamConfigsComeBack(t *testing.T) {
	for _, sent := range []string{
		`{}`,
		`{"max_msgs_per_subject":64,"max_age":3600000000000,"max_bytes":1000000,"max_msg_size":1000,"discard":"new"}`,
		`{"description":"d","metadata":{"a":"b"},"storage":"memory","compression":"s2","allow_direct":true}`,
		`{"deny_delete":true,"allow_rollup_hdrs":true,"subject_delete_marker_ttl":5000000000,"duplicate_window":1000000000}`,
		`{"deny_purge":true,"allow_msg_ttl":true,"placement":{"cluster":"c","tags":["a"]},"max_msg_size":100000000}`,
		`{"subject_delete_marker_ttl":900000000000,"max_age":60000000000,"metadata":{"_nats.ver":"2"}}`,
	} {
		comesBack(t, "KV_b", `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,`+strings.TrimPrefix(sent, "{"))
	}
	for _, sent := range []string{
		`{}`,
		`{"subjects":["a.*","b.>","$KV.c.d"],"max_msgs":5,"max_bytes":1000,"max_age":3600000000000}`,
		`{"max_msgs_per_subject":64,"max_bytes":1000,"discard":"new","storage":"memory","compression":"s2"}`,
		`{"max_msgs":7,"discard":"new","allow_direct":true,"allow_rollup_hdrs":true,"deny_delete":true,"metadata":{"a":"b"}}`,
	} {
		comesBack(t, "a_ü", `{"name":"a_ü",`+strings.TrimPrefix(sent, "{"))
		comesBack(t, "KV_b", `{"name":"KV_b",`+strings.TrimPrefix(sent, "{")) // no bucket is like that
	}
}

// parse reads the configuration of a stream that does not exist.
func parse(body, name string) (*Config, *jsapi.Error) {
	c, refused := Parse([]byte(body), name)
	if refused == nil {
		refused = c.CheckKind(nil, 1<<20)
	}
	return c, refused
}

func comesBack(t *testing.T, name, body string) {
	t.Helper()
	body = strings.Replace(body, ",}", "}", 1)
	c, failure := parse(body, name)
	if failure != nil {
		t.Fatalf("%s: %v", body, failure)
	}
	cfg := c.BucketConfig(1 << 20).WithDefaults()
	back := FromBucket(&cfg)
	if !back.Equal(c) {
		got, _ := json.Marshal(back)
		want, _ := json.Marshal(c)
		t.Errorf("%s is\n%s, sent was\n%s", body, got, want)
	}
}

// The stream KV_b is that of a bucket, if a bucket can have its configuration.
func TestKindsOfStreams(t *testing.T) {
	const ofBucket = `"subjects":["$KV.b.>"],"max_msgs_per_subject":1`
	for body, want := range map[string]string{
		ofBucket: "b", ofBucket + `,"discard":"new","max_bytes":5`: "b", ofBucket + `,"max_msgs":-1`: "b",
		ofBucket + `,"max_bytes":5`: "_kvd_stream_KV__b", ofBucket + `,"max_msgs":5`: "_kvd_stream_KV__b",
		`"subjects":["$KV.b.>"]`: "_kvd_stream_KV__b", `"subjects":["$KV.c.>"],"max_msgs_per_subject":1`: "_kvd_stream_KV__b",
		`"subjects":["$KV.b.>","a"],"max_msgs_per_subject":1`: "_kvd_stream_KV__b",
	} {
		c, refused := parse(`{"name":"KV_b",`+body+`}`, "KV_b")
		if refused != nil || c.Bucket() != want || c.IsMessageStream() != (want != "b") {
			t.Errorf("%s is in bucket %+v: %v, want %s", body, c, refused, want)
		}
	}
}

func TestStreamConfigsRefused(t *testing.T) {
	for sent, want := range map[string]int{
		`"num_replicas":3`: 10074, `"num_replicas":6`: 10052, `"mirror":{"name":"a"}`: 10034, `"sources":[{"name":"a"}]`: 10052,
		`"republish":{"dest":"a"}`: 10052, `"retention":"workqueue"`: 10052, `"retention":"x"`: 10025, `"max_age":1`: 10052,
		`"max_age":"1s"`: 10025, `"max_msgs_per_subject":65`: 10052, `"max_age":-1`: 10052,
		`"duplicate_window":-1`: 10052, `"max_age":1000000000,"duplicate_window":2000000000`: 10052, `"allow_atomic":true`: 10052,
		`"metadata":{"_kvd.x":"y"}`: 10052, `"first_seq":7`: 10052, `"mirror_direct":true`: 10052,
		`"subjects":["a..b"]`: 10052, `"consumer_limits":{"max_ack_pending":1}`: 10052, `"description":"` + strings.Repeat("d", 4097) + `"`: 10052,
	} {
		body := `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,` + sent + `}`
		if _, failure := parse(body, "KV_b"); failure == nil || failure.ErrCode != want {
			t.Errorf("%.60s: %v, want code %d", sent, failure, want)
		}
	}
}

// The cache derives a configuration again when the bucket's has changed.
func TestCacheNoticesChanges(t *testing.T) {
	var cs Cache
	base := kv.Config{Bucket: "b", Metadata: map[string]string{"a": "b"}}.WithDefaults()
	before, _ := cs.Of(&base)
	if again, _ := cs.Of(&base); again != before {
		t.Error("the same configuration is derived twice")
	}
	base.Metadata["a"] = "c" // the caller's own
	fields := reflect.TypeFor[kv.Config]()
	for i := range fields.NumField() {
		changed := kv.Config{Bucket: "b", Metadata: map[string]string{"a": "b"}}.WithDefaults()
		field := reflect.ValueOf(&changed).Elem().Field(i)
		switch name := fields.Field(i).Name; name {
		case "Bucket", "Sync", "SyncInterval", "Kind": // a stream does not show these
			continue
		case "Metadata":
			field.Set(reflect.ValueOf(map[string]string{}))
		case "Description":
			field.SetString("other")
		case "Compression":
			field.SetBool(true)
		case "Storage":
			field.SetUint(1)
		default:
			field.SetInt(int64(time.Minute))
		}
		if got, _ := cs.Of(&changed); !got.Equal(FromBucket(&changed)) {
			t.Errorf("a change of %s is not noticed", fields.Field(i).Name)
		}
	}
}
