package nats

import (
	"fmt"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
)

// A client can create a bucket that kvd's own tools made, if it leaves the same fields to
// the server.
func TestABucketOfKvdIsMadeAgain(t *testing.T) {
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []kv.Config{
		{Bucket: "b", History: 5},
		{Bucket: "other", MarkerTTL: time.Hour, MaxValueSize: 1000},
		{Bucket: "nats", Metadata: map[string]string{"_kvd.nats": `{"no_direct":true}`}},
	} {
		if _, err := store.CreateBucket(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	_, addr := listen(t, store, store, server.Options{})
	const (
		ask      = `> PUB $JS.API.STREAM.%s.KV_%s i {n}\r\n{"name":"KV_%[2]s","subjects":["$KV.%[2]s.>"],"discard":"new","deny_delete":true,"allow_rollup_hdrs":true,"allow_direct":true,"max_msgs_per_subject":%d%s}`
		made     = `< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_create_response","config"…`
		edited   = `< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_update_response","config"…`
		inUse    = `< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_create_response","error":{"code":400,"err_code":10058,…`
		notMinus = `< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_update_response","error":{"code":500,"err_code":10052,…`
	)
	exchange(t, dial(t, addr), `> CONNECT {"verbose":false}`, "> SUB i 1",
		fmt.Sprintf(ask, "CREATE", "b", 5, ""), made,
		fmt.Sprintf(ask, "CREATE", "b", 4, ""), inUse,
		fmt.Sprintf(ask, "CREATE", "b", 5, `,"max_msg_size":1000`), inUse,
		fmt.Sprintf(ask, "CREATE", "b", 5, `,"subject_delete_marker_ttl":1000000000`), inUse,
		fmt.Sprintf(ask, "CREATE", "other", 1, ""), inUse,
		fmt.Sprintf(ask, "CREATE", "nats", 1, ""), inUse,
		fmt.Sprintf(ask, "UPDATE", "other", 1, ""), notMinus,
		fmt.Sprintf(ask, "UPDATE", "b", 4, ""), edited,
		fmt.Sprintf(ask, "CREATE", "b", 4, ""), made)
}

// Fields that nats-server does not know are refused, pedantic has no effect, and what kvd does
// not support is refused by name.
func TestUnknownFields(t *testing.T) {
	exchange(t, dial(t, serve(t, server.Options{})), `> CONNECT {"verbose":false}`, "> SUB i 1",
		`> PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s"],"no_such_field":true}`,
		`< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_create_response","error":{"code":400,"err_code":10025,"description":"invalid JSON: json: unknown field \"no_such_field\""}}`,
		`> PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s"],"pedantic":true}`,
		`< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.stream_create_response","config"…`,
		`> PUB $JS.API.CONSUMER.CREATE.S.c i {n}\r\n{"stream_name":"S","config":{"name":"c","ack_policy":"none","deliver_subject":"d","pause_until":"2100-01-01T00:00:00Z"}}`,
		`< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.consumer_create_response","error":{"code":500,"err_code":10012,"description":"pause_until is not supported"}}`,
		`> PUB $JS.API.CONSUMER.CREATE.S.c i {n}\r\n{"stream_name":"S","config":{"name":"c","ack_policy":"none","deliver_subject":"d","no_such_field":1}}`,
		`< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.consumer_create_response","error":{"code":400,"err_code":10025,"description":"invalid JSON: json: unknown field \"no_such_field\""}}`)
}
