package streamconfig

import (
	"maps"
	"sync"

	"kvd/kv"
)

// Cache holds the configuration and layout of the streams that were asked for: to derive
// them for each read would cost more than the read. The zero value is empty. All methods
// are safe for concurrent use.
type Cache struct {
	byBucket sync.Map // name → *derived
}

// derived is what a bucket's configuration says about its stream. Immutable.
type derived struct {
	from   kv.Config
	to     *Config
	layout *Layout
}

// Of returns the configuration and the layout of a bucket's stream. The caller must not
// write to them.
func (cs *Cache) Of(cfg *kv.Config) (*Config, *Layout) {
	if d, ok := cs.byBucket.Load(cfg.Bucket); ok && d.(*derived).isFrom(cfg) {
		return d.(*derived).to, d.(*derived).layout
	}
	d := &derived{from: *cfg, to: FromBucket(cfg)}
	d.from.Metadata = maps.Clone(cfg.Metadata)
	d.layout = NewLayout(cfg.Bucket, d.to.OnePerMessage())
	cs.byBucket.Store(cfg.Bucket, d)
	return d.to, d.layout
}

// Remove removes what was derived for a bucket.
func (cs *Cache) Remove(bucket string) { cs.byBucket.Delete(bucket) }

// isFrom reports whether it was derived from c, as far as a stream's configuration
// depends on it.
func (d *derived) isFrom(c *kv.Config) bool {
	f := &d.from
	return f.Description == c.Description && f.History == c.History && f.TTL == c.TTL && f.MarkerTTL == c.MarkerTTL &&
		f.MaxValueSize == c.MaxValueSize && f.MaxBytes == c.MaxBytes && f.Storage == c.Storage &&
		f.Compression == c.Compression && maps.Equal(f.Metadata, c.Metadata)
}
