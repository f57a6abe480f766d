package lines

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kvd/kv"
)

// Head is the first line of an export.
type Head struct {
	Next    kv.Revision // above the revisions of all records
	History bool        // the records are all that the bucket kept; false: the newest of each key
	Config  kv.Config   // defaults may be left out
}

// version is that of the format.
const version = 1

// headLine is a head as JSON.
type headLine struct {
	Version int         `json:"kvd"` // first: it tells a head from a record
	Next    kv.Revision `json:"next"`
	History bool        `json:"history"`
	Config  configJSON  `json:"config"`
}

// configJSON is a configuration as JSON.
type configJSON struct {
	Bucket       string            `json:"bucket"`
	Description  string            `json:"description,omitempty"`
	History      int               `json:"history,omitempty"`
	TTL          duration          `json:"ttl,omitempty"`
	MarkerTTL    duration          `json:"marker_ttl,omitempty"`
	MaxValueSize int64             `json:"max_value_size,omitempty"`
	MaxBytes     int64             `json:"max_bucket_size,omitempty"`
	Storage      string            `json:"storage,omitempty"`
	Compression  bool              `json:"compression,omitempty"`
	Sync         string            `json:"sync,omitempty"`
	SyncInterval duration          `json:"sync_interval,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
}

// duration is a text in JSON, as package time writes it.
type duration time.Duration

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *duration) UnmarshalText(text []byte) error {
	read, err := time.ParseDuration(string(text))
	*d = duration(read)
	return err
}

// encode returns the line of a head. The error matches kv.ErrNotSupported for a bucket of another
// kind than kv.KeyValue.
func (h *Head) encode() ([]byte, error) {
	c := &h.Config
	if c.Kind != kv.KeyValue {
		return nil, fmt.Errorf("%w: an export of a log of messages", kv.ErrNotSupported)
	}
	return encodeLine(headLine{version, h.Next, h.History, configJSON{
		Bucket: c.Bucket, Description: c.Description, History: c.History, TTL: duration(c.TTL), MarkerTTL: duration(c.MarkerTTL),
		MaxValueSize: c.MaxValueSize, MaxBytes: c.MaxBytes, Storage: c.Storage.String(), Compression: c.Compression,
		Sync: c.Sync.String(), SyncInterval: duration(c.SyncInterval), Metadata: c.Metadata,
	}})
}

// decodeHead reads a head.
func decodeHead(text []byte) (Head, error) {
	var l headLine
	var of struct {
		Version int `json:"kvd"`
	}
	if err := json.Unmarshal(text, &of); err == nil && of.Version != version {
		return Head{}, fmt.Errorf("version %d of the format, this program reads version %d", of.Version, version)
	}
	if err := decodeLine(text, &l); err != nil {
		return Head{}, err
	}
	c := &l.Config
	h := Head{Next: l.Next, History: l.History, Config: kv.Config{
		Bucket: c.Bucket, Description: c.Description, History: c.History, TTL: time.Duration(c.TTL), MarkerTTL: time.Duration(c.MarkerTTL),
		MaxValueSize: c.MaxValueSize, MaxBytes: c.MaxBytes, Compression: c.Compression, SyncInterval: time.Duration(c.SyncInterval), Metadata: c.Metadata,
	}}
	err := errors.Join(
		named(&h.Config.Storage, "storage", c.Storage, kv.FileStorage, kv.MemoryStorage),
		named(&h.Config.Sync, "sync", c.Sync, kv.SyncAlways, kv.SyncInterval),
	)
	if err == nil {
		err = h.Config.Validate()
	}
	return h, err
}

// named sets a field to the choice of that name. No name is the first choice.
func named[T fmt.Stringer](field *T, what, name string, choices ...T) error {
	for _, c := range choices {
		if name == "" || c.String() == name {
			*field = c
			return nil
		}
	}
	return fmt.Errorf("%w: %s cannot be %.64q", kv.ErrInvalidConfig, what, name)
}
