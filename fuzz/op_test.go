package fuzz

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/kv/msglog"
)

// op is one step of a workload. Its effect may depend on the current state (want), so
// that the workload remains valid when other steps are removed.
type op struct {
	kind   opKind
	bucket string
	key    string
	size   int           // of the value, bytes
	zeros  bool          // a value of zeros
	want   want          // revision expected by an update and a conditional delete or purge
	batch  []op          // of submit: the writes
	during *op           // of a sweep: a write while the sweep runs
	config config        // of an operation on a bucket
	ttl    time.Duration // of a write, or of a purge's marker; 0: none
	tick   time.Duration
	skew   time.Duration // the step sets the wall clock by it
	age    time.Duration // of purge-deletes
	call   int           // of crash: the call of the next step before which it happens; 0: at once
	cut    uint64        // of crash: seed of the items that the disk keeps
}

type opKind uint8

const (
	opPut opKind = iota
	opCreate
	opUpdate
	opTouch
	opDelete
	opDeleteIf
	opPurge
	opPurgeIf
	opSubmit
	opCreateBucket
	opUpdateBucket
	opUpsertBucket
	opDeleteBucket
	opPurgeDeletes
	opCheckpoint
	opReclaim
	opReopen
	opCrash
	opKinds // number of kinds that every generator draws; the kinds of aging follow
	opSweep
	opErase
	opAppend // the kinds of message logs follow
	opTrim
	opEnd
)

var opNames = [opEnd]string{"put", "create", "update", "touch", "delete", "deleteIf", "purge", "purgeIf", "submit",
	"createBucket", "updateBucket", "upsertBucket", "deleteBucket", "purgeDeletes", "checkpoint", "reclaim", "reopen", "crash", "", "sweep", "erase", "append", "trim"}

// want selects the revision that a conditional write expects.
type want uint8

const (
	wantNewest want = iota
	wantNone
	wantOlder
	wantNewer
	wants
)

// config is the part of a bucket's configuration that workloads vary.
type config struct {
	history    int
	maxBytes   int64
	text       int  // bytes of metadata
	interval   bool // sync=interval
	ttl        time.Duration
	markers    time.Duration // lifetime of expiry markers; 0: the default
	memory     bool
	messageLog bool
}

func (c config) of(bucket string) kv.Config {
	k := kv.Config{Bucket: bucket, History: c.history, MaxBytes: c.maxBytes, MaxValueSize: 64 << 10}
	k.Compression = c.history%2 == 0 // derived, so that a seed still gives the same workload
	k.TTL, k.MarkerTTL = c.ttl, c.markers
	if c.messageLog {
		k.Kind = msglog.Kind
	}
	if c.memory {
		k.Storage = kv.MemoryStorage
	}
	if c.interval {
		k.Sync = kv.SyncInterval
	}
	if c.text > 0 {
		k.Metadata = map[string]string{"text": strings.Repeat("x", c.text)}
	}
	return k
}

// String returns the step as one line of a report.
func (o op) String() string {
	s := opNames[o.kind]
	switch o.kind {
	case opSubmit:
		parts := make([]string, len(o.batch))
		for i, b := range o.batch {
			parts[i] = b.String()
		}
		s += " {" + strings.Join(parts, "; ") + "}"
	case opCreateBucket, opUpdateBucket, opUpsertBucket:
		s += fmt.Sprintf(" %s %+v", o.bucket, o.config)
	case opDeleteBucket:
		s += " " + o.bucket
	case opPurgeDeletes:
		s += fmt.Sprintf(" %s olderThan=%v", o.bucket, o.age)
	case opErase:
		s += fmt.Sprintf(" %s %s below=%d keep=%d", o.bucket, o.key, o.size%7, o.size%3)
	case opTrim:
		below, records, bytes := o.limits()
		s += fmt.Sprintf(" %s newest-%d, %d records, %d bytes", o.bucket, below, records, bytes)
	case opSweep:
		if o.during != nil {
			s += fmt.Sprintf(" {%v}", *o.during)
		}
	case opCheckpoint, opReclaim, opReopen:
	case opCrash:
		s += fmt.Sprintf(" at call %d of the next step, cut %d", o.call, o.cut)
	default:
		s += fmt.Sprintf(" %s/%.20s", o.bucket, o.key)
		if o.hasValue() {
			s += fmt.Sprintf(" [%d zeros=%t]", o.size, o.zeros)
		}
		if o.conditional() {
			s += fmt.Sprintf(" want=%d", o.want)
		}
	}
	if o.ttl != 0 {
		s += fmt.Sprintf(" ttl=%v", o.ttl)
	}
	if o.tick != 0 {
		s += fmt.Sprintf(" +%v", o.tick)
	}
	if o.skew != 0 {
		s += fmt.Sprintf(" wall%+v", o.skew)
	}
	return s
}

