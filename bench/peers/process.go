//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"
)

// process is a server that runs for an engine.
type process struct {
	cmd  *exec.Cmd
	over chan error // receives once, when the process has ended
}

// startTime limits how long a server takes until it answers, log replay included.
const startTime = 5 * time.Minute

// start starts a server, and waits until ready returns nil. The server ends with this
// process.
func start(ready func() error, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), over: make(chan error, 1)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.over <- p.cmd.Wait() }()
	timeout := time.After(startTime)
	for pause := time.NewTicker(2 * time.Millisecond); ; {
		err := ready()
		if err == nil {
			pause.Stop()
			return p, nil
		}
		select {
		case <-pause.C:
		case ended := <-p.over:
			return nil, fmt.Errorf("%s ended: %w", name, ended)
		case <-timeout:
			return nil, errors.Join(fmt.Errorf("%s is not ready: %w", name, err), p.stop())
		}
	}
}

// PID returns the number of the process.
func (p *process) PID() int { return p.cmd.Process.Pid }

// stop ends the server cleanly.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := <-p.over
	var status *exec.ExitError
	if errors.As(err, &status) && status.Sys().(syscall.WaitStatus).Signaled() {
		return nil // some servers end by the signal that they have handled
	}
	return err
}

// freePort returns a port of 127.0.0.1 that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// answers returns a function that reports whether somebody accepts connections.
func answers(addr string) func() error {
	return func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	}
}
