package main

import (
	"fmt"
	"html/template"
	"slices"
)

// An extent is a parameter of a key over which figures are drawn.
type extent struct {
	name  string
	value func(*key) *int
}

var extents = []extent{
	{"bytes in a command", func(k *key) *int { return &k.Payload }},
	{"clients", func(k *key) *int { return &k.Clients }},
	{"servers", func(k *key) *int { return &k.Servers }},
	{"entries in the log", func(k *key) *int { return &k.Entries }},
	{"MiB of state", func(k *key) *int { return &k.State }},
	{"groups", func(k *key) *int { return &k.Groups }},
}

// Sizes of a chart of a strip in pixels.
const stripWidth, stripHeight = 320, 215

// A strip is a row of charts of one figure over one extent. The charts differ in the other
// parameters that were varied, and have the same axes.
type strip struct {
	Title   string
	Figures []figure
}

// A scale is all strips over one extent.
type scale struct {
	Name   string
	Strips []strip
}

// scales draws figures of the cells over every extent of which there are at least two values.
func scales(results []result) []scale {
	var all []scale
	for _, e := range extents {
		s := scale{Name: e.name}
		for _, c := range allCells() {
			for _, mode := range []Mode{onDisk, inMemory} {
				own := slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.Cell != c.name || r.Mode != mode })
				for _, name := range c.drawn {
					if figures := e.draw(own, c.column(name)); len(figures) > 0 {
						title := fmt.Sprintf("%s, mode %s: %s", c.name, mode, c.column(name).title)
						s.Strips = append(s.Strips, strip{title, figures})
					}
				}
			}
		}
		if len(s.Strips) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// draw draws a figure of a cell over the extent. There is a chart for each set of keys that differ
// in the extent alone, and in it a line for each peer, of the medians.
func (e extent) draw(results []result, col column) []figure {
	alike := func(k key) key { *e.value(&k) = 0; return k }
	families := distinct(results, func(r result) key { return alike(r.key) })
	slices.SortFunc(families, key.compare)
	var charts []chart
	var titles []string
	var frame []point // all points, so that all charts have the same axes
	var ticks []float64
	for _, family := range families {
		own := slices.DeleteFunc(slices.Clone(results), func(r result) bool { return alike(r.key) != family })
		c := chart{xTitle: e.name, yTitle: col.title, width: stripWidth, height: stripHeight}
		values := make(map[float64]bool)
		for _, peer := range peersOf(own) {
			l := e.line(own, peer, col)
			for _, p := range l.points {
				values[p.x] = true
			}
			c.lines = append(c.lines, l)
		}
		if len(values) < 2 {
			continue
		}
		for v := range values {
			ticks = append(ticks, v)
		}
		for _, l := range c.lines {
			frame = append(frame, l.points...)
		}
		charts, titles = append(charts, c), append(titles, family.conditions())
	}
	slices.Sort(ticks)
	ticks = slices.Compact(ticks)
	var figures []figure
	for i, c := range charts {
		c.frame, c.xTicks = frame, ticks
		figures = append(figures, figure{Title: titles[i], SVG: template.HTML(c.svg())})
	}
	return figures
}

// line returns the line of a peer.
func (e extent) line(family []result, peer string, col column) line {
	l := line{colour: string(colourOf(peer).Colour)}
	for _, k := range keysOf(family) {
		if y := median(ofPeer(ofKey(family, k), peer), col.name); y != nil {
			x := *e.value(&k)
			hint := fmt.Sprintf("%s, %d %s: %s %s", peer, x, e.name, col.text(y), col.title)
			l.points = append(l.points, point{x: float64(x), y: *y, hint: hint})
		}
	}
	return l
}
