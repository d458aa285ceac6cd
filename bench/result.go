package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// A runConfig is what one run needs to know. A cell uses some of it.
type runConfig struct {
	cell       cell
	mode       Mode
	servers    int
	load       loadConfig
	election   time.Duration
	duration   time.Duration
	warmup     time.Duration
	prime      int64 // bytes that the logs have taken before
	applyPause time.Duration
	times      int // how often a leader is lost
	entries    int // how long a log is
	state      int // how large the state of a machine is, in bytes
	dir        string
	cpuProfile string
	// allocProfile is where a profile of allocations goes.
	allocProfile string
}

// A key says what was run: results with the same key can be compared.
type key struct {
	Cell     string  `json:"cell"`
	Mode     Mode    `json:"mode"`
	Servers  int     `json:"servers"`
	Clients  int     `json:"clients,omitempty"`
	Payload  int     `json:"payload,omitempty"`
	Rate     float64 `json:"rate,omitempty"`        // requests per second, of an open loop
	Election float64 `json:"election_ms,omitempty"` // election timeout in milliseconds
	Entries  int     `json:"entries,omitempty"`     // in the log
	State    int     `json:"state_mib,omitempty"`   // of a machine whose snapshots are taken, in MiB
	Times    int     `json:"times,omitempty"`       // how often a leader was lost
}

// compare orders keys as the tables do.
func (k key) compare(other key) int {
	cells := cellNames()
	return cmp.Or(
		cmp.Compare(slices.Index(cells, k.Cell), slices.Index(cells, other.Cell)),
		cmp.Compare(k.Mode, other.Mode), // disk, memory
		cmp.Compare(k.Servers, other.Servers),
		cmp.Compare(k.Payload, other.Payload),
		cmp.Compare(k.Clients, other.Clients),
		cmp.Compare(k.Rate, other.Rate),
		cmp.Compare(k.Entries, other.Entries),
		cmp.Compare(k.State, other.State),
		cmp.Compare(k.Election, other.Election),
		cmp.Compare(k.Times, other.Times),
	)
}

// sameRound says whether two results are of one round, and so can be compared.
func (r *result) sameRound(other result) bool {
	return r.key == other.key && r.Run == other.Run && r.Round == other.Round
}

// A result is what one run of one peer measured, or why it didn't.
type result struct {
	key
	Peer  string `json:"peer"`
	Run   int64  `json:"run"` // when the program was started, in seconds: rounds of different runs have nothing in common
	Round int    `json:"round"`
	// Why there are no figures.
	Why string `json:"why,omitempty"`
	// Figures by name; columns say what they are. What can't be counted is not there.
	Figures map[string]float64 `json:"figures,omitempty"`
	// Histogram is the latencies: up to how many microseconds, and which share of all.
	Histogram [][2]float64 `json:"histogram,omitempty"`
}

// set adds a figure.
func (r *result) set(name string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	if r.Figures == nil {
		r.Figures = make(map[string]float64)
	}
	r.Figures[name] = round(v, 3)
}

// latencies adds the figures of a histogram.
func (r *result) latencies(prefix string, h *histogram) {
	if h.total == 0 {
		return
	}
	for name, q := range map[string]float64{"p50_us": 0.50, "p90_us": 0.90, "p99_us": 0.99, "p999_us": 0.999, "max_us": 1} {
		r.set(prefix+name, h.quantile(q))
	}
}

// round rounds to a number of decimals.
func round(v float64, decimals int) float64 {
	p := math.Pow10(decimals)
	return math.Round(v*p) / p
}

// A column is a figure as tables show it.
type column struct {
	name, title string
	decimals    int
	better      func([]float64) float64 // which of several is the best; nil when none is
	scale       float64                 // what a figure is multiplied with; 0 stands for 1
}

// maxOf and minOf say which of several figures is the best: the greatest or the least.
func maxOf(values []float64) float64 { return slices.Max(values) }
func minOf(values []float64) float64 { return slices.Min(values) }

// text prints a figure that may be unknown.
func (c column) text(v *float64) string {
	if v == nil {
		return "–"
	}
	scale := c.scale
	if scale == 0 {
		scale = 1
	}
	return fmt.Sprintf("%.*f", c.decimals, *v*scale)
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

// readJSON reads results that writeJSON has written.
func readJSON(r io.Reader) ([]result, error) {
	var results []result
	decoder := json.NewDecoder(bufio.NewReader(r))
	for {
		var one result
		if err := decoder.Decode(&one); err == io.EOF {
			return results, nil
		} else if err != nil {
			return nil, fmt.Errorf("result %d: %w", len(results)+1, err)
		}
		if _, err := findCell(one.Cell); err != nil {
			return nil, fmt.Errorf("result %d: %w", len(results)+1, err)
		}
		results = append(results, one)
	}
}
