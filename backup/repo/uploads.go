package repo

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"kvd/backup/blob"
	"kvd/kv"
)

// uploadsAtOnce is how many parts are on their way at a time: a service answers after tens of milliseconds.
const uploadsAtOnce = 4

// uploads puts parts, several at a time, and reads each one back. One goroutine uses it.
type uploads struct {
	ctx   context.Context
	place blob.Store
	jobs  chan upload
	free  chan []byte      // memory for parts
	known map[string]int64 // sizes of the objects of parts that are there, or were put, by sum
	seen  map[string]bool  // parts that were added
	done  sync.WaitGroup
	mu    sync.Mutex // guards known while the goroutines run, and the fields below
	err   error      // the first one
	parts int
	bytes int64
}

type upload struct {
	sum string
	raw []byte
}

// startUploads starts the goroutines, which wait ends. known is the uploads' from now on.
func startUploads(ctx context.Context, place blob.Store, known map[string]int64) *uploads {
	u := &uploads{
		ctx: ctx, place: place, known: known, seen: make(map[string]bool),
		jobs: make(chan upload), free: make(chan []byte, uploadsAtOnce),
	}
	for range uploadsAtOnce {
		u.free <- nil // memory is made when it is needed
		u.done.Go(u.work)
	}
	return u
}

// add puts a part, if it is not there. It returns the first error of any part so far.
func (u *uploads) add(sum string, raw []byte) error {
	u.mu.Lock()
	_, known := u.known[sum]
	err := u.err
	u.mu.Unlock()
	if known || err != nil || u.seen[sum] {
		return err
	}
	u.seen[sum] = true
	u.jobs <- upload{sum, append((<-u.free)[:0], raw...)}
	return nil
}

// wait returns the first error once all parts are done.
func (u *uploads) wait() error {
	close(u.jobs)
	u.done.Wait()
	return u.err
}

// work puts parts until wait is called.
func (u *uploads) work() {
	p, err := newPacker()
	if err == nil {
		defer p.close()
	}
	for job := range u.jobs {
		var stored int64
		if err == nil && u.ctx.Err() != nil {
			err = u.ctx.Err()
		}
		if err == nil {
			stored, err = u.put(p, job)
		}
		u.finish(job, stored, err)
		u.free <- job.raw
	}
}

func (u *uploads) finish(job upload, stored int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		if u.err == nil {
			u.err = err
		}
		return
	}
	u.known[job.sum] = stored
	u.parts++
	u.bytes += stored
}

// put puts a part, reads it back and returns the size of its object. An object of that name with other
// bytes is right if it has the same part: another version of the program may pack differently. If it has
// not, it is damaged, and is replaced.
func (u *uploads) put(p *packer, job upload) (int64, error) {
	object := p.pack(job.raw)
	name := partName(job.sum)
	err := u.place.Put(u.ctx, name, object)
	if errors.Is(err, blob.ErrExists) {
		stored, err := u.check(p, job)
		if !errors.Is(err, kv.ErrCorrupt) {
			return stored, err
		}
		if err := u.place.Delete(u.ctx, name); err != nil {
			return 0, err
		}
		if err := u.place.Put(u.ctx, name, object); err != nil {
			return 0, err
		}
	} else if err != nil {
		return 0, err
	}
	return u.check(p, job)
}

// check reads a part back.
func (u *uploads) check(p *packer, job upload) (int64, error) {
	name := partName(job.sum)
	info, err := u.place.Stat(u.ctx, name)
	if err != nil {
		return 0, err
	}
	if info.Size <= 0 || info.Size > storedMax {
		return 0, corrupt(u.place, name, "it has %d bytes, at most %d are allowed", info.Size, storedMax)
	}
	raw, err := p.read(u.ctx, u.place, part{job.sum, info.Size}, int64(len(job.raw)), nil)
	if err == nil && !bytes.Equal(raw, job.raw) {
		err = corrupt(u.place, name, "it was read back differently")
	}
	return info.Size, err
}
