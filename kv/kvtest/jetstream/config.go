package jetstream

import (
	"fmt"
	"maps"
	"strings"

	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
)

const (
	streamPrefix       = "KV_"
	maxBucketNameSize  = 255 - len(streamPrefix) // bytes; the server's limit is the stream's
	serverMetadataPref = "_nats."                // of the keys that the server adds to a stream's metadata
)

func streamName(bucket string) string { return streamPrefix + bucket }

// checkBucketName is kv.CheckBucketName with the server's limit.
func checkBucketName(name string) error {
	if err := kv.CheckBucketName(name); err != nil {
		return err
	}
	if len(name) > maxBucketNameSize {
		return &kv.NameError{
			Name: name[:64], Offset: -1, Err: kv.ErrInvalidBucketName,
			Reason: fmt.Sprintf("%d bytes, at most %d", len(name), maxBucketNameSize),
		}
	}
	return nil
}

// checkConfig returns nil if JetStream can keep to the configuration.
func checkConfig(cfg kv.Config) error {
	if err := checkBucketName(cfg.Bucket); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Sync != kv.SyncAlways {
		return fmt.Errorf("jetstream: bucket %q: %w: sync=%v of one bucket", cfg.Bucket, kv.ErrNotSupported, cfg.Sync)
	}
	if cfg.Kind != kv.KeyValue {
		return fmt.Errorf("jetstream: bucket %q: %w: a silent bucket", cfg.Bucket, kv.ErrNotSupported)
	}
	return nil
}

// toNATS returns a valid configuration in the terms of NATS. Defaults are filled
// in, so that the server compares like with like.
func toNATS(cfg kv.Config) js.KeyValueConfig {
	cfg = cfg.WithDefaults()
	storage := js.FileStorage
	if cfg.Storage == kv.MemoryStorage {
		storage = js.MemoryStorage
	}
	return js.KeyValueConfig{
		Bucket:         cfg.Bucket,
		Description:    cfg.Description,
		History:        uint8(cfg.History),
		TTL:            cfg.TTL,
		LimitMarkerTTL: cfg.MarkerTTL,
		MaxValueSize:   int32(cfg.MaxValueSize),
		MaxBytes:       cfg.MaxBytes,
		Storage:        storage,
		Compression:    cfg.Compression,
		Metadata:       cfg.Metadata,
	}
}

// fromNATS is the reverse of toNATS, for the stream of any bucket.
func fromNATS(bucket string, cfg js.StreamConfig) kv.Config {
	storage := kv.FileStorage
	if cfg.Storage == js.MemoryStorage {
		storage = kv.MemoryStorage
	}
	metadata := maps.Clone(cfg.Metadata)
	maps.DeleteFunc(metadata, func(key, _ string) bool { return strings.HasPrefix(key, serverMetadataPref) })
	return kv.Config{
		Bucket:       bucket,
		Description:  cfg.Description,
		History:      int(cfg.MaxMsgsPerSubject),
		TTL:          cfg.MaxAge,
		MarkerTTL:    cfg.SubjectDeleteMarkerTTL,
		MaxValueSize: int64(cfg.MaxMsgSize),
		MaxBytes:     cfg.MaxBytes,
		Storage:      storage,
		Compression:  cfg.Compression != js.NoCompression,
		Metadata:     metadata,
	}.WithDefaults()
}
