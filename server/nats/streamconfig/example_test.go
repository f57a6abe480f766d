package streamconfig_test

import (
	"fmt"

	"kvd/server/nats/streamconfig"
)

func ExampleParse() {
	body := `{"name":"ORDERS","subjects":["orders.>"],"max_age":60000000000}`
	c, refused := streamconfig.Parse([]byte(body), "ORDERS")
	if refused != nil {
		fmt.Println(refused)
		return
	}
	bucket := c.BucketConfig(1 << 20)
	fmt.Println(bucket.Bucket, bucket.TTL)
	// Output: _kvd_stream_ORDERS 1m0s
}

func ExampleLayout() {
	bucket, _ := streamconfig.MessageBucketOf("ORDERS")
	l := streamconfig.NewLayout(bucket, false)
	key, _ := l.Key([]byte("orders.a=b"))
	fmt.Println(key, string(l.AppendSubject(nil, key)))
	fmt.Println(l.Pattern("orders.*"))
	// Output:
	// orders.a=3Db orders.a=b
	// orders.* true
}
