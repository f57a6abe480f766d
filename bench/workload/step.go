//go:build linux

package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kvd/bench/report"
)

// Step is one kind of work. The steps of a peer run in their order, in one directory.
type Step struct {
	Name string
	Rows []report.Heading // what it reports
	// Killed is set for a step that ends by SIGKILL, once it has reported that it is ready.
	Killed bool
	// After is the name of a step that has to run before, empty if there is none.
	After string
	// PutOnly is set for a step that a limit can do too, which cannot be read.
	PutOnly bool

	run func(*job) error
}

// Setting is what a run of the steps is about.
type Setting struct {
	Kind     Kind          // of the peers
	Keys     int           // of the loaded store
	DiskKeys int           // that the disk step overwrites
	Time     time.Duration // for which puts and gets are counted
	Rest     time.Duration // for which the disk step waits
}

// of tells in the title of a row of how many keys it is.
func (s Setting) of(title string) string {
	if s.Keys >= 1000 && s.Keys%1000 == 0 {
		return fmt.Sprintf(title, fmt.Sprintf("%d k", s.Keys/1000))
	}
	return fmt.Sprintf(title, fmt.Sprint(s.Keys))
}

// job is a step that runs.
type job struct {
	Setting
	peer Peer
	dir  string // of the peer; the loaded store is in it

	report func(row string, value float64)
}

// Steps returns the steps for a setting.
func Steps(s Setting) []Step {
	steps := puts()
	return append(steps, load(s), get(s), list(s), memory(s), openClean(s), dieAfterPuts(), openKilled(s), disk())
}

// Choose returns the steps whose names begin with one of the words, and the steps that have to
// run before them, in their order. Without words it returns all.
func Choose(steps []Step, words []string) []Step {
	if len(words) == 0 {
		return steps
	}
	chosen := make(map[string]bool)
	for _, s := range slices.Backward(steps) {
		if chosen[s.Name] || slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(s.Name, word) }) {
			chosen[s.Name], chosen[s.After] = true, true
		}
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return !chosen[s.Name] })
}

// Message is a line that a step prints.
type Message struct {
	Row   string  `json:",omitempty"`
	Value float64 `json:",omitempty"`
	Ready bool    `json:",omitempty"` // to be killed
}

// Run runs a step of a peer below dir and prints its messages. A step to be killed does not
// return.
func Run(peer Peer, step, dir string, s Setting) error {
	out := json.NewEncoder(os.Stdout)
	j := &job{Setting: s, peer: peer, dir: dir, report: func(row string, value float64) { _ = out.Encode(Message{Row: row, Value: value}) }}
	for _, known := range Steps(s) {
		if known.Name != step {
			continue
		}
		if err := known.run(j); err != nil {
			return fmt.Errorf("%s: %s: %w", peer.Name, step, err)
		}
		if known.Killed {
			_ = out.Encode(Message{Ready: true})
			select {}
		}
		return nil
	}
	return fmt.Errorf("no step %q", step)
}

// with opens the store in a directory, has it used, and closes it.
func (j *job) with(name string, use func(Engine) error) error {
	e, err := j.peer.Open(filepath.Join(j.dir, name))
	if err != nil {
		return err
	}
	return errors.Join(use(e), e.Close())
}

// loaded is the name of the store that most steps read.
const loaded = "loaded"
