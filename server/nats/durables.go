package nats

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// durables keeps the durable consumers in a reserved bucket, one record each. The record is
// written when the consumer is made, at most once in a second while it delivers, and when
// the front end is closed. So after a crash the messages of the last second may come again.
// Safe for concurrent use.
type durables struct {
	// Immutable after init.
	front *Front
	log   *slog.Logger

	count atomic.Int64 // of the consumers

	mu     sync.Mutex // guards bucket
	bucket kv.Bucket  // nil before the first durable consumer
}

const (
	durablesBucket  = msglog.ReservedBucket + "consumers"
	durablesMax     = 4096
	durableInterval = time.Second // between two writes of a record
)

// durableRecord is the value of a record.
type durableRecord struct {
	User      string         `json:"user"`
	BucketID  uint64         `json:"bucket_id"` // of the stream's bucket: one of the same name is another stream
	Created   time.Time      `json:"created"`
	Config    consumerConfig `json:"config"`
	Delivered sequencePair   `json:"delivered"`
}

// durable is what a durable consumer has beside others.
type durable struct {
	bucketID uint64 // of the stream. Immutable

	saving sync.Mutex // held while its record is written or erased; taken before the consumer's polling

	// Guarded by the consumer's polling.
	saver *time.Timer // nil before the first delivery
	dirty bool        // messages were delivered since the record was written
}

// key returns the key of a consumer's record: bucket and name, and the user in hexadecimal
// digits if there is one.
func (k *consumer) key() string {
	key := k.stream + "." + k.config.Name
	if k.user != "" {
		key += "." + hex.EncodeToString([]byte(k.user))
	}
	return key
}

// open returns the bucket of the records, which it makes if make is set. It returns nil if
// there is none.
func (d *durables) open(ctx context.Context, create bool) (kv.Bucket, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bucket != nil {
		return d.bucket, nil
	}
	b, err := d.front.store.Bucket(ctx, durablesBucket)
	if errors.Is(err, kv.ErrBucketNotFound) {
		if !create {
			return nil, nil
		}
		b, err = d.front.store.CreateBucket(ctx, kv.Config{Bucket: durablesBucket})
	}
	if err == nil {
		d.bucket = b
	}
	return b, err
}

func (d *durables) init(f *Front, log *slog.Logger) {
	d.front, d.log = f, log
	if log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
}

// load brings back the consumers of a store, except those that damage concerns: their
// records stay.
func (d *durables) load(ctx context.Context) {
	b, err := d.open(ctx, false)
	if err != nil {
		d.log.Warn("durable consumers are not there", "cause", err)
	}
	if b == nil {
		return
	}
	var keys []string
	for key, err := range b.Keys(ctx) {
		if err != nil {
			d.log.Warn("durable consumers are not there", "cause", err)
			break
		}
		keys = append(keys, key)
	}
	for _, key := range keys {
		if err := d.restore(ctx, b, key); err != nil {
			d.log.Warn("durable consumer is not there", "record", key, "cause", err)
		}
	}
}

// restore brings back the consumer of a record. If its stream is gone, the record is removed.
func (d *durables) restore(ctx context.Context, b kv.Bucket, key string) error {
	e, err := b.Get(ctx, key)
	if err != nil {
		return err
	}
	var r durableRecord
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return err
	}
	bucket, _, _ := strings.Cut(key, ".")
	s, err := d.front.stream(ctx, bucket)
	if errors.Is(err, kv.ErrBucketNotFound) || err == nil && s.status.ID != r.BucketID {
		return d.erase(ctx, key)
	}
	if err != nil {
		return err
	}
	k := d.front.makeConsumer(nil, r.User, s, &r.Config)
	k.created, k.consumerSeq = r.Created, r.Delivered.Consumer
	if err := k.openAt(ctx, s, min(kv.Revision(r.Delivered.Stream), s.status.Revision)); err != nil {
		return err
	}
	d.count.Add(1)
	d.front.consumers.add(k)
	d.front.consumers.start(k)
	if key == k.key() {
		return nil
	}
	if err := d.save(k); err != nil { // the record has the key of a time when users shared the names
		return err
	}
	return d.erase(ctx, key)
}

// openAt opens the watch of a consumer that has delivered the messages up to a sequence.
func (k *consumer) openAt(ctx context.Context, s *stream, delivered kv.Revision) error {
	patterns := k.config.patterns(k.layout)
	hasBegun := k.consumerSeq > 0 || k.config.DeliverPolicy != deliverLastPer
	switch {
	case !hasBegun && s.layout.OnePerMessage:
		return k.openLast(ctx, nil, s, patterns)
	case !hasBegun:
		return k.open(patterns, k.config.watchOptions(0))
	}
	k.streamSeq = delivered
	return k.open(patterns, k.config.watchOptions(delivered+1))
}

// save writes the record of a consumer.
func (d *durables) save(k *consumer) error {
	k.durable.saving.Lock()
	defer k.durable.saving.Unlock()
	return d.saveLocked(k)
}

// saveLocked is save for a caller that holds saving.
func (d *durables) saveLocked(k *consumer) error {
	k.polling.Lock()
	r := durableRecord{User: k.user, BucketID: k.durable.bucketID, Created: k.created, Config: k.config, Delivered: sequencePair{k.consumerSeq, uint64(k.streamSeq)}}
	k.durable.dirty = false
	k.polling.Unlock()
	b, err := d.open(context.Background(), true)
	if err != nil {
		return err
	}
	value, err := json.Marshal(&r)
	if err == nil {
		_, err = b.Put(context.Background(), k.key(), value)
	}
	return err
}

// forget removes the record of a consumer that was removed.
func (d *durables) forget(k *consumer) error {
	k.durable.saving.Lock()
	defer k.durable.saving.Unlock()
	d.count.Add(-1)
	return d.erase(context.Background(), k.key())
}

// erase removes a record without a marker.
func (d *durables) erase(ctx context.Context, key string) error {
	b, err := d.open(ctx, false)
	if b == nil || err != nil {
		return err
	}
	records, ok := kv.As[msglog.Log](b)
	if !ok {
		return kv.ErrNotSupported
	}
	_, err = records.Erase(ctx, key, 0, 0)
	return err
}

// delivered has the record written soon. The caller holds polling.
func (k *consumer) delivered() {
	if k.durable == nil || k.durable.dirty {
		return
	}
	k.durable.dirty = true
	if k.durable.saver == nil {
		k.durable.saver = time.AfterFunc(durableInterval, k.savePosition)
		return
	}
	k.durable.saver.Reset(durableInterval)
}

// savePosition writes the record of a consumer, unless it was removed. The saver calls it.
func (k *consumer) savePosition() {
	k.durable.saving.Lock()
	defer k.durable.saving.Unlock()
	if k.removed.Load() {
		return
	}
	if err := k.front.durables.saveLocked(k); err != nil && !errors.Is(err, kv.ErrClosed) {
		k.polling.Lock()
		k.delivered() // tries again
		k.polling.Unlock()
	}
}
