package index_test

import (
	"fmt"

	"kvd/index"
	"kvd/kv"
)

func Example() {
	x := index.New()
	put := func(key string, rev kv.Revision, op kv.Operation, floor kv.Revision) {
		v := index.Version{Revision: rev, Op: op, Segment: 1, Offset: int64(rev) * 64, Size: 64}
		x.Apply(index.Hash(key), key, v, floor, func(old index.Version) {
			fmt.Printf("revision %d of %s is dead\n", old.Revision, key)
		})
	}
	put("orders.1", 1, kv.Put, 1)
	put("orders.2", 2, kv.Put, 2)
	put("users.7", 3, kv.Put, 3)
	put("orders.1", 4, kv.Put, 1)
	before := x.Snapshot()
	put("orders.1", 5, kv.Put, 4)
	put("orders.2", 6, kv.Purge, 6)

	newest, _ := x.Newest(index.Hash("orders.1"), "orders.1")
	fmt.Printf("orders.1 is at revision %d, offset %d\n", newest.Revision, newest.Offset)
	fmt.Printf("%d keys have a value\n", x.Keys())
	before.AscendPrefix("orders.", func(key []byte, v index.Version) bool {
		fmt.Printf("before: %s at revision %d\n", key, v.Revision)
		return true
	})
	before.Release()
	// Output:
	// revision 1 of orders.1 is dead
	// revision 2 of orders.2 is dead
	// orders.1 is at revision 5, offset 320
	// 2 keys have a value
	// before: orders.1 at revision 4
	// before: orders.2 at revision 2
}
