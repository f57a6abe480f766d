package blob_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"kvd/backup/blob"
)

// Of two writers one gets the name, and the other learns of it.
func Example() {
	ctx := context.Background()
	parent, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	store, err := blob.OpenDir(filepath.Join(parent, "repo"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.Put(ctx, "gen/1/owner.json", []byte("first")))
	fmt.Println(errors.Is(store.Put(ctx, "gen/1/owner.json", []byte("second")), blob.ErrExists))
	data, err := blob.Get(ctx, store, "gen/1/owner.json", 1<<10)
	fmt.Println(string(data), err)
	// Output:
	// <nil>
	// true
	// first <nil>
}
