package prometheus

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// moves lets groups apply entries, so many a second each.
type moves struct {
	top  topGroups
	now  time.Time
	is   []raft.GroupStatus
	seen map[raft.GroupID]bool // the groups that were chosen
}

func newMoves(groups, places int, always ...raft.GroupID) *moves {
	m := &moves{now: time.Unix(1, 0), seen: map[raft.GroupID]bool{}}
	m.top.begin(places, always)
	for i := range groups {
		m.is = append(m.is, raft.GroupStatus{Group: raft.GroupID(fmt.Sprintf("g%04d", i)), Leadership: raft.Leadership{Role: "leader"}})
	}
	return m
}

// pass lets a scrape interval pass.
func (m *moves) pass(perSecond func(i int) int) (chosen []raft.GroupID) {
	m.now = m.now.Add(15 * time.Second)
	for i := range m.is {
		m.is[i].Applied += raft.Index(15 * perSecond(i))
	}
	for _, g := range m.top.choose(m.is, m.now) {
		chosen = append(chosen, g.Group)
		m.seen[g.Group] = true
	}
	return chosen
}

// The groups with the most commands have series of their own, and those that are wanted, whatever they
// do. A group that rests gives its place up.
func TestTopGroups(t *testing.T) {
	m := newMoves(100, 3, "g0050")
	require.Equal(t, []raft.GroupID{"g0050"}, m.pass(func(i int) int { return i }), "nobody knows yet who is busy")
	require.Equal(t, []raft.GroupID{"g0050", "g0099", "g0098", "g0097"}, m.pass(func(i int) int { return i }))
	for range 200 {
		m.pass(func(i int) int { return 100 - i })
	}
	require.Equal(t, []raft.GroupID{"g0050", "g0000", "g0001", "g0002"}, m.pass(func(i int) int { return 100 - i }))
	m.is[0].Leadership.Role = "stopped"
	require.Equal(t, []raft.GroupID{"g0050", "g0001", "g0002", "g0003"}, m.pass(func(i int) int { return 100 - i }))
	for range 2000 {
		m.pass(func(int) int { return 0 })
	}
	require.Equal(t, []raft.GroupID{"g0050"}, m.pass(func(int) int { return 0 }))
	again := len(m.top.choose(m.is, m.now))
	require.Equal(t, 1, again, "two scrapes at the same time")
}

// If all groups are equally busy, few of them ever get series, also in hours.
func TestTopGroupsStayTheSame(t *testing.T) {
	m := newMoves(1000, 20)
	luck := rand.New(rand.NewPCG(1, 2))
	for range 4 * 60 * 4 {
		chosen := m.pass(func(int) int { return luck.IntN(100) })
		require.LessOrEqual(t, len(chosen), 20)
	}
	require.LessOrEqual(t, len(m.seen), 2*20)
}

// A host has as many series with many groups as with few, and the names of no more groups than it may.
func TestSeriesOfAHost(t *testing.T) {
	count := func(groups int) (series int, named map[string]bool) {
		synctest.Test(t, func(t *testing.T) {
			metrics := New("a", Options{TopGroups: 5, Groups: []raft.GroupID{"\xff"}})
			config := raft.HostConfig{
				ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
				Group: func(raft.GroupID) raft.Config {
					return raft.Config{Machine: nothing{}, Bootstrap: []raft.Server{{ID: "a"}}}
				},
			}
			metrics.InstrumentHost(&config)
			host, err := raft.StartHost(config)
			require.NoError(t, err)
			metrics.AttachHost(host)
			defer host.Close(t.Context())
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(metrics)
			propose := func(group raft.GroupID) {
				node, err := host.Group(group)
				require.NoError(t, err)
				_, err = node.Propose(t.Context(), []byte("a command"))
				require.NoError(t, err)
			}
			sums := map[string]float64{}
			for range 3 {
				propose("\xff")
				for i := range groups {
					propose(raft.GroupID(fmt.Sprint("g", i)))
				}
				time.Sleep(15 * time.Second)
				series, named = 0, map[string]bool{}
				families, err := registry.Gather()
				require.NoError(t, err)
				for _, family := range families {
					series += len(family.Metric)
					for _, m := range family.Metric {
						sums[family.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
						for _, l := range m.Label {
							if l.GetName() == "group" {
								named[l.GetValue()] = true
							}
						}
						if family.GetName() == "raft_write_duration_seconds" {
							require.Positive(t, m.Histogram.GetSampleCount())
						}
					}
				}
			}
			require.EqualValues(t, 3*(groups+1), sums["raft_host_running_groups"])
			require.EqualValues(t, (1+2+3)*(groups+1), sums["raft_answers_total"])
			require.Positive(t, sums["raft_written_entries_total"])
		})
		return series, named
	}
	few, named := count(10)
	require.Len(t, named, 6)
	require.True(t, named[`"\xff"`])
	many, named := count(200)
	require.Len(t, named, 6)
	require.Equal(t, few, many)
}
