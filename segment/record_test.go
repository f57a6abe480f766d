package segment

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/quick"

	"kvd/kv"
)

const testSeed = Seed(0x9e3779b97f4a7c15)

// sampleRecords has a record of each kind, and the limits of every length.
func sampleRecords() map[string]Record {
	base := Record{BucketID: 7, Revision: 42, Floor: 40, Created: 1790000000123456789, Op: Put, Key: []byte("orders.eu"), Value: []byte("value")}
	change := func(f func(*Record)) Record { r := base; f(&r); return r }
	return map[string]Record{
		"put":              base,
		"empty value":      change(func(r *Record) { r.Value = nil }),
		"delete":           change(func(r *Record) { r.Op, r.Reason, r.Value = Delete, kv.ReasonClient, nil }),
		"purge":            change(func(r *Record) { r.Op, r.Reason, r.Floor, r.Value = Purge, kv.ReasonClient, 42, nil }),
		"expiry":           change(func(r *Record) { r.Op, r.Reason, r.Deadline, r.Value = Purge, kv.ReasonExpiry, 5, nil }),
		"erase":            change(func(r *Record) { r.Op, r.Revision, r.Value = Erase, 0, nil }),
		"deadline":         change(func(r *Record) { r.Deadline = -1 }),
		"headers":          change(func(r *Record) { r.Headers = []byte("NATS/1.0\r\nA: b\r\n\r\n") }),
		"headers alone":    change(func(r *Record) { r.Headers, r.Value = []byte("NATS/1.0\r\n\r\n"), nil }),
		"compressed":       change(func(r *Record) { r.Compressed, r.RawLen = true, 9000 }),
		"compressed empty": change(func(r *Record) { r.Compressed, r.Value = true, nil }),
		"every option": change(func(r *Record) {
			r.Deadline, r.Headers, r.Compressed, r.RawLen = math.MaxInt64, []byte("h"), true, kv.MaxValueSizeLimit
			r.First = true
		}),
		"extreme numbers": change(func(r *Record) {
			r.BucketID, r.Revision, r.Floor, r.Created = math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MinInt64
		}),
		"value in a file": change(func(r *Record) { r.Value, r.File = nil, ValueFile{9, ValueFileMin, 0xfeed} }),
		"every option with a file": change(func(r *Record) {
			r.Deadline, r.Headers, r.Compressed, r.RawLen = math.MaxInt64, []byte("h"), true, kv.MaxValueSizeLimit
			r.First, r.Value, r.File = true, nil, ValueFile{math.MaxUint64, kv.MaxValueSizeLimit, math.MaxUint64}
		}),
		"shortest key":    change(func(r *Record) { r.Key = []byte("k") }),
		"first":           change(func(r *Record) { r.First = true }),
		"lost":            change(func(r *Record) { r.Lost, r.Deadline, r.Value = true, 7, nil }),
		"longest key":     change(func(r *Record) { r.Key = bytes.Repeat([]byte("k"), maxKeySize) }),
		"longest headers": change(func(r *Record) { r.Headers = make([]byte, maxHeadersSize) }),
	}
}

func sizeOf(r *Record) int {
	if r.File.Number != 0 {
		return FileRecordSize(len(r.Key), len(r.Headers), r.Deadline != 0, r.Compressed)
	}
	return RecordSize(len(r.Key), len(r.Headers), len(r.Value), r.Deadline != 0, r.Compressed)
}

// equal compares records; a nil slice is an empty one.
func equal(a, b Record) bool {
	for _, r := range []*Record{&a, &b} {
		for _, s := range []*[]byte{&r.Key, &r.Headers, &r.Value} {
			if len(*s) == 0 {
				*s = nil
			}
		}
	}
	return reflect.DeepEqual(a, b)
}

func checkRoundTrip(t *testing.T, r Record) {
	t.Helper()
	prefix := []byte("before")
	b := testSeed.AppendRecord(prefix, &r)[len(prefix):]
	if len(b) != sizeOf(&r) || len(b)%8 != 0 {
		t.Errorf("encoded in %d bytes, RecordSize says %d", len(b), sizeOf(&r))
	}
	got, n, err := testSeed.DecodeRecord(append(b, "behind"...))
	if err != nil || n != len(b) || !equal(got, r) {
		t.Errorf("decoded %+v, %d, %v; want %+v, %d", got, n, err, r, len(b))
	}
	head, _ := headOf(&r)
	got, n, err = testSeed.DecodeHeader(b[:head])
	r.Headers, r.Value = nil, nil
	if err != nil || n != len(b) || !equal(got, r) {
		t.Errorf("header decoded as %+v, %d, %v; want %+v, %d", got, n, err, r, len(b))
	}
	if _, _, err := testSeed.DecodeHeader(b[:head-1]); !errors.Is(err, errRecordShort) {
		t.Errorf("header decoded from a byte too few: %v", err)
	}
}

