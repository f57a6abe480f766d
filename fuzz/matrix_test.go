package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	oplog "kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// The damage matrix: {a bit, a sector, a page} × {zero, noise, older content of the same
// place, another page's} × {log, segments, both copies of the manifest, the mark} ×
// {closed, killed}. Every image is opened, everything is asked, and compared with what the
// sound store answered. No answer may be a lie. And no answer may be refused that does not
// need what was damaged.

var matrixSeed = flag.Uint64("kvd.matrix-seed", 1, "seed of the damage matrix")

// matrixStore is a store at rest, and what its readers were told.
type matrixStore struct {
	disk, older *simdisk.Disk // older: as it was a while before
	sound       answers
	written     answers // every record, by the question for its revision
	now         time.Time
	records     []storedRecord
	owners      map[string]string // bucket of each segment's file
	operations  []unit            // of the log: the frames of each operation, both copies
	last        unit              // the last frame of the log
}

var matrixKeys = []string{"a", "b.c", "d", "e", "f.g.h", "absent"}

const matrixRevisions = 70

func (m *matrixStore) options(disk *simdisk.Disk) bucket.Options {
	return environment.With(bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1, SegmentSize: 16 << 10}, environment.Env{
		FS: disk, Manual: true, Now: func() time.Time { return m.now },
	})
}

// newMatrixStore makes a store with two buckets in a checkpoint, a third in the log alone,
// histories, markers, decisions about many keys, and records on both sides of a checkpoint.
func newMatrixStore(t *testing.T, closed bool) *matrixStore {
	t.Helper()
	m := &matrixStore{disk: simdisk.New(), written: answers{}, now: time.Date(2026, 9, 21, 12, 0, 0, 0, time.UTC)}
	s, err := bucket.Open("store", m.options(m.disk))
	if err != nil {
		t.Fatal(err)
	}
	ctx, r := t.Context(), rand.New(rand.NewPCG(*matrixSeed, 1))
	create := func(config kv.Config) kv.Bucket {
		b, err := s.CreateBucket(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(b kv.Bucket, n int) {
		for range n {
			key := matrixKeys[r.IntN(len(matrixKeys)-1)]
			e, err := kv.Entry{Key: key, Operation: kv.Put}, error(nil)
			switch r.IntN(8) {
			case 0:
				_, err = b.Delete(ctx, key)
			case 1:
				_, err = b.Purge(ctx, key)
			default:
				e.Value = fmt.Appendf(nil, "%d-%s", r.Uint32(), strings.Repeat("x", r.IntN(700)))
				e.Revision, err = b.Put(ctx, key, e.Value)
				m.written[fmt.Sprintf("%s at %s %d", b.Name(), key, e.Revision)] = told(e)
			}
			must(err)
			m.now = m.now.Add(time.Second)
		}
	}
	one := create(kv.Config{Bucket: "one", History: 3})
	two := create(kv.Config{Bucket: "two"})
	write(one, 10)
	write(two, 10)
	must(s.Checkpoint(ctx))
	m.older = m.disk.Clone()
	write(one, 14)
	write(two, 8)
	must(s.Checkpoint(ctx))
	write(one, 12)
	write(create(kv.Config{Bucket: "three", TTL: time.Hour}), 12)
	must(one.PurgeDeletes(ctx, -1))
	write(one, 10)
	write(two, 10)
	m.sound = ask(s, matrixKeys, matrixRevisions)
	running := m.disk
	if !closed {
		m.disk = running.Clone() // as a killed process leaves it
	}
	must(s.Close())
	m.readRecords(t)
	m.readOperations(t)
	return m
}

// unit is a part of a file that is damaged as a whole.
type unit struct {
	file         string
	offset, size int64
}

func (u unit) String() string {
	return fmt.Sprintf("%s at %d, %d bytes", path.Base(u.file), u.offset, u.size)
}

// units returns the parts of a size of all files that hold something.
func (m *matrixStore) units(t *testing.T, size int64) (units []unit) {
	t.Helper()
	for _, dir := range []string{"store", "store/wal", "store/seg"} {
		files, err := m.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			name := dir + "/" + f.Name
			if f.Dir || f.Name == "LOCK" || f.Name == "reserve" {
				continue
			}
			content, err := m.disk.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < int64(len(content)); at += size {
				part := content[at:min(at+size, int64(len(content)))]
				if slices.ContainsFunc(part, func(b byte) bool { return b != 0 }) {
					units = append(units, unit{file: name, offset: at, size: int64(len(part))})
				}
			}
		}
	}
	return units
}

// damages are the ways to damage a unit. They report whether anything changed.
var damages = []struct {
	name string
	f    func(m *matrixStore, u unit, b []byte, r *rand.Rand) bool
}{
	{"zero", func(_ *matrixStore, _ unit, b []byte, _ *rand.Rand) bool { clear(b); return true }},
	{"noise", func(_ *matrixStore, _ unit, b []byte, r *rand.Rand) bool {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return true
	}},
	{"older content", func(m *matrixStore, u unit, b []byte, _ *rand.Rand) bool {
		old, err := m.older.ReadFile(u.file)
		if err != nil || u.offset+u.size > int64(len(old)) {
			return false
		}
		return copyOver(b, old[u.offset:])
	}},
	{"another part of the file", func(m *matrixStore, u unit, b []byte, r *rand.Rand) bool {
		content, err := m.disk.ReadFile(u.file)
		n := int64(len(content)) / u.size
		if err != nil || n < 2 {
			return false
		}
		return copyOver(b, content[r.Int64N(n)*u.size:])
	}},
}

func copyOver(b, from []byte) bool {
	before := slices.Clone(b)
	copy(b, from)
	return !slices.Equal(before, b)
}

// TestDamageMatrix damages every page and every sector.
func TestDamageMatrix(t *testing.T) {
	for _, closed := range []bool{true, false} {
		for _, size := range []int64{4096, 512} {
			t.Run(fmt.Sprintf("closed=%t/size=%d", closed, size), func(t *testing.T) {
				t.Parallel()
				m := newMatrixStore(t, closed)
				r := rand.New(rand.NewPCG(*matrixSeed, uint64(size)))
				images, refused := 0, 0
				for _, u := range m.units(t, size) {
					for _, d := range damages {
						n, changed := m.try(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) })
						if changed {
							images++
							refused += n
						}
					}
				}
				t.Logf("%d images, %d answers refused", images, refused)
			})
		}
	}
}

