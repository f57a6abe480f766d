package fuzz

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	oplog "kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// matrixStore is a store at rest, and what its readers and writers were told.
type matrixStore struct {
	disk, older *simdisk.Disk // older: as it was a while before
	truth
	heads      map[keyOf]head
	now        time.Time
	records    []storedRecord
	tails      []storedRecord    // behind the end that the manifest names
	owners     map[string]string // bucket of each segment's file
	operations []unit            // of the log: the frames of each operation, both copies
	last       unit              // the last frame of the log
	imageKeys  int               // bucket.Options.ImageKeys
	held       bool              // the segments' files lack what no checkpoint covers
}

type keyOf struct{ bucket, key string }

// matrixKeys are long, so that the index is not much smaller than the records. The last one
// is never written.
var matrixKeys = []string{
	"a", "b.c",
	"warehouse.7.aisle.12.shelf.3.bin.41.part.90871.stock.on_hand",
	"warehouse.7.aisle.12.shelf.3.bin.41.part.90871.stock.ordered",
	"customers.by_country.de.by_city.berlin.by_name.mueller.anna.1",
	"sessions.2026-09-21.7f3a9c1e-55d0-4b7e-9a53-0f6a2d1c8b44.state",
	"absent",
}

func (m *matrixStore) options(fs vfs.FS) bucket.Options {
	tails := 0
	if m.held {
		tails = 1
	}
	return environment.With(bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1, SegmentSize: 16 << 10, ImageKeys: m.imageKeys}, environment.Env{
		FS: fs, Manual: true, Now: func() time.Time { return m.now }, TailBuckets: tails,
	})
}

// newMatrixStore makes a store with two buckets in a checkpoint, a third in the log alone,
// histories, markers, decisions about many keys, and records on both sides of a checkpoint.
func newMatrixStore(t *testing.T, closed bool, change ...func(*matrixStore)) *matrixStore {
	t.Helper()
	b := newMatrixBuilder(t, change...)
	about := strings.Repeat("Of what is in store, what was ordered and what is on its way. ", 8)
	one := b.create(kv.Config{Bucket: "one", History: 3, Description: about})
	two := b.create(kv.Config{Bucket: "two", Description: about})
	for range 3 {
		b.write(one, 26)
		b.write(two, 20)
		b.checkpoint()
	}
	b.older = b.disk.Clone()
	b.write(one, 16)
	b.write(two, 10)
	b.checkpoint()
	b.write(one, 14)
	b.write(b.create(kv.Config{Bucket: "three", TTL: time.Hour, Description: about}), 14)
	b.purgeDeletes(one)
	b.write(one, 12)
	b.write(two, 12)
	return b.finish(closed)
}

// matrixBuilder writes the store of a matrix.
type matrixBuilder struct {
	*matrixStore
	t      *testing.T
	store  *bucket.Store
	random *rand.Rand
	newest kv.Revision // of any bucket
	names  []string
}

func newMatrixBuilder(t *testing.T, change ...func(*matrixStore)) *matrixBuilder {
	m := &matrixStore{disk: simdisk.New(), heads: map[keyOf]head{}, now: time.Date(2026, 9, 21, 12, 0, 0, 0, time.UTC)}
	m.written = map[question]string{}
	for _, f := range change {
		f(m)
	}
	b := &matrixBuilder{matrixStore: m, t: t, random: rand.New(rand.NewPCG(*matrixSeed, 1))}
	s, err := bucket.Open("store", m.options(m.disk))
	b.must(err)
	b.store = s
	return b
}

func (b *matrixBuilder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("-kvd.matrix-seed=%d: %v", *matrixSeed, err)
	}
}

func (b *matrixBuilder) create(config kv.Config) kv.Bucket {
	b.t.Helper()
	made, err := b.store.CreateBucket(b.t.Context(), config)
	b.must(err)
	b.names = append(b.names, config.Bucket)
	for _, key := range matrixKeys {
		b.heads[keyOf{config.Bucket, key}] = head{}
	}
	return made
}

// write writes n records of random keys, up to three in a frame.
func (b *matrixBuilder) write(to kv.Bucket, n int) {
	b.t.Helper()
	for n > 0 {
		batch := make([]kv.Mutation, min(n, 1+b.random.IntN(3)))
		for i := range batch {
			batch[i] = b.mutation(to.Name())
		}
		b.must(b.store.Submit(b.t.Context(), batch))
		for i := range batch {
			b.must(batch[i].Err)
			b.wrote(&batch[i])
		}
		n -= len(batch)
		b.now = b.now.Add(time.Second)
	}
}

