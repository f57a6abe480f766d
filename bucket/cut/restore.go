package cut

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// Options says what a restore does. The zero value restores everything for clients that may know
// the old store.
type Options struct {
	// Buckets has the buckets to restore by their names, and the names that they get. Nil: all, under
	// their own names.
	Buckets map[string]string

	// Bump is how many revisions of each bucket are skipped. Nil: 10^9, or 10^6 for each second since
	// the cut if that is more, and then up to a multiple of 10^6. The old store may have issued
	// as many after the cut. 0 is right only if it has issued none. At most 2^62.
	Bump *uint64

	// SameIDs keeps the ids of store and buckets. It is right only for a store that moves: the old one
	// must not be used any more.
	SameIDs bool

	env environment.Env // of tests; FS, Now and Random are used
}

func init() {
	environment.Register(func(o *Options, env environment.Env) { o.env = env })
}

func (o Options) withDefaults() Options {
	if o.env.FS == nil {
		o.env.FS = vfs.OS()
	}
	if o.env.Now == nil {
		o.env.Now = time.Now
	}
	if o.env.Random == nil {
		o.env.Random = func() uint64 {
			var b [8]byte
			_, _ = rand.Read(b[:]) // never fails
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	return o
}

const (
	// bumpMin and bumpRate are how many revisions the old store may have issued after the cut:
	// at once, and a second. A store that is far faster than that does not exist.
	bumpMin  = 1e9
	bumpRate = 1e6
	// bumpMax is the greatest Bump. A greater one could lead past the greatest revision.
	bumpMax = 1 << 62
	// bumpRound makes the first revision after a restore easy to recognize.
	bumpRound = 1e6
)

// bump returns the next revision of a bucket whose next one was next.
func (o *Options) bump(next kv.Revision, since time.Duration) kv.Revision {
	if o.Bump != nil {
		return next + kv.Revision(*o.Bump)
	}
	last := next - 1 + max(bumpMin, kv.Revision(max(0, since)/time.Microsecond))
	return (last+bumpRound-1)/bumpRound*bumpRound + 1
}

// Restored is a bucket of a restore.
type Restored struct {
	From, To string      // its name in the cut, and now
	Revision kv.Revision // the newest one in the cut; 0: none
	Next     kv.Revision // the revision of its next record
	Keys     uint64      // with a record, deleted ones included
	Memory   bool        // its records were not in the cut
}

// Plan is what a restore will do, decided before anything is written.
type Plan struct {
	Buckets []Restored // ascending by From
	Bytes   int64      // of the files

	opts     Options
	from     manifest.Identity
	identity manifest.Identity
	state    manifest.State
	wanted   map[uint64]bool // ids of the buckets
	files    int
	replays  bool // frames of the log are added: see NewReplay
}

// NewPlan decides what becomes of a cut. file is what errors call it. The error matches
// kv.ErrCorrupt if the content is not one that a store makes, kv.ErrBucketNotFound for a bucket that
// it lacks, kv.ErrBucketExists if two buckets would get one name, kv.ErrInvalidBucketName,
// kv.ErrInvalidOption for a Bump that is too large, or kv.ErrVersion.
func NewPlan(file string, c *Content, o Options) (*Plan, error) {
	if o.Bump != nil && *o.Bump > bumpMax {
		return nil, fmt.Errorf("%w: a bump of %d revisions, at most %d are allowed", kv.ErrInvalidOption, *o.Bump, uint64(bumpMax))
	}
	m, err := c.decode(file)
	if err != nil {
		return nil, err
	}
	p := &Plan{opts: o.withDefaults(), from: m.Identity, identity: m.Identity, state: m.State, wanted: make(map[uint64]bool)}
	p.state.LogLow, p.state.LogWords, p.state.Buckets = 0, wal.Words{}, make(map[uint64]*manifest.Bucket)
	p.state.Clean = true // there is no log, and none is needed
	if !o.SameIDs {
		binary.LittleEndian.PutUint64(p.identity.StoreID[:], p.opts.env.Random())
		binary.LittleEndian.PutUint64(p.identity.StoreID[8:], p.opts.env.Random())
	}
	if err := p.choose(file, m.State.Buckets, c.Time); err != nil {
		return nil, err
	}
	p.count(c.Files)
	return p, nil
}

// names are those that buckets get.
type names map[string]bool

// take adds a name.
func (n names) take(to string) error {
	if err := kv.CheckBucketName(to); err != nil {
		return err
	}
	if n[to] {
		return fmt.Errorf("%w: %q would be the name of two buckets", kv.ErrBucketExists, to)
	}
	n[to] = true
	return nil
}

// choose adds the buckets that are wanted to the plan. at is the time of their state.
func (p *Plan) choose(file string, buckets map[uint64]*manifest.Bucket, at time.Time) error {
	o := &p.opts
	since := o.env.Now().Sub(at)
	taken := make(names)
	found := make(map[string]bool)
	for _, b := range buckets {
		from := b.Config.Bucket
		to, ok := o.Buckets[from]
		if o.Buckets == nil {
			to, ok = from, true
		}
		if !ok {
			continue
		}
		found[from] = true
		if err := taken.take(to); err != nil {
			return err
		}
		p.add(b, to, since)
	}
	for name := range o.Buckets {
		if !found[name] {
			return fmt.Errorf("%w: %q is not in %s", kv.ErrBucketNotFound, name, file)
		}
	}
	slices.SortFunc(p.Buckets, func(a, b Restored) int { return bytes.Compare([]byte(a.From), []byte(b.From)) })
	return nil
}

// count counts the files that the plan wants.
func (p *Plan) count(files []File) {
	for _, f := range files {
		if p.Wants(f) {
			p.files++
			p.Bytes += f.Size
		}
	}
}

// add adds a bucket under a name.
func (p *Plan) add(old *manifest.Bucket, to string, since time.Duration) {
	b := *old
	b.Config.Bucket = to
	if !p.replays {
		b.Position = 0 // of the new log, which is empty
	}
	if !p.opts.SameIDs {
		for b.Life = 0; b.Life == 0; {
			b.Life = p.opts.env.Random() & manifest.LifeMax
		}
	}
	b.SkipTo(p.opts.bump(b.Next, since))
	p.state.Buckets[b.ID] = &b
	p.wanted[b.ID] = true
	p.Buckets = append(p.Buckets, Restored{
		From: old.Config.Bucket, To: to, Revision: old.Next - 1, Next: b.Next, Keys: b.Keys, Memory: b.Config.Storage == kv.MemoryStorage,
	})
}

// Wants reports whether the restore needs a file.
func (p *Plan) Wants(f File) bool { return p.wanted[f.Bucket] }

// Restore is a restore under way. One goroutine uses it.
type Restore struct {
	plan  *Plan
	fs    vfs.FS
	dir   string
	made  []string // paths of files and directories, in the order in which they were made
	files int
	buf   []byte

	// Of a restore with frames of the log.
	log *log      // nil: there is none yet, or it is complete
	at  time.Time // of the store at the newest frame
}

// copyPart is how much of a file is written at a time, bytes.
const copyPart = 1 << 20

// ErrNotEmpty is returned for a directory that something is in: a restore never changes what is there.
var ErrNotEmpty = errors.New("the directory is not empty")

// Begin begins a restore into a directory, which is new or empty. Its parent exists. The error matches
// [ErrNotEmpty] if the directory holds something; then nothing was changed. After any other error,
// and after one of a later call, the caller calls Abort.
func (p *Plan) Begin(dir string) (*Restore, error) {
	dir = path.Clean(dir) // so that the directory of new/ is not new
	r := &Restore{plan: p, fs: p.opts.env.FS, dir: dir, buf: make([]byte, copyPart)}
	err := r.fs.Mkdir(dir)
	switch {
	case err == nil:
		r.made = append(r.made, dir)
		err = vfs.SyncDir(r.fs, path.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		err = r.checkEmpty()
	}
	if err == nil {
		err = r.mark()
	}
	for _, name := range []string{manifest.SegmentDir, manifest.LogDir} {
		if err == nil {
			err = r.fs.Mkdir(path.Join(dir, name))
		}
		if err == nil {
			r.made = append(r.made, path.Join(dir, name))
		}
	}
	if err == nil {
		err = vfs.SyncDir(r.fs, dir)
	}
	if err != nil {
		r.Abort()
		return nil, fmt.Errorf("restore into %s: %w", dir, err)
	}
	return r, nil
}

func (r *Restore) checkEmpty() error {
	entries, err := r.fs.List(r.dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%w: it holds %q: name a new or an empty directory", ErrNotEmpty, entries[0].Name)
	}
	return err
}

// mark makes the file because of which no store opens the directory.
func (r *Restore) mark() error {
	name := path.Join(r.dir, manifest.RestoreFile)
	f, err := r.fs.Open(name, vfs.Create)
	if err != nil {
		return err
	}
	r.made = append(r.made, name)
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return vfs.SyncDir(r.fs, r.dir)
}

// File writes a file of the cut, whose bytes data has, and makes it durable. It reads data to its
// end. The error matches kv.ErrCorrupt if there are fewer or more than f.Size bytes.
func (r *Restore) File(f File, data io.Reader) error {
	name := path.Join(r.dir, manifest.SegmentDir, f.Name())
	file, err := r.fs.Open(name, vfs.Create)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	r.made = append(r.made, name)
	err = r.write(file, f, data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("restore %s: %w", name, err)
	}
	r.files++
	return nil
}

// write writes the bytes of a file, with a header of the new store.
func (r *Restore) write(file vfs.File, f File, data io.Reader) error {
	for off := int64(0); ; {
		n, err := io.ReadFull(data, r.buf)
		if off == 0 {
			r.rehome(f, r.buf[:n])
		}
		if off+int64(n) > f.Size {
			return &kv.CorruptError{File: f.Name(), Offset: f.Size, Detail: "the cut has more bytes than belong to the file"}
		}
		if n > 0 {
			if _, err := file.WriteAt(r.buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return err
		case off < f.Size:
			return &kv.CorruptError{File: f.Name(), Offset: off, Detail: fmt.Sprintf("the cut ends here, %d bytes belong to the file", f.Size)}
		default:
			return nil
		}
	}
}

// rehome gives the header at the beginning of a file the new store's id. A damaged header stays as it
// is: the store reports it.
func (r *Restore) rehome(f File, b []byte) {
	if r.plan.identity == r.plan.from {
		return
	}
	if f.Value {
		segment.RehomeValue(b, r.plan.identity.StoreID)
	} else {
		segment.Rehome(b, r.plan.identity.StoreID)
	}
}

// Commit writes the manifest and makes the directory a store. Every file that the plan wants has been
// written. The caller has checked that the cut is whole.
func (r *Restore) Commit() error {
	err := r.commit()
	if err == nil {
		err = r.reveal()
	}
	if err != nil {
		return fmt.Errorf("restore into %s: %w", r.dir, err)
	}
	return nil
}

// commit writes the manifest.
func (r *Restore) commit() error {
	if r.files != r.plan.files {
		panic(fmt.Sprintf("cut: commit after %d of %d files", r.files, r.plan.files))
	}
	if err := vfs.SyncDir(r.fs, path.Join(r.dir, manifest.SegmentDir)); err != nil {
		return err
	}
	for _, name := range manifest.Names {
		r.made = append(r.made, path.Join(r.dir, name), path.Join(r.dir, manifest.Temporary(name)))
	}
	w, err := manifest.Rewrite(r.fs, r.dir, r.plan.identity, 1, &r.plan.state)
	if err == nil {
		w.Close()
	}
	return err
}

// reveal makes the directory a store.
func (r *Restore) reveal() error {
	if err := r.fs.Remove(path.Join(r.dir, manifest.RestoreFile)); err != nil {
		return err
	}
	r.made = nil // it is a store now, durable or not
	return vfs.SyncDir(r.fs, r.dir)
}

// Abort removes what a restore that failed has made, as far as it can, the mark last. What stays is no
// store.
func (r *Restore) Abort() {
	if r.plan.replays && len(r.made) > 0 {
		r.removeAll()
	}
	for _, name := range slices.Backward(r.made) {
		_ = r.fs.Remove(name) // what stays is refused
	}
}
