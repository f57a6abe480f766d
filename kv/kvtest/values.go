package kvtest

import (
	"bytes"
	"errors"
	"strings"

	"kvd/kv"
)

// everyByte is a value with all 256 bytes, also line ends and zeros.
var everyByte = func() []byte {
	v := make([]byte, 256)
	for i := range v {
		v[i] = byte(i)
	}
	return v
}()

// valueFacts are about the bytes that a key may hold.
var valueFacts = []fact{
	{"an empty value is a value", func(t *trial) {
		b := t.bucket(2)
		t.put(b, "k", "full")
		rev := t.put(b, "k", "")
		e := t.get(b, "k")
		equal(t, "length", len(e.Value), 0)
		equal(t, "operation", e.Operation, kv.Put)
		equal(t, "revision", e.Revision, rev)
		t.lists(t.keys(b), "k")
		_, err := b.Create(t.ctx, "k", nil)
		t.fails(err, kv.ErrKeyExists)
	}},
	{"a nil value is the empty value", func(t *trial) {
		b := t.bucket(1)
		_, err := b.Put(t.ctx, "put", nil)
		t.ok(err)
		_, err = b.Create(t.ctx, "created", nil)
		t.ok(err)
		t.holds(b, "put", "")
		t.holds(b, "created", "")
	}},
	{"a value may hold any bytes", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "every", string(everyByte))
		t.put(b, "zeros", strings.Repeat("\x00", 5000))
		t.put(b, "headers", "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n")
		t.holds(b, "every", string(everyByte))
		t.holds(b, "zeros", strings.Repeat("\x00", 5000))
		t.holds(b, "headers", "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n")
	}},
	{"values of all small sizes come back as they were", func(t *trial) {
		b := t.bucket(1)
		value := string(bytes.Repeat(everyByte, 3))
		for size := range 300 {
			want := value[size : 2*size]
			t.put(b, "k", want)
			t.holds(b, "k", want)
		}
	}},
	{"a value of exactly the max value size is accepted", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxValueSize: 1000})
		value := strings.Repeat("v", 1000)
		t.put(b, "k", value)
		t.holds(b, "k", value)
	}},
	{"a conditional write may take the max value size too", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxValueSize: 1000})
		value := strings.Repeat("v", 1000)
		if t.differs(ConditionsCountInSize) {
			_, err := b.Create(t.ctx, "k", []byte(value))
			t.fails(err, kv.ErrValueTooLarge)
			rev := t.create(b, "k", value[:900])
			_, err = b.Update(t.ctx, "k", []byte(value), rev)
			t.fails(err, kv.ErrValueTooLarge)
			return
		}
		rev := t.create(b, "k", value)
		t.update(b, "k", value, rev)
		t.holds(b, "k", value)
	}},
	{"a value over the max value size is refused, with both sizes, and nothing is written", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxValueSize: 1000})
		rev := t.put(b, "k", "before")
		value := bytes.Repeat([]byte("v"), 1001)
		_, putErr := b.Put(t.ctx, "k", value)
		_, createErr := b.Create(t.ctx, "other", value)
		_, updateErr := b.Update(t.ctx, "k", value, rev)
		_, stringErr := b.PutString(t.ctx, "k", string(value))
		for _, err := range []error{putErr, createErr, updateErr, stringErr} {
			t.fails(err, kv.ErrValueTooLarge)
			var limit *kv.LimitError
			if !errors.As(err, &limit) || limit.Got != 1001 || limit.Max != 1000 {
				t.Fatalf("error is %#v, want a LimitError with 1001 of 1000", err)
			}
		}
		t.holds(b, "k", "before")
		t.absent(b, "other")
		equal(t, "revision", t.status(b).Revision, rev)
	}},
	{"the default max value size is 1 MiB", func(t *trial) {
		b := t.bucket(1)
		value := strings.Repeat("v", kv.MaxValueSizeDefault)
		t.put(b, "k", value)
		t.holds(b, "k", value)
		_, err := b.Put(t.ctx, "k", []byte(value+"v"))
		t.fails(err, kv.ErrValueTooLarge)
	}},
	{"a raised max value size takes a value of 8 MiB", func(t *trial) {
		const size = 8 << 20
		b := t.makeBucket(kv.Config{MaxValueSize: size, History: 2})
		value := strings.Repeat(string(everyByte), size/len(everyByte))
		t.put(b, "small", "beside it")
		t.put(b, "k", value)
		t.put(b, "k", "newer")
		entries := t.history(b, "k")
		equal(t, "sameness of the value", string(entries[0].Value) == value, true)
		t.holds(b, "small", "beside it")
	}},
	{"PutString is Put of a string", func(t *trial) {
		b := t.bucket(1)
		rev, err := b.PutString(t.ctx, "k", "a string")
		t.ok(err)
		t.holds(b, "k", "a string")
		equal(t, "revision", t.get(b, "k").Revision, rev)
	}},
	{"the caller may reuse a buffer once the write has returned", func(t *trial) {
		b := t.bucket(3)
		buffer := []byte("one")
		_, err := b.Put(t.ctx, "k", buffer)
		t.ok(err)
		copy(buffer, "two")
		_, err = b.Create(t.ctx, "l", buffer)
		t.ok(err)
		copy(buffer, "bad")
		t.holds(b, "k", "one")
		t.holds(b, "l", "two")
		rev := t.get(b, "l").Revision
		copy(buffer, "tri")
		_, err = b.Update(t.ctx, "l", buffer, rev)
		t.ok(err)
		copy(buffer, "bad")
		t.holds(b, "l", "tri")
	}},
	{"the caller may change a value it was given", func(t *trial) {
		b := t.bucket(2)
		t.put(b, "k", "first")
		rev := t.put(b, "k", "value")
		clear(t.get(b, "k").Value)
		t.holds(b, "k", "value")
		e, err := b.GetRevision(t.ctx, "k", rev)
		t.ok(err)
		clear(e.Value)
		for _, e := range t.history(b, "k") {
			clear(e.Value)
		}
		t.holds(b, "k", "value")
		equal(t, "oldest value", string(t.history(b, "k")[0].Value), "first")
	}},
}

