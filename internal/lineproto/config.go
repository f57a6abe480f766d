package lineproto

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"kvd/internal/view"
	"kvd/kv"
)

// configText holds the texts of a configuration that may be too long for a line. They are
// sent as a payload of JSON. Nil: absent.
type configText struct {
	Description *string            `json:"description,omitempty"`
	Metadata    *map[string]string `json:"metadata,omitempty"`
}

// descriptionInline bounds a description that is sent in the line, in bytes of its JSON
// string. A longer one is sent in the payload.
const descriptionInline = 1024

// SetConfig puts every field of the configuration into the command, which is ADD, EDIT or IMPORT.
// It sets Bucket, Options and Value. With orEdit an ADD changes a bucket that exists. The
// defaults are filled in first. The error matches kv.ErrInvalidConfig if a text is not
// UTF-8 or a field's value has no name on the wire, and kv.ErrNotSupported if the
// configuration is Silent.
func (c *Command) SetConfig(cfg kv.Config, orEdit bool) error {
	cfg = cfg.WithDefaults()
	if cfg.Storage > kv.MemoryStorage || cfg.Sync > kv.SyncInterval {
		return fmt.Errorf("%w: %v, %v", kv.ErrInvalidConfig, cfg.Storage, cfg.Sync)
	}
	if cfg.Kind != kv.KeyValue {
		return fmt.Errorf("%w: a silent bucket over the line protocol", kv.ErrNotSupported)
	}
	line, text, err := appendConfig(nil, &cfg, c.Verb == VerbEdit)
	if err != nil {
		return err
	}
	line = appendYes(line, "edit", orEdit)
	c.Bucket, c.Options, c.Value = cfg.Bucket, strings.TrimPrefix(view.String(line), " "), nil
	if text != (configText{}) {
		c.Value, _ = json.Marshal(text) // strings and maps of them never fail
	}
	return nil
}

// appendConfig appends the options of a configuration with its defaults filled in, each
// after a blank, and returns the texts that have to be sent in the payload. With all,
// empty fields are written too, so that they replace others.
func appendConfig(dst []byte, cfg *kv.Config, all bool) (line []byte, text configText, err error) {
	dst = appendNumberOption(dst, "history=", uint64(max(cfg.History, 0)))
	if cfg.History < 0 {
		return dst, text, &kv.LimitError{What: "history", Got: int64(cfg.History), Min: 1, Max: kv.MaxHistory, Err: kv.ErrInvalidConfig}
	}
	dst = appendDuration(dst, "ttl=", cfg.TTL)
	dst = appendDuration(dst, "marker-ttl=", cfg.MarkerTTL)
	dst = strconv.AppendInt(append(dst, " max-value-size="...), cfg.MaxValueSize, 10)
	dst = strconv.AppendInt(append(dst, " max-bytes="...), cfg.MaxBytes, 10)
	dst = append(append(dst, " storage="...), cfg.Storage.String()...)
	dst = append(append(dst, " compression="...), yesNo(cfg.Compression)...)
	dst = append(append(dst, " sync="...), cfg.Sync.String()...)
	if cfg.Sync == kv.SyncInterval || cfg.SyncInterval != 0 {
		dst = appendDuration(dst, "sync-interval=", cfg.SyncInterval)
	}
	return appendConfigText(dst, cfg, all)
}

func appendConfigText(dst []byte, cfg *kv.Config, all bool) (line []byte, text configText, err error) {
	if !utf8.ValidString(cfg.Description) {
		return dst, text, fmt.Errorf("%w: the description is not UTF-8", kv.ErrInvalidConfig)
	}
	for k, v := range cfg.Metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return dst, text, fmt.Errorf("%w: metadata %.64q is not UTF-8", kv.ErrInvalidConfig, k)
		}
	}
	if cfg.Description != "" || all {
		if inline := appendText(nil, cfg.Description); len(inline) <= descriptionInline {
			dst = append(append(dst, " description="...), inline...)
		} else {
			text.Description = &cfg.Description
		}
	}
	if len(cfg.Metadata) > 0 || all {
		metadata := cfg.Metadata
		if metadata == nil {
			metadata = map[string]string{}
		}
		text.Metadata = &metadata
	}
	return dst, text, nil
}

