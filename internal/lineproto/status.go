package lineproto

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kvd/kv"
)

// Status returns the bucket's status from a +INFO, in memory of its own. It returns a
// *SyntaxError if a value does not parse; an option that only a newer server has is
// ignored.
func (r *Reply) Status() (kv.Status, error) {
	var st kv.Status
	st.Config.Bucket = strings.Clone(r.Name)
	for w := newWords(r.info); w.more; {
		word, err := w.nextOption()
		if err != nil {
			return st, err
		}
		name, value, _ := cutOption(word)
		ok, err := setStatus(&st, string(name), string(value))
		if err != nil {
			ok, err = setConfig(&st.Config, string(name), string(value))
		}
		if err == nil && !ok {
			return st, syntaxError("%s of a bucket cannot be %.64q", name, value)
		}
	}
	if r.payload != nil {
		text, err := parseInfoText(r.payload)
		if err != nil {
			return st, syntaxError("+INFO: %v", err)
		}
		text.apply(&st.Config)
		if text.ReadOnly != "" {
			st.ReadOnly = errorOf(text.ReadOnly)
		}
	}
	return st, nil
}

// setStatus sets the field that an option names. An error means that there is no field of
// that name.
func setStatus(st *kv.Status, name, value string) (ok bool, err error) {
	var n uint64
	switch name {
	case "created":
		st.Created, ok = parseTime([]byte(value))
		return ok, nil
	case "clock-leap":
		st.ClockLeap, err = time.ParseDuration(value)
		return err == nil && st.ClockLeap >= 0, nil
	case "stale":
		st.Stale, ok = parseYesNo([]byte(value))
		return ok, nil
	case "digest":
		d, err := kv.ParseDigest(value)
		st.Digest = &d
		return err == nil, nil
	}
	n, ok = parseNumber([]byte(value))
	switch name {
	case "id":
		st.ID = n
	case "keys":
		st.Keys = n
	case "values":
		st.Values = n
	case "bytes":
		st.Bytes = n
	case "disk":
		st.Disk = n
	case "revision":
		st.Revision = kv.Revision(n)
	case "doubt":
		st.Doubt = kv.Revision(n)
	default:
		return false, fmt.Errorf("%w: %s", kv.ErrInvalidOption, name)
	}
	return ok, nil
}

// AppendInfo appends +INFO.
func AppendInfo(dst []byte, st *kv.Status) []byte {
	dst = append(append(dst, "+INFO "...), st.Config.Bucket...)
	dst = appendNumberOption(dst, "id=", st.ID)
	if !st.Created.IsZero() {
		dst = appendTime(append(dst, " created="...), st.Created)
	}
	dst = appendNumberOption(dst, "keys=", st.Keys)
	dst = appendNumberOption(dst, "values=", st.Values)
	dst = appendNumberOption(dst, "bytes=", st.Bytes)
	dst = appendNumberOption(dst, "disk=", st.Disk)
	dst = appendNumberOption(dst, "revision=", uint64(st.Revision))
	if st.Digest != nil {
		dst = append(append(dst, " digest="...), st.Digest.String()...)
	}
	if st.Doubt != 0 {
		dst = appendNumberOption(dst, "doubt=", uint64(st.Doubt))
	}
	if st.ClockLeap != 0 {
		dst = appendDuration(dst, "clock-leap=", st.ClockLeap)
	}
	dst = appendYes(dst, "stale", st.Stale)
	return appendInfoConfig(dst, &st.Config, st.ReadOnly)
}

// infoText is the payload of +INFO: texts of a configuration that may be too long for a
// line, and the reason why the bucket takes no writes, in the form that follows -ERR.
type infoText struct {
	configText
	ReadOnly string `json:"readonly,omitempty"`
}

func parseInfoText(payload []byte) (text infoText, err error) {
	err = json.Unmarshal(payload, &text)
	return text, err
}

// appendInfoConfig ends a +INFO with the configuration. JSON cannot carry text that is
// not UTF-8: its bytes are sent as replacement characters.
func appendInfoConfig(dst []byte, cfg *kv.Config, readOnly error) []byte {
	clean := *cfg
	clean.History = max(cfg.History, 0)
	clean.Description = strings.ToValidUTF8(cfg.Description, "\ufffd")
	clean.Metadata = make(map[string]string, len(cfg.Metadata))
	for k, v := range cfg.Metadata {
		clean.Metadata[strings.ToValidUTF8(k, "\ufffd")] = strings.ToValidUTF8(v, "\ufffd")
	}
	var text infoText
	line, described, _ := appendConfig(dst, &clean, false)
	text.configText = described
	if readOnly != nil {
		text.ReadOnly = failureString(readOnly)
	}
	if text != (infoText{}) {
		payload, _ := json.Marshal(text) // strings and maps of them never fail
		line = strconv.AppendInt(append(line, ' '), int64(len(payload)), 10)
		line = append(append(line, crlf...), payload...)
	}
	return append(line, crlf...)
}
