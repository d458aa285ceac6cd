package model

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	hostsOnly  = flag.String("hosts", "", "only the searches of hosts whose names begin with this, wide ones among them")
	hostsLimit = flag.Int("hosts-states", 2_000_000, "after how many states a wide search ends")
	hostsWalks = flag.Int("hosts-walks", 8, "how many walks are taken")
)

// smallHosts are searched to their end.
var smallHosts = []Hosts{
	{Name: "lost", Processes: 3, Groups: 1, InFlight: 2, Leases: true, Losses: 3, Elections: 2, Turns: 2},
	{Name: "elections", Processes: 3, Groups: 1, InFlight: 1, Losses: 2, Elections: 1, Turns: 1},
	{Name: "pair", Processes: 2, Groups: 1, InFlight: 2, Leases: true, Turns: 1, Ticks: 2, Crashes: 1},
	{Name: "fails", Processes: 2, Groups: 1, InFlight: 1, Leases: true, Turns: 1, Ticks: 1, Failures: 1, Elections: 1},
	{Name: "two", Processes: 2, Groups: 2, InFlight: 1, Turns: 1, Ticks: 1, Failures: 1},
	{Name: "transfer", Processes: 3, Groups: 1, InFlight: 1, Leases: true, Transfers: 1, Turns: 1},
	{Name: "apart", Processes: 2, Groups: 1, InFlight: 1, Leases: true, Apart: true, Late: true, Losses: 1, Turns: 2, Ticks: 1},
	{Name: "async", Processes: 2, Groups: 1, InFlight: 1, Leases: true, Fresh: true, AsyncDisks: true, Elections: 1, Ticks: 1, Crashes: 1},
	{Name: "joint", Processes: 3, Groups: 1, InFlight: 1, Leases: true, Targets: []uint8{1, 3}, Changes: 2, Turns: 1},
	{Name: "learners", Processes: 3, Groups: 1, Learners: 6, InFlight: 1, Leases: true, Targets: []uint8{7}, Changes: 1, Turns: 1},
	{Name: "hangs", Processes: 2, Groups: 1, InFlight: 1, Leases: true, Hangs: 1, Ticks: 3},
	{Name: "reads", Processes: 2, Groups: 1, InFlight: 1, Leases: true, Commands: 1, Turns: 1, Reads: 1, LeaseReads: 1},
	{Name: "commands", Processes: 2, Groups: 1, InFlight: 1, Leases: true, Commands: 1, Ticks: 1, Turns: 2, Duplicates: 1},
}

// wideHosts are searched by hand.
var wideHosts = []Hosts{
	{Name: "wide pair", Processes: 2, Groups: 1, InFlight: 2, Leases: true, Losses: 1, Turns: 1, Ticks: 3, Crashes: 1, Failures: 1},
	{Name: "wide two", Processes: 2, Groups: 2, InFlight: 1, Turns: 1, Ticks: 1, Failures: 1, Crashes: 1, Duplicates: 1},
	{Name: "wide transfer", Processes: 3, Groups: 1, InFlight: 1, Leases: true, Transfers: 1, Turns: 1, Ticks: 1},
	{Name: "wide async", Processes: 2, Groups: 1, InFlight: 1, Leases: true, Fresh: true, AsyncDisks: true, Elections: 2, Ticks: 1, Crashes: 1},
	{Name: "wide joint", Processes: 3, Groups: 1, InFlight: 1, Leases: true, Targets: []uint8{1, 3}, Changes: 2, Turns: 1, Ticks: 1},
	{Name: "wide apart", Processes: 3, Groups: 1, InFlight: 1, Leases: true, Apart: true, Late: true, Losses: 2, Elections: 1, Turns: 1, Ticks: 1},
	{Name: "wide successor", Processes: 3, Groups: 1, InFlight: 1, Losses: 2, Elections: 1, Turns: 1, Ticks: 1},
	{Name: "wide cut", Processes: 3, Groups: 1, InFlight: 1, Cut: true, Commands: 1, Reads: 1, Turns: 1},
	{Name: "wide cut lease", Processes: 3, Groups: 1, InFlight: 1, Cut: true, Leases: true, Commands: 1, LeaseReads: 1, Turns: 1},
	{Name: "wide given", Processes: 3, Groups: 1, InFlight: 1, Given: true, Leases: true, Commands: 1, LeaseReads: 1, Turns: 1, Ticks: 1},
	{Name: "wide lost", Processes: 3, Groups: 1, InFlight: 1, Leases: true, Losses: 2, Elections: 1, Ticks: 3},
}