// appendFacts are about GetAppend.
var appendFacts = []fact{
	{"the value comes after what dst holds", func(t *trial) {
		b := t.bucket(1)
		rev := t.put(b, "k", "value")
		got, e, err := b.GetAppend(t.ctx, []byte("prefix:"), "k")
		t.ok(err)
		equal(t, "slice", string(got), "prefix:value")
		t.entry(e, kv.Entry{Bucket: b.Name(), Key: "k", Value: []byte("value"), Revision: rev, Operation: kv.Put})
	}},
	{"the entry's value is the tail of the slice", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "value")
		got, e, err := b.GetAppend(t.ctx, []byte("prefix:"), "k")
		t.ok(err)
		got[len(got)-1] = 'E'
		equal(t, "value of the entry", string(e.Value), "valuE")
	}},
	{"a nil dst is allowed", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "value")
		got, _, err := b.GetAppend(t.ctx, nil, "k")
		t.ok(err)
		equal(t, "slice", string(got), "value")
	}},
	{"an empty value appends nothing", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "")
		got, e, err := b.GetAppend(t.ctx, []byte("prefix"), "k")
		t.ok(err)
		equal(t, "slice", string(got), "prefix")
		equal(t, "length of the value", len(e.Value), 0)
	}},
	{"room in dst is used, and what lies before it is not touched", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "value")
		dst := append(make([]byte, 0, 4096), "prefix:"...)
		got, _, err := b.GetAppend(t.ctx, dst, "k")
		t.ok(err)
		equal(t, "slice", string(got), "prefix:value")
		equal(t, "dst", string(dst), "prefix:")
	}},
	{"the store keeps no hold of dst", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "value")
		t.put(b, "l", "other")
		first, _, err := b.GetAppend(t.ctx, nil, "k")
		t.ok(err)
		_, _, err = b.GetAppend(t.ctx, nil, "l")
		t.ok(err)
		equal(t, "first slice", string(first), "value")
		clear(first)
		t.holds(b, "k", "value")
	}},
	{"on an error dst comes back as it was", func(t *trial) {
		b := t.bucket(2)
		t.put(b, "gone", "value")
		t.delete(b, "gone")
		dst := append(make([]byte, 0, 4096), "prefix:"...)
		for key, want := range map[string]error{"never": kv.ErrKeyNotFound, "gone": kv.ErrKeyNotFound, "a b": kv.ErrInvalidKey} {
			got, _, err := b.GetAppend(t.ctx, dst, key)
			t.fails(err, want)
			equal(t, "slice", string(got), "prefix:")
		}
	}},
}