// TestDamageMatrixOfBits flips one bit in a sample of the bytes that are not zero; in each
// of them with an effort of 31.
func TestDamageMatrixOfBits(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			t.Parallel()
			m := newMatrixStore(t, closed)
			r := rand.New(rand.NewPCG(*matrixSeed, 9))
			images, refused, stride := 0, 0, sample(31)
			for i, u := range m.units(t, 1) {
				if int64(i)%stride != r.Int64N(stride) {
					continue
				}
				bit := r.IntN(8)
				n, _ := m.try(t, u, fmt.Sprintf("bit %d", bit), func(b []byte) bool { b[0] ^= 1 << bit; return true })
				images++
				refused += n
			}
			t.Logf("%d images, %d answers refused", images, refused)
		})
	}
}

// try opens a copy with a damaged unit, twice, and a third time after compaction, and fails
// the test on a lie, where more is refused than the damage explains, or where an answer is not
// that of the first open. It returns how many answers were refused.
func (m *matrixStore) try(t *testing.T, u unit, how string, damage func(b []byte) bool) (count int, changed bool) {
	t.Helper()
	return m.tryAll(t, u, how, damage, m.mayRefuse(u))
}

// tryAll is try with the questions that may be refused.
func (m *matrixStore) tryAll(t *testing.T, u unit, how string, damage func(b []byte) bool, may func(string) bool) (count int, changed bool) {
	t.Helper()
	disk := m.disk.Clone()
	if err := disk.Corrupt(u.file, u.offset, u.size, func(b []byte) { changed = damage(b) }); err != nil {
		t.Fatal(err)
	}
	if !changed {
		return 0, false
	}
	var before answers
	for round, name := range []string{"the first open", "the second", "the third, after compaction"} {
		s, err := bucket.Open("store", m.options(disk))
		if err != nil {
			t.Errorf("-kvd.matrix-seed=%d: %v, %s, %s: %v", *matrixSeed, u, how, name, err)
			return 0, true
		}
		if forgotten := unnamed(s, before); len(forgotten) > 0 {
			t.Errorf("-kvd.matrix-seed=%d: %v, %s, %s: it is not known that these are lost: %s", *matrixSeed, u, how, name, first(forgotten))
		}
		got := ask(s, matrixKeys, matrixRevisions)
		lies, refused := m.sound.lies(got, m.written)
		count += len(refused)
		refused = slices.DeleteFunc(refused, may)
		if len(lies) > 0 || len(refused) > 0 {
			t.Errorf("-kvd.matrix-seed=%d: %v, %s, %s: %d lies %s, %d needless refusals %s; %v",
				*matrixSeed, u, how, name, len(lies), first(lies), len(refused), first(refused), s.Report())
		}
		if round > 0 && !maps.Equal(got, before) {
			t.Errorf("-kvd.matrix-seed=%d: %v, %s, %s: other answers than before: %s", *matrixSeed, u, how, name, first(differences(before, got)))
		}
		before = got
		if round == 1 {
			if _, err := s.Reclaim(context.Background(), nil); err != nil && !errors.Is(err, kv.ErrReadOnly) {
				t.Errorf("%v, %s: %v", u, how, err)
			}
			if got := ask(s, matrixKeys, matrixRevisions); !maps.Equal(got, before) {
				t.Errorf("-kvd.matrix-seed=%d: %v, %s, during compaction: other answers than before: %s", *matrixSeed, u, how, first(differences(before, got)))
			}
		}
		if err := s.Close(); err != nil && s.Report().ReadOnly == nil {
			t.Errorf("%v, %s, %s: close: %v", u, how, name, err)
		}
		if len(lies) > 0 {
			return count, true
		}
	}
	return count, true
}