// walkedHosts are too wide for a search.
var walkedHosts = []Hosts{
	{Name: "walk all", Processes: 3, Groups: 2, InFlight: 3, Leases: true, Spread: true, Losses: 3, Elections: 4, Ticks: 20, Crashes: 2,
		Failures: 2, Transfers: 2, Commands: 3, Reads: 3, LeaseReads: 3, Turns: 6, Changes: 2, Targets: []uint8{1, 3, 7}, Duplicates: 4, Hangs: 2},
	{Name: "walk apart", Processes: 3, Groups: 1, InFlight: 2, Leases: true, AsyncDisks: true, Apart: true, Late: true, Losses: 3, Elections: 4,
		Ticks: 15, Crashes: 2, Failures: 2, Transfers: 1, Commands: 2, Reads: 2, LeaseReads: 2, Turns: 6, Duplicates: 4, Hangs: 1},
	{Name: "walk learners", Processes: 3, Groups: 1, Learners: 6, InFlight: 2, Leases: true, Losses: 2, Elections: 3, Ticks: 12, Crashes: 1,
		Transfers: 1, Turns: 4, Changes: 2, Targets: []uint8{7, 6, 3}, Duplicates: 2},
}

func runHosts(t *testing.T, b Hosts, run func(*HostSearch) HostResult) HostResult {
	s, err := NewHosts(b)
	require.NoError(t, err)
	begun := time.Now()
	r := run(s)
	t.Log(b.Name, r, time.Since(begun).Round(time.Millisecond))
	if r.Violation != nil {
		var text strings.Builder
		s.Transcript(&text)
		t.Fatal("\n" + text.String())
	}
	return r
}

// Whatever happens within small bounds to processes that serve groups: no group has two leaders in a
// term, none is elected while another one holds a lease, what is committed stays, and what a core is
// told of others was so. And when all goes well from some state, each group has a leader that all
// follow, and nothing to do.
func TestHosts(t *testing.T) {
	for _, b := range smallHosts {
		t.Run(b.Name, func(t *testing.T) {
			r := runHosts(t, b, func(s *HostSearch) HostResult {
				s.Sample = 40
				return s.Run(context.Background())
			})
			require.True(t, r.Exhausted)
			require.NotZero(t, r.Calms)
		})
	}
}

// The same holds on random runs within wide bounds.
func TestHostWalks(t *testing.T) {
	for _, b := range walkedHosts {
		t.Run(b.Name, func(t *testing.T) {
			runHosts(t, b, func(s *HostSearch) HostResult { return s.Walk(context.Background(), 1, *hostsWalks, 150) })
		})
	}
}

// The same holds in the beginning of searches within wider bounds.
func TestHostsBegun(t *testing.T) {
	for _, b := range wideHosts {
		t.Run(b.Name, func(t *testing.T) {
			runHosts(t, b, func(s *HostSearch) HostResult {
				s.Sample, s.Limit = 40, 20_000
				return s.Run(context.Background())
			})
		})
	}
}

// A member that has another leader by now doesn't vouch for the one before, whose list still has the group.
func TestHostsSuccessor(t *testing.T) {
	b := Hosts{Processes: 3, Groups: 1, InFlight: 1, Losses: 2, Elections: 1, Ticks: 1}
	runHosts(t, b, func(s *HostSearch) HostResult {
		s.Sample, s.Limit = 2000, 100_000
		return s.Run(context.Background())
	})
}

// The same holds within wider bounds: -hosts says which ones.
func TestWideHosts(t *testing.T) {
	for _, b := range wideHosts {
		if *hostsOnly == "" || !strings.HasPrefix(b.Name, *hostsOnly) {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			runHosts(t, b, func(s *HostSearch) HostResult {
				s.Sample, s.Limit = 1000, *hostsLimit
				return s.Run(context.Background())
			})
		})
	}
}
