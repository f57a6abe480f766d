package kvtest

import (
	"maps"
	"strings"
	"time"

	"kvd/kv"
)

// fullConfig sets every field that a file bucket of this store has to a value other than
// its default. The bucket's name is new.
func (t *trial) fullConfig() kv.Config {
	cfg := kv.Config{
		Bucket:       t.freshName(),
		Description:  "all fields set: ünïcode, \"quotes\"",
		History:      7,
		TTL:          time.Hour,
		MarkerTTL:    20 * time.Minute,
		MaxValueSize: 12_345,
		MaxBytes:     10 << 20,
		Compression:  true,
		Metadata:     map[string]string{"owner": "kvtest", "empty": "", "Ünïcode": "ja\n"},
	}
	if t.differs(NoCompression) {
		cfg.Compression = false
	}
	return cfg
}

// configChange changes one field in a way that an edit allows.
type configChange struct {
	what   string
	change func(*kv.Config)
}

// configChanges returns a change of each field that this store has.
func (t *trial) configChanges() []configChange {
	changes := []configChange{
		{"description", func(c *kv.Config) { c.Description += "!" }},
		{"history", func(c *kv.Config) { c.History++ }},
		{"TTL", func(c *kv.Config) { c.TTL += time.Hour }},
		{"marker TTL", func(c *kv.Config) { c.MarkerTTL += time.Minute }},
		{"max value size", func(c *kv.Config) { c.MaxValueSize++ }},
		{"max bytes", func(c *kv.Config) { c.MaxBytes += 1 << 20 }},
		{"value in the metadata", func(c *kv.Config) { c.Metadata = map[string]string{"owner": "somebody else"} }},
		{"absence of metadata", func(c *kv.Config) { c.Metadata = nil }},
		{"absence of description", func(c *kv.Config) { c.Description = "" }},
	}
	if !t.differs(NoCompression) {
		changes = append(changes, configChange{"compression", func(c *kv.Config) { c.Compression = !c.Compression }})
	}
	return changes
}

// badConfigs are configurations that no store accepts, with the error that is returned
// for each.
var badConfigs = []struct {
	what   string
	change func(*kv.Config)
	want   error
}{
	{"history of 65", func(c *kv.Config) { c.History = kv.MaxHistory + 1 }, kv.ErrHistoryTooLarge},
	{"negative history", func(c *kv.Config) { c.History = -1 }, kv.ErrInvalidConfig},
	{"negative TTL", func(c *kv.Config) { c.TTL = -1 }, kv.ErrInvalidConfig},
	{"negative marker TTL", func(c *kv.Config) { c.MarkerTTL = -1 }, kv.ErrInvalidConfig},
	{"max value size of -2", func(c *kv.Config) { c.MaxValueSize = -2 }, kv.ErrInvalidConfig},
	{"max value size over 64 MiB", func(c *kv.Config) { c.MaxValueSize = kv.MaxValueSizeLimit + 1 }, kv.ErrInvalidConfig},
	{"max bytes of -2", func(c *kv.Config) { c.MaxBytes = -2 }, kv.ErrInvalidConfig},
	{"unknown storage", func(c *kv.Config) { c.Storage = 99 }, kv.ErrInvalidConfig},
	{"unknown sync mode", func(c *kv.Config) { c.Sync = 99 }, kv.ErrInvalidConfig},
	{"sync interval without the mode", func(c *kv.Config) { c.SyncInterval = time.Second }, kv.ErrInvalidConfig},
	{"description of 4,097 bytes", func(c *kv.Config) { c.Description = strings.Repeat("d", kv.MaxDescriptionSize+1) }, kv.ErrInvalidConfig},
	{"metadata over 128 KiB", func(c *kv.Config) {
		c.Metadata = map[string]string{"k": strings.Repeat("m", kv.MaxMetadataSize)}
	}, kv.ErrInvalidConfig},
}

