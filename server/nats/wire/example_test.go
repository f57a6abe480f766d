package wire_test

import (
	"errors"
	"fmt"

	"kvd/server/nats/wire"
)

func ExampleParse() {
	in := []byte("SUB greet.* 1\r\nPUB greet.joe 5\r\nhello\r\nPUB greet.sue 5\r\nhe")
	var o wire.Operation
	for {
		n, err := wire.Parse(in, 1<<20, &o)
		if errors.Is(err, wire.ErrIncomplete) {
			fmt.Printf("%d bytes of %d\n", len(in), n)
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %q\n", o.Subject, o.Payload)
		in = in[n:]
	}
	// Output:
	// greet.* ""
	// greet.joe "hello"
	// 19 bytes of 24
}

func ExampleReadPublishHeaders() {
	var h wire.PublishHeaders
	wire.ReadPublishHeaders([]byte("NATS/1.0\r\nKV-Operation: DEL\r\nNats-Msg-Id: 7\r\n\r\n"), &h)
	fmt.Printf("%v %s\n", h.IsMarker(), h.MsgID)
	// Output: true 7
}
