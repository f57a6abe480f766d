package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Values writes the medians of all cells with their least and greatest values.
func (r *Run) Values(w io.Writer) error {
	t := table{head: []string{""}}
	for _, c := range r.Columns {
		t.head = append(t.head, named(c))
	}
	for _, row := range r.Rows {
		cells := []string{named(row)}
		for _, c := range r.Columns {
			cells = append(cells, cell(r.Cell(row.Name, c.Name)))
		}
		t.add(cells)
	}
	return t.write(w)
}

// Ratios writes a column's values and how many times as good as each of the others it is. A
// ratio below 1 is bold: the column is behind.
func (r *Run) Ratios(w io.Writer, column string, names ...string) error {
	t := table{head: []string{"", column}}
	others := r.columns(names)
	for _, c := range others {
		t.head = append(t.head, "÷ "+c.Title)
	}
	for _, row := range r.Rows {
		own, ok := r.Cell(row.Name, column)
		if !ok {
			continue
		}
		cells := []string{named(row), own.String()}
		for _, c := range others {
			ratio, ok := r.Ratio(row, column, c.Name)
			text := cell(ratio, ok)
			if ok && ratio.Median < 1 {
				text = "**" + text + "**"
			}
			cells = append(cells, text)
		}
		t.add(cells)
	}
	return t.write(w)
}

// columns returns the columns of some names that there are, in the order of the names.
func (r *Run) columns(names []string) (columns []Heading) {
	for _, name := range names {
		if i := slices.IndexFunc(r.Columns, func(c Heading) bool { return c.Name == name }); i >= 0 {
			columns = append(columns, r.Columns[i])
		}
	}
	return columns
}

// Setting writes a sentence on the machine, the date and the rounds.
func (r *Run) Setting(w io.Writer) error {
	load, _ := SpreadOf(r.Load)
	rounds, _ := SpreadOf(r.roundsOfRows())
	_, err := fmt.Fprintf(w, "%s; %s; rounds of a row: %.0f to %.0f; load average at the start of a round: %s.\n",
		r.Machine, r.Date.Format("2 January 2006"), rounds.Least, rounds.Greatest, load)
	return err
}

// roundsOfRows returns the number of rounds in which each row was measured.
func (r *Run) roundsOfRows() (counts []float64) {
	rounds := make(map[string]map[int]bool)
	for _, s := range r.Samples {
		if rounds[s.Row] == nil {
			rounds[s.Row] = make(map[int]bool)
		}
		rounds[s.Row][s.Round] = true
	}
	for _, of := range rounds {
		counts = append(counts, float64(len(of)))
	}
	return counts
}

func named(h Heading) string {
	if h.Unit == "" {
		return h.Title
	}
	return h.Title + ", " + h.Unit
}

func cell(s Spread, ok bool) string {
	if !ok {
		return "–"
	}
	return s.String()
}

// table is a Markdown table. Rows and columns without a value are left out.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells []string) {
	if slices.ContainsFunc(cells[1:], func(c string) bool { return c != "–" }) {
		t.rows = append(t.rows, cells)
	}
}

func (t *table) write(w io.Writer) error {
	var used []int
	for i := range t.head {
		if i == 0 || slices.ContainsFunc(t.rows, func(r []string) bool { return r[i] != "–" }) {
			used = append(used, i)
		}
	}
	var out strings.Builder
	line := func(cells []string) {
		for _, i := range used {
			out.WriteString("| " + cells[i] + " ")
		}
		out.WriteString("|\n")
	}
	line(t.head)
	out.WriteString(strings.Repeat("|---", len(used)) + "|\n")
	for _, r := range t.rows {
		line(r)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
