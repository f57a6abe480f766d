//go:build linux

package workload

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// faults are what a store may do wrong.
type faults struct {
	loses    bool // puts of single keys
	stale    bool // gets: the first value of each key
	confuses bool // gets: the value of another key
	invents  bool // gets: a value for a key that was never put
	skips    bool // listings: one key
	repeats  bool // listings: one key
}

// memoryStore keeps a map for each directory, in which it makes a file, for the steps that look
// at the disk.
type memoryStore struct {
	faults
	mu     sync.Mutex
	stores map[string]map[string][]byte
}

type memoryEngine struct {
	*memoryStore
	values map[string][]byte
}

func (s *memoryStore) open(dir string) (Engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stores[dir] == nil {
		s.stores[dir] = make(map[string][]byte)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "data"), make([]byte, 4096), 0o600); err != nil {
			return nil, err
		}
	}
	return &memoryEngine{s, s.stores[dir]}, nil
}

func (e *memoryEngine) put(key string, value []byte) {
	if _, old := e.values[key]; old && e.stale {
		return
	}
	e.values[key] = value
}

func (e *memoryEngine) Put(key string, value []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.loses {
		e.put(key, value)
	}
	return nil
}

func (e *memoryEngine) PutAll(keys []string, values [][]byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, key := range keys {
		e.put(key, values[i])
	}
	return nil
}

func (e *memoryEngine) Get(key string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	value, ok := e.values[key]
	switch {
	case ok && e.confuses:
		return Value(4711, 0), nil
	case !ok && e.invents:
		return []byte{}, nil
	}
	return value, nil
}

func (e *memoryEngine) Keys(fn func(key []byte)) error {
	e.mu.Lock()
	keys := slices.Sorted(maps.Keys(e.values))
	e.mu.Unlock()
	if e.skips {
		keys = keys[1:]
	}
	if e.repeats {
		keys = append(keys, keys[0])
	}
	for _, key := range keys {
		fn([]byte(key))
	}
	return nil
}

func (e *memoryEngine) Close() error { return nil }

// rows runs all steps and returns the rows that were reported, and for each step that failed
// its error.
func (s *memoryStore) rows(t *testing.T) (rows []string, failed map[string]error) {
	t.Helper()
	s.stores, failed = make(map[string]map[string][]byte), make(map[string]error)
	j := &job{
		Setting: Setting{Kind: Embedded, Keys: 2500, DiskKeys: 100, Time: time.Millisecond},
		peer:    Peer{Name: "memory", Kind: Embedded, Open: s.open},
		dir:     t.TempDir(),
		report:  func(row string, value float64) { rows = append(rows, row) },
	}
	for _, step := range Steps(j.Setting) {
		if err := step.run(j); err != nil {
			failed[step.Name] = err
		}
	}
	return rows, failed
}

// Every step reports its rows, in their order.
func TestStepsReportTheirRows(t *testing.T) {
	rows, failed := new(memoryStore).rows(t)
	if len(failed) > 0 {
		t.Fatal(failed)
	}
	var want []string
	for _, step := range Steps(Setting{Kind: Embedded}) {
		for _, row := range step.Rows {
			want = append(want, row.Name)
		}
	}
	if !slices.Equal(rows, want) {
		t.Errorf("reported %q, want %q", rows, want)
	}
}

// A step that was asked for runs after the steps that it needs.
func TestChosenStepsHaveWhatTheyNeed(t *testing.T) {
	for _, c := range []struct{ words, want []string }{
		{[]string{"put-1"}, []string{"put-1", "put-16"}},
		{[]string{"list", "get"}, []string{"load", "get", "list"}},
		{[]string{"open-killed"}, []string{"load", "die", "open-killed"}},
		{[]string{"unknown"}, nil},
	} {
		var names []string
		for _, step := range Choose(Steps(Setting{Kind: Embedded}), c.words) {
			names = append(names, step.Name)
		}
		if !slices.Equal(names, c.want) {
			t.Errorf("%q: steps %q, want %q", c.words, names, c.want)
		}
	}
}

// A store that does not do the work is noticed.
func TestFaultsAreNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		faults
		steps []string // that fail, perhaps among others
	}{
		"loses":    {faults{loses: true}, []string{"put-1", "put-256", "open-killed"}},
		"stale":    {faults{stale: true}, []string{"open-killed", "disk"}},
		"confuses": {faults{confuses: true}, []string{"put-16", "load", "get", "memory", "open", "disk"}},
		"invents":  {faults{invents: true}, []string{"put-64", "load", "open"}},
		"skips":    {faults{skips: true}, []string{"list", "memory"}},
		"repeats":  {faults{repeats: true}, []string{"list", "memory"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &memoryStore{faults: c.faults}
			_, failed := s.rows(t)
			for _, step := range c.steps {
				if failed[step] == nil {
					t.Errorf("%s noticed nothing", step)
				}
			}
		})
	}
}

func TestKeysAndValues(t *testing.T) {
	seen := make(map[string]bool)
	for n := range 100_000 {
		if key := Key(n); len(key) != keySize || seen[key] {
			t.Fatalf("key %d: %q", n, key)
		} else {
			seen[key] = true
		}
	}
	if v := Value(7, 3); check(v, 7, 3) != nil || check(v, 7, 2) == nil || check(v, 8, 3) == nil || check(v[:127], 7, 3) == nil {
		t.Error("a value is not told from others")
	}
	damaged := Value(7, 3)
	damaged[valueSize-1] ^= 1
	if check(damaged, 7, 3) == nil {
		t.Error("the last byte is not compared")
	}
}
