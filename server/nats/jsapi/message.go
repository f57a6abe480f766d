package jsapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// responseType returns the type of an operation's answer.
func responseType(op string) string { return "io.nats.jetstream.api.v1." + op + "_response" }

// EncodeResponse returns the JSON of an operation's answer: its type, then the fields of
// result, which encodes to a JSON object.
func EncodeResponse(op string, result any) []byte {
	fields := EncodeJSON(result)
	head := []byte(`{"type":"` + responseType(op) + `"`)
	if string(fields) != "{}" {
		head = append(head, ',')
	}
	return append(head, fields[1:]...)
}

// EncodeJSON returns the JSON of a value, without escapes for HTML. The value is one that
// always encodes.
func EncodeJSON(fields any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(fields) // plain fields always encode
	return bytes.TrimSpace(b.Bytes())
}

// Page says which part of a list an answer has.
type Page struct {
	Total  int `json:"total"`
	Offset int `json:"offset"`
	Limit  int `json:"limit"`
}

// PageOf returns the page of all that begins at offset and has limit elements at most. An
// offset outside of the list is moved to its nearest end.
func PageOf[T any](all []T, offset, limit int) ([]T, Page) {
	p := Page{Total: len(all), Offset: min(max(offset, 0), len(all)), Limit: limit}
	return all[p.Offset:min(p.Offset+limit, len(all))], p
}

// DecodeBody reads the body of a request into a value, as DecodeJSON does. An empty body
// changes nothing.
func DecodeBody(body []byte, into any) *Error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	return DecodeJSON(body, into)
}

// DecodeKnown is DecodeBody, and refuses fields that the value does not have.
func DecodeKnown(body []byte, into any) *Error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return InvalidJSON(err)
	}
	return nil
}

// DecodeJSON reads JSON into a value. Unknown fields are ignored. It uses a decoder
// because nats-server does, and the texts of errors differ from those of Unmarshal.
func DecodeJSON(body []byte, into any) *Error {
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(into); err != nil {
		return InvalidJSON(err)
	}
	return nil
}

// IsGiven reports whether a field is there and neither null nor empty.
func IsGiven(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "{}", "[]":
		return false
	}
	return true
}

// Enum is the text of a field that has a few allowed values.
type Enum struct {
	got     string
	allowed []string
}

// OneOf returns an Enum for CheckEnums.
func OneOf(got string, allowed ...string) Enum { return Enum{got, allowed} }

// CheckEnums refuses the first text that is not allowed, as nats-server does.
func CheckEnums(enums ...Enum) *Error {
	for _, e := range enums {
		if !slices.Contains(e.allowed, e.got) {
			return InvalidJSON(fmt.Errorf("can not unmarshal %q", strconv.Quote(e.got)))
		}
	}
	return nil
}