// ApplyConfig sets the fields of cfg that the command ADD, EDIT or IMPORT names. Their strings
// are in memory of their own. It also sets Next of an IMPORT. It returns an error matching
// kv.ErrInvalidConfig or kv.ErrInvalidOption.
func (c *Command) ApplyConfig(cfg *kv.Config) (orEdit bool, err error) {
	seen := make(map[string]bool)
	for w := newWords([]byte(c.Options)); w.more && c.Options != ""; {
		word, err := w.nextOption()
		if err != nil {
			return false, err
		}
		name, value, ok := cutOption(word)
		if !ok {
			return false, invalidOption("%.32q is not an option", word)
		}
		if seen[string(name)] {
			return false, invalidOption("%.32q is given twice", name)
		}
		seen[string(name)] = true
		switch {
		case string(name) == "edit" && c.Verb == VerbAdd:
			orEdit, ok = parseYesNo(value)
		case string(name) == "next" && c.Verb == VerbImport:
			ok = parseRevision(value, &c.Next)
		default:
			ok, err = setConfig(cfg, string(name), string(value))
		}
		if err != nil {
			return false, invalidOption("%v has no option %.32q", c.Verb, name)
		}
		if !ok {
			return false, fmt.Errorf("%w: %s cannot be %.64q", kv.ErrInvalidConfig, name, value)
		}
	}
	if seen["sync"] && cfg.Sync == kv.SyncAlways && !seen["sync-interval"] {
		cfg.SyncInterval = 0 // it belonged to the mode that is replaced
	}
	if c.Value != nil {
		return orEdit, applyConfigText(cfg, c.Value, seen["description"])
	}
	return orEdit, nil
}

// applyConfigText applies the payload of a configuration.
func applyConfigText(cfg *kv.Config, payload []byte, described bool) error {
	var text configText
	if !utf8.Valid(payload) {
		return fmt.Errorf("%w: the payload is not UTF-8", kv.ErrInvalidConfig)
	}
	if err := json.Unmarshal(payload, &text); err != nil {
		return fmt.Errorf("%w: the payload is not JSON with a description and metadata: %w", kv.ErrInvalidConfig, err)
	}
	if text.Description != nil && described {
		return fmt.Errorf("%w: description is given twice", kv.ErrInvalidConfig)
	}
	text.apply(cfg)
	return nil
}

func (t *configText) apply(cfg *kv.Config) {
	if t.Description != nil {
		cfg.Description = *t.Description
	}
	if t.Metadata != nil {
		cfg.Metadata = *t.Metadata
	}
}

// setConfig sets the field that an option names. An error means that there is no field of
// that name.
func setConfig(cfg *kv.Config, name, value string) (ok bool, err error) {
	switch name {
	case "history":
		return setInt(&cfg.History, value), nil
	case "ttl":
		return setDuration(&cfg.TTL, value), nil
	case "marker-ttl":
		return setDuration(&cfg.MarkerTTL, value), nil
	case "max-value-size":
		return setInt(&cfg.MaxValueSize, value), nil
	case "max-bytes":
		return setInt(&cfg.MaxBytes, value), nil
	case "storage":
		return setNamed(&cfg.Storage, value, kv.FileStorage, kv.MemoryStorage), nil
	case "compression":
		cfg.Compression, ok = parseYesNo([]byte(value))
		return ok, nil
	case "sync":
		return setNamed(&cfg.Sync, value, kv.SyncAlways, kv.SyncInterval), nil
	case "sync-interval":
		return setDuration(&cfg.SyncInterval, value), nil
	case "description":
		cfg.Description, ok = parseText([]byte(value))
		return ok && utf8.ValidString(cfg.Description), nil
	}
	return false, kv.ErrInvalidOption
}

func setInt[T int | int64](field *T, value string) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	*field = T(n)
	return err == nil && strconv.FormatInt(n, 10) == value && int64(T(n)) == n
}

func setDuration(field *time.Duration, value string) bool {
	d, err := time.ParseDuration(value)
	*field = d
	return err == nil
}

// setNamed sets the field to the choice whose text is value.
func setNamed[T fmt.Stringer](field *T, value string, choices ...T) bool {
	for _, c := range choices {
		if c.String() == value {
			*field = c
			return true
		}
	}
	return false
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
