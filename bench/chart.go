package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A chart has lines over two logarithmic axes, and is drawn as SVG.
type chart struct {
	xTitle, yTitle string
	lines          []line
	width, height  int       // in pixels; 0 stands for a large one
	frame          []point   // points that the axes span besides those of the lines
	xTicks         []float64 // the values that are marked below the chart; nil stands for round values
}

// A line is a row of points. Points with a value that isn't positive have no place on the axes, and
// are left out.
type line struct {
	colour string
	dashed bool
	points []point
}

// A point may have a label, which is shown beside it, and a hint, which is shown when the mouse
// points at it.
type point struct {
	x, y        float64
	label, hint string
}

// Sizes in pixels: of a chart that names no size, and of the margins around the lines.
const (
	chartWidth, chartHeight = 460, 320
	chartLeft, chartRight   = 58, 22
	chartTop, chartBottom   = 14, 42
)

// An axis maps values to pixels.
type axis struct{ low, high, from, to float64 }

// newAxis returns an axis that spans the values, with some room at both ends.
func newAxis(values []float64, from, to float64) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if low > high {
		low, high = 1, 10
	}
	return axis{math.Log10(low / 1.25), math.Log10(high * 1.25), from, to}
}

func (a axis) at(v float64) float64 {
	return a.from + (math.Log10(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

// ticks returns round values on the axis: powers of ten, and values between them when there are
// few.
func (a axis) ticks() []float64 {
	steps := []float64{1, 2, 5}
	if a.high-a.low > 2.5 {
		steps = []float64{1}
	}
	var ticks []float64
	for e := math.Floor(a.low); e <= a.high; e++ {
		for _, s := range steps {
			if l := e + math.Log10(s); l >= a.low && l <= a.high {
				ticks = append(ticks, s*math.Pow(10, e))
			}
		}
	}
	return ticks
}

// short prints a value with a unit of thousands or millions.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3gk", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}

// mark prints a value below an axis. A small whole number is printed exactly.
func mark(v float64) string {
	if v < 1e4 && v == math.Trunc(v) {
		return fmt.Sprint(int(v))
	}
	return short(v)
}

// svg draws the chart, for a page.
func (c chart) svg() string {
	if c.width == 0 {
		c.width, c.height = chartWidth, chartHeight
	}
	return fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-label="%s over %s">%s</svg>`,
		c.width, c.height, html.EscapeString(c.yTitle), html.EscapeString(c.xTitle), c.draw())
}

// draw draws the contents of the chart.
func (c chart) draw() string {
	var xs, ys []float64
	for _, p := range c.frame {
		if p.x > 0 && p.y > 0 {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	for i := range c.lines {
		var kept []point
		for _, p := range c.lines[i].points {
			if p.x > 0 && p.y > 0 {
				kept = append(kept, p)
				xs, ys = append(xs, p.x), append(ys, p.y)
			}
		}
		c.lines[i].points = kept
	}
	right, bottom := c.width-chartRight, c.height-chartBottom
	x := newAxis(xs, chartLeft, float64(right))
	y := newAxis(ys, float64(bottom), chartTop)
	xTicks, text := c.xTicks, mark
	if xTicks == nil {
		xTicks, text = x.ticks(), short
	}
	var b strings.Builder
	for _, v := range xTicks {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x.at(v), x.at(v), chartTop, bottom)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x.at(v), bottom+15, text(v))
	}
	for _, v := range y.ticks() {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, chartLeft, right, y.at(v), y.at(v))
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`, chartLeft-5, y.at(v)+4, short(v))
	}
	fmt.Fprintf(&b, `<text class="title" x="%d" y="%d" text-anchor="middle">%s</text>`, (chartLeft+right)/2, c.height-8, html.EscapeString(c.xTitle))
	fmt.Fprintf(&b, `<text class="title" transform="translate(12 %d) rotate(-90)" text-anchor="middle">%s</text>`, (chartTop+bottom)/2, html.EscapeString(c.yTitle))
	for _, l := range c.lines {
		l.draw(&b, x, y)
	}
	return b.String()
}

// draw draws one line.
func (l line) draw(b *strings.Builder, x, y axis) {
	dash, radius := "", 3.0
	if l.dashed {
		dash, radius = ` stroke-dasharray="3 4" opacity="0.6"`, 0
	}
	if len(l.points) > 1 {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.6"%s points="`, l.colour, dash)
		for _, p := range l.points {
			fmt.Fprintf(b, "%.1f,%.1f ", x.at(p.x), y.at(p.y))
		}
		b.WriteString(`"/>`)
	}
	for _, p := range l.points {
		if radius > 0 && (p.hint != "" || len(l.points) == 1) {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"><title>%s</title></circle>`, x.at(p.x), y.at(p.y), radius, l.colour, html.EscapeString(p.hint))
		}
		if p.label != "" {
			fmt.Fprintf(b, `<text class="point" x="%.1f" y="%.1f" fill="%s">%s</text>`, x.at(p.x)+5, y.at(p.y)-5, l.colour, html.EscapeString(p.label))
		}
	}
}
