package main

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

// pageTemplate is the page, which needs no other file.
var pageTemplate = template.Must(template.New("page").Parse(pageText))

// A page has what the template shows.
type page struct {
	Date, Machine string
	Peers         []legend
	Sweeps        []figure // latency against throughput
	Scales        []scale
	Groups        []tableGroup
}

// A legend is a peer's name and colour.
type legend struct {
	Name   string
	Colour template.CSS
	Floor  bool
}

// A figure is a chart with a title.
type figure struct {
	Title string
	SVG   template.HTML
}

// A tableGroup has the tables of a cell.
type tableGroup struct {
	Name, About string
	Tables      []table
}

// A table has the results of a key.
type table struct {
	Title   string
	Columns []string
	Rows    []row
	Without []string // peers without figures, and the reasons
	Chart   template.HTML
}

// A row has the values of a peer.
type row struct {
	Peer   legend
	Values []value
}

// A value is a median with its spread, its ratio to the best other peer, and the length of its bar
// in percent.
type value struct {
	Median, Spread, Ratio string
	Bar                   float64
	Best                  bool
}

// peerColours are the colours of the peers, in the order of allPeers.
var peerColours = []string{"#d6336c", "#1c7ed6", "#4dabf7", "#3b5bdb", "#2f9e44", "#82c91e", "#e8590c", "#f59f00", "#868e96"}

// colourOf returns a peer's legend.
func colourOf(peer string) legend {
	i := slices.Index(peerNames(), peer)
	return legend{Name: peer, Colour: template.CSS(peerColours[max(i, 0)%len(peerColours)]), Floor: peer == floorName}
}

// writeHTMLFile writes the page into a file.
func writeHTMLFile(name string, results []result) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(writeHTML(w, results), w.Flush(), f.Close())
}

// writeHTML writes a page with all results.
func writeHTML(w io.Writer, results []result) error {
	p := page{
		Date:    time.Now().Format("2006-01-02"),
		Machine: thisMachine(),
		Scales:  scales(results),
	}
	for _, s := range sweeps(results) {
		p.Sweeps = append(p.Sweeps, figure{Title: s.title, SVG: template.HTML(s.chart.svg())})
	}
	for _, name := range peersOf(results) {
		p.Peers = append(p.Peers, colourOf(name))
	}
	for _, c := range allCells() {
		g := tableGroup{Name: c.name, About: c.about}
		for _, k := range keysOf(results) {
			if k.Cell == c.name {
				g.Tables = append(g.Tables, newTable(c, k, ofKey(results, k)))
			}
		}
		if len(g.Tables) > 0 {
			p.Groups = append(p.Groups, g)
		}
	}
	return pageTemplate.Execute(w, p)
}

// thisMachine describes the machine on which the program runs.
func thisMachine() string {
	return fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}

// A sweep is a chart of latency against throughput.
type sweep struct {
	title string
	chart chart
}

// sweeps draws latency against throughput. There is a chart for each set of keys that differ only
// in the number of clients or in the rate, and in it two lines for each peer, of the medians.
func sweeps(results []result) []sweep {
	alike := func(k key) key { k.Clients, k.Rate = 0, 0; return k }
	var all []sweep
	families := distinct(results, func(r result) key { return alike(r.key) })
	slices.SortFunc(families, key.compare)
	for _, k := range families {
		family := slices.DeleteFunc(slices.Clone(results), func(r result) bool { return alike(r.key) != k })
		keys := keysOf(family)
		if len(keys) < 2 {
			continue
		}
		c := chart{xTitle: "requests per second", yTitle: "latency, µs"}
		for _, peer := range peersOf(family) {
			p50 := line{colour: string(colourOf(peer).Colour)}
			p99 := line{colour: p50.colour, dashed: true}
			for _, k := range keys {
				own := ofPeer(ofKey(family, k), peer)
				x, y, tail := median(own, "throughput"), median(own, "p50_us"), median(own, "p99_us")
				if x == nil || y == nil || tail == nil {
					continue
				}
				load, what := mark(float64(k.Clients)), mark(float64(k.Clients))+" clients"
				if k.Rate > 0 {
					load, what = mark(k.Rate), mark(k.Rate)+"/s"
				}
				if peer != peersOf(family)[0] {
					load = "" // the labels of the first peer are enough to read the others
				}
				hint := fmt.Sprintf("%s, %s: %s/s, p50 %s µs, p99 %s µs", peer, what, short(*x), short(*y), short(*tail))
				p50.points = append(p50.points, point{x: *x, y: *y, hint: hint, label: load})
				p99.points = append(p99.points, point{x: *x, y: *tail})
			}
			c.lines = append(c.lines, p99, p50)
		}
		all = append(all, sweep{title: k.String() + ", " + span(keys), chart: c})
	}
	return all
}

