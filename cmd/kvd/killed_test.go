package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvd/client"
	"kvd/kv"
)

var killSeed = flag.Uint64("kvd.seed", 0, "seed of the moments of TestKilledProcesses; 0: a random one")

// TestKilledProcesses kills processes at random moments: those that copy a bucket, and the server
// under them. What they make is whole or not there, the bucket is unharmed, and the same
// command succeeds afterwards.
func TestKilledProcesses(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-run %s -kvd.seed=%d", t.Name(), seed)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise each process waits for a second at its end
	k := newKilling(t, rand.New(rand.NewPCG(seed, 0)))
	k.backup("backup", false)
	k.backup("backup-server", true)
	k.restoreDir()
	restore := func(name string) []string {
		return []string{"restore", k.archive, "--scratch", k.work, "--bucket", "b=" + name}
	}
	k.bucket("restored", false, restore)
	k.bucket("imported", false, func(name string) []string { return []string{"import", k.lines, "--bucket", name} })
	k.bucket("cut", true, restore)
	k.unharmed()
}

// killing is a server with a bucket "b", a backup and an export of it.
type killing struct {
	t              *testing.T
	random         *rand.Rand
	data, work     string // directories
	server         *process
	archive, lines string // files
	digest         kv.Digest
}

// newKilling fills the bucket.
func newKilling(t *testing.T, random *rand.Rand) *killing {
	k := &killing{t: t, random: random, data: t.TempDir(), work: t.TempDir()}
	k.archive, k.lines = filepath.Join(k.work, "whole.tar"), filepath.Join(k.work, "whole.jsonl")
	k.server = startProcess(t, k.data)
	c := k.dial()
	b, err := c.CreateBucket(t.Context(), kv.Config{Bucket: "b", History: 3, Sync: kv.SyncInterval})
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 2<<10)
	for n := range 600 {
		for i := range value {
			value[i] = byte(random.Uint32())
		}
		if _, err := b.Put(t.Context(), fmt.Sprintf("key-%d", n%300), value); err != nil {
			t.Fatal(err)
		}
	}
	k.digest = k.digestOf("b")
	k.succeeds("backup", k.archive, "--server", k.server.line)
	k.succeeds("export", "b", "--history", "--out", k.lines, "--server", k.server.line)
	return k
}

func (k *killing) dial() *client.Client {
	k.t.Helper()
	c, err := client.Dial(k.t.Context(), k.server.line, client.Options{})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Close() }) // its server may have been killed
	return c
}

// digestOf returns the digest of a bucket of the server; zero: there is none.
func (k *killing) digestOf(name string) kv.Digest {
	k.t.Helper()
	c := k.dial()
	b, err := c.Bucket(k.t.Context(), name)
	if errors.Is(err, kv.ErrBucketNotFound) {
		return kv.Digest{}
	}
	if err != nil {
		k.t.Fatal(err)
	}
	s, err := b.Status(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	if s.Digest == nil {
		k.t.Fatalf("bucket %s: the digest is not known", name)
	}
	return *s.Digest
}

// run runs kvd to its end.
func (k *killing) run(args ...string) (output string, err error) {
	out, err := exec.CommandContext(k.t.Context(), "kvd", args...).CombinedOutput()
	return string(out), err
}

// succeeds runs kvd, which has to succeed, and returns how long it took.
func (k *killing) succeeds(args ...string) time.Duration {
	k.t.Helper()
	began := time.Now()
	if out, err := k.run(args...); err != nil {
		k.t.Fatalf("kvd %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return time.Since(began)
}

// kill runs kvd, and kills it, or the server, at a random moment of the time that a run takes. The
// server is started anew.
func (k *killing) kill(takes time.Duration, server bool, args ...string) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Duration(k.random.Int64N(int64(takes))))
	defer cancel()
	cmd := exec.Command("kvd", args...)
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	<-ctx.Done()
	if server {
		k.server.end(k.t, syscall.SIGKILL)
	} else {
		_ = cmd.Process.Kill() // it may have ended
	}
	_ = cmd.Wait() // how it ended is the caller's concern
	if server {
		k.server = startProcess(k.t, k.data)
	}
}

// backup kills a backup, or its server.
func (k *killing) backup(name string, server bool) {
	k.t.Helper()
	file := filepath.Join(k.work, name+".tar")
	takes := k.succeeds("backup", file+".first", "--server", k.server.line)
	k.kill(takes, server, "backup", file, "--server", k.server.line)
	if _, err := os.Stat(file); err == nil {
		k.succeeds("backup", "verify", file)
		return
	}
	partial := file + ".partial"
	if _, err := os.Stat(partial); err == nil {
		out, err := k.run("backup", file, "--server", k.server.line)
		if err == nil || !strings.Contains(out, partial) {
			k.t.Fatalf("%s: %v: %s, must name %s", name, err, out, partial)
		}
		if err := os.Remove(partial); err != nil {
			k.t.Fatal(err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		k.t.Fatal(err)
	}
	k.succeeds("backup", file, "--server", k.server.line)
	k.succeeds("backup", "verify", file)
}

// restoreDir kills a restore into a directory. One that is no store has to be removed before the next.
func (k *killing) restoreDir() {
	k.t.Helper()
	dir := filepath.Join(k.work, "new")
	takes := k.succeeds("restore", k.archive, "--dir", dir+"-first")
	k.kill(takes, false, "restore", k.archive, "--dir", dir)
	if out, err := k.run("info", "b", "--dir", dir); err != nil {
		if err := os.RemoveAll(dir); err != nil {
			k.t.Fatal(err)
		}
		k.succeeds("restore", k.archive, "--dir", dir)
	} else if !strings.Contains(out, k.digest.String()) {
		k.t.Fatalf("a killed restore made a store without all records: digest %s is not in\n%s", k.digest, out)
	}
	if out, err := k.run("info", "b", "--dir", dir); err != nil || !strings.Contains(out, k.digest.String()) {
		k.t.Fatalf("the second restore: %v: digest %s is not in\n%s", err, k.digest, out)
	}
}

// bucket kills a command that makes a bucket in the server, or the server.
func (k *killing) bucket(name string, server bool, args func(name string) []string) {
	k.t.Helper()
	command := func(name string) []string { return append(args(name), "--server", k.server.line) }
	takes := k.succeeds(command(name + "-first")...)
	k.kill(takes, server, command(name)...)
	switch got := k.digestOf(name); got {
	case kv.Digest{}:
		k.succeeds(command(name)...)
	case k.digest:
	default:
		k.t.Fatalf("bucket %s is there in part: digest %s, must be %s", name, got, k.digest)
	}
	if got := k.digestOf(name); got != k.digest {
		k.t.Fatalf("bucket %s: digest %s, must be %s", name, got, k.digest)
	}
}

// unharmed checks the source once its server has ended.
func (k *killing) unharmed() {
	k.t.Helper()
	if got := k.digestOf("b"); got != k.digest {
		k.t.Fatalf("the source: digest %s, must be %s", got, k.digest)
	}
	k.server.end(k.t, syscall.SIGTERM)
	k.succeeds("verify", k.data)
}
