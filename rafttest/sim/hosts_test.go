package sim

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
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
	for kind, n := range total.Faults[:numHostFaults] { // those of real logs: TestHostsWAL
		require.NotZero(t, n, HostFaultNames[kind])
	}
	require.NotZero(t, total.Failed)
	require.NotZero(t, total.Removed)
	require.NotZero(t, total.Shared, "writes of several groups at once")
	require.NotZero(t, total.Frozen, "processes that stayed as they were")
	require.NotZero(t, total.Scrubs, "groups that read their logs")
	require.Greater(t, total.Settled, 10_000, "turns after which a group was at rest")
	for what, n := range map[string]int{
		"elections": all.Elections, "commands": all.Answered, "reads": all.Reads, "transfers": all.Transfers, "changes": all.Changed,
		"snapshots": all.Snapshots, "snapshots received": all.Received, "disks that went back": all.Backs, "entries lost": all.LostEntries,
		"entries stored again": all.Repaired, "disks that became full": all.Filled, "commands refused for that": all.RefusedFull,
		"disks that stayed full": all.Brims, "groups that begin with a survivor": all.Recovered, "with an exported snapshot": all.Exported,
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

// foundedHosts returns processes that have founded their groups, and to which nothing has happened since.
func foundedHosts(t *testing.T) *Hosts {
	h := NewHosts()
	h.reset(Calm(1, 3), 3)
	h.found()
	require.False(t, h.over())
	return h
}

// A process that lists a group which it doesn't lead, or that lets a removed group come back, is found out.
func TestRemovedIsSilentCanBreak(t *testing.T) {
	for what, breaks := range map[string]func(h *Hosts, w *World, i int){
		"lists itself": func(h *Hosts, w *World, i int) {
			body := wire.ProcessHeartbeat{Version: 1, Stands: []wire.Stand{{Group: groupID(w.group), Term: 1}}}
			m := body.Message().In(wire.Envelope{From: h.processes[i].id, To: h.processes[(i+1)%3].id, FromStart: h.processes[i].start})
			h.sends(i, &m)
		},
		"comes back": func(h *Hosts, w *World, i int) {
			w.step(Event{Op: OpCrash, Server: int8(i)}, nil)
			h.processes[i].removed[w.group] = h.now + 1
			w.step(Event{Op: OpStart, Server: int8(i)}, nil)
		},
	} {
		h := foundedHosts(t)
		w := h.worlds[1]
		breaks(h, w, (w.leading()+1)%3)
		require.NotNil(t, w.violation, what)
		require.Equal(t, RemovedIsSilent, w.violation.Name)
		require.Contains(t, w.violation.Detail, what)
	}
}

// A message of a process whose start is an earlier one, whose round doesn't follow, or which isn't one, is
// found out.
func TestProcessMessagesCanBreak(t *testing.T) {
	for what, breaks := range map[string]func(m *wire.Message, round uint64){
		"has the start": func(m *wire.Message, _ uint64) { m.FromStart-- },
		"to process 2 follows round": func(m *wire.Message, round uint64) {
			*m = wire.ProcessHeartbeat{Version: 1, Round: round + 2}.Message().In(m.Envelope)
		},
		"a Book sends": func(m *wire.Message, _ uint64) { m.To = m.From },
	} {
		h := foundedHosts(t)
		p := &h.processes[0]
		m := wire.ProcessHeartbeat{Version: 1}.Message().In(wire.Envelope{From: p.id, To: "2", FromStart: p.start})
		breaks(&m, uint64(len(p.rounds[1])))
		h.sends(0, &m)
		require.NotNil(t, h.failed, what)
		require.Equal(t, Gate, h.failed.Name)
		require.Contains(t, h.failed.Detail, what)
	}
}

// Each message of a process says how much room its disk has, as the Book was told last.
func TestRoomIsTold(t *testing.T) {
	h := foundedHosts(t)
	h.processes[0].room = 7
	m := wire.ProcessHeartbeat{Version: 1}.Message().In(wire.Envelope{From: "1", To: "2", FromStart: h.processes[0].start})
	h.sends(0, &m)
	require.NotNil(t, h.failed)
	require.Equal(t, Gate, h.failed.Name)
	require.Contains(t, h.failed.Detail, "of the room of its disk, and was told 8")
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
	elsewhere["group %d comes back by itself"] = "TestRemovedIsSilentCanBreak"
	elsewhere["lists itself as the leader of group"] = "TestRemovedIsSilentCanBreak"
	elsewhere["says %d of the room of its disk"] = "TestRoomIsTold"
	elsewhere["a message has the start"] = "TestProcessMessagesCanBreak"
	elsewhere["round %d to process"] = "TestProcessMessagesCanBreak"
	elsewhere["a Book sends"] = "TestProcessMessagesCanBreak"
	elsewhere["a message of a process can't be decoded"] = "mutants of the messages"
	elsewhere["%d election timeouts after all was done"] = "a mutant in which a sole voter with learners never rests"
	elsewhere["the deadline of its Book"] = "mutants of the Books"
	elsewhere["there is no end to what happens"] = "nothing: it ends a run that would go on for ever"
	elsewhere["the log can't be cleaned"] = "mutants of the log"
	elsewhere["its log is still being cleaned"] = "mutants of the log"
	elsewhere["the log takes more than it should"] = "mutants of the log"
	elsewhere["%d bytes of %d are written in the log"] = "TestHostLogsCanBreak"
	elsewhere["the log can't be looked at"] = "TestHostLogsCanBreak"
	elsewhere["group %d begins with entries up to"] = "TestHostLogsCanBreak"
	elsewhere["the log holds something of group %d"] = "TestHostLogsCanBreak"
	elsewhere["its group can't be closed"] = "mutants of the log"
	elsewhere["what should be there can't be read"] = "mutants of the log"
	elsewhere["the log refuses a write"] = "mutants of the log"
	unbroken[RemovedStaysAway] = "TestHostLogsCanBreak"
	unbroken[LogCleaned] = "TestHostLogsCanBreak"
	unbroken[RemovedIsSilent] = "TestRemovedIsSilentCanBreak"
	unbroken[Candidates] = "mutants of the Books"
	unbroken[IdleIsFree] = "a mutant in which a sole voter with learners never rests"
}