// span returns the clients or the rates over which a line goes, in words.
func span(keys []key) string {
	var values []string
	for _, k := range keys {
		if k.Rate > 0 {
			values = append(values, short(k.Rate)+"/s")
		} else {
			values = append(values, fmt.Sprint(k.Clients))
		}
	}
	return strings.Join(slices.Compact(values), ", ") + map[bool]string{true: "", false: " clients"}[keys[0].Rate > 0]
}

// newTable makes the table of a key.
func newTable(c cell, k key, results []result) table {
	t := table{Title: k.String(), Without: without(results)}
	columns := slices.DeleteFunc(slices.Clone(c.columns), func(col column) bool { return median(results, col.name) == nil })
	for _, col := range columns {
		t.Columns = append(t.Columns, col.title)
	}
	distribution := chart{xTitle: "latency, µs", yTitle: "share of requests that take longer"}
	for _, peer := range peersOf(results) {
		own := ofPeer(results, peer)
		if !figured(own) {
			continue
		}
		r := row{Peer: colourOf(peer)}
		for _, col := range columns {
			r.Values = append(r.Values, newValue(results, own, peer, col))
		}
		t.Rows = append(t.Rows, r)
		distribution.lines = append(distribution.lines, line{colour: string(r.Peer.Colour), points: tailOf(own)})
	}
	if slices.ContainsFunc(distribution.lines, func(l line) bool { return len(l.points) > 0 }) {
		t.Chart = template.HTML(distribution.svg())
	}
	return t
}

// newValue makes a value of a table.
func newValue(results, own []result, peer string, col column) value {
	m := median(own, col.name)
	v := value{Median: col.text(m)}
	if m == nil {
		return v
	}
	if least, most := spread(own, col.name); *least != *most {
		v.Spread = col.text(least) + "–" + col.text(most)
	}
	if col.better == nil {
		return v
	}
	best := *m
	for _, other := range peersOf(results) {
		if o := median(ofPeer(results, other), col.name); o != nil {
			v.Bar = max(v.Bar, *o)
			if other != floorName {
				best = col.better([]float64{best, *o})
			}
		}
	}
	if v.Bar > 0 {
		v.Bar = round(100**m/v.Bar, 1)
	}
	v.Best = *m == best && peer != floorName
	if r := ratio(results, peer, col); r != nil {
		v.Ratio = "×" + ratioText(r)
	}
	return v
}

// tailOf returns which share of a peer's requests, over all rounds, took longer than a time, for
// several times.
func tailOf(own []result) []point {
	shares := make(map[float64]float64)
	rounds := 0.0
	for _, r := range own {
		if len(r.Histogram) > 0 {
			rounds++
		}
		for _, s := range r.Histogram {
			shares[s[0]] += s[1]
		}
	}
	var times []float64
	for t := range shares {
		times = append(times, t)
	}
	slices.Sort(times)
	var points []point
	left := rounds
	for _, t := range times {
		left -= shares[t]
		points = append(points, point{x: t, y: left / rounds})
	}
	if n := len(points); n > 0 {
		points = points[:n-1] // no request took longer than the last time; rounding may say otherwise
	}
	return points
}
