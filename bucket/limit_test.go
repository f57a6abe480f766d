package bucket

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"kvd/internal/descriptors"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
)

// childLimit is the environment variable with the number of descriptors that a child of this
// test may have open. It works on 2,000 buckets in the directory of childDir.
const childLimit = "KVD_TEST_DESCRIPTORS"

const limitedBuckets = 2000

// A process that may have few descriptors serves as many buckets as others, and goes on when
// somebody else has taken the last of them.
func TestFewDescriptors(t *testing.T) {
	limits := []int{64, 256, 1024}
	if underRace {
		limits = limits[:1]
	}
	for _, limit := range limits {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childDir+"="+t.TempDir(), childLimit+"="+strconv.Itoa(limit))
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func fewDescriptorsChild(dir, text string) error {
	limit, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(limit), Max: uint64(limit)}); err != nil {
		return err
	}
	// The program's connections take all that the store leaves them.
	conns, err := take(descriptors.Connections(limit))
	if err != nil {
		return err
	}
	defer conns.release()
	opts := Options{ReserveSize: -1, env: environment.Env{FS: laxFS{vfs.OS()}}}
	s, err := Open(dir, opts)
	if err != nil {
		return err
	}
	l := limited{s: s}
	l.all("create", func(name string) error {
		_, err := s.CreateBucket(ctx, kv.Config{Bucket: name})
		return err
	})
	l.all("put", func(name string) error { return l.put(name, "key", "value of "+name) })
	l.check("checkpoint", s.Checkpoint(ctx))
	_, err = s.Reclaim(ctx, nil)
	l.check("reclaim", err)
	l.starve(limit)
	if open, most := s.Files(); open > most {
		l.check("files", fmt.Errorf("%d are open, at most %d may be", open, most))
	}
	l.check("close", s.Close())
	if s, err = Open(dir, opts); err != nil {
		return errors.Join(append(l.errs, err)...)
	}
	l.s = s
	l.all("get", func(name string) error { return l.get(name, "key", "value of "+name) })
	l.check("close", s.Close())
	return errors.Join(l.errs...)
}

// limited is a store in a process with few descriptors.
type limited struct {
	s *Store

	mu   sync.Mutex
	errs []error
}

func (l *limited) check(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && len(l.errs) < 10 {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", what, err))
	}
}

// all calls do for every bucket, in 64 goroutines.
func (l *limited) all(what string, do func(name string) error) {
	const workers = 64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < limitedBuckets; i += workers {
				l.check(what, do(fmt.Sprintf("bucket-%d", i)))
			}
		})
	}
	group.Wait()
}

func (l *limited) put(name, key, value string) error {
	b, err := l.s.Bucket(ctx, name)
	if err == nil {
		_, err = b.PutString(ctx, key, value)
	}
	return err
}

func (l *limited) get(name, key, want string) error {
	b, err := l.s.Bucket(ctx, name)
	if err != nil {
		return err
	}
	e, err := b.Get(ctx, key)
	if err == nil && string(e.Value) != want {
		err = fmt.Errorf("%q, want %q", e.Value, want)
	}
	return err
}

// starve takes every descriptor that is left. A call that needs one may be refused, and says
// why; afterwards all goes on.
func (l *limited) starve(limit int) {
	rest, err := take(limit)
	if !errors.Is(err, syscall.EMFILE) {
		l.check("hold", fmt.Errorf("all descriptors: %w", err))
	}
	tolerate := func(err error) error {
		if errors.Is(err, kv.ErrTooManyFiles) {
			return nil
		}
		return err
	}
	l.all("put of the starved", func(name string) error { return tolerate(l.put(name, "other", "value")) })
	l.all("get of the starved", func(name string) error { return tolerate(l.get(name, "key", "value of "+name)) })
	l.check("checkpoint of the starved", tolerate(l.s.Checkpoint(ctx)))
	rest.release()
	l.all("put", func(name string) error { return l.put(name, "other", "value") })
	l.all("get", func(name string) error { return l.get(name, "other", "value") })
}

// taken are descriptors that are in use.
type taken []*os.File

func (h taken) release() {
	for _, f := range h {
		f.Close()
	}
}

// take takes n descriptors, or as many as there are.
func take(n int) (taken, error) {
	var h taken
	for range n {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return h, err
		}
		h = append(h, f)
	}
	return h, nil
}

// laxFS is a file system whose syncs do nothing: thousands of them would take a minute,
// and no power is cut.
type laxFS struct{ vfs.FS }

func (u laxFS) Open(path string, mode vfs.Mode) (vfs.File, error) {
	f, err := u.FS.Open(path, mode)
	if err != nil {
		return nil, err
	}
	return laxFile{f}, nil
}

func (u laxFS) OpenDir(path string) (vfs.Dir, error) {
	d, err := u.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return laxDir{d}, nil
}

type laxFile struct{ vfs.File }

func (laxFile) Sync() error { return nil }

type laxDir struct{ vfs.Dir }

func (laxDir) Sync() error { return nil }
