package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/kvtest"
)

// TestConformanceInMemory runs the suite of kv.Store over a store without files.
func TestConformanceInMemory(t *testing.T) {
	kvtest.Run(t, kvtest.Harness{
		Open: func(t *testing.T) kv.Store {
			s, err := bucket.OpenMemory(bucket.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		ShortestTTL: 20 * time.Millisecond,
	})
}

// TestMemoryLeavesNothing has a store without files touch no directory, and leave no
// goroutine behind: the bubble does not end before the last of them.
func TestMemoryLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	synctest.Test(t, func(t *testing.T) {
		s, err := bucket.OpenMemory(bucket.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b", MaxValueSize: kv.MaxValueSizeLimit})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 { // more than the log holds
			if _, err := b.Put(t.Context(), fmt.Sprintf("k.%d", i%10), make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Put(t.Context(), "large", make([]byte, kv.MaxValueSizeLimit)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("files %v, %v", files, err)
	}
}

func ExampleOpenMemory() {
	s, err := bucket.OpenMemory(bucket.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	ctx := context.Background()
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: "settings"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := b.PutString(ctx, "theme", "dark"); err != nil {
		fmt.Println(err)
	}
	for e, err := range b.All(ctx) {
		fmt.Printf("%s=%s %v\n", e.Key, e.Value, err)
	}
	_, err = b.Get(ctx, "font")
	fmt.Println(err)
	// Output:
	// theme=dark <nil>
	// key not found: "font" in bucket "settings"
}

// setting is what the typed bucket of the example holds.
type setting struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

func ExampleOpenMemory_typed() {
	s, err := bucket.OpenMemory(bucket.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	ctx := context.Background()
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: "settings", History: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	settings := kv.Typed[setting]{Bucket: b}
	revision, _ := settings.Create(ctx, "font", setting{"Go Mono", 12})
	_, _ = settings.Update(ctx, "font", setting{"Go Mono", 14}, revision)
	_, _ = b.PutString(ctx, "theme", "dark") // no JSON
	for e, err := range settings.All(ctx) {
		fmt.Println(e.Key, e.Value, err)
	}
	for e := range settings.History(ctx, "font") {
		fmt.Println(e.Revision, e.Value.Size)
	}
	_, err = settings.Get(ctx, "theme")
	var undecoded *kv.DecodeError
	fmt.Println(errors.As(err, &undecoded) && undecoded.Revision == 3)
	for u, err := range settings.Watch(ctx, []string{"font"}) {
		if err != nil || u.Entry == nil {
			break // the initial entries are through
		}
		fmt.Println("watched", u.Entry.Value.Size, u.Err)
	}
	// Output:
	// font {Go Mono 14} <nil>
	// theme { 0} decode "theme" in bucket "settings" at revision 3: invalid character 'd' looking for beginning of value
	// 1 12
	// 2 14
	// true
	// watched 14 <nil>
}
