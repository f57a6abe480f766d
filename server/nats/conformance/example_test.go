package conformance_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/bucket"
	natsfront "kvd/server/nats"
)

// A program that embeds a store can use it through nats.go's own client without a socket.
// When it outgrows one machine, the address of a server replaces the option.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "kvd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	front, err := natsfront.New(store, natsfront.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer front.Close(ctx)

	conn, err := nats.Connect("", nats.InProcessServer(front))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	stream, err := js.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	values, err := stream.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "my-kv", History: 5})
	if err != nil {
		log.Fatal(err)
	}
	revision, err := values.PutString(ctx, "Key1", "Value1") // on the disk when it returns
	if err != nil {
		log.Fatal(err)
	}
	_, err = values.Update(ctx, "Key1", []byte("Value2"), revision)
	fmt.Println(revision, err)
	_, err = values.Update(ctx, "Key1", []byte("Value3"), revision)
	fmt.Println(err)
	entry, err := values.Get(ctx, "Key1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s at revision %d\n", entry.Value(), entry.Revision())
	// Output:
	// 1 <nil>
	// nats: nats: API error: code=400 err_code=10071 description=wrong last sequence: 2: nats: key revision mismatch
	// Value2 at revision 2
}
