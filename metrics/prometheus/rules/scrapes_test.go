package rules

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// scrapes are the samples that a Prometheus has scraped, and a storage.Queryable. Histograms are
// scraped as native ones, or as classic ones, and never as both.
type scrapes struct {
	classic bool
	series  map[string]*scraped
	named   map[string][]*scraped // by the name, in the order in which they came
	times   []int64               // of the scrapes, in milliseconds
	// moved are the names of the families of which a series has changed.
	moved map[string]bool
	names map[string]bool // of all families
}

type scraped struct {
	labels  labels.Labels
	samples []sample
}

// A sample implements chunks.Sample. fh is nil for a plain number.
type sample struct {
	t  int64
	v  float64
	fh *histogram.FloatHistogram
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return s.fh }
func (s sample) Copy() chunks.Sample           { return s }

func (s sample) Type() chunkenc.ValueType {
	if s.fh != nil {
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}

func newScrapes(classic bool) *scrapes {
	return &scrapes{classic: classic, series: map[string]*scraped{}, named: map[string][]*scraped{}, moved: map[string]bool{}, names: map[string]bool{}}
}

// scrape takes what the registries of all servers show. A series that isn't there any more is
// stale.
func (s *scrapes) scrape(t *testing.T, now time.Time, registries []*client.Registry) {
	at := now.UnixMilli()
	s.times = append(s.times, at)
	for _, registry := range registries {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			s.names[family.GetName()] = true
			for _, m := range family.Metric {
				s.take(at, family.GetName(), m)
			}
		}
	}
	for _, series := range s.series {
		if last := series.samples[len(series.samples)-1]; last.t != at && !last.stale() {
			gone := sample{t: at, v: math.Float64frombits(value.StaleNaN)}
			if last.fh != nil {
				gone.fh = &histogram.FloatHistogram{Sum: gone.v}
			}
			series.samples = append(series.samples, gone)
		}
	}
}

func (s sample) stale() bool {
	if s.fh != nil {
		return value.IsStaleNaN(s.fh.Sum)
	}
	return value.IsStaleNaN(s.v)
}

// take adds the samples of a metric.
func (s *scrapes) take(at int64, name string, m *dto.Metric) {
	h := m.Histogram
	switch {
	case m.Gauge != nil:
		s.add(name, m, sample{t: at, v: m.Gauge.GetValue()})
	case m.Counter != nil:
		s.add(name, m, sample{t: at, v: m.Counter.GetValue()})
	case h != nil && s.classic:
		s.add(name+"_count", m, sample{t: at, v: float64(h.GetSampleCount())})
		s.add(name+"_sum", m, sample{t: at, v: h.GetSampleSum()})
		for _, bucket := range h.Bucket {
			s.add(name+"_bucket", m, sample{t: at, v: float64(bucket.GetCumulativeCount())}, "le", strconv.FormatFloat(bucket.GetUpperBound(), 'g', -1, 64))
		}
		s.add(name+"_bucket", m, sample{t: at, v: float64(h.GetSampleCount())}, "le", "+Inf")
	case h != nil:
		s.add(name, m, sample{t: at, fh: native(h)})
	}
}

func (s *scrapes) add(name string, m *dto.Metric, now sample, more ...string) {
	b := labels.NewScratchBuilder(4)
	b.Add(model.MetricNameLabel, name)
	for _, l := range m.Label {
		b.Add(l.GetName(), l.GetValue())
	}
	for i := 0; i < len(more); i += 2 {
		b.Add(more[i], more[i+1])
	}
	b.Sort()
	of := b.Labels()
	series := s.series[of.String()]
	if series == nil {
		series = &scraped{labels: of}
		s.series[of.String()] = series
		s.named[name] = append(s.named[name], series)
	}
	if n := len(series.samples); n > 0 && !series.samples[n-1].stale() {
		before := series.samples[n-1]
		if before.v != now.v || now.fh != nil && before.fh.Count != now.fh.Count {
			s.moved[name] = true
		}
	}
	series.samples = append(series.samples, now)
}

// native returns a histogram as Prometheus has it.
func native(h *dto.Histogram) *histogram.FloatHistogram {
	fh := &histogram.FloatHistogram{
		Schema: h.GetSchema(), ZeroThreshold: h.GetZeroThreshold(), ZeroCount: float64(h.GetZeroCount()),
		Count: float64(h.GetSampleCount()), Sum: h.GetSampleSum(),
	}
	for _, span := range h.PositiveSpan {
		fh.PositiveSpans = append(fh.PositiveSpans, histogram.Span{Offset: span.GetOffset(), Length: span.GetLength()})
	}
	count := int64(0)
	for _, delta := range h.PositiveDelta {
		count += delta
		fh.PositiveBuckets = append(fh.PositiveBuckets, float64(count))
	}
	return fh
}

// Querier implements storage.Queryable.
func (s *scrapes) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{s, mint, maxt}, nil
}

type querier struct {
	scrapes    *scrapes
	mint, maxt int64
}

// Select implements storage.Querier.
func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{}
	for _, name := range matchers {
		if name.Name != model.MetricNameLabel || name.Type != labels.MatchEqual {
			continue
		}
		for _, series := range q.scrapes.named[name.Value] {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(series.labels.Get(m.Name)) }) {
				set.add(series, q.mint, q.maxt)
			}
		}
	}
	return set
}

func (*querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*querier) Close() error { return nil }

type seriesSet struct {
	series []storage.Series
	next   int
}

func (s *seriesSet) Next() bool                        { s.next++; return s.next <= len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.next-1] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// add adds the samples of a series between two times.
func (s *seriesSet) add(series *scraped, mint, maxt int64) {
	at := func(sample sample, t int64) int { return cmp.Compare(sample.t, t) }
	from, _ := slices.BinarySearchFunc(series.samples, mint, at)
	to, _ := slices.BinarySearchFunc(series.samples, maxt+1, at)
	if from == to {
		return
	}
	samples := make([]chunks.Sample, 0, to-from)
	for _, sample := range series.samples[from:to] {
		samples = append(samples, sample)
	}
	s.series = append(s.series, storage.NewListSeries(series.labels, samples))
}
