package prometheus

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A histogram counts durations, in the buckets of a native histogram of schema 3: eight for each
// power of two, from 2^minExp to 2^maxExp seconds. What is shorter is in the bucket for zero, and
// what is longer in the last one. It isn't safe for use by several goroutines.
//
// client_golang's own histogram can't take a number of equal observations at once, and a batch of
// commands is just that.
type histogram struct {
	counts [buckets]uint64
	zero   uint64
	count  uint64
	sum    float64 // seconds
}

const (
	schema  = 3
	perExp  = 1 << schema
	minExp  = -24 // 60 ns
	maxExp  = 13  // 2.3 h
	buckets = (maxExp - minExp) * perExp
	minKey  = minExp*perExp + 1 // of the first bucket: the one that ends a step behind 2^minExp
)

// Classic buckets end at powers of two, at which native buckets end too: so they need no counts of
// their own.
const minClassic, maxClassic = -14, 5

// steps are the upper bounds of the buckets from one up to two, 2^(i/8), as the mantissas of
// floating-point numbers.
var steps = mantissas(
	1, 1.0905077326652577, 1.189207115002721, 1.2968395546510096,
	1.4142135623730951, 1.5422108254079407, 1.681792830507429, 1.8340080864093424,
)

func mantissas(bounds ...float64) (steps [perExp]uint64) {
	for i, bound := range bounds {
		steps[i] = math.Float64bits(bound) & (1<<52 - 1)
	}
	return steps
}

// observe counts n durations of the same length. A negative one is zero.
func (h *histogram) observe(d time.Duration, n uint64) {
	if n == 0 {
		return
	}
	h.count += n
	seconds := max(d, 0).Seconds()
	h.sum += seconds * float64(n)
	key := keyOf(seconds)
	if key < minKey {
		h.zero += n
		return
	}
	h.counts[min(key-minKey, buckets-1)] += n
}

// keyOf returns the number of the native bucket: bucket k holds what is above 2^((k-1)/8) and up to
// 2^(k/8). A nanosecond is far from the numbers that have no such mantissa.
func keyOf(seconds float64) int {
	if seconds <= 0 {
		return math.MinInt
	}
	bits := math.Float64bits(seconds)
	exponent, mantissa := int(bits>>52)-1023, bits&(1<<52-1)
	step := 0
	if mantissa > steps[3] {
		step = 4
	}
	for step < perExp && mantissa > steps[step] {
		step++
	}
	return step + exponent*perExp
}

// A histogramMetric is a histogram as it is at a moment.
type histogramMetric struct {
	desc       *prometheus.Desc
	labels     []*dto.LabelPair
	histogram  histogram
	nativeOnly bool
}

// Desc implements prometheus.Metric.
func (m *histogramMetric) Desc() *prometheus.Desc { return m.desc }

// Write implements prometheus.Metric.
func (m *histogramMetric) Write(out *dto.Metric) error {
	h := &m.histogram
	out.Label = m.labels
	out.Histogram = &dto.Histogram{
		SampleCount: new(h.count), SampleSum: new(h.sum), Schema: new(int32(schema)),
		ZeroThreshold: new(math.Exp2(minExp)), ZeroCount: new(h.zero),
	}
	h.native(out.Histogram)
	if !m.nativeOnly {
		h.classic(out.Histogram)
	}
	return nil
}

// native fills in the native buckets: spans of buckets that aren't empty, and the differences
// between the counts of neighbours.
func (h *histogram) native(out *dto.Histogram) {
	var before int64
	end := math.MinInt // one behind the last bucket of the last span
	for i, n := range h.counts {
		if n == 0 {
			continue
		}
		key := i + minKey
		switch {
		case end == math.MinInt:
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: new(int32(key)), Length: new(uint32(0))})
		case key > end:
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: new(int32(key - end)), Length: new(uint32(0))})
		}
		*out.PositiveSpan[len(out.PositiveSpan)-1].Length++
		out.PositiveDelta = append(out.PositiveDelta, int64(n)-before)
		before, end = int64(n), key+1
	}
}

// classic fills in the classic buckets.
func (h *histogram) classic(out *dto.Histogram) {
	total, next := h.zero, 0
	for exp := minClassic; exp <= maxClassic; exp++ {
		for last := exp*perExp - minKey; next <= last; next++ {
			total += h.counts[next]
		}
		out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCount: new(total), UpperBound: new(math.Exp2(float64(exp)))})
	}
}
