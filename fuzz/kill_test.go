package fuzz

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
)

// victimDir tells a process that it is the victim, and the directory of the store.
// victimCycle is the number of victims before it.
const (
	victimDir   = "KVD_FUZZ_VICTIM_DIR"
	victimCycle = "KVD_FUZZ_VICTIM_CYCLE"
)

const (
	victimWriters = 4
	victimHistory = 4
)

var victimOptions = bucket.Options{LogFileSize: 128 << 10, LogMaxSize: 512 << 10, ReserveSize: -1}

// TestKill starts a process that writes to a real file system and prints what was
// acknowledged. It kills the process at a random moment and checks that every
// acknowledged record is there.
func TestKill(t *testing.T) {
	cycles := max(20, effort(25))
	start, dir := time.Now(), t.TempDir()
	r := rand.New(rand.NewPCG(uint64(cycles), 3))
	k := &killer{dir: dir}
	acks := 0
	for cycle := range cycles {
		n, err := k.cycle(cycle, 1+r.IntN(1+r.IntN(800)))
		if err != nil {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		acks += n
	}
	t.Logf("killed %d times in %v, %d acknowledgements checked", cycles, time.Since(start).Round(time.Millisecond), acks)
}

// killer has the records that must be in the store.
type killer struct {
	dir  string
	keys [victimWriters][]Record // the records of each writer's key, oldest first
}

// cycle starts a victim, kills it after a number of acknowledgements, and checks the store.
func (k *killer) cycle(cycle, after int) (acks int, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+k.dir, victimCycle+"="+strconv.Itoa(cycle))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, err
	}
	var next [victimWriters]int // the write of each writer that may be in flight
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var writer, n int
		var rev kv.Revision
		if _, err := fmt.Sscan(lines.Text(), &writer, &n, &rev); err != nil || n != next[writer] {
			return acks, fmt.Errorf("the victim said %q: %w", lines.Text(), errors.Join(err, cmd.Process.Kill()))
		}
		k.keys[writer] = apply(k.keys[writer], victimWrite(cycle, writer, n), rev)
		next[writer]++
		if acks++; acks == after {
			if err := cmd.Process.Kill(); err != nil { // SIGKILL
				return acks, err
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if acks < after {
		return acks, errors.New("the victim died of itself")
	}
	return acks, k.check(cycle, next)
}

// victimWrite returns a writer's n-th write of a cycle.
func victimWrite(cycle, writer, n int) kv.Mutation {
	m := kv.Mutation{Op: kv.MutatePut, Bucket: bucketNames[writer%2], Key: fmt.Sprint("writer.", writer)}
	switch {
	case n%11 == 10:
		m.Op = kv.MutateDelete
	case n%29 == 28:
		m.Op = kv.MutatePurge
	default:
		m.Value = fmt.Appendf(make([]byte, 0, 3000), "%d %d %0*d", cycle, writer, n*37%3000, n)
	}
	return m
}

// apply returns a key's records after a write.
func apply(records []Record, m kv.Mutation, rev kv.Revision) []Record {
	r := Record{Revision: rev, Operation: kv.Put, Value: m.Value}
	switch m.Op {
	case kv.MutateDelete:
		r.Operation, r.Reason = kv.Delete, kv.ReasonClient
	case kv.MutatePurge:
		r.Operation, r.Reason, records = kv.Purge, kv.ReasonClient, nil
	}
	return newestOf(append(records[:len(records):len(records)], r), victimHistory)
}

// check opens the store and looks for every acknowledged record. One more write of each
// writer may be there.
func (k *killer) check(cycle int, next [victimWriters]int) error {
	s, err := bucket.Open(k.dir, victimOptions)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // only the records are checked
	if r := s.Report(); len(r.Damages) > 0 || r.ReadOnly != nil || len(r.Strays) > 0 {
		return fmt.Errorf("report %v", r)
	}
	var keys []string
	for i := range victimWriters {
		keys = append(keys, victimWrite(0, i, 0).Key)
	}
	got, losses, err := Observe(s, keys)
	if err != nil || len(losses) > 0 {
		return fmt.Errorf("losses %v: %w", losses, err)
	}
	for i := range k.keys {
		flight := victimWrite(cycle, i, next[i])
		found := got.Buckets[flight.Bucket].Keys[flight.Key]
		for j := range found {
			found[j].Created = 0 // the victim's clock
		}
		if !same(k.keys[i], found) && (len(found) == 0 || !same(apply(k.keys[i], flight, found[len(found)-1].Revision), found)) {
			return fmt.Errorf("key %q: found %v, acknowledged %v", flight.Key, found, k.keys[i])
		}
		k.keys[i] = found
	}
	return nil
}

func same(want, got []Record) bool { return slices.EqualFunc(want, got, Record.equal) }

// beKilled is the victim: it writes and prints acknowledgements until it is killed.
func beKilled(dir string) {
	ctx := context.Background()
	cycle, err := strconv.Atoi(os.Getenv(victimCycle))
	if err != nil {
		panic(err)
	}
	s, err := bucket.Open(dir, victimOptions)
	if err != nil {
		panic(err)
	}
	for _, name := range bucketNames[:2] {
		if _, err := s.CreateBucket(ctx, kv.Config{Bucket: name, History: victimHistory}); err != nil {
			panic(err)
		}
	}
	for i := range victimWriters {
		go func() {
			for n := 0; ; n++ {
				one := []kv.Mutation{victimWrite(cycle, i, n)}
				if err := errors.Join(s.Submit(ctx, one), one[0].Err); err != nil {
					panic(err)
				}
				// One write to the pipe for each line, so that lines do not mix.
				if _, err := os.Stdout.WriteString(fmt.Sprintln(i, n, one[0].Revision)); err != nil {
					os.Exit(1) // the parent has ended
				}
			}
		}()
	}
	select {}
}