// mutation returns a random write of a random key.
func (b *matrixBuilder) mutation(name string) kv.Mutation {
	w := kv.Mutation{Bucket: name, Op: kv.MutatePut, Key: matrixKeys[b.random.IntN(len(matrixKeys)-1)]}
	switch b.random.IntN(8) {
	case 0:
		w.Op = kv.MutateDelete
	case 1:
		w.Op = kv.MutatePurge
	default:
		w.Value = fmt.Appendf(nil, "%d-%s", b.random.Uint32(), strings.Repeat("x", b.random.IntN(90)))
	}
	return w
}

// wrote remembers an acknowledged write.
func (b *matrixBuilder) wrote(w *kv.Mutation) {
	if w.Op == kv.MutatePut {
		e := kv.Entry{Key: w.Key, Revision: w.Revision, Operation: kv.Put, Value: w.Value}
		b.written[question{w.Bucket, "at", w.Key, w.Revision}] = string(appendEntry(nil, e))
	}
	at := keyOf{w.Bucket, w.Key}
	b.heads[at] = head{revision: w.Revision, before: b.heads[at].revision, live: w.Op == kv.MutatePut}
	b.newest = max(b.newest, w.Revision)
}

func (b *matrixBuilder) checkpoint() {
	b.t.Helper()
	b.must(b.store.Checkpoint(b.t.Context()))
}

// purgeDeletes removes the markers of a bucket.
func (b *matrixBuilder) purgeDeletes(of kv.Bucket) {
	b.t.Helper()
	b.must(of.PurgeDeletes(b.t.Context(), -1))
	for at, h := range b.heads {
		if at.bucket == of.Name() && !h.live {
			b.heads[at] = head{}
		}
	}
}

// finish asks everything, and closes the store or leaves it as a killed process does.
func (b *matrixBuilder) finish(closed bool) *matrixStore {
	b.t.Helper()
	b.questions = only(questions(b.names, matrixKeys, b.newest+2), b.mayDiffer)
	b.answers = ask(b.store, b.questions, nil)
	running := b.disk
	if !closed {
		b.disk = running.Clone()
	}
	b.must(b.store.Close())
	b.readRecords(b.t)
	b.readOperations(b.t)
	return b.matrixStore
}

// mayDiffer keeps the questions that damage may change. Each revision is asked of the key
// that wrote it and of one other key.
func (b *matrixBuilder) mayDiffer(q question) bool {
	_, wrote := b.written[q]
	return q.kind != "at" || wrote || q.key == matrixKeys[int(q.revision)%len(matrixKeys)]
}

// storedRecord is a record of a segment, and where it stands.
type storedRecord struct {
	file        string
	offset, end int64
	bucket, key string
	revision    kv.Revision
}

// readRecords reads the records and the tails of all segments that the manifest names.
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
				list := &m.records
				if r.Offset >= d.Size {
					list = &m.tails
				}
				*list = append(*list, storedRecord{file, r.Offset, r.Offset + int64(len(r.Encoded)), b.Config.Bucket, string(r.Key), r.Revision})
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
// tails have the records, and the other copy the same. If the tails were held, anything may need
// the log. Of a unit of two pages a bucket may
// lose its records together with the page that names them: then everything about it. A
// condition needs no value.
func (m *matrixStore) mayRefuse(u unit) func(question) bool {
	may := map[question]bool{}
	for _, r := range m.records {
		if r.file != u.file || r.end <= u.offset || u.offset+u.size <= r.offset {
			continue
		}
		for _, q := range []question{
			{kind: "get", key: r.key}, {kind: "history", key: r.key}, {kind: "at", key: r.key, revision: r.revision},
			{kind: "all"}, {kind: "watch last"}, {kind: "watch history"},
		} {
			q.bucket = r.bucket
			may[q] = true
		}
	}
	if m.held && strings.HasSuffix(u.file, ".wal") {
		return func(question) bool { return true }
	}
	owner := m.owners[u.file]
	return func(q question) bool {
		return may[q] || u.size > 4096 && (q.bucket == owner || m.holdsOperation(u))
	}
}
