package blobtest

import (
	"context"
	"errors"
	"sync"

	"kvd/backup/blob"
)

// Fault is a store that passes calls on to another one and fails some of them.
type Fault struct {
	blob.Store

	// Fail is asked before each call, one after the other. It returns how the call ends.
	Fail func(call int, op, name string) Outcome

	mu    sync.Mutex
	calls int
}

// Outcome says how a call ends.
type Outcome int

// The outcomes.
const (
	Works  Outcome = iota
	Fails          // before anything happened
	Forgot         // everything happened, and the answer is lost
	Refuse         // as Fails, and another attempt would fail too
)

// Errors of calls that fail.
var (
	ErrLost    = blob.ErrUnavailable
	ErrRefused = errors.New("refused by the test")
)

// Calls returns how many calls there were.
func (f *Fault) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// do makes a call.
func (f *Fault) do(op, name string, call func() error) error {
	f.mu.Lock()
	n := f.calls
	f.calls++
	outcome := Works
	if f.Fail != nil {
		outcome = f.Fail(n, op, name)
	}
	f.mu.Unlock()
	switch outcome {
	case Fails:
		return &blob.Error{Op: op, Place: f.String(), Name: name, Err: ErrLost}
	case Refuse:
		return &blob.Error{Op: op, Place: f.String(), Name: name, Err: ErrRefused}
	}
	err := call()
	if outcome == Forgot {
		err = &blob.Error{Op: op, Place: f.String(), Name: name, Err: ErrLost}
	}
	return err
}

// Put implements [blob.Store].
func (f *Fault) Put(ctx context.Context, name string, data []byte) error {
	return f.do("put", name, func() error { return f.Store.Put(ctx, name, data) })
}

// GetRange implements [blob.Store].
func (f *Fault) GetRange(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	err = f.do("get", name, func() error {
		data, err = f.Store.GetRange(ctx, name, offset, length)
		return err
	})
	if err != nil {
		data = nil
	}
	return data, err
}

// List implements [blob.Store].
func (f *Fault) List(ctx context.Context, prefix string) (infos []blob.Info, err error) {
	err = f.do("list", prefix, func() error {
		infos, err = f.Store.List(ctx, prefix)
		return err
	})
	return infos, err
}

// Delete implements [blob.Store].
func (f *Fault) Delete(ctx context.Context, name string) error {
	return f.do("delete", name, func() error { return f.Store.Delete(ctx, name) })
}

// Stat implements [blob.Store].
func (f *Fault) Stat(ctx context.Context, name string) (info blob.Info, err error) {
	err = f.do("stat", name, func() error {
		info, err = f.Store.Stat(ctx, name)
		return err
	})
	return info, err
}
