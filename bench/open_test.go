package bench

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kvd/bench/workload"
	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/kv"
)

// shared is the directory of the store that several benchmarks use.
var shared string

func sharedDir(b *testing.B) string {
	dir, err := os.MkdirTemp(shared, "store")
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

const childEnv = "KVD_BENCH_CHILD" // the directory that a child process fills

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		childFillsLog(dir)
		return
	}
	var err error
	if shared, err = os.MkdirTemp("", "kvd-bench"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(shared)
	os.Exit(code)
}

var openKeys = flag.Int("kvd.open-keys", 1_000_000, "keys of the stores that BenchmarkOpen opens after a clean close")

// BenchmarkOpen opens stores with a cold page cache.
func BenchmarkOpen(b *testing.B) {
	n := *openKeys
	for name, keys := range map[string]int{"image": 0, "segments": -1} {
		b.Run(fmt.Sprintf("after=close/keys=%d/from=%s", n, name), func(b *testing.B) {
			dir := b.TempDir()
			s := openStore(b, dir)
			load(b, createBucket(b, s, kv.Config{Bucket: "bench"}), s, n, 128)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			openCold(b, dir, bucket.Options{ImageKeys: keys}, key16(n-1))
		})
	}
	b.Run("after=kill/log=full", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			dir := b.TempDir()
			killChildWithFullLog(b, dir)
			dropCache(b, dir)
			b.StartTimer()
			s, err := bucket.Open(dir, bucket.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(s.Report().Frames), "frames")
			b.ReportMetric(float64(s.Report().Records), "records")
			_ = s.Close()
			b.StartTimer()
		}
	})
}

// openCold measures the time until the store has answered a read, the begin of a listing and a
// write.
func openCold(b *testing.B, dir string, opts bucket.Options, key string) {
	closing := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		dropCache(b, dir)
		b.StartTimer()
		s, err := bucket.Open(dir, opts)
		if err != nil {
			b.Fatal(err)
		}
		bk, err := s.Bucket(ctx, "bench")
		if err == nil {
			_, err = bk.Get(ctx, key)
		}
		if err == nil {
			err = listFirst(bk)
		}
		if err == nil {
			_, err = bk.Put(ctx, key, make([]byte, 128))
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		begin := time.Now()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		closing += time.Since(begin)
		b.StartTimer()
	}
	b.ReportMetric(float64(closing.Milliseconds())/float64(b.N), "ms-close")
}

// listFirst lists one key. A listing waits until the tree has all of them.
func listFirst(bk kv.Bucket) error {
	for _, err := range bk.Keys(ctx) {
		return err
	}
	return nil
}

// dropCache removes the pages of all files below dir from the page cache.
func dropCache(tb testing.TB, dir string) {
	if err := workload.EvictCache(dir); err != nil {
		tb.Fatal(err)
	}
}

// killChildWithFullLog lets another process write until its log is as full as possible,
// and kills it.
func killChildWithFullLog(b *testing.B, dir string) {
	child := exec.Command(os.Args[0], "-test.run", "^$")
	child.Env = append(os.Environ(), childEnv+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	_ = child.Process.Signal(syscall.SIGKILL)
	_ = child.Wait()
}

// childFillsLog writes most of a full log without a checkpoint, prints a line, and waits to
// be killed.
func childFillsLog(dir string) {
	s, err := bucket.Open(dir, environment.With(bucket.Options{}, environment.Env{Manual: true}))
	if err != nil {
		panic(err)
	}
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: "bench"})
	if err != nil {
		panic(err)
	}
	const batch = 1000
	value := make([]byte, 128)
	muts := make([]kv.Mutation, batch)
	for n := 0; n < 500_000; n += batch { // 100 MiB of records
		for i := range muts {
			muts[i] = kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: key16(n + i), Value: value}
		}
		if err := s.Submit(ctx, muts); err != nil {
			panic(err)
		}
	}
	fmt.Print("!")
	select {}
}

// BenchmarkBuckets makes ten thousand buckets of ten keys, and opens them.
func BenchmarkBuckets(b *testing.B) {
	const buckets, keys = 10_000, 10
	dir := b.TempDir()
	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			_ = os.RemoveAll(dir)
			b.StartTimer()
			s := openStore(b, dir)
			value := make([]byte, 128)
			muts := make([]kv.Mutation, keys)
			for i := range buckets {
				name := fmt.Sprintf("bucket-%d", i)
				createBucket(b, s, kv.Config{Bucket: name})
				for k := range muts {
					muts[k] = kv.Mutation{Bucket: name, Op: kv.MutatePut, Key: key16(k), Value: value}
				}
				if err := s.Submit(ctx, muts); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			start := time.Now()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(start).Seconds(), "close-s")
			b.ReportMetric(float64(diskUsed(b, filepath.Join(dir, "seg")))/(1<<20), "seg-MiB")
			b.StartTimer()
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s, err := bucket.Open(dir, bucket.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if s.Report().Buckets != buckets || s.Report().Keys != buckets*keys {
				b.Fatal(s.Report())
			}
			b.ReportMetric(float64(lines(b, "/proc/self/maps")), "mappings")
			b.ReportMetric(float64(openFiles(b)), "files")
			_ = s.Close()
			b.StartTimer()
		}
	})
}

// diskUsed returns the bytes of the blocks of all files below dir. Files may be removed
// meanwhile.
func diskUsed(tb testing.TB, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		tb.Error(err) // not Fatal: another goroutine than the benchmark's may call it
	}
	return n
}

func lines(tb testing.TB, file string) (n int) {
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	for _, c := range data {
		if c == '\n' {
			n++
		}
	}
	return n
}

func openFiles(tb testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}
