package wire

import (
	"testing"

	"kvd/kv"
)

// A marker takes the same room whichever way the client wrote its header: nats.go has no
// fixed order of fields. Every other header is stored as it is.
func TestStoredHeader(t *testing.T) {
	for _, tt := range []struct {
		block  string
		op     kv.MutationOp
		stored bool
	}{
		{"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", kv.MutateDelete, false},
		{"NATS/1.0\r\nKV-Operation: PURGE\r\nNats-Rollup: sub\r\n\r\n", kv.MutatePurge, false},
		{"NATS/1.0\r\nNats-Rollup: sub\r\nKV-Operation: PURGE\r\n\r\n", kv.MutatePurge, false},
		{"NATS/1.0\r\nNats-Rollup: sub\r\nKV-Operation: PURGE\r\nA: b\r\n\r\n", kv.MutatePurge, true},
		{"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", kv.MutatePurge, true},
		{"NATS/1.0\r\nA: b\r\n\r\n", kv.MutatePut, true},
	} {
		if got := StoredHeader([]byte(tt.block), tt.op); (got != nil) != tt.stored || got != nil && string(got) != tt.block {
			t.Errorf("of %q with %v, %q is stored", tt.block, tt.op, got)
		}
	}
}