// configFacts are about the configuration of a bucket.
var configFacts = []fact{
	{"defaults are filled in", func(t *trial) {
		cfg := t.status(t.makeBucket(kv.Config{Bucket: t.freshName()})).Config
		equal(t, "history", cfg.History, 1)
		equal(t, "TTL", cfg.TTL, 0)
		equal(t, "marker TTL", cfg.MarkerTTL, kv.MarkerTTLDefault)
		equal(t, "max value size", cfg.MaxValueSize, kv.MaxValueSizeDefault)
		equal(t, "max bytes", cfg.MaxBytes, -1)
		equal(t, "storage", cfg.Storage, kv.FileStorage)
		equal(t, "sync mode", cfg.Sync, kv.SyncAlways)
		equal(t, "compression", cfg.Compression, false)
		equal(t, "description", cfg.Description, "")
		equal(t, "size of the metadata", len(cfg.Metadata), 0)
	}},
	{"every field comes back as it was given", func(t *trial) {
		want := t.fullConfig()
		got := t.status(t.makeBucket(want)).Config
		if !got.Equal(want) || got.Metadata == nil || got.History != want.History {
			t.Fatalf("configuration is\n%+v, want\n%+v", got, want)
		}
	}},
	{"a bucket may have a TTL", func(t *trial) {
		cfg := kv.Config{Bucket: t.freshName(), TTL: time.Hour}
		equal(t, "sameness of the configuration", t.status(t.makeBucket(cfg)).Config.Equal(cfg), true)
	}},
	{"a bucket may be compressed", func(t *trial) {
		t.hasFeature(NoCompression, kv.Config{Bucket: t.freshName(), Compression: true})
	}},
	{"every history from 1 to 64 is kept to", func(t *trial) {
		for _, history := range []int{1, 2, 63, 64} {
			b := t.bucket(history)
			for range history + 2 {
				t.put(b, "k", "v")
			}
			equal(t, "number of entries", len(t.history(b, "k")), history)
		}
	}},
	{"a bad configuration is refused and makes no bucket", func(t *trial) {
		for _, bad := range badConfigs {
			cfg := kv.Config{Bucket: t.freshName()}
			bad.change(&cfg)
			_, err := t.Store.CreateBucket(t.ctx, cfg)
			t.fails(err, bad.want)
			_, err = t.Store.CreateOrUpdateBucket(t.ctx, cfg)
			t.fails(err, bad.want)
			_, err = t.Store.Bucket(t.ctx, cfg.Bucket)
			t.fails(err, kv.ErrBucketNotFound)
		}
	}},
	{"the caller may change the metadata it passed in", func(t *trial) {
		cfg := t.fullConfig()
		want := maps.Clone(cfg.Metadata)
		b := t.makeBucket(cfg)
		cfg.Metadata["owner"] = "changed after the call"
		equal(t, "sameness of the metadata", maps.Equal(t.status(b).Config.Metadata, want), true)
	}},
	{"the caller may change the metadata it was given", func(t *trial) {
		cfg := t.fullConfig()
		b := t.makeBucket(cfg)
		t.status(b).Config.Metadata["owner"] = "changed by a reader"
		equal(t, "owner", t.status(b).Config.Metadata["owner"], cfg.Metadata["owner"])
	}},
}

// hasFeature checks that a store makes a bucket with cfg. If the store has the
// difference, hasFeature checks that it returns kv.ErrNotSupported, and neither makes nor
// edits a bucket.
func (t *trial) hasFeature(without Difference, cfg kv.Config) {
	t.Helper()
	b, err := t.Store.CreateBucket(t.ctx, cfg)
	if !t.differs(without) {
		t.ok(err)
		equal(t, "sameness of the configuration", t.status(b).Config.Equal(cfg), true)
		t.put(b, "k", "compressible: "+strings.Repeat("v", 10_000))
		t.holds(b, "k", "compressible: "+strings.Repeat("v", 10_000))
		return
	}
	t.fails(err, kv.ErrNotSupported)
	_, err = t.Store.Bucket(t.ctx, cfg.Bucket)
	t.fails(err, kv.ErrBucketNotFound)
	t.makeBucket(kv.Config{Bucket: cfg.Bucket})
	_, err = t.Store.UpdateBucket(t.ctx, cfg)
	t.fails(err, kv.ErrNotSupported)
}

