package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// writeTables prints a table for each key.
func writeTables(w io.Writer, results []result) error {
	for _, k := range keysOf(results) {
		if err := writeTable(w, k, ofKey(results, k)); err != nil {
			return err
		}
	}
	return nil
}

// writeTable prints the medians of each peer over its rounds, their spread, and their ratios to the
// floor and to the best other peer of the same round.
func writeTable(w io.Writer, k key, results []result) error {
	c, err := findCell(k.Cell)
	if err != nil {
		return err
	}
	rounds := len(distinct(results, func(r result) [2]int64 { return [2]int64{r.Run, int64(r.Round)} }))
	fmt.Fprintf(w, "\n%s: %s; medians of %d rounds; × is the ratio to the best other peer of the round\n", k, c.about, rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "peer\t")
	columns := slices.DeleteFunc(slices.Clone(c.columns), func(col column) bool { return median(results, col.name) == nil })
	for i, col := range columns {
		fmt.Fprintf(t, "%s\t", col.title)
		if col.better != nil {
			fmt.Fprint(t, "×\t")
		}
		if i == 0 {
			fmt.Fprint(t, "of floor\t")
		}
	}
	fmt.Fprintln(t)
	for _, peer := range peersOf(results) {
		if figured(ofPeer(results, peer)) {
			writeRows(t, peer, columns, results)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, line := range without(results) {
		if _, err := fmt.Fprintf(w, "  %s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// figured says whether any of the results has figures.
func figured(results []result) bool {
	return slices.ContainsFunc(results, func(r result) bool { return r.Why == "" })
}

// without returns a line for each peer and reason: which peers have no figures at all, or none from
// some rounds, and why.
func without(results []result) []string {
	var lines []string
	for _, peer := range peersOf(results) {
		own := ofPeer(results, peer)
		for _, why := range distinct(own, func(r result) string { return r.Why }) {
			switch {
			case why == "":
			case figured(own):
				lines = append(lines, peer+": a round has no figures: "+why)
			default:
				lines = append(lines, peer+": no figures: "+why)
			}
		}
	}
	return lines
}

// writeRows prints the medians of a peer. If the peer has several results, the row below has the
// least and the greatest of each figure.
func writeRows(w io.Writer, peer string, columns []column, results []result) {
	own := ofPeer(results, peer)
	fmt.Fprintf(w, "%s\t", peer)
	for i, col := range columns {
		fmt.Fprintf(w, "%s\t", col.text(median(own, col.name)))
		if col.better != nil {
			fmt.Fprintf(w, "%s\t", ratioText(ratio(results, peer, col)))
		}
		if i == 0 {
			fmt.Fprintf(w, "%s\t", ratioText(ofFloor(results, peer, col)))
		}
	}
	fmt.Fprintln(w)
	if len(own) < 2 {
		return
	}
	fmt.Fprint(w, "\t")
	for i, col := range columns {
		least, most := spread(own, col.name)
		fmt.Fprintf(w, "%s–%s\t", col.text(least), col.text(most))
		if col.better != nil {
			fmt.Fprint(w, "\t")
		}
		if i == 0 {
			fmt.Fprint(w, "\t")
		}
	}
	fmt.Fprintln(w)
}

// ratioText prints a ratio.
func ratioText(v *float64) string { return column{decimals: 2}.text(v) }

// String returns the key in words.
func (k key) String() string {
	return fmt.Sprintf("%s, mode %s, %s", k.Cell, k.Mode, k.conditions())
}

// conditions returns in words what the key says besides cell and mode.
func (k key) conditions() string {
	var all []string
	for _, c := range []struct {
		format string
		value  float64
	}{
		{"%.0f servers", float64(k.Servers)},
		{"%.0f groups", float64(k.Groups)},
		{"%.0f clients", float64(k.Clients)},
		{"%.0f bytes", float64(k.Payload)},
		{"%.0f/s", k.Rate},
		{"%.0f entries", float64(k.Entries)},
		{"%.0f MiB of state", float64(k.State)},
		{"election timeout %.0f ms", k.Election},
		{"%.0f times", float64(k.Times)},
	} {
		if c.value > 0 {
			all = append(all, fmt.Sprintf(c.format, c.value))
		}
	}
	return strings.Join(all, ", ")
}

// summary returns the result in one line.
func (r result) summary() string {
	if r.Why != "" {
		return fmt.Sprintf("%s: %s: no figures: %s", r.key, r.Peer, r.Why)
	}
	c, err := findCell(r.Cell)
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("%s: %s", r.key, r.Peer)
	for _, col := range c.columns {
		if v := median([]result{r}, col.name); v != nil {
			s += fmt.Sprintf(", %s %s", col.title, col.text(v))
		}
	}
	return s
}

// keysOf returns the different keys, in the order of the tables.
func keysOf(results []result) []key {
	keys := distinct(results, func(r result) key { return r.key })
	slices.SortFunc(keys, key.compare)
	return keys
}

// peersOf returns the names of the peers, in the order of the tables.
func peersOf(results []result) []string {
	peers := distinct(results, func(r result) string { return r.Peer })
	order := peerNames()
	slices.SortStableFunc(peers, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	return peers
}

// distinct returns the values of a function of the results, each value once.
func distinct[T comparable](results []result, of func(result) T) []T {
	var all []T
	for _, r := range results {
		if v := of(r); !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// ofKey returns the results with a key.
func ofKey(results []result, k key) []result {
	return slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.key != k })
}

// ofPeer returns the results of one peer.
func ofPeer(results []result, peer string) []result {
	return slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.Peer != peer })
}

// figures returns the values of a figure, in order of size, of all results that have it.
func figures(results []result, name string) []float64 {
	var values []float64
	for _, r := range results {
		if v, ok := r.Figures[name]; ok {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return values
}

// spread returns the least and the greatest value of a figure, or nil when no result has it.
func spread(results []result, name string) (least, most *float64) {
	values := figures(results, name)
	if len(values) == 0 {
		return nil, nil
	}
	return &values[0], &values[len(values)-1]
}

// median returns the median of a figure, or nil when no result has it.
func median(results []result, name string) *float64 { return middleOf(figures(results, name)) }

// middleOf returns the median of values that are in order of size, or nil when there are none.
func middleOf(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	m := (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	return &m
}

// ratio compares a peer's figure with the best figure that another peer, except the floor, has in
// the same round. It returns the median of these ratios over the rounds.
func ratio(results []result, peer string, c column) *float64 {
	return ratios(results, peer, c.name, func(r result) bool { return r.Peer != peer && r.Peer != floorName }, c.better)
}

// ofFloor returns the median over the rounds of the ratio of a peer's figure to the floor's.
func ofFloor(results []result, peer string, c column) *float64 {
	return ratios(results, peer, c.name, func(r result) bool { return r.Peer == floorName }, maxOf)
}

// ratios returns the median over the rounds of the ratio of a peer's figure to the best figure of
// others in the same round.
func ratios(results []result, peer, name string, other func(result) bool, best func([]float64) float64) *float64 {
	var all []float64
	for _, own := range ofPeer(results, peer) {
		others := figures(slices.DeleteFunc(slices.Clone(results), func(r result) bool {
			return !own.sameRound(r) || !other(r)
		}), name)
		if v, ok := own.Figures[name]; ok && len(others) > 0 && best(others) > 0 {
			all = append(all, v/best(others))
		}
	}
	slices.Sort(all)
	return middleOf(all)
}
