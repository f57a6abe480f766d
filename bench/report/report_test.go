package report

import (
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is a run of three rounds: peer b is faster than a in the second row only.
func sample() *Run {
	r := &Run{Machine: "m", Load: []float64{0.5, 1, 2}}
	r.Row(Heading{Name: "put", Title: "put <1>", Unit: "puts/s", Size: 1})
	r.Row(Heading{Name: "open", Title: "open", Unit: "ms", LowerIsBetter: true, Size: 16})
	r.Row(Heading{Name: "none", Title: "nobody's", Size: 64})
	for _, c := range []string{"a", "b", "unused"} {
		r.Column(Heading{Name: c, Title: "peer " + c})
	}
	for i, v := range []struct{ put, open float64 }{{100, 8}, {4000, 80}, {200, 16}} {
		for _, s := range []Sample{{"put", "a", i + 1, v.put}, {"put", "b", i + 1, v.put / 4}, {"open", "a", i + 1, v.open}, {"open", "b", i + 1, v.open / 2}} {
			r.Add(s)
		}
	}
	return r
}

// A ratio is one of values of the same round, and tells the same whether more or less is
// better.
func TestRatiosAreWithinARound(t *testing.T) {
	r := sample()
	for row, want := range map[int]float64{0: 4, 1: 0.5} {
		if got, ok := r.Ratio(r.Rows[row], "a", "b"); !ok || got != (Spread{want, want, want}) {
			t.Errorf("%s: %v, %v, want %v", r.Rows[row].Name, got, ok, want)
		}
	}
	if got, ok := r.Ratio(r.Rows[0], "a", "unused"); ok {
		t.Errorf("a ratio to a column without samples: %v", got)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   string
	}{
		{[]float64{3, 1, 2}, "2.00 (1.00–3.00)"},
		{[]float64{1_500_000}, "1.50 M"},
		{[]float64{1234, 104_400}, "52.8 k (1234–104 k)"},
		{[]float64{0.0123, 0.5}, "0.256 (0.012–0.500)"},
		{[]float64{0}, "0"},
	} {
		got, ok := SpreadOf(c.values)
		if !ok || got.String() != c.want {
			t.Errorf("%v: %q, want %q", c.values, got, c.want)
		}
	}
	if _, ok := SpreadOf(nil); ok {
		t.Error("nothing has a spread")
	}
}

func TestRatioTable(t *testing.T) {
	var out strings.Builder
	if err := sample().Ratios(&out, "a", "b", "unused", "unknown"); err != nil {
		t.Fatal(err)
	}
	want := "|  | a | ÷ peer b |\n|---|---|---|\n" +
		"| put <1>, puts/s | 200 (100–4000) | 4.00 |\n" +
		"| open, ms | 16.0 (8.00–80.0) | **0.500** |\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// Pieces of a run may measure some rows more often than others.
func TestSettingTellsTheRoundsOfRows(t *testing.T) {
	r := sample()
	r.Add(Sample{"none", "a", 2, 1})
	var out strings.Builder
	if err := r.Setting(&out); err != nil {
		t.Fatal(err)
	}
	if want := "rounds of a row: 1 to 3; load average at the start of a round: 1.00 (0.500–2.00)"; !strings.Contains(out.String(), want) {
		t.Errorf("%q does not contain %q", out.String(), want)
	}
}

// A chart is well-formed XML, and names and marks what was measured.
func TestCharts(t *testing.T) {
	for name, c := range map[string]struct {
		draw  func(*Run, io.Writer) error
		texts []string
		marks int
	}{
		// A mark in the legend, and one for each row.
		"ratios": {func(r *Run, w io.Writer) error { return r.RatioChart(w, "T & t", "a", "b") }, []string{"T & t", "peer b", "put <1>", "open", "1/2", "× 4"}, 3},
		// A mark in the legend and two points for each of two curves.
		"growth": {func(r *Run, w io.Writer) error { return r.GrowthChart(w, "T & t") }, []string{"T & t", "peer a", "peer b", "put <1>"}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := c.draw(sample(), &out); err != nil {
				t.Fatal(err)
			}
			texts, marks := parse(t, out.String())
			for _, want := range c.texts {
				if !slices.Contains(texts, want) {
					t.Errorf("%q is not in %q", want, texts)
				}
			}
			if marks != c.marks {
				t.Errorf("%d marks, want %d", marks, c.marks)
			}
		})
	}
}

// A row in which a peer is ahead has a red title; a limit that is ahead is no peer.
func TestRowsBehindAreRed(t *testing.T) {
	for limit, want := range map[bool]int{false: 1, true: 0} {
		r := sample()
		r.Column(Heading{Name: "b", Title: "peer b", Limit: limit})
		var out strings.Builder
		if err := r.RatioChart(&out, "title", "a", "b"); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), alarm); got != want {
			t.Errorf("limit %v: %d red titles, want %d", limit, got, want)
		}
	}
}

// A ratio beyond the scale stands at its end.
func TestTheScaleHasAnEnd(t *testing.T) {
	r := sample()
	r.Add(Sample{"none", "a", 1, 1000})
	r.Add(Sample{"none", "b", 1, 1})
	_, _, scale := r.ratioLines("a", r.columns([]string{"b"}))
	scale.start, scale.stop = 0, 100
	if scale.low != 0.5 || scale.high != mostTimes || scale.place(1000) != 100 || scale.place(0.5) != 0 {
		t.Errorf("%+v", scale)
	}
}

// parse returns the texts of a chart and the number of its marks.
func parse(t *testing.T, svg string) (texts []string, marks int) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, marks
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.CharData:
			texts = append(texts, string(e))
		case xml.StartElement:
			if e.Name.Local == "circle" || e.Name.Local == "polygon" {
				marks++
			}
		}
	}
}

func TestAChartOfNothing(t *testing.T) {
	if err := new(Run).GrowthChart(io.Discard, "empty"); err == nil {
		t.Error("a chart without samples was drawn")
	}
}

// A run that was saved and loaded goes on with the next round, on this machine alone.
func TestARunGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results", "run.json")
	for want := 1; want <= 2; want++ {
		r, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		round, err := r.Begin()
		if err != nil || round != want {
			t.Fatalf("round %d, %v, want %d", round, err, want)
		}
		r.Row(Heading{Name: "put", Title: "put"})
		r.Add(Sample{"put", "a", round, float64(want)})
		if err := r.Save(file); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := r.Cell("put", "a"); !ok || got != (Spread{1.5, 1, 2}) || len(r.Rows) != 1 {
		t.Errorf("%v, %v, %d rows", got, ok, len(r.Rows))
	}
	r.Machine = "another"
	if _, err := r.Begin(); err == nil {
		t.Error("rounds of two machines were mixed")
	}
}
