package manifest

import (
	"reflect"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// everyField has every field that a bucket can be stored with.
var everyField = kv.Config{
	Bucket: "full", Description: "every field", History: 7, TTL: time.Hour, MarkerTTL: time.Minute,
	MaxValueSize: 1234, MaxBytes: 56789, Storage: kv.MemoryStorage, Compression: true,
	Sync: kv.SyncInterval, SyncInterval: 50 * time.Millisecond, Metadata: map[string]string{"a": "1", "b": "2"},
}

func TestAConfigurationComesBackWithFieldsThatWereAdded(t *testing.T) {
	for _, want := range []kv.Config{everyField, {Bucket: "silent", Kind: msglog.Kind}} {
		want = want.WithDefaults()
		b := EncodeConfig(want)
		added := append([]byte(`{"a_later_field":[1,2],`), b[1:]...)
		for _, text := range [][]byte{b, added} {
			got, err := DecodeConfig(text)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	}
}
