//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// dialect is a protocol, as far as the load generator needs it.
type dialect struct {
	prefix   string // of the keys; digits follow
	put, get func(key string, value []byte) []byte
	// reply returns the size of the first reply in b, or 0 if the reply is not complete.
	reply func(b []byte) (int, error)
}

const (
	loadBucket = "bench"
	valueSize  = 128
)

// value is the value of every key, as redis-benchmark makes it.
var value = bytes.Repeat([]byte("x"), valueSize)

var lineDialect = dialect{
	prefix: "key",
	put: func(key string, value []byte) []byte {
		return fmt.Appendf(nil, "PUT %s %s %d\r\n%s\r\n", loadBucket, key, len(value), value)
	},
	get:   func(key string, _ []byte) []byte { return fmt.Appendf(nil, "GET %s %s\r\n", loadBucket, key) },
	reply: lineReply,
}

var respDialect = dialect{
	prefix: "key:",
	put: func(key string, value []byte) []byte {
		return fmt.Appendf(nil, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
	},
	get: func(key string, _ []byte) []byte {
		return fmt.Appendf(nil, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key)
	},
	reply: respReply,
}

// load returns the command and the offset of its key's number.
func (d *dialect) load(command string) (text []byte, digits int) {
	key := d.prefix + strings.Repeat("0", keyDigits)
	if command == "put" {
		text = d.put(key, value)
	} else {
		text = d.get(key, value)
	}
	return text, bytes.Index(text, []byte(key)) + len(d.prefix)
}

// lineReply parses +OK and +ENTRY, whose last word is the length of the value.
func lineReply(b []byte) (int, error) {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0:
		return 0, nil
	case b[0] != '+':
		return 0, fmt.Errorf("kvd answers %q", b[:end])
	case b[1] != 'E':
		return end + 1, nil
	}
	line := b[:end-1]
	return withPayload(b, end+1, line[bytes.LastIndexByte(line, ' ')+1:])
}

// respReply parses simple and bulk strings.
func respReply(b []byte) (int, error) {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0:
		return 0, nil
	case b[0] == '+':
		return end + 1, nil
	case b[0] != '$' || b[1] == '-':
		return 0, fmt.Errorf("Redis answers %q", b[:end])
	}
	return withPayload(b, end+1, b[1:end-1])
}

func withPayload(b []byte, start int, digits []byte) (int, error) {
	length, err := strconv.Atoi(string(digits))
	if err != nil {
		return 0, err
	}
	size := start + length + len("\r\n")
	if size > len(b) {
		return 0, nil
	}
	return size, nil
}