// editFacts are about changing a bucket's configuration.
var editFacts = []fact{
	{"an edit changes every field and keeps the records", func(t *trial) {
		cfg := t.fullConfig()
		b := t.makeBucket(cfg)
		rev := t.put(b, "k", "v")
		before := t.status(b)
		for _, c := range t.configChanges() {
			edited := cfg
			c.change(&edited)
			_, err := t.Store.UpdateBucket(t.ctx, edited)
			t.ok(err)
			if got := t.status(b).Config; !got.Equal(edited) {
				t.Fatalf("after another %s the configuration is\n%+v, want\n%+v", c.what, got, edited)
			}
		}
		t.holds(b, "k", "v")
		after := t.status(b)
		equal(t, "id", after.ID, before.ID)
		equal(t, "revision", after.Revision, rev)
		equal(t, "next revision", t.put(b, "k", "w") > rev, true)
	}},
	{"an edit returns a handle of the bucket", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		edited, err := t.Store.UpdateBucket(t.ctx, kv.Config{Bucket: b.Name(), Description: "edited"})
		t.ok(err)
		equal(t, "name", edited.Name(), b.Name())
		t.holds(edited, "k", "v")
	}},
	{"an edit replaces the configuration as a whole", func(t *trial) {
		b := t.makeBucket(t.fullConfig())
		bare := kv.Config{Bucket: b.Name()}
		_, err := t.Store.UpdateBucket(t.ctx, bare)
		t.ok(err)
		equal(t, "sameness with the bare configuration", t.status(b).Config.Equal(bare), true)
	}},
	{"a bad edit is refused and changes nothing", func(t *trial) {
		b := t.makeBucket(t.fullConfig())
		before := t.status(b).Config
		for _, bad := range badConfigs {
			cfg := before
			bad.change(&cfg)
			_, err := t.Store.UpdateBucket(t.ctx, cfg)
			t.fails(err, bad.want)
		}
		equal(t, "sameness of the configuration", t.status(b).Config.Equal(before), true)
	}},
	{"the storage cannot be edited", func(t *trial) {
		b := t.bucket(1)
		cfg := t.status(b).Config
		cfg.Storage = kv.MemoryStorage
		if _, err := t.Store.UpdateBucket(t.ctx, cfg); err == nil {
			t.Fatal("a file bucket became a memory bucket")
		}
		equal(t, "storage", t.status(b).Config.Storage, kv.FileStorage)
	}},
	{"a longer history brings nothing back and keeps more from then on", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "1")
		second := t.put(b, "k", "2")
		t.edit(b, func(c *kv.Config) { c.History = 3 })
		equal(t, "oldest entry", t.history(b, "k")[0].Revision, second)
		t.put(b, "k", "3")
		t.put(b, "k", "4")
		t.put(b, "k", "5")
		equal(t, "oldest entry", string(t.history(b, "k")[0].Value), "3")
	}},
	{"a shorter history is applied to what is stored, at once", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "k", "1")
		t.put(b, "other", "kept")
		t.put(b, "k", "2")
		t.put(b, "k", "3")
		t.edit(b, func(c *kv.Config) { c.History = 2 })
		equal(t, "number of entries", len(t.history(b, "k")), 2)
		equal(t, "oldest entry", string(t.history(b, "k")[0].Value), "2")
		_, err := b.GetRevision(t.ctx, "k", first)
		t.fails(err, kv.ErrKeyNotFound)
		equal(t, "values", t.status(b).Values, 3)
		t.holds(b, "other", "kept")
	}},
	{"what a shorter history dropped stays gone when it is longer again", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "k", "1")
		t.put(b, "k", "2")
		t.edit(b, func(c *kv.Config) { c.History = 1 })
		t.edit(b, func(c *kv.Config) { c.History = 5 })
		equal(t, "number of entries", len(t.history(b, "k")), 1)
		_, err := b.GetRevision(t.ctx, "k", first)
		t.fails(err, kv.ErrKeyNotFound)
	}},
	{"a shorter history keeps the newest record also if it is a marker", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		marker := t.delete(b, "k")
		t.edit(b, func(c *kv.Config) { c.History = 1 })
		entries := t.history(b, "k")
		equal(t, "number of entries", len(entries), 1)
		equal(t, "revision", entries[0].Revision, marker)
		t.absent(b, "k")
	}},
	{"a smaller max value size holds from then on and spares what is stored", func(t *trial) {
		b := t.bucket(1)
		large := strings.Repeat("v", 2000)
		t.put(b, "k", large)
		t.edit(b, func(c *kv.Config) { c.MaxValueSize = 1000 })
		t.holds(b, "k", large)
		_, err := b.Put(t.ctx, "k", []byte(large))
		t.fails(err, kv.ErrValueTooLarge)
		t.put(b, "k", large[:1000])
	}},
	{"CreateOrUpdateBucket creates", func(t *trial) {
		b, err := t.Store.CreateOrUpdateBucket(t.ctx, t.fullConfig())
		t.ok(err)
		equal(t, "history", t.status(b).Config.History, 7)
	}},
	{"CreateOrUpdateBucket edits", func(t *trial) {
		b := t.bucket(1)
		rev := t.put(b, "k", "v")
		cfg := t.fullConfig()
		cfg.Bucket = b.Name()
		edited, err := t.Store.CreateOrUpdateBucket(t.ctx, cfg)
		t.ok(err)
		equal(t, "history", t.status(b).Config.History, 7)
		equal(t, "revision of the key", t.get(edited, "k").Revision, rev)
	}},
}
