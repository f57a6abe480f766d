package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"kvd/bucket"
	"kvd/kv"
)

func Example() {
	dir, err := os.MkdirTemp("", "kvd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	b, err := store.CreateBucket(ctx, kv.Config{Bucket: "my-kv", History: 5})
	if err != nil {
		log.Fatal(err)
	}

	rev, _ := b.PutString(ctx, "Key1", "Value1") // durable when it returns
	fmt.Println("put: revision", rev)
	rev, _ = b.Update(ctx, "Key1", []byte("Value2"), rev)
	fmt.Println("update: revision", rev)
	_, err = b.Update(ctx, "Key1", []byte("Value3"), 1)
	fmt.Println(err)

	_, err = b.Create(ctx, "lock", []byte("me"))
	fmt.Println("create:", err)
	_, err = b.Create(ctx, "lock", []byte("you"))
	fmt.Println("create:", errors.Is(err, kv.ErrKeyExists))

	for e, err := range b.History(ctx, "Key1") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Revision, e.Operation, string(e.Value))
	}
	for key := range b.Keys(ctx, "*") {
		fmt.Println("key:", key)
	}
	if err := store.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// put: revision 1
	// update: revision 2
	// key revision mismatch: "Key1" in bucket "my-kv" is at revision 2, expected 1
	// create: <nil>
	// create: true
	// 1 PUT Value1
	// 2 PUT Value2
	// key: Key1
	// key: lock
}
