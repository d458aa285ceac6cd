package main

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// A tally counts how operations end, in spans of time that are equally long.
type tally struct {
	mu    sync.Mutex
	spans []*span // the newest at the end
	done  int     // how many are complete, those that aren't kept any more included
	total span
}

// spanLength is how long a span is. The tally keeps maxSpans of them: a minute.
const (
	spanLength = 250 * time.Millisecond
	maxSpans   = 240
	// maxLatencies bounds how many latencies are kept of a span; the others aren't looked at.
	maxLatencies = 2048
)

// A span is what happened in one span of time.
type span struct {
	Returned int `json:"returned"`
	Refused  int `json:"refused"` // never applied
	Unknown  int `json:"unknown"`
	// P50 and P99 are percentiles of the time that the returned operations took, in milliseconds; 0
	// without any.
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`

	latencies []time.Duration
}

func newTally() *tally { return &tally{spans: []*span{{}}} }

// add counts an operation.
func (t *tally) add(took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range []*span{t.spans[len(t.spans)-1], &t.total} {
		switch {
		case err == nil:
			s.Returned++
		case errors.Is(err, raft.ErrNotApplied):
			s.Refused++
		default:
			s.Unknown++
		}
	}
	if s := t.spans[len(t.spans)-1]; err == nil && len(s.latencies) < maxLatencies {
		s.latencies = append(s.latencies, took)
	}
}

// next begins another span, and completes the one before.
func (t *tally) next() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[len(t.spans)-1].complete()
	t.done++
	if len(t.spans) > maxSpans {
		t.spans = slices.Delete(t.spans, 0, len(t.spans)-maxSpans)
	}
	t.spans = append(t.spans, &span{})
}

// complete reckons the percentiles.
func (s *span) complete() {
	if n := len(s.latencies); n > 0 {
		slices.Sort(s.latencies)
		milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		s.P50, s.P99 = milliseconds(s.latencies[n/2]), milliseconds(s.latencies[n*99/100])
	}
	s.latencies = nil
}

// past returns the latest spans that are complete, the number of the last one, and the sum of all
// that was ever counted.
func (t *tally) past() (spans []span, number int, total span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.spans[:len(t.spans)-1] {
		spans = append(spans, *s)
	}
	return spans, t.done, t.total
}
