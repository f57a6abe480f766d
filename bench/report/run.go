package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Run is what a measurement brought. Its JSON form is the file that it is kept in.
type Run struct {
	Machine string    // what it ran on
	Date    time.Time // of the last round
	Load    []float64 // load average of a minute at the start of each round
	Rows    []Heading
	Columns []Heading
	Samples []Sample
}

// Heading tells of a row or a column.
type Heading struct {
	Name          string  // what samples call it
	Title         string  // what readers see
	Unit          string  `json:",omitempty"`
	LowerIsBetter bool    `json:",omitempty"`
	Size          float64 `json:",omitempty"` // of a row of a growth
	Version       string  `json:",omitempty"` // of a peer
	Limit         bool    `json:",omitempty"` // no peer, but what none can pass
}

// Sample is one measured value.
type Sample struct {
	Row, Column string
	Round       int // from 1
	Value       float64
}

// Load reads a run from a file. If there is no file, the run is empty.
func Load(name string) (*Run, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Run{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(Run)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// Save writes the run to a file, and makes its directory if it is missing.
func (r *Run) Save(name string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

// Begin starts a round on this machine, and returns its number. A run that has rounds of
// another machine is refused.
func (r *Run) Begin() (round int, err error) {
	here, err := machine()
	if err != nil {
		return 0, err
	}
	if r.Machine != "" && r.Machine != here {
		return 0, fmt.Errorf("the earlier rounds are from another machine: %s", r.Machine)
	}
	load, err := loadAverage()
	if err != nil {
		return 0, err
	}
	r.Machine, r.Date, r.Load = here, time.Now().UTC().Truncate(time.Minute), append(r.Load, load)
	return len(r.Load), nil
}

// Row adds a row, or replaces what is known of it.
func (r *Run) Row(h Heading) { r.Rows = put(r.Rows, h) }

// Column adds a column, or replaces what is known of it.
func (r *Run) Column(h Heading) { r.Columns = put(r.Columns, h) }

func put(list []Heading, h Heading) []Heading {
	if i := slices.IndexFunc(list, func(old Heading) bool { return old.Name == h.Name }); i >= 0 {
		list[i] = h
		return list
	}
	return append(list, h)
}

// Add adds a sample.
func (r *Run) Add(s Sample) { r.Samples = append(r.Samples, s) }

// values returns the samples of a cell by round.
func (r *Run) values(row, column string) map[int]float64 {
	found := make(map[int]float64)
	for _, s := range r.Samples {
		if s.Row == row && s.Column == column {
			found[s.Round] = s.Value
		}
	}
	return found
}

// Rounds is the number of rounds.
func (r *Run) Rounds() int { return len(r.Load) }
