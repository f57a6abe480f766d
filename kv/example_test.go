package kv_test

import (
	"errors"
	"fmt"

	"kvd/kv"
)

func ExampleMatch() {
	for _, key := range []string{"service.eu.web", "service.eu.web.1", "service.us"} {
		fmt.Println(key, kv.Match("service.*.web", key), kv.Match("service.>", key))
	}
	// Output:
	// service.eu.web true true
	// service.eu.web.1 false true
	// service.us false true
}

func ExampleCheckKey() {
	fmt.Println(kv.CheckKey("config.db/host"))
	err := kv.CheckKey("config.db host")
	fmt.Println(err)
	var bad *kv.NameError
	if errors.As(err, &bad) {
		fmt.Println(bad.Offset, errors.Is(err, kv.ErrInvalidKey))
	}
	// Output:
	// <nil>
	// invalid key "config.db host": ' ' is not allowed at byte 9
	// 9 true
}

func ExampleRevisionMismatchError() {
	err := fmt.Errorf("save the settings: %w", &kv.RevisionMismatchError{Bucket: "cfg", Key: "db", Want: 3, Got: 5})
	var refused *kv.RevisionMismatchError
	if errors.Is(err, kv.ErrKeyRevisionMismatch) && errors.As(err, &refused) {
		fmt.Printf("%s changed meanwhile: revision %d instead of %d\n", refused.Key, refused.Got, refused.Want)
	}
	// Output: db changed meanwhile: revision 5 instead of 3
}
