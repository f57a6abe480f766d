package manifest

import (
	"encoding/json"
	"fmt"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// configOnDisk is a bucket's configuration as it is stored, with every default
// filled in. Fields may be added; none may change its meaning.
type configOnDisk struct {
	Bucket       string            `json:"bucket"`
	Description  string            `json:"description,omitempty"`
	History      int               `json:"history"`
	TTL          time.Duration     `json:"ttl,omitempty"`
	MarkerTTL    time.Duration     `json:"marker_ttl"`
	MaxValueSize int64             `json:"max_value_size"`
	MaxBytes     int64             `json:"max_bytes"`
	Storage      kv.Storage        `json:"storage,omitempty"`
	Compression  bool              `json:"compression,omitempty"`
	Sync         kv.SyncMode       `json:"sync,omitempty"`
	SyncInterval time.Duration     `json:"sync_interval,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Silent       bool              `json:"silent,omitempty"` // Kind is msglog.Kind
}

// EncodeConfig returns the JSON that stands for a valid configuration on the disk,
// in the manifest and in operations of the log.
func EncodeConfig(c kv.Config) []byte {
	b, err := json.Marshal(configOnDisk{
		Bucket: c.Bucket, Description: c.Description, History: c.History, TTL: c.TTL, MarkerTTL: c.MarkerTTL,
		MaxValueSize: c.MaxValueSize, MaxBytes: c.MaxBytes, Storage: c.Storage, Compression: c.Compression,
		Sync: c.Sync, SyncInterval: c.SyncInterval, Metadata: c.Metadata, Silent: c.Kind == msglog.Kind,
	})
	if err != nil {
		panic("manifest: configuration does not encode: " + err.Error()) // strings and numbers always do
	}
	return b
}

// DecodeConfig reads a configuration that [EncodeConfig] wrote, ignores fields that
// it does not know, and validates the rest.
func DecodeConfig(b []byte) (kv.Config, error) {
	var d configOnDisk
	if err := json.Unmarshal(b, &d); err != nil {
		return kv.Config{}, fmt.Errorf("configuration: %w", err)
	}
	c := kv.Config{
		Bucket: d.Bucket, Description: d.Description, History: d.History, TTL: d.TTL, MarkerTTL: d.MarkerTTL,
		MaxValueSize: d.MaxValueSize, MaxBytes: d.MaxBytes, Storage: d.Storage, Compression: d.Compression,
		Sync: d.Sync, SyncInterval: d.SyncInterval, Metadata: d.Metadata,
	}
	if d.Silent {
		c.Kind = msglog.Kind
	}
	return c, c.Validate()
}
