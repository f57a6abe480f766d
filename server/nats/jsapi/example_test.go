package jsapi_test

import (
	"fmt"

	"kvd/kv"
	"kvd/server/nats/jsapi"
)

func ExampleErrorOf() {
	refused := jsapi.ErrorOf(fmt.Errorf("bucket %q: %w", "b", kv.ErrBucketNotFound))
	answer := jsapi.EncodeResponse("stream_info", struct {
		Error *jsapi.Error `json:"error"`
	}{refused})
	fmt.Println(string(answer))
	// Output: {"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":404,"err_code":10059,"description":"stream not found"}}
}
