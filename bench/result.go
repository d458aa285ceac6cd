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

// A runConfig is what a run needs to know. A cell uses some of it.
type runConfig struct {
	cell       cell
	mode       Mode
	servers    int
	load       loadConfig
	election   time.Duration
	duration   time.Duration
	warmup     time.Duration
	prime      int64 // how many bytes of commands the logs take before the warm-up
	applyPause time.Duration
	times      int // how many times a leader is lost
	entries    int // how many entries a log has
	state      int // the size of a machine's state in bytes
	groups     int // how many groups a server has
	peerGroups int // how many groups other libraries are given at most
	dir        string
	cpuProfile string
	// allocProfile is the file for a profile of allocations.
	allocProfile string
}

// A key says what was run. Results with the same key can be compared.
type key struct {
	Cell     string  `json:"cell"`
	Mode     Mode    `json:"mode"`
	Servers  int     `json:"servers"`
	Clients  int     `json:"clients,omitempty"`
	Payload  int     `json:"payload,omitempty"`
	Rate     float64 `json:"rate,omitempty"`        // requests per second in an open loop
	Election float64 `json:"election_ms,omitempty"` // election timeout in milliseconds
	Entries  int     `json:"entries,omitempty"`     // entries in the log
	State    int     `json:"state_mib,omitempty"`   // the state of a machine whose snapshots are taken, in MiB
	Groups   int     `json:"groups,omitempty"`      // groups at each server
	Times    int     `json:"times,omitempty"`       // how many times a leader was lost
}

// compare orders keys as the tables do.
func (k key) compare(other key) int {
	cells := cellNames()
	return cmp.Or(
		cmp.Compare(slices.Index(cells, k.Cell), slices.Index(cells, other.Cell)),
		cmp.Compare(k.Mode, other.Mode), // disk, memory
		cmp.Compare(k.Servers, other.Servers),
		cmp.Compare(k.Groups, other.Groups),
		cmp.Compare(k.Payload, other.Payload),
		cmp.Compare(k.Clients, other.Clients),
		cmp.Compare(k.Rate, other.Rate),
		cmp.Compare(k.Entries, other.Entries),
		cmp.Compare(k.State, other.State),
		cmp.Compare(k.Election, other.Election),
		cmp.Compare(k.Times, other.Times),
	)
}

// sameRound says whether two results belong to one round, and so can be compared.
func (r *result) sameRound(other result) bool {
	return r.key == other.key && r.Run == other.Run && r.Round == other.Round
}

// A result is what a run of one peer has measured, or the reason why it has no figures.
type result struct {
	key
	Peer  string `json:"peer"`
	Run   int64  `json:"run"` // when the program was started, in Unix seconds; a round belongs to one start
	Round int    `json:"round"`
	// Why is the reason why there are no figures; "" when there are.
	Why string `json:"why,omitempty"`
	// Figures has the figures by name; the columns of a cell say what they are. A figure that can't
	// be counted is missing.
	Figures map[string]float64 `json:"figures,omitempty"`
	// Histogram has the latencies in steps: each is a time in microseconds and the share of all
	// requests between the step before and this one.
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
	better      func([]float64) float64 // returns the best of several; nil when none is better
	scale       float64                 // the factor by which a figure is multiplied; 0 stands for 1
}

// maxOf and minOf return the best of several figures: the greatest or the least.
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
