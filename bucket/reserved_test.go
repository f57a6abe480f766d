package bucket

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/kv/msglog"
)

// What a front end keeps in a bucket's metadata stays where an edit does not mention
// it, and does not make the bucket another for who makes it again.
func TestReservedMetadataStays(t *testing.T) {
	s := newHarness(t).s
	const kept = msglog.ReservedMetadata + "test"
	made := kv.Config{Bucket: "b", Metadata: map[string]string{"a": "b", kept: "1"}}
	if _, err := s.CreateBucket(ctx, made); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateBucket(ctx, kv.Config{Bucket: "b", Metadata: map[string]string{"a": "b"}}); err != nil {
		t.Errorf("made again without: %v", err)
	}
	if _, err := s.CreateBucket(ctx, kv.Config{Bucket: "b", Metadata: map[string]string{"a": "b", kept: "2"}}); !errors.Is(err, kv.ErrBucketExists) {
		t.Errorf("made again with another: %v", err)
	}
	for _, c := range []struct{ edit, want map[string]string }{
		{nil, map[string]string{kept: "1"}},
		{map[string]string{"c": "d"}, map[string]string{"c": "d", kept: "1"}},
		{map[string]string{kept: "2"}, map[string]string{kept: "2"}},
	} {
		if _, err := s.CreateOrUpdateBucket(ctx, kv.Config{Bucket: "b", Metadata: c.edit}); err != nil {
			t.Fatal(err)
		}
		b, err := s.Bucket(ctx, "b")
		if err != nil {
			t.Fatal(err)
		}
		if st, _ := b.Status(ctx); !maps.Equal(st.Config.Metadata, c.want) {
			t.Errorf("after an edit to %v it is %v", c.edit, st.Config.Metadata)
		}
		if _, reserved := c.edit[kept]; c.edit != nil && !reserved && len(c.edit) != 1 {
			t.Error("the caller's map was written to")
		}
	}
	tooLarge := map[string]string{"a": strings.Repeat("x", kv.MaxMetadataSize-4)}
	if _, err := s.UpdateBucket(ctx, kv.Config{Bucket: "b", Metadata: tooLarge}); !errors.Is(err, kv.ErrInvalidConfig) {
		t.Errorf("an edit that is too large with what is kept: %v", err)
	}
}