// writes reports whether the step is one write.
func (o op) writes() bool { return o.kind < opSubmit || o.kind == opAppend }

// hasValue reports whether the step is a write with a value.
func (o op) hasValue() bool { return o.kind < opTouch || o.kind == opAppend }

// limits returns the limits of a trim. It keeps the records within a distance below the
// newest revision; if that distance is 0, it keeps a number of records and of bytes, and
// 0 means no limit.
func (o op) limits() (below kv.Revision, records uint64, bytes int64) {
	n := o.size / 4
	switch o.size % 4 {
	case 0:
		return kv.Revision(1 + n%8), 0, 0
	case 1:
		return 0, uint64(n % 8), 0
	case 2:
		return 0, 0, int64(n%8) * 500
	}
	return 0, uint64(1 + n%8), int64(1+n%5) * 700
}

func (o op) conditional() bool {
	return o.kind == opUpdate || o.kind == opDeleteIf || o.kind == opPurgeIf
}

// workload is a list of steps and the store they run on.
type workload struct {
	seed        uint64
	logFileSize int64
	logMaxSize  int64
	reserveSize int64
	segmentSize int64 // 0: large
	maxFiles    int   // 0: many
	imageKeys   int   // bucket.Options.ImageKeys
	largeValue  int   // bytes from which on a value has a file of its own; 0: no value has one
	tailBuckets int   // buckets of a group whose records are held in memory; 0: none are
	aging       bool  // records expire
	copies      bool  // the disk copies what is overwritten
	ops         []op
	bug         func(vfs.FS) vfs.FS // wraps the disk; nil: no bug
	lie         func(*kv.Mutation)  // changes a mutation before the store gets it; nil: no bug
}

// String lists the workload for a report.
func (w *workload) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "seed %d, log %d of %d, reserve %d, segments %d, files %d, images from %d keys, large values from %d, tails of %d buckets, %d steps:\n", w.seed, w.logFileSize, w.logMaxSize, w.reserveSize, w.segmentSize, w.maxFiles, w.imageKeys, w.largeValue, w.tailBuckets, len(w.ops))
	for i, o := range w.ops {
		fmt.Fprintf(&s, "%4d  %v\n", i, o)
	}
	return s.String()
}

// chooser makes the decisions of a generator, at random or from the bytes of a fuzzer.
type chooser interface{ IntN(n int) int }

// byteChooser decides by bytes. Once they are used up, every decision is 0.
type byteChooser struct{ b []byte }

func (c *byteChooser) IntN(n int) int {
	v := 0
	for most := n - 1; most > 0 && len(c.b) > 0; most >>= 8 {
		v = v<<8 | int(c.b[0])
		c.b = c.b[1:]
	}
	return v % n
}

// The names of the buckets and keys of every workload. Some keys share prefixes, and one
// has the maximum length.
var (
	bucketNames = []string{"a", "Bucket-2", "c_c"}
	keyNames    = []string{"k", "k.1", "k.1.x", "service.eu.1", "service.eu.2", "service.us.1", "=/-_", "A", "0",
		strings.Repeat("long.", 204) + "long"}
)

// generator makes workloads. Each generator has its own frequency of steps, number of
// keys and sizes of values.
type generator struct {
	chooser
	weights [opKinds]int
	keys    []string
	buckets []string
	sizes   int // bit set of the classes of sizes
	zeros   bool
}