func headOf(r *Record) (head, body int) {
	head = headSize(0, r.flags(), len(r.Key))
	return head, sizeOf(r) - head
}

func TestRecord(t *testing.T) {
	for name, r := range sampleRecords() {
		t.Run(name, func(t *testing.T) { checkRoundTrip(t, r) })
	}
	t.Run("64 MiB value", func(t *testing.T) {
		r := sampleRecords()["put"]
		r.Value = make([]byte, kv.MaxValueSizeLimit)
		r.Value[len(r.Value)-1] = 1
		b := testSeed.AppendRecord(nil, &r)
		got, n, err := testSeed.DecodeRecord(b)
		if err != nil || n != len(b) || n > maxRecordSize || !bytes.Equal(got.Value, r.Value) {
			t.Errorf("decoded %d of %d bytes, %v", n, len(b), err)
		}
	})
	t.Run("anything valid", func(t *testing.T) {
		check := func(bucket, rev, floor uint64, created, deadline int64, raw uint32, key, headers, value []byte, op, reason uint8, compressed bool) bool {
			r := Record{BucketID: bucket, Revision: kv.Revision(rev), Floor: kv.Revision(floor), Created: created, Deadline: deadline,
				Op: Op(op%4) + Put, Reason: kv.MarkerReason(reason % 3), Compressed: compressed,
				Key: append(key[:min(len(key), maxKeySize-1)], 'k'), Headers: headers, Value: value}
			r.First = r.Op != Erase && raw%2 == 0
			if compressed {
				r.RawLen = raw % (kv.MaxValueSizeLimit + 1)
			}
			checkRoundTrip(t, r)
			return !t.Failed()
		}
		if err := quick.Check(check, nil); err != nil {
			t.Error(err)
		}
	})
}

