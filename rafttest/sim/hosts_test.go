package sim

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	hostRuns  = flag.Int("hostruns", 100, "how many runs of hosts")
	hostStart = flag.Int("hoststart", 1, "the first seed of hosts")
)

// hostGroups returns how many groups the processes of a seed serve.
func hostGroups(seed uint64) int { return 3 + int(seed%6) }

// Whatever happens to processes, their disks, networks and shards, and to groups in them, all invariants
// hold in every group. In the end all groups make progress, and cost nothing.
func TestHosts(t *testing.T) {
	t.Parallel()
	h := NewHosts()
	var total HostStats
	var all Stats
	for seed := uint64(*hostStart); seed < uint64(*hostStart+*hostRuns); seed++ {
		r, stats := h.Run(seed, hostGroups(seed))
		require.Nil(t, r.Violation, "go run ./cmd/raftsim -groups %d -seed %d", hostGroups(seed), seed)
		total.Add(&stats)
		all.Add(&r.Stats)
	}
	t.Logf("%+v", total)
	if *hostRuns < 100 {
		return
	}
	for kind, n := range total.Faults {
		require.NotZero(t, n, HostFaultNames[kind])
	}
	require.NotZero(t, total.Failed)
	require.NotZero(t, total.Removed)
	require.NotZero(t, total.Shared, "writes of several groups at once")
	require.Greater(t, total.Settled, 10_000, "turns after which a group was at rest")
	for what, n := range map[string]int{
		"elections": all.Elections, "commands": all.Answered, "reads": all.Reads, "transfers": all.Transfers, "changes": all.Changed,
		"snapshots": all.Snapshots, "snapshots received": all.Received, "disks that went back": all.Backs, "entries lost": all.LostEntries,
		"entries stored again": all.Repaired,
	} {
		require.NotZero(t, n, what)
	}
}

// A run follows from its seed, whatever the world was used for before.
func TestHostsRepeat(t *testing.T) {
	t.Parallel()
	used := NewHosts()
	for seed := uint64(1); seed <= 10; seed++ {
		a, _ := used.Run(seed, hostGroups(seed))
		b, _ := NewHosts().Run(seed, hostGroups(seed))
		require.Equal(t, a, b)
	}
}

// While nothing happens, processes send each other one message in an interval, each way, however many
// groups they serve, and no group takes a turn.
func TestIdleHostsAreFree(t *testing.T) {
	t.Parallel()
	p := Calm(1, 3)
	p.ClientTime = never / 8
	h := NewHosts()
	h.reset(p, MaxGroups)
	for _, w := range h.worlds {
		w.params.ClientTime = p.ClientTime
	}
	h.found()
	h.begin(phaseFaults)
	for i := range h.n {
		h.wakeAll(i, false)
	}
	h.loop(h.now+10*p.Election, func() bool { return false })
	require.Empty(t, h.busy())
	sent, turns := h.stats.Heartbeats, h.events()-h.stats.Heartbeats
	h.loop(h.now+100*p.Heartbeat, func() bool { return false })
	require.Empty(t, h.busy())
	require.LessOrEqual(t, h.stats.Heartbeats-sent, 3*2*101)
	require.Equal(t, turns, h.events()-h.stats.Heartbeats)
	require.False(t, h.over())
}

// These checks of hosts have no breach of their own. Mutants of the Books show them: coalesce-covered-in-a-turn,
// coalesce-heartbeat-of-now and coalesce-end-untold.
func init() {
	elsewhere["leads on in term %d, though no quorum of"] = "a mutant of the Books"
	elsewhere["follows %q in term %d, and hasn't campaigned"] = "mutants of the Books"
	unbroken[Candidates] = "mutants of the Books"
	unbroken[IdleIsFree] = "a mutant in which a sole voter with learners never rests"
}
