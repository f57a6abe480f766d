package nats

import (
	"maps"
	"sync"

	"kvd/kv"
)

// configs remembers what the buckets are as streams: working it out for every read
// would cost more than the read. Safe for concurrent use.
type configs struct {
	byBucket sync.Map // name → *derivedConfig
}

// derivedConfig is a bucket's configuration and the stream's. Immutable.
type derivedConfig struct {
	from   kv.Config
	to     *streamConfig
	layout *layout
}

// of returns the stream that a bucket is. Nobody may write to it.
func (cs *configs) of(cfg *kv.Config) (*streamConfig, *layout) {
	if d, ok := cs.byBucket.Load(cfg.Bucket); ok && d.(*derivedConfig).isFrom(cfg) {
		return d.(*derivedConfig).to, d.(*derivedConfig).layout
	}
	d := &derivedConfig{from: *cfg, to: configOf(cfg)}
	d.from.Metadata = maps.Clone(cfg.Metadata)
	d.layout = newLayout(cfg.Bucket, d.to.isApart())
	cs.byBucket.Store(cfg.Bucket, d)
	return d.to, d.layout
}

// drop forgets a bucket.
func (cs *configs) drop(bucket string) { cs.byBucket.Delete(bucket) }

// isFrom reports whether the configuration is the one that it was derived from, in all
// that a stream shows.
func (d *derivedConfig) isFrom(c *kv.Config) bool {
	f := &d.from
	return f.Description == c.Description && f.History == c.History && f.TTL == c.TTL && f.MarkerTTL == c.MarkerTTL &&
		f.MaxValueSize == c.MaxValueSize && f.MaxBytes == c.MaxBytes && f.Storage == c.Storage &&
		f.Compression == c.Compression && maps.Equal(f.Metadata, c.Metadata)
}
