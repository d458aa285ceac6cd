package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// A result is what one run of one peer measured. What can't be counted is nil.
type result struct {
	Peer       string   `json:"peer"`
	Mode       Mode     `json:"mode"`
	Clients    int      `json:"clients"`
	Payload    int      `json:"payload"`
	Round      int      `json:"round"`
	Throughput float64  `json:"throughput"` // commands answered per second
	P50        float64  `json:"p50_us"`     // latency of a command in microseconds
	P99        float64  `json:"p99_us"`
	CPU        *float64 `json:"cpu_us"` // microseconds of CPU per command, three servers and the clients
	Allocs     *float64 `json:"allocs"` // heap allocations per command, likewise
	Syncs      *float64 `json:"syncs"`  // syncs of log files per command, over three servers
}

// newResult makes a result of what was measured.
func newResult(peer string, c runConfig, latencies *histogram, used usage) result {
	per := func(n float64, counted bool) *float64 {
		if !counted || latencies.total == 0 {
			return nil
		}
		v := round(n/float64(latencies.total), 3)
		return &v
	}
	return result{
		Peer: peer, Mode: c.mode, Clients: c.clients, Payload: c.payload,
		Throughput: round(float64(latencies.total)/used.took.Seconds(), 1),
		P50:        round(latencies.quantile(0.50), 1),
		P99:        round(latencies.quantile(0.99), 1),
		CPU:        per(float64(used.cpu.Nanoseconds())/1000, used.hasCPU),
		Allocs:     per(float64(used.allocs), true),
		Syncs:      per(float64(used.syncs), used.hasSyncs),
	}
}

// round rounds to a number of decimals.
func round(v float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(v*p) / p
}

// summary is the result in a line.
func (r result) summary() string {
	return fmt.Sprintf("%s %.0f/s, p50 %.0f µs, p99 %.0f µs, per command %s µs CPU, %s allocations, %s syncs",
		r.Peer, r.Throughput, r.P50, r.P99, figure(r.CPU, 1), figure(r.Allocs, 1), figure(r.Syncs, 3))
}

// figure prints a figure that may be unknown.
func figure(v *float64, decimals int) string {
	if v == nil || math.IsNaN(*v) {
		return "–"
	}
	return fmt.Sprintf("%.*f", decimals, *v)
}

// writeJSON prints a result as a line.
func writeJSON(w io.Writer, r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}

// writeTable prints the medians of each peer over its rounds, the spread of its throughput, and how it
// compares with the best other peer, and with the floor, of the same round.
func writeTable(w io.Writer, peers []Peer, results []result) error {
	if len(results) == 0 {
		return nil
	}
	c := results[0]
	fmt.Fprintf(w, "mode %s, %d clients, %d bytes; medians of %d rounds; × is the ratio to the best other peer of the round\n",
		c.Mode, c.Clients, c.Payload, len(results)/len(peers))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "peer\tcommands/s\tmin–max\t×\tof floor\tp50 µs\t×\tp99 µs\t×\tCPU µs\t×\tallocs\tsyncs\t")
	throughput := func(r result) *float64 { return &r.Throughput }
	p50 := func(r result) *float64 { return &r.P50 }
	p99 := func(r result) *float64 { return &r.P99 }
	cpu := func(r result) *float64 { return r.CPU }
	for _, p := range peers {
		own := ofPeer(results, p.Name())
		least, most := spread(own)
		fmt.Fprintf(t, "%s\t%s\t%.0f–%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", p.Name(),
			figure(median(own, throughput), 0), least, most,
			figure(ratio(results, p.Name(), throughput, maxOf), 2),
			figure(ofFloor(results, p.Name()), 2),
			figure(median(own, p50), 0), figure(ratio(results, p.Name(), p50, minOf), 2),
			figure(median(own, p99), 0), figure(ratio(results, p.Name(), p99, minOf), 2),
			figure(median(own, cpu), 1), figure(ratio(results, p.Name(), cpu, minOf), 2),
			figure(median(own, func(r result) *float64 { return r.Allocs }), 1),
			figure(median(own, func(r result) *float64 { return r.Syncs }), 3))
	}
	return t.Flush()
}

// ofPeer returns the results of one peer.
func ofPeer(results []result, peer string) []result {
	var own []result
	for _, r := range results {
		if r.Peer == peer {
			own = append(own, r)
		}
	}
	return own
}

// spread returns the least and the greatest throughput.
func spread(results []result) (least, most float64) {
	least = math.Inf(1)
	for _, r := range results {
		least, most = min(least, r.Throughput), max(most, r.Throughput)
	}
	return least, most
}

// maxOf and minOf say which of several figures is the best: the greatest or the least.
func maxOf(values []float64) float64 { return slices.Max(values) }
func minOf(values []float64) float64 { return slices.Min(values) }

// median returns the median of a figure, or nil when it isn't known.
func median(results []result, of func(result) *float64) *float64 {
	var values []float64
	for _, r := range results {
		if v := of(r); v != nil {
			values = append(values, *v)
		}
	}
	return middleOf(values)
}

// middleOf returns the median of values, or nil when there are none.
func middleOf(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	m := (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	return &m
}

// ratio returns the median over the rounds of a peer's figure over the best one that another
// peer, the floor excepted, has in the same round.
func ratio(results []result, peer string, of func(result) *float64, best func([]float64) float64) *float64 {
	var ratios []float64
	for _, own := range ofPeer(results, peer) {
		var others []float64
		for _, r := range results {
			if v := of(r); v != nil && r.Round == own.Round && r.Peer != peer && r.Peer != floorName {
				others = append(others, *v)
			}
		}
		if v := of(own); v != nil && len(others) > 0 {
			ratios = append(ratios, *v/best(others))
		}
	}
	return middleOf(ratios)
}

// ofFloor returns the median over the rounds of a peer's throughput over the floor's.
func ofFloor(results []result, peer string) *float64 {
	var ratios []float64
	for _, own := range ofPeer(results, peer) {
		for _, floor := range ofPeer(results, floorName) {
			if floor.Round == own.Round {
				ratios = append(ratios, own.Throughput/floor.Throughput)
			}
		}
	}
	return middleOf(ratios)
}
