package fuzz_test

import (
	"fmt"

	"kvd/fuzz"
	"kvd/kv"
)

// A model returns the answer that a store must give, and has the records that it must have.
func ExampleModel() {
	m := fuzz.NewModel()
	_ = m.CreateBucket(kv.Config{Bucket: "b", History: 2})
	for _, value := range []string{"one", "two", "three"} {
		rev, err := m.Write(kv.Mutation{Op: kv.MutatePut, Bucket: "b", Key: "k", Value: []byte(value)})
		fmt.Println(rev, err)
	}
	_, err := m.Write(kv.Mutation{Op: kv.MutateUpdate, Bucket: "b", Key: "k", Last: 1})
	fmt.Println(err)
	for _, r := range m.Buckets["b"].Keys["k"] {
		fmt.Printf("%d %s\n", r.Revision, r.Value)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
	// key revision mismatch
	// 2 two
	// 3 three
}
