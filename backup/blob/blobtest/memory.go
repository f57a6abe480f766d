package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kvd/backup/blob"
)

// Memory is a store in memory, with a clock that a test can move.
type Memory struct {
	// Careless lets a put replace an object.
	Careless bool

	mu      sync.Mutex
	now     time.Time
	objects map[string]object
}

type object struct {
	data     []byte
	modified time.Time
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{now: time.Unix(1_800_000_000, 0).UTC(), objects: make(map[string]object)}
}

// Advance moves the clock.
func (m *Memory) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// Clone returns a copy of the store.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{Careless: m.Careless, now: m.now, objects: make(map[string]object)}
	for name, o := range m.objects {
		c.objects[name] = object{bytes.Clone(o.data), o.modified}
	}
	return c
}

// Change replaces the bytes of an object by what change returns; nil removes it.
func (m *Memory) Change(name string, change func(data []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.objects[name]
	if o.data = change(bytes.Clone(o.data)); o.data == nil {
		delete(m.objects, name)
	} else {
		m.objects[name] = o
	}
}

func (m *Memory) String() string { return "memory" }

// Put implements [blob.Store].
func (m *Memory) Put(ctx context.Context, name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := errors.Join(ctx.Err(), blob.CheckPut(name, data))
	if old, ok := m.objects[name]; err == nil && ok && !m.Careless {
		if !bytes.Equal(old.data, data) {
			err = blob.ErrExists
		}
	} else if err == nil {
		m.objects[name] = object{append([]byte{}, data...), m.now}
	}
	return memoryError("put", name, err)
}

// GetRange implements [blob.Store].
func (m *Memory) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := errors.Join(ctx.Err(), blob.CheckRange(name, offset, length))
	o, ok := m.objects[name]
	switch {
	case err != nil:
	case !ok:
		err = blob.ErrNotFound
	case offset+length > int64(len(o.data)):
		err = fmt.Errorf("%w: it has %d bytes", blob.ErrRange, len(o.data))
	default:
		return bytes.Clone(o.data[offset : offset+length]), nil
	}
	return nil, memoryError("get", name, err)
}

// List implements [blob.Store].
func (m *Memory) List(ctx context.Context, prefix string) ([]blob.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(ctx.Err(), blob.CheckPrefix(prefix)); err != nil {
		return nil, memoryError("list", prefix, err)
	}
	var infos []blob.Info
	for name, o := range m.objects {
		if strings.HasPrefix(name, prefix) {
			infos = append(infos, blob.Info{Name: name, Size: int64(len(o.data)), Modified: o.modified})
		}
	}
	slices.SortFunc(infos, func(a, b blob.Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// Delete implements [blob.Store].
func (m *Memory) Delete(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := errors.Join(ctx.Err(), blob.CheckName(name))
	if err == nil {
		delete(m.objects, name)
	}
	return memoryError("delete", name, err)
}

// Stat implements [blob.Store].
func (m *Memory) Stat(ctx context.Context, name string) (blob.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := errors.Join(ctx.Err(), blob.CheckName(name))
	o, ok := m.objects[name]
	if err == nil && !ok {
		err = blob.ErrNotFound
	}
	return blob.Info{Name: name, Size: int64(len(o.data)), Modified: o.modified}, memoryError("stat", name, err)
}

func memoryError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &blob.Error{Op: op, Place: "memory", Name: name, Err: err}
}
