package prometheus

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// Options are the settings of Metrics. The zero value is a good choice.
type Options struct {
	// Labels are put on every series, beside server. Their names are none of those that the series
	// have: server, role, reason, kind, outcome, stage, lane, purpose, peer, mode, state, group.
	Labels map[string]string
	// NativeOnly leaves out the classic buckets of histograms, for a Prometheus that scrapes native
	// histograms.
	NativeOnly bool
	// TopGroups bounds how many groups of a host have series of their own, which are those with the most
	// commands (20). A negative number stands for none. Groups are those that have them, too.
	TopGroups int
	Groups    []raft.GroupID
}

// defaultTop is the default of Options.TopGroups.
const defaultTop = 20

// Metrics are the metrics of one node in one life, or of one host. They are a prometheus.Collector: a registry asks
// them. Any goroutine may use them.
type Metrics struct {
	options Options
	descs   [numFamilies]*prometheus.Desc
	labels  []*dto.LabelPair // those on every series

	node      atomic.Pointer[raft.Node]
	host      atomic.Pointer[raft.Host]
	transport atomic.Pointer[statsTeller]
	top       topGroups

	loop    loopTotals
	lanes   laneMeasures
	callers callerMeasures
}

// statsTeller is a transport that says what it does, as that of package tcp.
type statsTeller interface{ Stats() tcp.Stats }

var _ prometheus.Collector = (*Metrics)(nil)

// New returns the metrics of a server. Each start of its node needs new ones, and the old ones must
// be unregistered first. It panics if a label's name in the options can't be used, as the functions
// of client_golang do.
func New(id raft.ServerID, options Options) *Metrics {
	constant := prometheus.Labels{"server": labelValue(id)}
	maps.Copy(constant, options.Labels)
	m := &Metrics{options: options}
	m.top.begin(max(cmp.Or(options.TopGroups, defaultTop), 0), options.Groups)
	for i, f := range families {
		m.descs[i] = prometheus.NewDesc(f.name, f.help, f.labels, constant)
	}
	for _, name := range slices.Sorted(maps.Keys(constant)) {
		m.labels = append(m.labels, &dto.LabelPair{Name: &name, Value: new(constant[name])})
	}
	return m
}

// labelValue returns the name of a server as the value of a label, which must be UTF-8.
func labelValue[ID raft.ServerID | raft.GroupID](id ID) string {
	if utf8.ValidString(string(id)) {
		return string(id)
	}
	return fmt.Sprintf("%q", string(id))
}

// Instrument has a node that is started with the config counted. It changes config.Trace; functions
// of a Trace that is there are called first, as before. If the Transport says what it does, as that
// of package tcp, it is asked.
func (m *Metrics) Instrument(config *raft.Config) {
	if t, ok := config.Transport.(statsTeller); ok {
		m.transport.Store(&t)
	}
	before := raft.Trace{}
	if config.Trace != nil {
		before = *config.Trace
	}
	config.Trace = m.trace(before)
}

// Attach has the node asked for its Status whenever the metrics are collected. Until then they are
// those of the Trace alone. After the node has stopped they show the end.
func (m *Metrics) Attach(node *raft.Node) { m.node.Store(node) }

// Synced is for wal.Options.Synced.
func (m *Metrics) Synced(took time.Duration, err error) {
	m.lanes.mu.Lock()
	defer m.lanes.mu.Unlock()
	m.lanes.syncs.observe(took, 1)
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range m.descs {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	c := collection{m, out}
	c.traced()
	if t := m.transport.Load(); t != nil {
		c.transportStats((*t).Stats())
	}
	if node := m.node.Load(); node != nil {
		c.status(node.Status())
		c.put(failedFamily, oneIf(node.Err() != nil))
	}
	if host := m.host.Load(); host != nil {
		c.hostStatus(host.Status(), time.Now())
	}
}

// A collection is one call of Collect.
type collection struct {
	*Metrics
	out chan<- prometheus.Metric
}

// put gives the value of a series.
func (c collection) put(f int, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if families[f].kind != 0 {
		kind = families[f].kind
	}
	c.out <- prometheus.MustNewConstMetric(c.descs[f], kind, value, labels...)
}

// each gives 1 for one of the values of a family's last label, and 0 for the others.
func (c collection) each(f int, values []string, is string, labels ...string) {
	for _, value := range values {
		c.put(f, oneIf(value == is), append(slices.Clip(labels), value)...)
	}
}

// histogram gives a histogram.
func (c collection) histogram(f int, h *histogram, labels ...string) {
	m := &histogramMetric{desc: c.descs[f], labels: slices.Clone(c.labels), histogram: *h, nativeOnly: c.options.NativeOnly}
	for i, value := range labels {
		m.labels = append(m.labels, &dto.LabelPair{Name: new(families[f].labels[i]), Value: &value})
	}
	slices.SortFunc(m.labels, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	c.out <- m
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// loopMeasures are what the loop of a node counts. Only the loop uses them. What run has counted gets
// into the totals when the run is over, or the turn is.
type loopMeasures struct {
	run    run
	stages stages
	to     *loopTotals
}

// loopTotals are what the loops have counted: the one of a node, or those of all groups of a host.
type loopTotals struct {
	mu    sync.Mutex
	shown loopCounts
}

// laneMeasures are what the lanes, and the goroutines that come and go, count.
type laneMeasures struct {
	mu sync.Mutex

	writes, syncs, applies          histogram
	writtenEntries, writtenBytes    uint64
	repaired, applied               uint64
	fetches                         [len(purposes)]histogram
	snapshots                       [len(snapshotKinds)]histogram
	snapshotsFailed, snapshotsBytes [len(snapshotKinds)]uint64
}

// callerMeasures count calls that don't reach the loop.
type callerMeasures struct {
	refused [len(callKinds)]atomic.Uint64
	reasons [len(reasons)]atomic.Uint64
}
