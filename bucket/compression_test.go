package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/segment"
)

func compressed(c *kv.Config) { c.Compression = true }

// prose returns compressible text of n bytes that differs from call to call.
func prose(i, n int) string {
	return strings.Repeat(fmt.Sprintf("line %d of the text; ", i), n/10+1)[:n]
}

func wantValue(t *testing.T, b *Bucket, key, want string) {
	t.Helper()
	e, err := b.Get(ctx, key)
	if err != nil || string(e.Value) != want {
		t.Errorf("%q has %d bytes, %v; want %d", key, len(e.Value), err, len(want))
	}
}

func TestCompression(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", compressed, withHistory(3))
	want := map[string]string{}
	for i := range 20 {
		key := fmt.Sprintf("k%d", i)
		want[key] = prose(i, 1+i*i*50)
		mustPut(t, b, key, want[key])
	}
	check := func() {
		t.Helper()
		b := h.find("b")
		raw := 0
		for key, value := range want {
			wantValue(t, b, key, value)
			raw += len(value)
		}
		st, err := b.Status(ctx)
		if err != nil || !st.Config.Compression || st.Bytes > uint64(raw)/4 {
			t.Errorf("%d bytes of values count %d, %v", raw, st.Bytes, err)
		}
	}
	check()
	h.kill()
	h.open() // the log is replayed
	check()
	h.reopen() // the index blocks are read
	check()
	rev, err := h.find("b").Touch(ctx, "k19")
	if err != nil {
		t.Fatal(err)
	}
	check()
	n := 0
	for e, err := range h.find("b").History(ctx, "k19") {
		if n++; err != nil || string(e.Value) != want["k19"] {
			t.Errorf("history has %d bytes at revision %d, %v", len(e.Value), e.Revision, err)
		}
	}
	if n != 2 {
		t.Errorf("%d entries", n)
	}
	if e, err := h.find("b").GetRevision(ctx, "k19", rev); err != nil || string(e.Value) != want["k19"] {
		t.Errorf("revision %d has %d bytes, %v", rev, len(e.Value), err)
	}
	h.close()
	if r := h.verify(); r.Err() != nil {
		t.Error(r.Err())
	}
}

// An edit changes how later writes are stored; what is stored says how it is.
func TestCompressionIsEdited(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	value := prose(1, 5000)
	bytesOf := func(key string) uint64 {
		t.Helper()
		before, _ := b.Status(ctx)
		mustPut(t, b, key, value)
		after, err := b.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return after.Bytes - before.Bytes
	}
	edit := func(on bool) {
		t.Helper()
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b", Compression: on}); err != nil {
			t.Fatal(err)
		}
	}
	plain := bytesOf("plain")
	edit(true)
	small := bytesOf("small")
	edit(false)
	again := bytesOf("again")
	if plain != uint64(recordSize("plain", 5000)) || again != plain || small > plain/4 {
		t.Errorf("stored in %d, %d, %d bytes", plain, small, again)
	}
	h.reopen()
	for _, key := range []string{"plain", "small", "again"} {
		wantValue(t, h.find("b"), key, value)
	}
}

// The bucket's limit counts what is stored; that of a value counts what is given.
func TestLimitsOfCompressedBuckets(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", compressed, withMaxBytes(4000), func(c *kv.Config) { c.MaxValueSize = 10_000 })
	for i := range 10 {
		mustPut(t, b, fmt.Sprintf("k%d", i), prose(i, 10_000))
	}
	if _, err := b.PutString(ctx, "k", prose(1, 10_001)); !errors.Is(err, kv.ErrValueTooLarge) {
		t.Errorf("a value over the limit: %v", err)
	}
	if _, err := b.Put(ctx, "k", noise(4000)); !errors.Is(err, kv.ErrBucketFull) {
		t.Errorf("a value that does not get shorter: %v", err)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// A buffer with room for key, value and 128 bytes suffices, as for other values.
func TestGetAppendOfCompressedValues(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", compressed)
	for _, n := range []int{128, 200, 5000} {
		value := prose(n, n)
		mustPut(t, b, "key", value)
		dst := append(make([]byte, 0, 4+n+len("key")+128), "mine"...)
		got, e, err := b.GetAppend(ctx, dst, "key")
		if err != nil || string(got) != "mine"+value || !bytes.Equal(e.Value, got[4:]) || &got[0] != &dst[0] {
			t.Errorf("%d bytes come back as %d, %v", n, len(got)-4, err)
		}
	}
}

// A value whose checksum is right and that does not decompress is an error of
// its key alone, and verify finds it, in the log as in a segment.
func TestDamagedCompression(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", compressed)
	mustPut(t, b, "before", prose(1, 1000))
	// A record as a fault in memory between compressing and the checksum makes it.
	r := h.s.commit.newRequest()
	m := mutation{kind: writeValue, key: "bad", value: []byte(prose(2, 1000))}
	if err := b.prepare(&m); err != nil {
		t.Fatal(err)
	}
	if m.rawLen != 1000 {
		t.Fatalf("prepared %+v", m)
	}
	m.rawLen++
	r.single[0] = m
	if err := h.s.commit.do(ctx, r); err != nil || r.single[0].err != nil {
		t.Fatal(err, r.single[0].err)
	}
	h.s.commit.free(r)
	mustPut(t, b, "after", prose(3, 1000))
	check := func() {
		t.Helper()
		b := h.find("b")
		var corrupt *kv.CorruptError
		if _, err := b.Get(ctx, "bad"); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), `"bad"`) {
			t.Errorf("read of the damaged value: %v", err)
		}
		wantValue(t, b, "before", prose(1, 1000))
		wantValue(t, b, "after", prose(3, 1000))
	}
	check()
	verify := func() {
		t.Helper()
		if r := h.verify(); r.Damage != 1 || !strings.Contains(fmt.Sprint(r.Damages), `"bad"`) {
			t.Errorf("verified: %v", r.Damages)
		}
	}
	h.kill()
	verify()
	h.open()
	check()
	h.close()
	verify()
}

// The leader compresses nothing: mutations come to it with the bytes it writes.
func TestCompressionIsPrepared(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", compressed)
	value := []byte(prose(1, 1000))
	m := mutation{kind: writeValue, key: "k", value: value}
	if err := b.prepare(&m); err != nil {
		t.Fatal(err)
	}
	if m.rawLen != 1000 || len(m.value) > 500 || m.size != segment.RecordSize(1, 0, len(m.value), false, true) {
		t.Errorf("%d of %d bytes, record of %d", len(m.value), m.rawLen, m.size)
	}
	if string(value) != prose(1, 1000) {
		t.Error("the caller's value was written to")
	}
}
