package lines

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"kvd/kv"
)

// endLine is the last line of an export.
type endLine struct {
	End     bool   `json:"end"` // first: it tells the end from a record
	Records uint64 `json:"records"`
	Digest  string `json:"digest"`
	SHA256  string `json:"sha256,omitempty"`
}

// check returns why the lines that were read are not those that were written.
func (l *endLine) check(records uint64, digest kv.Digest, sum []byte) error {
	want, err := kv.ParseDigest(l.Digest)
	switch {
	case err != nil:
		return err
	case !l.End:
		return errors.New("end is not true")
	case l.Records != records:
		return fmt.Errorf("%w: there are %d records, and should be %d", ErrIncomplete, records, l.Records)
	case want != digest:
		return fmt.Errorf("%w: the records have the digest %s, and should have %s", ErrIncomplete, digest, want)
	case l.SHA256 != "" && !strings.EqualFold(l.SHA256, hex.EncodeToString(sum)):
		return fmt.Errorf("%w: bytes of the lines before were changed: their SHA-256 is %x", ErrIncomplete, sum)
	}
	return nil
}

// encodeLine returns a value as a line of JSON.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// decodeLine reads a value from a line. Fields that are not known are an error.
func decodeLine(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%.300s", err.Error()) // a name in it may be long
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object in its line")
	}
	return nil
}
