//go:build linux

package workload

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
)

const (
	keySize   = 16
	valueSize = 128
	valueHead = 16 // number of the key, generation
)

// Key returns the n-th key. Neighbours in number are no neighbours in order.
func Key(n int) string {
	var number [8]byte
	var text [keySize]byte
	binary.BigEndian.PutUint64(number[:], spread(n))
	hex.Encode(text[:], number[:])
	return string(text[:])
}

func spread(n int) uint64 { return uint64(n+1) * 0x9e3779b97f4a7c15 }

// noise is where values take their bytes from. It is small enough for the processor's cache,
// so that comparing a value costs every peer the same little.
var noise = func() []byte {
	b := make([]byte, 64<<10)
	for r, i := rand.New(rand.NewPCG(1, 2)), 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}()

// body returns the bytes behind the head of the n-th key's value.
func body(n int) []byte {
	at := spread(n) >> 32 % uint64(len(noise)-valueSize)
	return noise[at:][:valueSize-valueHead]
}

// Value returns the value of the n-th key when it is written for the generation-th time,
// counted from 0.
func Value(n, generation int) []byte {
	v := make([]byte, valueHead, valueSize)
	binary.BigEndian.PutUint64(v, uint64(n))
	binary.BigEndian.PutUint64(v[8:], uint64(generation))
	return append(v, body(n)...)
}

// check compares a value that was read.
func check(got []byte, n, generation int) error {
	if len(got) == valueSize &&
		binary.BigEndian.Uint64(got) == uint64(n) && binary.BigEndian.Uint64(got[8:]) == uint64(generation) &&
		bytes.Equal(got[valueHead:], body(n)) {
		return nil
	}
	return fmt.Errorf("key %d reads %x, want generation %d: %x", n, got, generation, Value(n, generation))
}

// readBack reads about a thousand of the keys from 0 to n and compares them.
func readBack(e Engine, n int, generation func(key int) int) error {
	for i := 0; i < n; i += max(1, n/1000) {
		got, err := e.Get(Key(i))
		if err != nil {
			return err
		}
		if err := check(got, i, generation(i)); err != nil {
			return err
		}
	}
	got, err := e.Get(Key(n))
	if err == nil && got != nil {
		err = fmt.Errorf("a key that was never put reads %x", got)
	}
	return err
}

func always(generation int) func(int) int { return func(int) int { return generation } }
