package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/template"
)

// chart is an SVG under construction.
type chart struct {
	Width, Height int
	body          strings.Builder
}

var frame = template.Must(template.New("frame").Parse(
	`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" viewBox="0 0 {{.Width}} {{.Height}}" font-family="Helvetica, Arial, sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
{{.Body}}</svg>
`))

func (c *chart) write(w io.Writer) error {
	return frame.Execute(w, struct {
		Width, Height int
		Body          string
	}{c.Width, c.Height, c.body.String()})
}

// text writes a line of text. The anchor is start, middle or end.
func (c *chart) text(x, y float64, anchor, color, s string) {
	fmt.Fprintf(&c.body, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, color, template.HTMLEscapeString(s))
}

func (c *chart) line(x1, y1, x2, y2 float64, color string, width float64) {
	fmt.Fprintf(&c.body, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%g"/>`+"\n", x1, y1, x2, y2, color, width)
}

// mark draws the mark of the n-th series, so that two series differ in shape and color.
func (c *chart) mark(n int, x, y float64) {
	color, r := series[n%len(series)], 4.5
	at := func(points ...float64) string {
		var s strings.Builder
		for i := 0; i < len(points); i += 2 {
			fmt.Fprintf(&s, "%.1f,%.1f ", x+points[i]*r, y+points[i+1]*r)
		}
		return strings.TrimSpace(s.String())
	}
	switch n % 4 {
	case 0:
		fmt.Fprintf(&c.body, `<circle cx="%.1f" cy="%.1f" r="%g" fill="%s"/>`+"\n", x, y, r, color)
	case 1:
		fmt.Fprintf(&c.body, `<polygon points="%s" fill="%s"/>`+"\n", at(-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9), color)
	case 2:
		fmt.Fprintf(&c.body, `<polygon points="%s" fill="%s"/>`+"\n", at(0, -1.2, 1.1, 0.9, -1.1, 0.9), color)
	default:
		fmt.Fprintf(&c.body, `<polygon points="%s" fill="%s"/>`+"\n", at(0, -1.3, 1.3, 0, 0, 1.3, -1.3, 0), color)
	}
}

// legend writes the names of series from x on, in as many lines as they need, and returns
// the height of the last one.
func (c *chart) legend(x, y float64, names []string) float64 {
	left := x
	for i, name := range names {
		width := 24 + 7*float64(len([]rune(name)))
		if left+width > float64(c.Width) && left > x {
			left, y = x, y+18
		}
		c.mark(i, left+6, y-4)
		c.text(left+16, y, "start", ink, name)
		left += width
	}
	return y
}

const (
	ink   = "#222222"
	faint = "#dddddd"
	alarm = "#b00020"
)

// series are colors that people with any kind of color vision can tell apart (Okabe and Ito).
var series = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a5195", "#555555"}

// axis is a logarithmic scale from a value at one end to a value at the other.
type axis struct {
	low, high   float64 // values
	start, stop float64 // places
}

func (a axis) place(v float64) float64 {
	v = min(max(v, a.low), a.high)
	if a.low == a.high {
		return a.start
	}
	return a.start + (a.stop-a.start)*math.Log(v/a.low)/math.Log(a.high/a.low)
}

// ticks are the powers of a base on the axis.
func (a axis) ticks(base float64) (ticks []float64) {
	first := math.Ceil(math.Log(a.low)/math.Log(base) - 1e-9)
	for v := math.Pow(base, first); v <= a.high*1.0001; v *= base {
		ticks = append(ticks, v)
	}
	return ticks
}

// times writes a ratio as a label of an axis.
func times(v float64) string {
	if v < 1 {
		return "1/" + strconv.FormatFloat(1/v, 'f', 0, 64)
	}
	return "× " + strconv.FormatFloat(v, 'f', 0, 64)
}