// unnamed lists the records that were found damaged by answers of an earlier open, and of whose
// loss the store does not tell. Those of a bucket in doubt need not be known.
func unnamed(s *bucket.Store, before answers) (list []string) {
	for _, name := range []string{"one", "two", "three"} {
		b, err := s.Bucket(context.Background(), name)
		if err != nil {
			continue
		}
		d, err := b.(kv.Doubtful).Doubt(context.Background())
		if err != nil || d.Bound != 0 || d.Unknown {
			continue
		}
		for question, was := range before {
			var key string
			var rev kv.Revision
			if n, _ := fmt.Sscanf(question, name+" at %s %d", &key, &rev); n == 2 && was == refusedAnswer &&
				!slices.Contains(d.Lost, kv.LostRecord{Key: key, Revision: rev}) {
				list = append(list, question)
			}
		}
	}
	return list
}

// differences lists the questions that have other answers.
func differences(before, after answers) (list []string) {
	for question, was := range before {
		if now := after[question]; now != was {
			list = append(list, fmt.Sprintf("%s: %.20q, was %.20q", question, now, was))
		}
	}
	slices.Sort(list)
	return list
}

// first returns the first few of a list, shortened.
func first(list []string) string { return fmt.Sprintf("%.80q", list[:min(3, len(list))]) }

// TestDamagedLogAfterAPowerCut damages each page and each sector of the log where the segments have nothing
// of what it holds. What is missing is an error, and nothing else is a lie.
func TestDamagedLogAfterAPowerCut(t *testing.T) {
	m := newMatrixStore(t, false)
	m.disk = m.disk.Crash(simdisk.KeepNone())
	r := rand.New(rand.NewPCG(*matrixSeed, 6))
	for _, size := range []int64{4096, 512} {
		units := slices.DeleteFunc(m.units(t, size), func(u unit) bool { return !strings.HasSuffix(u.file, ".wal") })
		images, refused := 0, 0
		for _, u := range units {
			if m.holdsEnd(u) { // nothing vouches for the last frame
				continue
			}
			for _, d := range damages {
				n, changed := m.tryAll(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) }, func(string) bool { return true })
				if changed {
					images++
					refused += n
				}
			}
		}
		t.Logf("size=%d: %d images, %d answers refused", size, images, refused)
		if images < 40 || refused == 0 {
			t.Errorf("size=%d: %d images, %d answers refused: nothing was missing", size, images, refused)
		}
	}
}

// holdsEnd reports whether a unit holds a part of the last frame.
func (m *matrixStore) holdsEnd(u unit) bool {
	return u.file == m.last.file && u.offset+u.size > m.last.offset
}

