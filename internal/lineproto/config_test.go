package lineproto_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/kv/msglog"
)

// fullConfig has every field set to something else than its default.
func fullConfig() kv.Config {
	return kv.Config{
		Bucket: "b", Description: "ünïcode, \"quotes\"\n", History: 7, TTL: time.Hour, MarkerTTL: 20 * time.Minute,
		MaxValueSize: 12345, MaxBytes: 10 << 20, Storage: kv.MemoryStorage, Compression: true,
		Sync: kv.SyncInterval, SyncInterval: 50 * time.Millisecond,
		Metadata: map[string]string{"owner": "me", "": "empty", "Ünïcode": "<ja>\n"},
	}
}

// crossConfig sends a configuration over the wire with a verb, and applies it to another
// one.
func crossConfig(t *testing.T, verb lineproto.Verb, cfg kv.Config, orEdit bool, onto kv.Config) kv.Config {
	t.Helper()
	c := lineproto.Command{Verb: verb}
	if err := c.SetConfig(cfg, orEdit); err != nil {
		t.Fatal(err)
	}
	line, err := lineproto.AppendCommand(nil, &c)
	if err != nil {
		t.Fatal(err)
	}
	var got lineproto.Command
	if n, err := lineproto.ParseCommand(line, &got); err != nil || n != len(line) || got.Refused != nil {
		t.Fatalf("%q: size %d of %d, error %v, %v", line, n, len(line), err, got.Refused)
	}
	edits, err := got.ApplyConfig(&onto)
	if err != nil || edits != orEdit {
		t.Fatalf("%q: %v, error %v", line, edits, err)
	}
	clear(line) // the applied configuration does not refer to it
	return onto
}

func TestConfigsCrossTheWire(t *testing.T) {
	long := fullConfig()
	long.Description = strings.Repeat("d", kv.MaxDescriptionSize)
	large := fullConfig()
	large.Metadata = map[string]string{"k": strings.Repeat("\x01", kv.MaxMetadataSize-10)}
	invalid := kv.Config{Bucket: "b", TTL: -1, MarkerTTL: -1, MaxBytes: -2, MaxValueSize: -2, History: 1000, SyncInterval: -1}
	for _, cfg := range []kv.Config{{Bucket: "b"}, fullConfig(), long, large, invalid} {
		want := cfg.WithDefaults()
		if got := crossConfig(t, lineproto.VerbAdd, cfg, true, kv.Config{Bucket: "b"}); !reflect.DeepEqual(got, want) {
			t.Errorf("ADD of\n%.300v makes\n%.300v", want, got)
		}
		for _, onto := range []kv.Config{fullConfig(), {Bucket: "b"}} {
			got := crossConfig(t, lineproto.VerbEdit, cfg, false, onto)
			if len(got.Metadata) == 0 {
				got.Metadata = nil
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("EDIT of\n%.300v to\n%.300v makes\n%.300v", onto, want, got)
			}
		}
	}
}

func TestConfigsThatCannotBeSent(t *testing.T) {
	for name, cfg := range map[string]kv.Config{
		"storage":      {Storage: 99},
		"sync":         {Sync: 99},
		"history":      {History: -1},
		"description":  {Description: "\xff"},
		"metadata":     {Metadata: map[string]string{"k": "\xff"}},
		"metadata key": {Metadata: map[string]string{"\xff": "v"}},
	} {
		c := lineproto.Command{Verb: lineproto.VerbAdd}
		if err := c.SetConfig(cfg, false); !errors.Is(err, kv.ErrInvalidConfig) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// apply applies typed options to a configuration.
func apply(t *testing.T, text string, cfg *kv.Config) error {
	t.Helper()
	var c lineproto.Command
	if _, err := lineproto.ParseCommand([]byte(text), &c); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	_, err := c.ApplyConfig(cfg)
	return err
}

func TestASilentBucketCannotBeSent(t *testing.T) {
	c := lineproto.Command{Verb: lineproto.VerbAdd}
	if err := c.SetConfig(kv.Config{Bucket: "b", Kind: msglog.Kind}, false); !errors.Is(err, kv.ErrNotSupported) {
		t.Errorf("error is %v", err)
	}
}

func TestAnEditLeavesTheRest(t *testing.T) {
	want := fullConfig()
	want.History, want.Description, want.Kind = 3, "new", msglog.Kind
	got := fullConfig()
	got.Kind = msglog.Kind
	if err := apply(t, "EDIT b history=3 description=new\r\n", &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, error %v", got, err)
	}
	want.Sync, want.SyncInterval = kv.SyncAlways, 0
	if err := apply(t, "EDIT b sync=always\r\n", &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("leaving sync=interval: %+v, error %v", got, err)
	}
}

func TestBadConfigOptions(t *testing.T) {
	for text, want := range map[string]error{
		"ADD b color=red\r\n":                                   kv.ErrInvalidOption,
		"ADD b history=1 history=2\r\n":                         kv.ErrInvalidOption,
		"EDIT b edit=yes\r\n":                                   kv.ErrInvalidOption,
		"ADD b history=x\r\n":                                   kv.ErrInvalidConfig,
		"ADD b history=01\r\n":                                  kv.ErrInvalidConfig,
		"ADD b history=99999999999999999999\r\n":                kv.ErrInvalidConfig,
		"ADD b ttl=30\r\n":                                      kv.ErrInvalidConfig,
		"ADD b storage=tape\r\n":                                kv.ErrInvalidConfig,
		"ADD b compression=1\r\n":                               kv.ErrInvalidConfig,
		"ADD b description=\"\\x\"\r\n":                         kv.ErrInvalidConfig,
		"ADD b description=\xff\r\n":                            kv.ErrInvalidConfig,
		"ADD b edit=maybe\r\n":                                  kv.ErrInvalidConfig,
		"ADD b 1\r\n{\r\n":                                      kv.ErrInvalidConfig,
		"ADD b 2\r\n[]\r\n":                                     kv.ErrInvalidConfig,
		"ADD b 3\r\n\"\xff\"\r\n":                               kv.ErrInvalidConfig,
		"ADD b 18\r\n{\"description\":[]}\r\n":                  kv.ErrInvalidConfig,
		"ADD b description=a 19\r\n{\"description\":\"b\"}\r\n": kv.ErrInvalidConfig,
	} {
		cfg := kv.Config{Bucket: "b"}
		if err := apply(t, text, &cfg); !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", text, err, want)
		}
	}
}
