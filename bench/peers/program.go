//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"kvd/bench/workload"
)

// program is a peer as a program that does its steps.
type program struct {
	peer, version string
	putOnly       bool
	executable    string
}

// programs returns the peers to measure. That of LMDB is built below dir.
func (m *measurement) programs(dir string) (programs []program, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if m.Kind == workload.Server {
		if err := servers(filepath.Join(dir, "bin")); err != nil {
			return nil, err
		}
	}
	for _, p := range peers() {
		if p.Kind != m.Kind {
			continue
		}
		version, err := p.Version()
		if err != nil {
			fmt.Fprintf(os.Stderr, "peers: without %s: %v\n", p.Name, err)
			continue
		}
		programs = append(programs, program{p.Name, version, p.PutOnly, self})
	}
	if m.Kind == workload.Embedded {
		lmdb, err := buildLMDB(filepath.Join(dir, "lmdb-program"))
		if err != nil {
			fmt.Fprintln(os.Stderr, "peers: without lmdb:", err)
		} else {
			programs = append(programs, lmdb)
		}
	}
	if len(m.only) > 0 {
		programs = slices.DeleteFunc(programs, func(p program) bool { return !slices.Contains(m.only, p.peer) })
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("no peers of kind %q and names %q", m.Kind, m.only)
	}
	return programs, nil
}

// servers builds kvd's server of this tree into a directory, and puts it and servers/bin, where
// servers/install puts others, before the rest of PATH.
func servers(bin string) error {
	tree, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "kvd").Output()
	if err != nil {
		return fmt.Errorf("go list, which has to run in this module's directory: %w", err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "kvd"), "./cmd/kvd")
	build.Dir = string(bytes.TrimSpace(tree))
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	installed, err := filepath.Abs("servers/bin")
	if err != nil {
		return err
	}
	return os.Setenv("PATH", bin+":"+installed+":"+os.Getenv("PATH"))
}

// buildLMDB builds the program of the module in the directory lmdb, which needs cgo.
func buildLMDB(executable string) (program, error) {
	build := exec.Command("go", "build", "-o", executable, ".")
	build.Dir, build.Env = "lmdb", append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return program{}, fmt.Errorf("go build in the directory lmdb of this module: %w\n%s", err, out)
	}
	version, err := exec.Command(executable, "version").Output()
	return program{peer: "lmdb", version: string(bytes.TrimSpace(version)), executable: executable}, err
}

// do has the program do a step in a process group of its own, which ends with the step: a
// store that is killed takes its server with it.
func (p program) do(step workload.Step, dir string, s workload.Setting, got func(workload.Message)) error {
	cmd := exec.Command(p.executable, workload.Args(p.peer, step.Name, dir, s)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	killed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var message workload.Message
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			return errors.Join(fmt.Errorf("%s: %s printed %q: %w", p.peer, step.Name, lines.Bytes(), err), killGroup(cmd), cmd.Wait())
		}
		if message.Ready {
			killed = true
			if err := killGroup(cmd); err != nil {
				return err
			}
			break
		}
		got(message)
	}
	err = cmd.Wait()
	switch {
	case killed: // by us
		return nil
	case err == nil && step.Killed:
		return fmt.Errorf("%s: %s ended without being killed", p.peer, step.Name)
	case err != nil:
		return errors.Join(fmt.Errorf("%s: %s: %w", p.peer, step.Name, err), ignoreGone(killGroup(cmd)))
	}
	return nil
}

// killGroup kills a program and its server.
func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