// storedRecord is a record of a segment, and where it stands.
type storedRecord struct {
	file        string
	offset, end int64
	bucket, key string
	revision    kv.Revision
}

// readRecords reads the records of all segments that the manifest names.
func (m *matrixStore) readRecords(t *testing.T) {
	t.Helper()
	found, err := manifest.Load(m.disk, "store")
	if err != nil {
		t.Fatal(err)
	}
	id := found.Best.Identity
	o := segment.Options{FS: m.disk, Dir: "store/" + manifest.SegmentDir, StoreID: id.StoreID, Seed: segment.Seed(id.Seed)}
	m.owners = map[string]string{}
	for _, b := range found.Best.State.Buckets {
		for _, d := range b.Segments {
			file := o.Dir + "/" + segment.FileName(d.Number)
			m.owners[file] = b.Config.Bucket
			err := segment.Tail(o, d.Number, b.ID, segment.HeaderSize, func(r *segment.TailRecord) error {
				if r.Offset < d.Size {
					m.records = append(m.records, storedRecord{file, r.Offset, r.Offset + int64(len(r.Encoded)), b.Config.Bucket, string(r.Key), r.Revision})
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// readOperations finds the operations of the log: each is in two frames.
func (m *matrixStore) readOperations(t *testing.T) {
	t.Helper()
	found, err := manifest.Load(m.disk, "store")
	if err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(wal.Options{FS: m.disk.Clone(), Dir: "store/" + manifest.LogDir, StoreID: found.Best.Identity.StoreID})
	if err != nil {
		t.Fatal(err)
	}
	_, err = log.Replay(wal.Wanted{From: found.Best.State.LogLow + 1, Frame: func(f wal.Frame) error {
		m.last = unit{file: f.File, offset: f.Offset}
		if len(f.Payload) == 0 {
			return nil
		}
		kind, _, _, err := oplog.Next(f.Payload)
		switch n := len(m.operations); {
		case err != nil || kind == oplog.Records:
		case oplog.IsSecond(f.Payload):
			m.operations[n-1].size = f.Offset + 1 - m.operations[n-1].offset
		default:
			m.operations = append(m.operations, unit{file: f.File, offset: f.Offset})
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// holdsOperation reports whether a unit has both copies of an operation.
func (m *matrixStore) holdsOperation(u unit) bool {
	return slices.ContainsFunc(m.operations, func(o unit) bool {
		return o.file == u.file && u.offset < o.offset+4096 && o.offset+o.size <= u.offset+u.size
	})
}

// mayRefuse returns which questions need what a unit holds: the values of a segment's
// records. The log and one copy of the manifest are needed by nothing, since the segments'
// tails have the records, and the other copy the same. Of a unit of two pages a bucket may
// lose its records together with the page that names them: then everything about it.
func (m *matrixStore) mayRefuse(u unit) func(question string) bool {
	may := map[string]bool{}
	for _, r := range m.records {
		if r.file != u.file || r.end <= u.offset || u.offset+u.size <= r.offset {
			continue
		}
		for _, question := range []string{
			"get " + r.key, "history " + r.key, fmt.Sprintf("at %s %d", r.key, r.revision), "watch last", "watch history",
		} {
			may[r.bucket+" "+question] = true
		}
	}
	owner := m.owners[u.file]
	return func(question string) bool {
		return may[question] || u.size > 4096 && (bucketOf(question) == owner || m.holdsOperation(u))
	}
}

// TestDamageMatrixOfNeighbours damages two neighbouring pages.
func TestDamageMatrixOfNeighbours(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			t.Parallel()
			m := newMatrixStore(t, closed)
			r := rand.New(rand.NewPCG(*matrixSeed, 5))
			images, refused := 0, 0
			for _, u := range m.units(t, 4096) {
				u.size = 8192
				if content, err := m.disk.ReadFile(u.file); err != nil || u.offset+u.size > int64(len(content)) {
					continue
				}
				for _, d := range damages[:2] {
					n, _ := m.try(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) })
					images++
					refused += n
				}
			}
			t.Logf("%d images, %d answers refused", images, refused)
			if refused == 0 {
				t.Error("nothing was refused: the damage takes nothing")
			}
		})
	}
}
