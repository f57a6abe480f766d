package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Spread is the median of some values, the least and the greatest.
type Spread struct{ Median, Least, Greatest float64 }

// SpreadOf returns the spread of values; ok is false if there are none.
func SpreadOf(values []float64) (s Spread, ok bool) {
	if len(values) == 0 {
		return Spread{}, false
	}
	v := slices.Sorted(slices.Values(values))
	return Spread{(v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[0], v[len(v)-1]}, true
}

// Cell returns the spread of a cell over the rounds.
func (r *Run) Cell(row, column string) (Spread, bool) {
	return SpreadOf(slices.Collect(maps.Values(r.values(row, column))))
}

// Ratio returns how many times as good as the other column a column is: above 1 it is
// better, whether less or more is better in the row.
func (r *Run) Ratio(row Heading, column, other string) (Spread, bool) {
	theirs := r.values(row.Name, other)
	var ratios []float64
	for round, ours := range r.values(row.Name, column) {
		t, ok := theirs[round]
		switch {
		case !ok || t <= 0 || ours <= 0:
		case row.LowerIsBetter:
			ratios = append(ratios, t/ours)
		default:
			ratios = append(ratios, ours/t)
		}
	}
	return SpreadOf(ratios)
}

// short writes a number with three significant digits at most, and k or M for thousands and
// millions.
func short(v float64) string {
	switch {
	case v >= 999_500:
		return digits(v/1e6) + " M"
	case v >= 9_995:
		return digits(v/1e3) + " k"
	}
	return digits(v)
}

func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', min(decimals, 3), 64)
}

// String is "median (least–greatest)", without the range if it has one value.
func (s Spread) String() string {
	if s.Least == s.Greatest {
		return short(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", short(s.Median), short(s.Least), short(s.Greatest))
}