// Every byte of a record is covered by a checksum: neither a flipped bit nor a cut
// gives another record.
func TestRecordDamage(t *testing.T) {
	r := sampleRecords()["every option"]
	b := testSeed.AppendRecord(nil, &r)
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if got, _, err := testSeed.DecodeRecord(b); !errors.Is(err, kv.ErrCorrupt) {
			t.Fatalf("bit %d flipped: %+v, %v", bit, got, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		if _, _, err := testSeed.DecodeRecord(b[:n]); !errors.Is(err, kv.ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, _, err := (testSeed + 1).DecodeRecord(b); !errors.Is(err, errRecordHeadSum) {
		t.Errorf("with another store's seed: %v", err)
	}
	if _, _, err := testSeed.DecodeRecord(make([]byte, 4096)); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("zeros: %v", err)
	}
}

// reseal corrects the checksums of a changed record.
func reseal(b []byte, head int) []byte {
	le.PutUint64(b[recordBodySum:], testSeed.sum(b[head:]))
	le.PutUint64(b[recordHeadSum:], testSeed.sum(b[recordBodySum:head]))
	return b
}

// Bytes with a valid checksum may still be of a later version.
func TestRecordUnknown(t *testing.T) {
	records := sampleRecords()
	for _, c := range []struct {
		name   string
		record string
		tamper func(b []byte)
		want   error
	}{
		{"operation 0", "put", func(b []byte) { b[recordKind] = 0 }, errRecordKind},
		{"operation 5", "put", func(b []byte) { b[recordKind] = 5 }, errRecordKind},
		{"reason 3", "delete", func(b []byte) { b[recordKind] |= 3 << kindReasonShift }, errRecordKind},
		{"kind's high bits", "put", func(b []byte) { b[recordKind] |= 1 << 6 }, errRecordKind},
		{"an erase that is first", "erase", func(b []byte) { b[recordFlags] |= flagFirst }, errRecordFlags},
		{"an erase that is lost", "erase", func(b []byte) { b[recordFlags] |= flagLost }, errRecordFlags},
		{"lost with a value", "put", func(b []byte) { b[recordFlags] |= flagLost }, errRecordFlags},
		{"lost with headers", "headers alone", func(b []byte) { b[recordFlags] |= flagLost }, errRecordFlags},
		{"lost and compressed", "compressed empty", func(b []byte) { b[recordFlags] |= flagLost }, errRecordFlags},
		{"key too long", "put", func(b []byte) { le.PutUint16(b[recordKeyLen:], maxKeySize+1) }, errRecordLengths},
		{"deadline 0", "deadline", func(b []byte) { clear(b[recordFixedSize:][:8]) }, errRecordFlags},
		{"headers length 0", "headers", func(b []byte) { clear(b[recordFixedSize:][:4]) }, errRecordLengths},
		{"headers too long", "headers", func(b []byte) { le.PutUint32(b[recordFixedSize:], maxHeadersSize+1) }, errRecordLengths},
		{"raw length too long", "compressed", func(b []byte) { le.PutUint32(b[recordFixedSize:], kv.MaxValueSizeLimit+1) }, errRecordLengths},
		{"value too long", "put", func(b []byte) { le.PutUint32(b[recordValueLen:], kv.MaxValueSizeLimit+1) }, errRecordLengths},
		{"key length 0", "put", func(b []byte) { le.PutUint16(b[recordKeyLen:], 0) }, errRecordLengths},
		{"padding", "put", func(b []byte) { b[len(b)-1] = 1 }, errRecordPadding},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := records[c.record]
			head, _ := headOf(&r)
			b := testSeed.AppendRecord(nil, &r)
			c.tamper(b)
			if _, _, err := testSeed.DecodeRecord(reseal(b, head)); !errors.Is(err, c.want) || !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// A sound record with a reserved flag, or with a further byte of the kind, is of a later
// version: it is not damaged, and no read or listing passes it by.
func TestRecordOfALaterVersion(t *testing.T) {
	for name, later := range laterRecords() {
		t.Run(name, func(t *testing.T) {
			if _, _, err := testSeed.DecodeRecord(later); !errors.Is(err, kv.ErrVersion) || errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("decoded: %v", err)
			}
			head := headSize(later[recordKind], later[recordFlags], len("later"))
			for bit := range 8 * head {
				b := bytes.Clone(later)
				b[bit/8] ^= 1 << (bit % 8)
				if _, _, err := testSeed.DecodeHeader(b); !errors.Is(err, kv.ErrCorrupt) {
					t.Fatalf("bit %d flipped: %v", bit, err)
				}
			}
			x := create(t, memOptions(t))
			x.put("before", "1")
			x.append(Record{BucketID: testBucket, Revision: 2, Floor: 2, Op: Put, Key: []byte("later"), Value: make([]byte, len(later)-RecordSize(5, 0, 0, false, false))})
			x.put("behind", "3")
			x.index()
			e := x.entries[1]
			if int(e.Size) != len(later) {
				t.Fatalf("the record has %d bytes, the later one %d", e.Size, len(later))
			}
			x.write(e.Offset, later)
			if _, err := x.read(&e); !errors.Is(err, kv.ErrVersion) {
				t.Errorf("read: %v", err)
			}
			fail := func(e *kv.CorruptError) { t.Error(e) }
			if err := x.s.Walk(0, x.s.Size(), func(int64, *Record, int, bool) error { return nil }, fail); !errors.Is(err, kv.ErrVersion) {
				t.Errorf("walked: %v", err)
			}
			var c Scanner
			if next, err := c.Scan(x.s, 0, func(int64, *Record, int) bool { return true }, fail); !errors.Is(err, kv.ErrVersion) || next != e.Offset {
				t.Errorf("scanned to %d: %v", next, err)
			}
			x.write(x.s.Desc().LastIndex, []byte("damaged!"))
			if err := x.s.Entries(func(*Entry) error { return nil }, func(*kv.CorruptError) {}, nil); !errors.Is(err, kv.ErrVersion) {
				t.Errorf("listed: %v", err)
			}
		})
	}
}

// laterRecords are sound records of a later version, each with something that is reserved.
func laterRecords() map[string][]byte {
	later := make(map[string][]byte)
	for name, c := range map[string]struct {
		kind, flags uint8
	}{
		"transaction":                {uint8(Put), flagTransaction},
		"lease":                      {uint8(Put), flagLease},
		"a further byte of the kind": {kindMore | 9, 0},
		"all at once":                {kindMore, flagsReserved | flagFirst},
	} {
		key := "later"
		head := headSize(c.kind, c.flags, len(key))
		b := make([]byte, align(head)+8)
		le.PutUint64(b[recordBucketID:], testBucket)
		le.PutUint64(b[recordRevision:], 2)
		le.PutUint16(b[recordKeyLen:], uint16(len(key)))
		b[recordKind], b[recordFlags] = c.kind, c.flags
		copy(b[head-len(key):], key)
		le.PutUint32(b[recordValueLen:], uint32(len(b)-head))
		later[name] = reseal(b, head)
	}
	return later
}

// The value of a Lost record is an error of every way to read it, and the rest of the record is
// as it was.
func TestLostRecord(t *testing.T) {
	x := create(t, memOptions(t))
	x.put("before", "1")
	x.append(Record{BucketID: testBucket, Revision: 2, Floor: 2, Created: 2e9, Op: Put, First: true, Lost: true, Key: []byte("lost")})
	x.index()
	e := x.entries[1]
	want := `key "lost", revision 2, bucket "my-kv": the value was damaged`
	check := func(what string, err error) {
		t.Helper()
		if damage := (*kv.CorruptError)(nil); !errors.As(err, &damage) || damage.Offset != e.Offset || !strings.Contains(damage.Detail, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := x.read(&e)
	check("read", err)
	_, _, _, err = x.s.ReadHeader(nil, e.Offset, e.Size, e.Revision)
	check("header read", err)
	r, b, err := x.s.ReadStored(nil, e.Offset, e.Size, "lost", 2)
	if err != nil || !r.Lost || !r.First || len(b) != int(e.Size) {
		t.Errorf("read as stored: %+v, %v", r, err)
	}
	var c Scanner
	_, err = c.Scan(x.s, e.Offset, func(_ int64, r *Record, _ int) bool {
		check("scanned", c.Value(r))
		return true
	}, func(e *kv.CorruptError) { t.Error(e) })
	if err != nil {
		t.Error(err)
	}
	for _, listing := range []string{"by the index", "by walking"} {
		if entries, _ := x.list(); !reflect.DeepEqual(entries, x.entries) {
			t.Errorf("listed %s: %+v", listing, entries)
		}
		x.write(x.s.Desc().LastIndex, []byte("damaged!"))
	}
}

func TestAppendRecordPanicsOutsideTheLimits(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"no key":           func(r *Record) { r.Key = nil },
		"key too long":     func(r *Record) { r.Key = make([]byte, maxKeySize+1) },
		"headers too long": func(r *Record) { r.Headers = make([]byte, maxHeadersSize+1) },
		"value too long":   func(r *Record) { r.Value = make([]byte, kv.MaxValueSizeLimit+1) },
		"no operation":     func(r *Record) { r.Op = 0 },
		"operation 17":     func(r *Record) { r.Op = 17 },
		"reason 16":        func(r *Record) { r.Reason = 16 },
		"stray raw length": func(r *Record) { r.RawLen = 1 },
		"lost with value":  func(r *Record) { r.Lost = true },
		"first erase":      func(r *Record) { r.Op, r.First = Erase, true },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if e, _ := recover().(string); !strings.HasPrefix(e, "segment: append record: ") {
					t.Errorf("recovered %q", e)
				}
			}()
			r := sampleRecords()["put"]
			change(&r)
			testSeed.AppendRecord(nil, &r)
		})
	}
}

func TestRecordCodecDoesNotAllocate(t *testing.T) {
	r := sampleRecords()["every option"]
	buf := make([]byte, 0, sizeOf(&r))
	if n := testing.AllocsPerRun(100, func() { buf = testSeed.AppendRecord(buf[:0], &r) }); n != 0 {
		t.Errorf("AppendRecord: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = testSeed.DecodeRecord(buf) }); n != 0 {
		t.Errorf("DecodeRecord: %v allocations", n)
	}
}

func TestOpString(t *testing.T) {
	for op, want := range map[Op]string{Put: "PUT", Delete: "DEL", Purge: "PURGE", Erase: "ERASE", 9: "Op(9)"} {
		if got := op.String(); got != want {
			t.Errorf("Op %d is %q, want %q", uint8(op), got, want)
		}
	}
}

// The numbers on disk: a change here is a change of format.
func TestNumbers(t *testing.T) {
	got := []uint8{uint8(Put), uint8(Delete), uint8(Purge), uint8(Erase),
		uint8(kv.ReasonNone), uint8(kv.ReasonClient), uint8(kv.ReasonExpiry)}
	if want := []uint8{1, 2, 3, 4, 0, 1, 2}; !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
