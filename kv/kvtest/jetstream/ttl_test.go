package jetstream_test

import (
	"errors"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// TestTTLReachesTheServer checks what every kind of write asks of it.
func TestTTLReachesTheServer(t *testing.T) {
	ctx := t.Context()
	o := start(t, t.TempDir())
	b, err := o.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := o.js.Stream(ctx, "KV_b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, "k", nil, kv.KeyTTL(10*time.Nanosecond)); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("a TTL of 10 ns: %v", err)
	}
	hour := kv.KeyTTL(time.Hour)
	for _, write := range []func() (kv.Revision, error){
		func() (kv.Revision, error) { return b.Put(ctx, "k", nil, hour) },
		func() (kv.Revision, error) { return b.Touch(ctx, "k", hour) },
		func() (kv.Revision, error) { return b.Create(ctx, "l", nil, hour) },
		func() (kv.Revision, error) { return b.Purge(ctx, "m", kv.PurgeTTL(time.Hour)) },
	} {
		if _, err := write(); err != nil {
			t.Error(err)
		}
	}
	for key, want := range map[string]string{"k": "1h0m0s", "l": "1h0m0s", "m": "1h0m0s"} {
		msg, err := stream.GetLastMsgForSubject(ctx, "$KV.b."+key)
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get("Nats-TTL"); got != want {
			t.Errorf("TTL of %q is %q, want %q", key, got, want)
		}
	}
}

func TestConfigsThatAreNotSupported(t *testing.T) {
	o := start(t, t.TempDir())
	for name, cfg := range map[string]kv.Config{"interval": {Sync: kv.SyncInterval}, "silent": {Kind: msglog.Kind}} {
		cfg.Bucket = "b"
		if _, err := o.CreateBucket(t.Context(), cfg); !errors.Is(err, kv.ErrNotSupported) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
