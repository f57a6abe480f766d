package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"kvd/bucket"
	"kvd/client"
	"kvd/kv"
	"kvd/server"
	"kvd/server/line"
)

func Example() {
	ctx := context.Background()
	address, stop := startServer()
	defer stop()

	c, err := client.Dial(ctx, address, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	b, err := c.CreateBucket(ctx, kv.Config{Bucket: "my-kv", History: 5})
	if err != nil {
		log.Fatal(err)
	}
	revision, err := b.PutString(ctx, "greeting", "hello")
	fmt.Println(revision, err)

	_, err = b.Update(ctx, "greeting", []byte("hello, world"), revision)
	fmt.Println(err)

	_, err = b.Update(ctx, "greeting", []byte("too late"), revision)
	var refused *kv.RevisionMismatchError
	if errors.As(err, &refused) {
		fmt.Printf("%s is at revision %d, not %d\n", refused.Key, refused.Got, refused.Want)
	}
	for e, err := range b.History(ctx, "greeting") {
		fmt.Println(e.Revision, string(e.Value), err)
	}
	// Output:
	// 1 <nil>
	// <nil>
	// greeting is at revision 2, not 1
	// 1 hello <nil>
	// 2 hello, world <nil>
}

// startServer starts a server as the program kvd does.
func startServer() (address string, stop func()) {
	dir, err := os.MkdirTemp("", "kvd-example")
	if err != nil {
		log.Fatal(err)
	}
	store, err := bucket.Open(dir, bucket.Options{LogFileSize: 1 << 20, ReserveSize: -1})
	if err != nil {
		log.Fatal(err)
	}
	srv, err := server.New(line.New(store, "example"), server.Options{})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := srv.Listen()
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(listener) }()
	return listener.Addr().String(), func() {
		_ = srv.Shutdown(context.Background())
		_ = store.Close()
		_ = os.RemoveAll(dir)
	}
}
