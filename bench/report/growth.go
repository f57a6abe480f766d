package report

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// GrowthChart draws a curve for each column over the sizes of the rows. Both scales are
// logarithmic, and a curve shows the multiple of its first value: where it bends, the cost
// of one more begins to grow. The title stands above the chart.
func (r *Run) GrowthChart(w io.Writer, title string) error {
	curves, sizes, scale := r.curves()
	if len(curves) == 0 {
		return fmt.Errorf("%s: nothing was measured", title)
	}
	c := &chart{Width: 720}
	var names []string
	for _, curve := range curves {
		names = append(names, curve.name)
	}
	c.text(16, 24, "start", ink, title)
	top := c.legend(16, 48, names) + 24
	sizes.start, sizes.stop = 70, float64(c.Width-40)
	scale.start, scale.stop = top+260, top
	c.Height = int(scale.start) + 40
	for _, v := range scale.ticks(2) {
		color := faint
		if v == 1 {
			color = ink
		}
		c.line(sizes.start, scale.place(v), sizes.stop, scale.place(v), color, 1)
		c.text(sizes.start-8, scale.place(v)+4, "end", ink, times(v))
	}
	for _, row := range r.Rows {
		x := sizes.place(row.Size)
		c.line(x, scale.stop, x, scale.start, faint, 1)
		c.text(x, scale.start+18, "middle", ink, row.Title)
	}
	for n, curve := range curves {
		var points strings.Builder
		for _, p := range curve.points {
			fmt.Fprintf(&points, "%.1f,%.1f ", sizes.place(p[0]), scale.place(p[1]))
			c.mark(n, sizes.place(p[0]), scale.place(p[1]))
		}
		fmt.Fprintf(&c.body, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n",
			strings.TrimSpace(points.String()), series[n%len(series)])
	}
	return c.write(w)
}

// curve is a column: its size and its multiple of the first value at each point.
type curve struct {
	name   string
	points [][2]float64
}

// curves returns the curves and the two scales.
func (r *Run) curves() (curves []curve, sizes, scale axis) {
	sizes = axis{low: math.Inf(1), high: 0}
	scale = axis{low: 0.5, high: 2}
	for _, column := range r.Columns {
		k, first := curve{name: named(column)}, 0.0
		for _, row := range r.Rows {
			s, ok := r.Cell(row.Name, column.Name)
			if !ok || s.Median <= 0 {
				continue
			}
			if first == 0 {
				first = s.Median
			}
			k.points = append(k.points, [2]float64{row.Size, s.Median / first})
			sizes.low, sizes.high = min(sizes.low, row.Size), max(sizes.high, row.Size)
			scale.low, scale.high = min(scale.low, s.Median/first), max(scale.high, s.Median/first)
		}
		if len(k.points) > 0 {
			curves = append(curves, k)
		}
	}
	scale.low = math.Exp2(math.Floor(math.Log2(scale.low)))
	scale.high = math.Exp2(math.Ceil(math.Log2(scale.high)))
	return curves, sizes, scale
}
