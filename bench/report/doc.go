// Package report turns the samples of a measurement into Markdown tables and SVG charts.
//
// A [Run] is a grid: samples of rows and columns, one of each in every round. For a
// comparison the rows are kinds of work and the columns are peers; [Ratios], [Values] and
// [RatioChart] show it. For the growth of costs the rows are sizes and the columns are what
// was measured; [Values] and [GrowthChart] show it.
//
// All figures are medians over the rounds. A ratio is the median of the ratios within the
// rounds, because the speed of a machine changes between them.
package report