// generate returns the workload of a seed.
func generate(seed uint64, steps int) *workload {
	return newGenerator(rand.New(rand.NewPCG(seed, 1))).workload(seed, steps)
}

func newGenerator(c chooser) *generator {
	g := &generator{chooser: c}
	for i := range g.weights {
		g.weights[i] = [...]int{0, 1, 4}[c.IntN(3)]
	}
	g.weights[opPut] += 4
	g.weights[opDeleteBucket] /= 4
	g.weights[opReopen] /= 2
	g.weights[opCrash] = min(g.weights[opCrash], 2)
	g.keys = keyNames[:1+c.IntN(len(keyNames))]
	g.buckets = bucketNames[:1+c.IntN(len(bucketNames))]
	g.sizes = 1 | c.IntN(16)
	g.zeros = c.IntN(3) == 0
	return g
}

func (g *generator) workload(seed uint64, steps int) *workload {
	w := &workload{seed: seed, logFileSize: 16 << 10, logMaxSize: 64 << 10, reserveSize: -1}
	if g.IntN(3) > 0 {
		w.segmentSize = 4 << 10
	}
	if g.IntN(3) == 0 {
		w.logFileSize, w.logMaxSize = 32<<10, 128<<10
	}
	if g.IntN(4) == 0 {
		w.reserveSize = 64 << 10
	}
	for _, b := range g.buckets {
		w.ops = append(w.ops, op{kind: opUpsertBucket, bucket: b, config: g.config()})
	}
	for len(w.ops) < steps {
		w.ops = append(w.ops, g.op())
	}
	return w
}

func pick[T any](c chooser, from []T) T { return from[c.IntN(len(from))] }

func (g *generator) op() op {
	total := 0
	for _, w := range g.weights {
		total += w
	}
	kind, n := opPut, g.IntN(total)
	for n >= g.weights[kind] {
		n -= g.weights[kind]
		kind++
	}
	o := op{kind: kind, bucket: pick(g, g.buckets)}
	if g.IntN(4) == 0 {
		o.tick = time.Duration(1+g.IntN(60)) * time.Minute / 2
	}
	switch kind {
	case opSubmit:
		for range 1 + g.IntN(12) {
			b := op{kind: opKind(g.IntN(int(opSubmit)))}
			if b.kind == opTouch { // a touch would divide the batch
				b.kind = opPut
			}
			g.write(&b)
			o.batch = append(o.batch, b)
		}
	case opCreateBucket, opUpdateBucket, opUpsertBucket:
		o.config = g.config()
	case opPurgeDeletes:
		o.age = [...]time.Duration{-1, 0, time.Hour}[g.IntN(3)]
	case opCrash:
		if g.IntN(3) > 0 {
			o.call = 1 + g.IntN(12)
		}
		o.cut = uint64(g.IntN(1 << 16))
	case opDeleteBucket, opCheckpoint, opReclaim, opReopen:
	default:
		g.write(&o)
	}
	return o
}

// write sets the fields of a write.
func (g *generator) write(o *op) {
	o.bucket, o.key = pick(g, g.buckets), pick(g, g.keys)
	o.size = g.size()
	o.zeros = g.zeros && g.IntN(3) == 0
	if o.conditional() {
		o.want = want(max(0, g.IntN(int(wants)+3)-3)) // mostly the newest revision
	}
}

func (g *generator) size() int {
	switch class := 1 << g.IntN(6); {
	case class == 2 && g.sizes&2 != 0:
		return 0
	case class == 4 && g.sizes&4 != 0:
		return 4000 + g.IntN(1500) // about a page
	case class == 8 && g.sizes&8 != 0 && g.IntN(3) == 0:
		return 16<<10 + g.IntN(4<<10) // more than a log file
	}
	return g.IntN(200)
}

func (g *generator) config() config {
	c := config{history: 1 + g.IntN(5), maxBytes: -1}
	if g.IntN(6) == 0 {
		c.maxBytes = int64(1000 + g.IntN(5000))
	}
	if g.IntN(8) == 0 {
		c.text = g.IntN(5000)
	}
	return c
}
