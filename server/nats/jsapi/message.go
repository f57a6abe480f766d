package jsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// DecodeBody reads the body of a request into a value, of which it must not have other
// fields. An empty body changes nothing. As nats-server does, it reads value after value to
// the end, and its errors have nats-server's texts.
func DecodeBody(body []byte, into any) *Error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	for {
		err := d.Decode(into)
		var syntax *json.SyntaxError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &syntax):
			return InvalidJSON(fmt.Errorf("%w at offset %d", err, syntax.Offset))
		case err != nil:
			return InvalidJSON(err)
		}
	}
}

// DecodeOptional is DecodeBody for a request that can do without a body: one that begins
// neither an object nor an array is passed over, as by nats-server.
func DecodeOptional(body []byte, into any) *Error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' {
		return nil
	}
	return DecodeBody(body, into)
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
