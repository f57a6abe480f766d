package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kvd/kv"
)

// bucketCollector describes the buckets of a store. It implements
// prometheus.Collector.
type bucketCollector struct {
	store      kv.Store
	operations *operations // decides which buckets have series of their own
}

var (
	byBucket     = []string{"bucket"}
	bucketsDesc  = prometheus.NewDesc("kvd_buckets", "Number of buckets.", nil, nil)
	keysDesc     = prometheus.NewDesc("kvd_keys", "Keys with a value.", byBucket, nil)
	valuesDesc   = prometheus.NewDesc("kvd_values", "Records kept, including markers.", byBucket, nil)
	bytesDesc    = prometheus.NewDesc("kvd_bucket_bytes", "Bytes of the kept records (live), and other bytes in the files of the bucket (dead).", []string{"bucket", "state"}, nil)
	revisionDesc = prometheus.NewDesc("kvd_revision", "The newest revision.", byBucket, nil)
	watchersDesc = prometheus.NewDesc("kvd_watchers", "Active watches.", byBucket, nil)
	lagDesc      = prometheus.NewDesc("kvd_watch_lag_revisions", "Revisions that the slowest watch has not read yet.", byBucket, nil)
	writableDesc = prometheus.NewDesc("kvd_bucket_writable", "1 if the bucket accepts writes, 0 after a fault.", byBucket, nil)
	doubtDesc    = prometheus.NewDesc("kvd_bucket_in_doubt", "1 if damage may have taken records of the bucket.", byBucket, nil)
	damageDesc   = prometheus.NewDesc("kvd_records_damaged", "Records that are missing, as far as their number is known, or whose values are lost.", byBucket, nil)
	staleDesc    = prometheus.NewDesc("kvd_serve_stale", "1 if the bucket is served as if nothing were in doubt.", byBucket, nil)
	infoDesc     = prometheus.NewDesc("kvd_bucket_info", `Always 1. With sync="interval", writes are acknowledged before the sync to disk.`, []string{"bucket", "storage", "sync"}, nil)
)

// collectTimeout bounds one scrape of the store.
const collectTimeout = 5 * time.Second

// Describe implements prometheus.Collector.
func (c *bucketCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bucketsDesc, keysDesc, valuesDesc, bytesDesc, revisionDesc, watchersDesc, lagDesc, writableDesc, doubtDesc, damageDesc, staleDesc, infoDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *bucketCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	count, inRest := 0, 0
	var rest kv.Status // the sum of the buckets without series of their own
	for st, err := range c.store.Buckets(ctx) {
		if err != nil {
			ch <- prometheus.NewInvalidMetric(bucketsDesc, err)
			return
		}
		count++
		if c.operations.of(st.Config.Bucket) != &c.operations.rest {
			sizes(ch, st.Config.Bucket, &st)
			describe(ch, &st)
			c.watchers(ctx, ch, st.Config.Bucket)
			c.damage(ctx, ch, st.Config.Bucket)
			continue
		}
		inRest++
		rest.Keys += st.Keys
		rest.Values += st.Values
		rest.Bytes += st.Bytes
		rest.Disk += st.Disk
	}
	if inRest > 0 {
		sizes(ch, "", &rest)
	}
	gauge(ch, bucketsDesc, float64(count))
}

// sizes sends the metrics that can be summed over buckets.
func sizes(ch chan<- prometheus.Metric, name string, st *kv.Status) {
	gauge(ch, keysDesc, float64(st.Keys), name)
	gauge(ch, valuesDesc, float64(st.Values), name)
	gauge(ch, bytesDesc, float64(st.Bytes), name, "live")
	gauge(ch, bytesDesc, float64(st.Disk-min(st.Disk, st.Bytes)), name, "dead")
}

// describe sends the other metrics of a bucket.
func describe(ch chan<- prometheus.Metric, st *kv.Status) {
	name := st.Config.Bucket
	gauge(ch, revisionDesc, float64(st.Revision), name)
	gauge(ch, writableDesc, flag(st.ReadOnly == nil), name)
	gauge(ch, doubtDesc, flag(st.Doubt != 0), name)
	gauge(ch, staleDesc, flag(st.Stale), name)
	gauge(ch, infoDesc, 1, name, st.Config.Storage.String(), st.Config.Sync.String())
}

// watchers sends the number and the lag of the watches, if the bucket has them.
func (c *bucketCollector) watchers(ctx context.Context, ch chan<- prometheus.Metric, name string) {
	b, err := c.store.Bucket(ctx, name)
	if err != nil {
		return // deleted meanwhile
	}
	if w, ok := kv.As[kv.Watched](b); ok {
		count, lag := w.Watchers()
		gauge(ch, watchersDesc, float64(count), name)
		gauge(ch, lagDesc, float64(lag), name)
	}
}

// damage sends the number of records that are missing or lost.
func (c *bucketCollector) damage(ctx context.Context, ch chan<- prometheus.Metric, name string) {
	d, err := doubtOf(ctx, c.store, name)
	if err != nil {
		return // the scrape took too long
	}
	n := uint64(len(d.Lost))
	for _, m := range d.Missing {
		n += m.Records
	}
	gauge(ch, damageDesc, float64(n), name)
}

// flag returns 1 for true.
func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
