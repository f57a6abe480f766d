package cut

import (
	"errors"
	"fmt"
	"math"
	"path"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// A restore with frames of the log that follow a cut has three steps:
//
//  1. The directory gets the cut as it is, and the frames as its log: [Restore.File], [Restore.Frame],
//     [Restore.Value] and [Restore.EndLog]. That is a store that was not closed.
//  2. The store recovers: bucket.Replay.
//  3. [Restore.Renew] does in the manifest what the options ask for, as without a log.
//
// No other program opens the directory before the third step is done.

// NewReplay is [NewPlan] for a cut and frames of the log behind it. words are those of the first frame, and
// numbers is above the number of every value file that the frames name. Which buckets there are is known after
// the replay: until then the plan wants all.
func NewReplay(file string, c *Content, o Options, words wal.Words, numbers uint64) (*Plan, error) {
	taken := make(names)
	for _, to := range o.Buckets { // Renew would find it after hours of work
		if err := taken.take(to); err != nil {
			return nil, err
		}
	}
	all := o
	all.Buckets = nil
	p, err := NewPlan(file, c, all)
	if err != nil {
		return nil, err
	}
	m, err := c.decode(file)
	if err != nil {
		return nil, err
	}
	p.opts.Buckets = o.Buckets
	p.replays = true
	p.state = m.State
	p.state.LogWords, p.state.Clean = words, false
	p.state.Numbers = max(p.state.Numbers, numbers)
	return p, nil
}

// log is the log of a restore.
type log struct {
	*wal.Log
	frame []byte // scratch
}

// Frame adds the next frame of the log. The caller made a value file for each that its records name.
func (r *Restore) Frame(lsn wal.LSN, now int64, payload []byte, next wal.Words) error {
	if r.log == nil {
		if err := r.beginLog(); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	if want := r.log.Last() + 1; lsn != want {
		return &kv.CorruptError{File: "log", Offset: -1, Detail: fmt.Sprintf("LSN %d follows LSN %d", lsn, want-1)}
	}
	err := r.log.Reserve(len(payload))
	if err == nil {
		r.log.frame = append(wal.NewFrame(r.log.frame), payload...)
		_, err = r.log.Append(r.log.frame, now, next)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	r.at = time.Unix(0, now)
	return nil
}

// beginLog begins a log behind the cut.
func (r *Restore) beginLog() error {
	reader, err := wal.Open(wal.Options{
		FS: r.fs, Dir: path.Join(r.dir, manifest.LogDir), StoreID: r.plan.identity.StoreID, MaxSize: math.MaxInt64 / 2, Salt: r.plan.opts.env.Random,
	})
	if err != nil {
		return err
	}
	l, err := reader.Start(r.plan.state.LogLow, r.plan.state.LogWords)
	if err != nil {
		return err
	}
	r.log = &log{Log: l}
	return nil
}

// Value writes a value file, and makes its content durable.
func (r *Restore) Value(bucket, number uint64, value []byte) error {
	if number >= r.plan.state.Numbers || len(value) < segment.ValueFileMin || len(value) > kv.MaxValueSizeLimit {
		return &kv.CorruptError{File: segment.ValueFileName(number), Offset: -1, Detail: fmt.Sprintf("no record has a value file of %d bytes and that number", len(value))}
	}
	o := segment.Options{FS: r.fs, Dir: path.Join(r.dir, manifest.SegmentDir), Seed: segment.Seed(r.plan.identity.Seed), StoreID: r.plan.identity.StoreID}
	err := segment.CreateValueFile(o, number)
	if err == nil {
		_, err = segment.WriteValue(o, number, bucket, value)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// EndLog makes the log and the manifest durable, for bucket.Replay. Every file that the plan wants has been
// written.
func (r *Restore) EndLog() error {
	err := r.closeLog()
	if err == nil {
		err = r.commit()
	}
	if err != nil {
		return fmt.Errorf("restore into %s: %w", r.dir, err)
	}
	return nil
}

// closeLog closes the log, if there is one.
func (r *Restore) closeLog() error {
	if r.log == nil {
		return nil
	}
	l := r.log
	r.log = nil
	return l.Close()
}

// Dir returns the directory.
func (r *Restore) Dir() string { return r.dir }

// Env returns the environment of the restore.
func (r *Restore) Env() environment.Env { return r.plan.opts.env }

// Wanted returns the buckets that are wanted, by their names in the backup, or nil: all.
func (r *Restore) Wanted() map[string]string { return r.plan.opts.Buckets }

// Renew gives the store that was recovered, and closed, what a restore gives it: new ids, names, and revisions
// that were never told. Its directory holds no other buckets than those wanted. Then it is a store.
func (r *Restore) Renew() ([]Restored, error) {
	err := r.renew()
	if err == nil {
		err = r.reveal()
	}
	if err != nil {
		return nil, fmt.Errorf("restore into %s: %w", r.dir, err)
	}
	return r.plan.Buckets, nil
}

func (r *Restore) renew() error {
	found, err := manifest.Load(r.fs, r.dir)
	if err != nil {
		return err
	}
	if found.Best == nil || len(found.Damages) > 0 {
		return errors.New("the manifest that the replay wrote cannot be read")
	}
	p := r.plan
	p.state, p.Buckets = found.Best.State, nil
	buckets := p.state.Buckets
	p.state.Buckets = make(map[uint64]*manifest.Bucket)
	if err := p.choose(r.dir, buckets, r.at); err != nil {
		return err
	}
	w, err := manifest.Rewrite(r.fs, r.dir, p.identity, found.Best.Generation+1, &p.state)
	if err == nil {
		w.Close()
	}
	return err
}

// removeAll removes everything in the directory except for the mark: the replay has made files that are not
// known here.
func (r *Restore) removeAll() {
	_ = r.closeLog() // its files are removed
	for _, dir := range []string{path.Join(r.dir, manifest.LogDir), path.Join(r.dir, manifest.SegmentDir), r.dir} {
		entries, err := r.fs.List(dir)
		if err != nil {
			continue // what stays is refused
		}
		for _, e := range entries {
			if !e.Dir && e.Name != manifest.RestoreFile {
				_ = r.fs.Remove(path.Join(dir, e.Name))
			}
		}
	}
	_ = vfs.SyncDir(r.fs, r.dir)
}
