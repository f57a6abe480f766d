package bucket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
)

// asUsers is the change of options to those that users have.
func asUsers(o *Options) { o.LogFileSize, o.LogMaxSize, o.ReserveSize = 0, 0, 0 }

// apparent returns the sum of the lengths of all files below a directory, bytes.
func apparent(t testing.TB, fsys vfs.FS, dir string) (sum int64) {
	t.Helper()
	entries, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Dir {
			sum += apparent(t, fsys, path.Join(dir, e.Name))
		}
		sum += e.Size
	}
	return sum
}

// wantSmall checks what the store takes on the disk, in blocks and by its files' lengths.
func (h *harness) wantSmall(what string, most int64) {
	h.t.Helper()
	if used, length := h.disk.Used(), apparent(h.t, h.disk, testDir); used > most || length > most {
		h.t.Errorf("%s the store takes %d bytes of disk, and its files have %d: want at most %d", what, used, length, most)
	}
}

// logOf returns the bytes of the log's files and of the reserve.
func (h *harness) logAndReserve() int64 {
	h.t.Helper()
	reserve, err := h.disk.Stat(path.Join(testDir, manifest.ReserveFile))
	if err != nil {
		h.t.Fatal(err)
	}
	return apparent(h.t, h.disk, path.Join(testDir, manifest.LogDir)) + reserve.Size
}

func TestAnEmptyStoreIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, asUsers)
		const most = 2 << 20
		h.wantSmall("new,", most)
		for i := range 4 {
			h.reopen()
			h.wantSmall("reopened,", most)
			h.powerCut()
			h.open()
			h.wantSmall("after a power cut", most)
			mustPut(t, h.bucket(fmt.Sprintf("b%d", i)), "k", "v")
			pass(2 * checkpointAfter)
			h.wantSmall("with a key", most)
		}
	})
}

// overwriteAll puts every key once, in an order of its own and with values of its own sizes.
func overwriteAll(t testing.TB, h *harness, b string, keys int, random *rand.Rand) {
	t.Helper()
	value := make([]byte, 160)
	for from := 0; from < keys; from += 500 {
		ms := make([]kv.Mutation, 500)
		for i := range ms {
			binary.LittleEndian.PutUint64(value, random.Uint64())
			ms[i] = kv.Mutation{Bucket: b, Op: kv.MutatePut, Key: fmt.Sprintf("user.%06d", random.IntN(keys)), Value: append([]byte(nil), value[:40+random.IntN(120)]...)}
			if i%2 == 0 {
				ms[i].Key = fmt.Sprintf("user.%06d", from+i)
			}
		}
		if err := h.s.Submit(ctx, ms); err != nil {
			t.Fatal(err)
		}
		for i := range ms {
			if ms[i].Err != nil {
				t.Fatal(ms[i].Err)
			}
		}
	}
}

// Keys that were overwritten many times leave little behind once the store is at rest.
func TestDiskAfterRest(t *testing.T) {
	keys, rounds := 100_000, 20
	if underRace {
		keys, rounds = 10_000, 5
	}
	synctest.Test(t, func(t *testing.T) {
		h := background(t, asUsers)
		b := h.bucket("b")
		random := rand.New(rand.NewPCG(1, 2))
		for range rounds {
			overwriteAll(t, h, "b", keys, random)
			pass(time.Millisecond) // the background works
		}
		h.s.path.Lock()
		grown := h.s.log.Oversized()
		h.s.path.Unlock()
		if !grown {
			t.Error("the log's files did not grow under load")
		}
		pass(5 * time.Minute)
		b.mu.RLock()
		live := int64(0)
		for _, sl := range b.mu.order {
			live += b.mu.index.Use(sl.number).Bytes
		}
		b.mu.RUnlock()
		t.Logf("%d bytes of live records, %d on the disk, of which log and reserve %d", live, h.disk.Used(), h.logAndReserve())
		h.wantSmall("at rest", live*3/2+8<<20)
		for range 20 { // occasional writes do not keep the log large
			mustPut(t, b, "user.000001", "v")
			pass(20 * time.Second)
		}
		h.wantSmall("with occasional writes", live*3/2+8<<20)
		if err := h.s.Close(); err != nil {
			t.Fatal(err)
		}
		h.wantSmall("closed,", live*3/2+8<<20)
	})
}

// Small buckets cost little beside log and reserve.
func TestManySmallBucketsAreSmall(t *testing.T) {
	n := 10_000
	if underRace {
		n = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		h := background(t, asUsers)
		for i := range n {
			b := h.bucket(fmt.Sprintf("bucket-%05d", i))
			mustPut(t, b, "k", "a small value")
			if i%100 == 0 {
				pass(100 * time.Millisecond) // for a checkpoint, which pauses
			}
		}
		pass(5 * time.Minute)
		h.wantSmall("at rest", int64(n)*(100<<20)/10_000+h.logAndReserve())
	})
}

// A disk of 40 MB is used until it is full. Then deletes make room for puts, again and again.
func TestADiskOf40MB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := background(t, asUsers)
		const capacity = 40_000_000
		h.disk.SetCapacity(capacity)
		b := h.bucket("b")
		value := make([]byte, 10_000)
		random := rand.New(rand.NewPCG(3, 4))
		for round := range 4 {
			want := map[string]uint64{} // of this round: the first bytes of the value
			for i := 0; ; i++ {
				key := fmt.Sprintf("k%d.%05d", round, i)
				binary.LittleEndian.PutUint64(value, random.Uint64())
				_, err := b.Put(ctx, key, value)
				if errors.Is(err, kv.ErrNoSpace) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				want[key] = binary.LittleEndian.Uint64(value)
				pass(100 * time.Microsecond)
			}
			if stored := len(want) * len(value); stored < capacity*6/10 {
				t.Errorf("round %d: the disk is full with %d bytes of values", round, stored)
			}
			if round == 2 {
				h.powerCut()
				h.open()
				b = h.find("b")
			}
			for key, first := range want {
				e, err := b.Get(ctx, key)
				if err != nil || len(e.Value) != len(value) || binary.LittleEndian.Uint64(e.Value) != first {
					t.Fatalf("round %d: %s: %v", round, key, err)
				}
			}
			for key := range want {
				if _, err := b.Delete(ctx, key); err != nil {
					t.Fatalf("round %d: delete: %v", round, err)
				}
			}
			if err := b.PurgeDeletes(ctx, -1); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			pass(time.Minute)
			if used := h.disk.Used(); used > 10<<20 {
				t.Errorf("round %d: %d bytes are used after everything was deleted", round, used)
			}
		}
		if err := h.s.checkFailure(); err != nil {
			t.Error(err)
		}
	})
}
