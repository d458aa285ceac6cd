package prometheus

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// TestHistogramIsThatOfTheClient compares the histogram with the one of client_golang, which is
// given each observation by itself.
func TestHistogramIsThatOfTheClient(t *testing.T) {
	var bounds []float64
	for exp := minClassic; exp <= maxClassic; exp++ {
		bounds = append(bounds, math.Exp2(float64(exp)))
	}
	// Powers of two and their neighbours are where a bucket ends.
	edge := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(float64(time.Second)*math.Exp2(float64(rapid.IntRange(-23, 12).Draw(t, "exp")))) +
			time.Duration(rapid.IntRange(-1, 1).Draw(t, "beside"))
	})
	any := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(math.Exp2(rapid.Float64Range(0, 42).Draw(t, "log")))
	})
	rapid.Check(t, func(t *rapid.T) {
		theirs := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "theirs", Buckets: bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: math.Exp2(minExp),
		})
		var ours histogram
		for range rapid.IntRange(0, 30).Draw(t, "observations") {
			d := rapid.OneOf(edge, any, rapid.Just(time.Duration(0))).Draw(t, "duration")
			n := rapid.Uint64Range(1, 5).Draw(t, "times")
			ours.observe(d, n)
			for range n {
				theirs.Observe(d.Seconds())
			}
		}
		var want, got dto.Metric
		require.NoError(t, theirs.Write(&want))
		require.NoError(t, (&histogramMetric{histogram: ours}).Write(&got))
		w, g := want.Histogram, got.Histogram
		require.Equal(t, w.GetSampleCount(), g.GetSampleCount())
		require.InEpsilon(t, 1+w.GetSampleSum(), 1+g.GetSampleSum(), 1e-9)
		require.Equal(t, w.GetSchema(), g.GetSchema())
		require.Equal(t, w.GetZeroCount(), g.GetZeroCount())
		require.Equal(t, w.GetZeroThreshold(), g.GetZeroThreshold())
		require.Equal(t, expand(w), expand(g))
		require.Len(t, g.Bucket, len(w.Bucket))
		for i := range w.Bucket {
			require.True(t, proto.Equal(w.Bucket[i], g.Bucket[i]), "%v is not %v", g.Bucket[i], w.Bucket[i])
		}
	})
}

// expand returns the counts of the native buckets that aren't empty.
func expand(h *dto.Histogram) map[int]int64 {
	counts := map[int]int64{}
	key, count, delta := 0, int64(0), 0
	for _, span := range h.PositiveSpan {
		key += int(span.GetOffset())
		for range span.GetLength() {
			count += h.PositiveDelta[delta]
			delta++
			if count != 0 {
				counts[key] = count
			}
			key++
		}
	}
	return counts
}

// What is out of range isn't lost.
func TestHistogramCountsWhatIsOutOfRange(t *testing.T) {
	var h histogram
	h.observe(-time.Second, 1)
	h.observe(time.Nanosecond, 2)
	h.observe(math.MaxInt64, 3)
	h.observe(time.Second, 0)
	require.EqualValues(t, 3, h.zero)
	require.EqualValues(t, 3, h.counts[buckets-1])
	require.EqualValues(t, 6, h.count)
	var out dto.Metric
	require.NoError(t, (&histogramMetric{histogram: h, nativeOnly: true}).Write(&out))
	require.Empty(t, out.Histogram.Bucket)
	require.Equal(t, map[int]int64{maxExp * perExp: 3}, expand(out.Histogram))
}

// An empty histogram has a threshold for zero, by which a scraper knows that it is native.
func TestEmptyHistogramIsNative(t *testing.T) {
	var out dto.Metric
	require.NoError(t, (&histogramMetric{}).Write(&out))
	require.Positive(t, out.Histogram.GetZeroThreshold())
}
