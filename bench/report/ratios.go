package report

import (
	"io"
	"math"
)

// RatioChart draws how many times as good as each of the others a column is: a line for each
// row, a mark for each other column, on a logarithmic scale. Rows in which the column is
// behind a peer have a red title. The title stands above the chart. Ratios of more than 64
// stand at the end of the scale.
func (r *Run) RatioChart(w io.Writer, title, column string, others ...string) error {
	const left, right, lineHeight = 250, 40, 22
	lines, names, scale := r.ratioLines(column, r.columns(others))
	c := &chart{Width: 900}
	c.text(16, 24, "start", ink, title)
	top := c.legend(16, 48, names) + 40
	bottom := top + float64(lineHeight*len(lines))
	c.Height = int(bottom) + 16
	scale.start, scale.stop = left, float64(c.Width-right)
	for _, v := range scale.ticks(2) {
		color, width := faint, 1.0
		if v == 1 {
			color, width = ink, 1.5
		}
		c.line(scale.place(v), top-14, scale.place(v), bottom, color, width)
		c.text(scale.place(v), top-20, "middle", ink, times(v))
	}
	for i, l := range lines {
		y := top + (float64(i)+0.3)*lineHeight
		color := ink
		if l.behind {
			color = alarm
		}
		c.line(left, y, scale.stop, y, faint, 0.5)
		c.text(left-12, y+4, "end", color, l.title)
		for n, v := range l.ratios {
			if v > 0 {
				c.mark(n, scale.place(v), y)
			}
		}
	}
	return c.write(w)
}

// mostTimes is the greatest ratio of a scale.
const mostTimes = 64

// ratioLine is a row of the chart: a ratio for each series, 0 where there is none.
type ratioLine struct {
	title    string
	ratios   []float64
	measured bool // there is a ratio
	behind   bool // a peer, not only a limit
}

// ratioLines returns the lines, the names of the series, and a scale of powers of two that
// has room for every ratio up to mostTimes; what is beyond stands at the end of the scale.
func (r *Run) ratioLines(column string, others []Heading) (lines []ratioLine, names []string, scale axis) {
	scale = axis{low: 0.5, high: 2}
	for _, c := range others {
		names = append(names, c.Title)
	}
	for _, row := range r.Rows {
		l := ratioLine{title: row.Title, ratios: make([]float64, len(others))}
		for n, c := range others {
			if ratio, ok := r.Ratio(row, column, c.Name); ok {
				l.ratios[n], l.measured = ratio.Median, true
				l.behind = l.behind || ratio.Median < 1 && !c.Limit
				scale.low, scale.high = min(scale.low, ratio.Median), max(scale.high, ratio.Median)
			}
		}
		if l.measured {
			lines = append(lines, l)
		}
	}
	scale.low = max(1/mostTimes, math.Exp2(math.Floor(math.Log2(scale.low))))
	scale.high = min(mostTimes, math.Exp2(math.Ceil(math.Log2(scale.high))))
	return lines, names, scale
}
