package fuzz

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvd/internal/vfs/simdisk"
)

// smallStore is a workload after which every kind of file has every kind of content.
func smallStore() *workload {
	load := &workload{seed: 7, logFileSize: 32 << 10, logMaxSize: 128 << 10, reserveSize: -1}
	add := func(ops ...op) { load.ops = append(load.ops, ops...) }
	add(op{kind: opCreateBucket, bucket: "a", config: config{history: 3, maxBytes: -1}},
		op{kind: opCreateBucket, bucket: "c_c", config: config{history: 1, maxBytes: -1, text: 40}})
	for i := range 4 {
		add(op{kind: opPut, bucket: "a", key: "k", size: 30 * i},
			op{kind: opPut, bucket: "c_c", key: keyNames[i], size: 100, tick: time.Minute})
	}
	add(op{kind: opDelete, bucket: "a", key: "k.1"}, op{kind: opCheckpoint},
		op{kind: opPut, bucket: "a", key: "k.1.x", size: 5000}, op{kind: opPurge, bucket: "c_c", key: "k"},
		op{kind: opUpdateBucket, bucket: "a", config: config{history: 2, maxBytes: -1}}, op{kind: opCheckpoint},
		op{kind: opSubmit, batch: []op{
			{kind: opPut, bucket: "a", key: "A", size: 10}, {kind: opPut, bucket: "c_c", key: "A", size: 20}}},
		op{kind: opPut, bucket: "a", key: "0", size: 200, zeros: true},
		op{kind: opPut, bucket: "a", key: "k", size: 50})
	return load
}

// damageSweep examines damaged copies of a store.
type damageSweep struct {
	*chronicle
	*checks
	closed bool
	tolerance
}

// tolerance bounds the losses in one damaged copy of the store.
type tolerance struct {
	losses int           // records whose reads may return an error
	doubts *atomic.Int64 // counts copies in which a bucket is in doubt; nil: not allowed
}

// sweepDamage calls try for every file of a closed store and of a store that was not
// closed.
func sweepDamage(t *testing.T, tol tolerance, try func(d *damageSweep, f stored)) {
	start, checks := time.Now(), newChecks()
	defer checks.close()
	if err := damageAll(t, smallStore(), checks, tol, try); err != nil {
		t.Error(err)
	}
	report(t, checks, start)
}

func damageAll(t *testing.T, load *workload, checks *checks, tol tolerance, try func(d *damageSweep, f stored)) error {
	for _, closed := range []bool{false, true} {
		d := &damageSweep{chronicle: record(t, load, closed), checks: checks, closed: closed, tolerance: tol}
		for _, f := range d.files(t) {
			try(d, f)
		}
	}
	return checks.wait()
}

// damage examines a copy of the store in which f changed the given parts.
func (d *damageSweep) damage(what string, f func(*simdisk.Disk) error, parts ...span) {
	d.add(func(count func()) error {
		image := d.disk.Clone()
		err := f(image)
		if err == nil {
			var v verdict
			if v, err = d.examine(image, d.oldestUnreported(parts...), count); err == nil {
				err = d.tolerate(v)
			}
		}
		if err != nil {
			return fmt.Errorf("closed=%t, %v %s: %w", d.closed, parts, what, err)
		}
		return nil
	})
}

func (d *damageSweep) tolerate(v verdict) error {
	switch {
	case len(v.losses) > d.losses:
		return fmt.Errorf("%d records lost: %+v", len(v.losses), v.losses)
	case v.inDoubt && !d.closed: // after a power cut the segments do not have what the log has lost
	case v.inDoubt && d.doubts == nil:
		return fmt.Errorf("in doubt; %v", v.report)
	case v.inDoubt:
		d.doubts.Add(1)
	}
	return nil
}

// change examines a copy in which f has changed a part.
func (d *damageSweep) change(what string, s span, f func(b []byte)) {
	d.damage(what, func(m *simdisk.Disk) error { return m.Corrupt(s.path, s.offset, s.end-s.offset, f) }, s)
}

func zero(b []byte) { clear(b) }

func garble(b []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// TestLogPrefixes cuts and zeroes every file of the log at every byte.
func TestLogPrefixes(t *testing.T) {
	stride, zeroed := sample(14), sample(2)
	sweepDamage(t, tolerance{}, func(d *damageSweep, f stored) {
		if !strings.HasSuffix(f.path, ".wal") {
			return
		}
		size := int64(len(f.bytes))
		for n := range size {
			// Zeroing from a zero byte on gives the same copy as zeroing from the next byte.
			if n == 0 || n%zeroed == 0 && f.bytes[n-1] != 0 {
				d.change("zeroed", span{f.path, n, size}, zero)
			}
			if n%(61*stride) == 0 || n%stride == 0 && n > 0 && f.bytes[n-1] != 0 {
				// The file's length shows that bytes were cut off.
				d.damage(fmt.Sprintf("cut to %d", n), func(m *simdisk.Disk) error { return m.WriteFile(f.path, f.bytes[:n]) })
			}
		}
	})
}

// TestBitFlips flips bits of every file: bits of all bytes that are not zero, and of a
// sample of the zero bytes.
func TestBitFlips(t *testing.T) {
	sweepDamage(t, tolerance{losses: 1}, flipBits(sample(41)))
}

// flipBits flips every stride-th bit.
func flipBits(stride int64) func(*damageSweep, stored) {
	n := int64(0) // number of bits considered
	return func(d *damageSweep, f stored) {
		for i, b := range f.bytes {
			if b == 0 && i%31 != 0 {
				continue
			}
			for bit := range 8 {
				if n++; n%stride == 0 {
					d.change(fmt.Sprintf("bit %d flipped", bit), span{f.path, int64(i), int64(i) + 1},
						func(b []byte) { b[0] ^= 1 << bit })
				}
			}
		}
	}
}

// TestSectors zeroes, garbles, swaps and misdirects sectors of every file.
//
// Damage to a page of records and to the index page that names them puts the bucket in doubt.
// Open reports the place, and the rest of the bucket stays usable.
func TestSectors(t *testing.T) {
	const many = 1 << 10
	var doubts atomic.Int64
	sweepDamage(t, tolerance{many, &doubts}, func(d *damageSweep, f stored) {
		for _, size := range []int64{512, 4096} {
			for at := int64(0); at+size <= int64(len(f.bytes)); at += size {
				s := span{f.path, at, at + size}
				d.change("zeroed", s, zero)
				d.change("garbled", s, garble)
				if at > 0 {
					d.change("overwritten with the first", s, func(b []byte) { copy(b, f.bytes) })
					before := span{f.path, at - size, at}
					d.damage("swapped", func(m *simdisk.Disk) error {
						return m.Corrupt(f.path, at-size, 2*size, func(b []byte) {
							copy(b, f.bytes[at:at+size])
							copy(b[size:], f.bytes[at-size:at])
						})
					}, before, s)
				}
			}
		}
	})
	t.Logf("in %d copies a bucket was in doubt", doubts.Load())
}
