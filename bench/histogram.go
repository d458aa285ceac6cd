package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width is 1/32 of a power of two. A value that is
// read from it is at most about 3 % from the truth.
type histogram struct {
	counts [histogramBuckets]uint32
	total  uint64
}

const (
	histogramBits    = 5  // the bits of a duration in nanoseconds that count after its leading bit
	histogramPowers  = 32 // durations reach up to 2^36 ns, about a minute; longer ones count as that
	histogramBuckets = histogramPowers << histogramBits
)

// bucket returns the bucket in which a duration of ns nanoseconds is counted.
func bucket(ns uint64) int {
	if ns < 1<<histogramBits {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - histogramBits
	return min((shift+1)<<histogramBits|int(ns>>shift)&(1<<histogramBits-1), histogramBuckets-1)
}

// middle returns the middle of a bucket in nanoseconds.
func middle(b int) float64 {
	if b < 1<<histogramBits {
		return float64(b)
	}
	shift := b>>histogramBits - 1
	low := uint64(b&(1<<histogramBits-1)|1<<histogramBits) << shift
	return float64(low) + float64(uint64(1)<<shift)/2
}

// add counts a duration.
func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

// merge adds everything that o has counted.
func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile returns the duration, in microseconds, that the share q (0 to 1) of the durations
// doesn't exceed.
func (h *histogram) quantile(q float64) float64 {
	rank := uint64(q * float64(h.total))
	var seen uint64
	for i, n := range h.counts {
		if seen += uint64(n); seen > rank || seen == h.total && n > 0 {
			return middle(i) / 1000
		}
	}
	return 0
}

// shares returns the histogram in rougher steps, four to a power of two. Each step is a duration in
// microseconds and the share of all durations between the step before and this one.
func (h *histogram) shares() [][2]float64 {
	const step = 1 << histogramBits / 4
	var shares [][2]float64
	for b := 0; b < histogramBuckets; b += step {
		var n uint64
		for _, c := range h.counts[b : b+step] {
			n += uint64(c)
		}
		if n > 0 {
			last := b + step - 1
			shares = append(shares, [2]float64{round(middle(last)/1000, 2), round(float64(n)/float64(h.total), 7)})
		}
	}
	return shares
}
