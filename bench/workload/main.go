//go:build linux

package workload

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
)

// StepVerb is the first argument of a program that is to do a step.
const StepVerb = "step"

// Args returns the arguments with which a program does a step of a peer below a directory.
func Args(peer, step, dir string, s Setting) []string {
	return []string{
		StepVerb, "-peer", peer, "-step", step, "-dir", dir, "-kind", string(s.Kind), "-keys", strconv.Itoa(s.Keys),
		"-disk-keys", strconv.Itoa(s.DiskKeys), "-time", s.Time.String(), "-rest", s.Rest.String(),
	}
}

// Main does the step that the arguments behind StepVerb name, with one of the peers.
func Main(peers []Peer, args []string) error {
	f := flag.NewFlagSet(StepVerb, flag.ContinueOnError)
	var s Setting
	name := f.String("peer", "", "peer")
	step := f.String("step", "", "step")
	dir := f.String("dir", "", "directory of the peer")
	f.StringVar((*string)(&s.Kind), "kind", "", "kind of the peers")
	f.IntVar(&s.Keys, "keys", 0, "keys of the loaded store")
	f.IntVar(&s.DiskKeys, "disk-keys", 0, "keys that the disk step overwrites")
	f.DurationVar(&s.Time, "time", 0, "for which puts and gets are counted")
	f.DurationVar(&s.Rest, "rest", 0, "for which the disk step waits")
	if err := f.Parse(args); err != nil {
		return err
	}
	i := slices.IndexFunc(peers, func(p Peer) bool { return p.Name == *name && p.Kind == s.Kind })
	if i < 0 {
		return fmt.Errorf("no peer %q of kind %q", *name, s.Kind)
	}
	return Run(peers[i], *step, *dir, s)
}
