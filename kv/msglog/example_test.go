package msglog_test

import (
	"fmt"

	"kvd/kv"
	"kvd/kv/msglog"
)

func ExampleAppendSuffix() {
	for _, r := range []kv.Revision{1, 2, 1 << 40} {
		fmt.Println(string(msglog.AppendSuffix([]byte("orders."), r)))
	}
	// Output:
	// orders.fffffffffffffffe
	// orders.fffffffffffffffd
	// orders.fffffeffffffffff
}

func ExampleAppendedRevision() {
	fmt.Println(msglog.AppendedRevision("orders.fffffffffffffffd"))
	fmt.Println(msglog.AppendedRevision("orders"))
	// Output:
	// 2 true
	// 0 false
}
