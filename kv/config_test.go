package kv_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

func TestConfigWithDefaults(t *testing.T) {
	got := kv.Config{Bucket: "b"}.WithDefaults()
	want := kv.Config{
		Bucket: "b", History: 1, MaxValueSize: 1 << 20, MaxBytes: -1, MarkerTTL: 15 * time.Minute,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("defaults are\n%+v, want\n%+v", got, want)
	}
	if again := got.WithDefaults(); !reflect.DeepEqual(again, got) {
		t.Errorf("with defaults twice it is\n%+v, want\n%+v", again, got)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestConfigWithDefaultsKeepsWhatIsGiven(t *testing.T) {
	want := otherConfig()
	if got := want.WithDefaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("configuration is\n%+v, want\n%+v", got, want)
	}
}

func TestConfigSyncIntervalHasADefaultInItsModeOnly(t *testing.T) {
	if got := (kv.Config{Sync: kv.SyncInterval}).WithDefaults().SyncInterval; got != 100*time.Millisecond {
		t.Errorf("interval is %v", got)
	}
	if got := (kv.Config{}).WithDefaults().SyncInterval; got != 0 {
		t.Errorf("interval without the mode is %v", got)
	}
}

func TestConfigWithDefaultsCopiesMetadata(t *testing.T) {
	given := kv.Config{Metadata: map[string]string{"k": "v"}}
	got := given.WithDefaults()
	given.Metadata["k"] = "changed"
	if got.Metadata["k"] != "v" {
		t.Error("the caller's map was retained")
	}
}

// otherConfig differs from the defaults in every field.
func otherConfig() kv.Config {
	return kv.Config{
		Bucket: "b", Description: "d", History: 2, TTL: time.Hour, MarkerTTL: time.Minute,
		MaxValueSize: 100, MaxBytes: 1000, Storage: kv.MemoryStorage, Compression: true,
		Sync: kv.SyncInterval, SyncInterval: time.Second, Metadata: map[string]string{"k": "v"}, Kind: msglog.Kind,
	}
}

// TestConfigEqualSeesEveryField sets the fields of Config to other values one by
// one, so that a field added later cannot be forgotten.
func TestConfigEqualSeesEveryField(t *testing.T) {
	other := reflect.ValueOf(otherConfig())
	for i := range other.NumField() {
		name := other.Type().Field(i).Name
		base := kv.Config{Bucket: "another"}
		if name == "SyncInterval" {
			base.Sync = kv.SyncInterval
		}
		changed := base
		reflect.ValueOf(&changed).Elem().Field(i).Set(other.Field(i))
		if base.Equal(changed) {
			t.Errorf("another %s makes no difference", name)
		}
		if !changed.Equal(changed) {
			t.Errorf("a configuration with another %s is not equal to itself", name)
		}
	}
}

func TestConfigEqualLooksThroughDefaults(t *testing.T) {
	bare := kv.Config{Bucket: "b"}
	for name, same := range map[string]kv.Config{
		"spelled out":    bare.WithDefaults(),
		"-1":             {Bucket: "b", MaxValueSize: -1, MaxBytes: -1},
		"empty metadata": {Bucket: "b", Metadata: map[string]string{}},
	} {
		if !bare.Equal(same) || !same.Equal(bare) {
			t.Errorf("%s: not equal", name)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*kv.Config)
		want   error // nil: accepted
		what   string
		got    int64
	}{
		"nothing set":               {change: func(*kv.Config) {}},
		"every field set":           {change: func(c *kv.Config) { *c = otherConfig() }},
		"history of 64":             {change: func(c *kv.Config) { c.History = 64 }},
		"history of 65":             {change: func(c *kv.Config) { c.History = 65 }, want: kv.ErrHistoryTooLarge, what: "history", got: 65},
		"negative history":          {change: func(c *kv.Config) { c.History = -1 }, want: kv.ErrInvalidConfig, what: "history", got: -1},
		"negative TTL":              {change: func(c *kv.Config) { c.TTL = -1 }, want: kv.ErrInvalidConfig, what: "TTL", got: -1},
		"negative marker TTL":       {change: func(c *kv.Config) { c.MarkerTTL = -2 }, want: kv.ErrInvalidConfig, what: "marker TTL", got: -2},
		"value size of 1":           {change: func(c *kv.Config) { c.MaxValueSize = 1 }},
		"value size of 64 MiB":      {change: func(c *kv.Config) { c.MaxValueSize = 64 << 20 }},
		"value size over 64 MiB":    {change: func(c *kv.Config) { c.MaxValueSize = 64<<20 + 1 }, want: kv.ErrInvalidConfig, what: "max value size", got: 64<<20 + 1},
		"value size of -2":          {change: func(c *kv.Config) { c.MaxValueSize = -2 }, want: kv.ErrInvalidConfig, what: "max value size", got: -2},
		"max bytes of -2":           {change: func(c *kv.Config) { c.MaxBytes = -2 }, want: kv.ErrInvalidConfig, what: "max bytes", got: -2},
		"unknown storage":           {change: func(c *kv.Config) { c.Storage = 2 }, want: kv.ErrInvalidConfig, what: "storage", got: 2},
		"unknown sync mode":         {change: func(c *kv.Config) { c.Sync = 2 }, want: kv.ErrInvalidConfig, what: "sync", got: 2},
		"negative interval":         {change: func(c *kv.Config) { c.Sync, c.SyncInterval = kv.SyncInterval, -1 }, want: kv.ErrInvalidConfig, what: "sync interval", got: -1},
		"interval over an hour":     {change: func(c *kv.Config) { c.Sync, c.SyncInterval = kv.SyncInterval, time.Hour+1 }, want: kv.ErrInvalidConfig, what: "sync interval", got: int64(time.Hour + 1)},
		"description of 4096 bytes": {change: func(c *kv.Config) { c.Description = strings.Repeat("d", 4096) }},
		"description of 4097 bytes": {change: func(c *kv.Config) { c.Description = strings.Repeat("d", 4097) }, want: kv.ErrInvalidConfig, what: "description size", got: 4097},
		"metadata of 128 KiB":       {change: func(c *kv.Config) { c.Metadata = map[string]string{"k": strings.Repeat("v", 128<<10-3)} }},
		"metadata over 128 KiB":     {change: func(c *kv.Config) { c.Metadata = map[string]string{"k": strings.Repeat("v", 128<<10-2)} }, want: kv.ErrInvalidConfig, what: "metadata size", got: 128<<10 + 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := kv.Config{Bucket: "b"}
			tt.change(&cfg)
			err := cfg.Validate()
			if !errors.Is(err, tt.want) {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			var limit *kv.LimitError
			if tt.want != nil && (!errors.As(err, &limit) || limit.What != tt.what || limit.Got != tt.got) {
				t.Errorf("error is %#v, want %s of %d", err, tt.what, tt.got)
			}
			if again := cfg.WithDefaults().Validate(); !errors.Is(again, tt.want) {
				t.Errorf("with defaults filled in the error is %v, want %v", again, tt.want)
			}
		})
	}
}

func TestConfigValidateChecksTheName(t *testing.T) {
	if err := (kv.Config{Bucket: "a b"}).Validate(); !errors.Is(err, kv.ErrInvalidBucketName) {
		t.Errorf("error is %v", err)
	}
}

func TestConfigValidateRefusesAnIntervalWithoutItsMode(t *testing.T) {
	if err := (kv.Config{Bucket: "b", SyncInterval: 1}).Validate(); !errors.Is(err, kv.ErrInvalidConfig) {
		t.Errorf("error is %v", err)
	}
}

func TestEnumsHaveNames(t *testing.T) {
	for got, want := range map[string]string{
		kv.FileStorage.String():     "file",
		kv.MemoryStorage.String():   "memory",
		kv.Storage(9).String():      "Storage(9)",
		kv.SyncAlways.String():      "always",
		kv.SyncInterval.String():    "interval",
		kv.SyncMode(9).String():     "SyncMode(9)",
		kv.Put.String():             "PUT",
		kv.Delete.String():          "DEL",
		kv.Purge.String():           "PURGE",
		kv.Operation(0).String():    "Operation(0)",
		kv.ReasonNone.String():      "none",
		kv.ReasonClient.String():    "client",
		kv.ReasonExpiry.String():    "expiry",
		kv.MarkerReason(9).String(): "MarkerReason(9)",
		kv.MutatePut.String():       "Put",
		kv.MutateCreate.String():    "Create",
		kv.MutateUpdate.String():    "Update",
		kv.MutateDelete.String():    "Delete",
		kv.MutatePurge.String():     "Purge",
		kv.MutateTouch.String():     "Touch",
		kv.MutationOp(0).String():   "MutationOp(0)",
		kv.MutationOp(200).String(): "MutationOp(200)",
	} {
		if got != want {
			t.Errorf("name is %q, want %q", got, want)
		}
	}
	for op, want := range map[kv.Operation]bool{kv.Put: false, kv.Delete: true, kv.Purge: true} {
		if op.IsMarker() != want {
			t.Errorf("%v.IsMarker() is %v", op, !want)
		}
	}
}
