package raft_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A damagedCase is a cluster of three whose servers have lost some of four commands. One may have a
// snapshot in the place of the first ones, one may lag behind, and one may be down for a while.
type damagedCase struct {
	lost     [3]int // bits of the commands that a server has lost
	snapshot [3]int // how many commands a server's snapshot stands for
	lags     int    // how many of the last commands c lacks
	down     int    // the server that comes later; -1 for none
}

func (d *damagedCase) String() string {
	return fmt.Sprintf("lost %04b, snapshots %v, c lacks %d, %d is down", d.lost, d.snapshot, d.lags, d.down)
}

// missing says whether a command is nowhere any more, though it may have been acknowledged.
func (d *damagedCase) missing() bool {
	for n := range wreckCommands {
		held := false
		for i := range d.lost {
			lacks := i == 2 && n >= wreckCommands-d.lags
			held = held || n < d.snapshot[i] || d.lost[i]>>n&1 == 0 && !lacks
		}
		if !held {
			return true
		}
	}
	return false
}

// start starts the servers, but for the one that is down.
func (d *damagedCase) start(t *testing.T, sound map[raft.ServerID]*server) *cores {
	c := &cores{t: t, servers: map[raft.ServerID]*server{}, ids: []raft.ServerID{"a", "b", "c"}, now: 1e12}
	for i, id := range c.ids {
		was := sound[id]
		end := len(was.log)
		begin := end - wreckCommands
		if id == "c" {
			end -= d.lags
		}
		s := &server{cut: true, config: was.config, saved: was.saved, log: was.log[:end:end]}
		c.servers[id] = s
		if n := min(d.snapshot[i], end-begin); n > 0 {
			configuration, err := wire.DecodeConfiguration(was.log[0].Data)
			require.NoError(t, err)
			s.base = raft.Index(begin + n)
			s.current = raft.SnapshotMeta{Index: s.base, Term: was.log[s.base-1].Term, Configuration: configuration, ConfigurationIndex: 1}
		}
		for n := range wreckCommands {
			if index := raft.Index(begin + n + 1); d.lost[i]>>n&1 != 0 && index <= raft.Index(end) {
				c.lose(id, index)
			}
		}
	}
	for i, id := range c.ids {
		c.start(id)
		c.servers[id].cut = i == d.down
	}
	return c
}

// Damage together with snapshots in the place of the log, a server that lags behind, and one that
// is down and comes back: if each command is somewhere, in a log or in a snapshot, all servers get
// it in the end. If one is nowhere, nobody leads.
func TestPatternsOfDamageWithSnapshots(t *testing.T) {
	sound := whole(t)
	luck := rand.New(rand.NewPCG(1, 2))
	recovers, stays := 0, 0
	for run := range 600 {
		d := damagedCase{down: luck.IntN(4) - 1, lags: luck.IntN(3)}
		for i := range d.lost {
			d.lost[i] = luck.IntN(1<<wreckCommands) & luck.IntN(1<<wreckCommands)
		}
		d.snapshot[run%3] = run / 3 % (wreckCommands + 1)
		if run%3 == 2 {
			d.snapshot[2] = min(d.snapshot[2], wreckCommands-d.lags)
		}
		c := d.start(t, sound)
		c.carry(6)
		for _, id := range c.ids {
			c.servers[id].cut = false
		}
		if d.missing() {
			c.carry(6)
			require.Empty(t, c.leader(), "%v", &d)
			stays++
			continue
		}
		recovers++
		for rounds := 0; !c.wholeAgain(); rounds++ {
			require.Less(t, rounds, 60, "%v", &d)
			c.carry(1)
		}
	}
	require.Greater(t, recovers, 300)
	require.Greater(t, stays, 30)
}

// carry lets so many election timeouts pass, and brings the snapshots that are sent meanwhile.
func (c *cores) carry(timeouts int) {
	for range timeouts {
		c.pass(election)
		for _, st := range c.streams {
			if to := st.send.Header.To; !st.finished && !c.servers[to].cut && !c.servers[st.from].cut {
				c.bring(st.from, to, snapshotSize)
			}
		}
		c.pass(heartbeat)
	}
}

// wholeAgain says whether all servers have applied what their leader has committed, or have restored
// it, and nothing is lost that any server needs.
func (c *cores) wholeAgain() bool {
	leader := c.leader()
	if leader == "" {
		return false
	}
	for _, id := range c.ids {
		if c.status(id).Applied != c.status(leader).Last {
			return false
		}
	}
	return true
}

// The others have forgotten what a follower has lost before the follower knows that it is committed.
// An append that it can't acknowledge fills the leader's window. The heartbeats tell it what is
// committed, and then it gets a snapshot.
func TestLostEntriesInFullWindow(t *testing.T) {
	c := ruin(t, "2 2", "2! 2", "2 2")
	for _, id := range c.ids {
		c.servers[id].config.WindowMessages = 1
		c.servers[id].config.SnapshotRetainBytes = 1
		c.start(id)
	}
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindRepairResponse }
	c.pass(6 * election)
	leader := c.leader()
	require.NotEmpty(t, leader)
	require.EqualValues(t, 1, c.status("b").Applied)
	c.snapshot("a")
	c.snapshot("c")
	for n := range 3 {
		c.propose(leader, fmt.Sprint("command ", n))
		c.pass(heartbeat)
	}
	for _, id := range []raft.ServerID{"a", "c"} {
		c.snapshot(id)
		require.Less(t, raft.Index(2), c.servers[id].base, "what is lost is forgotten")
		require.Less(t, c.servers[id].base, raft.Index(5), "and what b hasn't got is not")
	}
	c.lost = nil
	for rounds := 0; !c.wholeAgain(); rounds++ {
		require.Less(t, rounds, 20)
		c.carry(1)
	}
}

// A durable state machine is behind the snapshot when its server starts, and the log in between is
// lost, which shows at the start or when it is read. The snapshot is there, so nobody else is needed.
func TestDurableMachineIsRestoredInsteadOfLostEntries(t *testing.T) {
	configuration := raft.Configuration{
		Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: reached("a"), Role: raft.Voter, Incarnation: 1}},
	}
	damage := &raft.DamagedError{Lost: wire.Range{First: 4, Last: 4}, Err: raft.ErrCorrupt}
	start := func(applied raft.Index, lost ...wire.Range) (*raft.Core, error) {
		return raft.NewCore(raft.CoreConfig{
			ID: "a", Seed: 1, Bootstrap: []raft.Server{reached("a")}, Heartbeat: heartbeat, ElectionTimeout: election, StartLuck: 1,
			DurableMachine: true, MachineApplied: applied,
			Saved: raft.Saved{
				State:    raft.DurableState{HardState: raft.HardState{Term: 4}, Server: "a", Incarnation: 1, Cluster: raft.ClusterID{1}},
				Snapshot: raft.SnapshotMeta{Index: 5, Term: 2, ConfigurationIndex: 1, Configuration: configuration}, SnapshotBytes: 1,
				Base: 1, BaseTerm: 2, Last: 6, Runs: []raft.TermRun{{First: 2, Term: 2}}, Lost: lost,
			},
		})
	}
	effects := func(core *raft.Core) *raft.Effects {
		var e raft.Effects
		core.Drain(&e)
		return &e
	}
	_, err := start(2, wire.Range{First: 6, Last: 6})
	require.ErrorIs(t, err, raft.ErrCorrupt, "the snapshot doesn't cover it")
	core, err := start(4, damage.Lost)
	require.NoError(t, err)
	require.Nil(t, effects(core).RestoreSnapshot, "the state machine has applied it")
	core, err = start(2, damage.Lost)
	require.NoError(t, err)
	require.NotNil(t, effects(core).RestoreSnapshot)
	core.Restored(0)
	require.EqualValues(t, 5, core.Status().Applied)

	core, err = start(2)
	require.NoError(t, err)
	fetches := effects(core).Fetches
	require.Len(t, fetches, 1)
	core.Fetched(0, fetches[0], []raft.Entry{{Index: 3, Term: 2, Kind: wire.EntryCommand}})
	e := effects(core)
	require.Len(t, e.Apply, 1)
	require.Len(t, e.Fetches, 1)
	require.NoError(t, core.Damaged(0, e.Fetches[0], damage))
	require.NotNil(t, effects(core).RestoreSnapshot)
	core.Applied(0, raft.Batch{Last: 3})
	core.Restored(0)
	require.EqualValues(t, 5, core.Status().Applied)
}

// A server is alone and learns at its start that entries are lost. Its durable state machine has applied
// them, so it needs nothing, and nobody else could give them. It has them covered by a snapshot.
func TestServerAloneCoversWhatWasLostBeforeItsStart(t *testing.T) {
	configuration := raft.Configuration{
		Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: reached("a"), Role: raft.Voter, Incarnation: 1}},
	}
	core, err := raft.NewCore(raft.CoreConfig{
		ID: "a", Seed: 1, Bootstrap: []raft.Server{reached("a")}, Heartbeat: heartbeat, ElectionTimeout: election, StartLuck: 1,
		DurableMachine: true, MachineApplied: 5,
		Saved: raft.Saved{
			State: raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "a", Incarnation: 1, Cluster: raft.ClusterID{1}},
			Last:  5, Runs: []raft.TermRun{{First: 1, Term: 1}}, Lost: []wire.Range{{First: 2, Last: 3}},
			Configurations: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}},
		},
	})
	require.NoError(t, err)
	require.NotEmpty(t, core.Status().Lost)
	taken := raft.Index(0)
	for range 10 {
		var e raft.Effects
		core.Tick(0)
		core.Drain(&e)
		if e.Write.Number != 0 {
			core.Persisted(0, e.Write.Number)
		}
		if e.TakeSnapshot != nil {
			taken = e.TakeSnapshot.Index
			core.SnapshotTaken(0, 1)
		}
		if e.VerifySnapshot != nil {
			core.SnapshotVerified(0, nil)
		}
	}
	require.GreaterOrEqual(t, taken, raft.Index(3))
	require.Empty(t, core.Status().Lost)
}

// A server that a configuration leaves out is asked for bytes as long as that one isn't known to be
// committed.
func TestServersThatMayStayAreAskedForBytes(t *testing.T) {
	c := ruin(t, "2", "2! 2 2", "2! 2 2")
	first, err := wire.DecodeConfiguration(c.servers["a"].log[0].Data)
	require.NoError(t, err)
	all := first.Members
	for _, id := range []raft.ServerID{"b", "c"} {
		s := c.servers[id]
		for i, next := range []raft.Configuration{{Members: all[1:], Old: all}, {Members: all[1:]}} {
			next.Cluster = first.Cluster
			s.log[2+i] = raft.Entry{Index: raft.Index(3 + i), Term: 2, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &next)}
		}
		c.start(id)
	}
	c.pass(20 * election)
	for _, id := range []raft.ServerID{"b", "c"} {
		require.Contains(t, c.commands(id), "2/2")
	}
}

// A leader has lost its snapshot, and nobody can lead in its place: the others are learners, or have
// lost theirs too. It asks for a snapshot that covers its own. If a learner hasn't one, it takes one.
func TestLeaderPullsASnapshot(t *testing.T) {
	for _, voters := range []int{1, 2} {
		for _, behind := range []raft.Index{0, 1} {
			c := &cores{t: t, servers: whole(t), ids: []raft.ServerID{"a", "b", "c"}, now: 1e12}
			for i, id := range c.ids {
				s := c.servers[id]
				configuration, err := wire.DecodeConfiguration(s.log[0].Data)
				require.NoError(t, err)
				for learner := voters; learner < 3; learner++ {
					configuration.Members[learner].Role = raft.Learner
				}
				s.log[0].Data = wire.AppendConfiguration(nil, &configuration)
				s.base, s.lost = raft.Index(len(s.log)), i < 2
				if i == 2 {
					s.base -= behind
				}
				s.current = raft.SnapshotMeta{Index: s.base, Term: s.log[s.base-1].Term, Configuration: configuration, ConfigurationIndex: 1}
				c.start(id)
			}
			c.elect("a")
			c.servers["b"].cut = false
			for rounds := 0; !c.wholeAgain(); rounds++ {
				require.Less(t, rounds, 12, "%+v", c.status("a"))
				c.carry(1)
			}
		}
	}
}

// What a snapshot covers, and nobody has any more, is forgotten in a cluster at rest, too, once the
// snapshot has been read to its end. It stays beneath a snapshot that isn't sound.
func TestLostEntriesBeneathASnapshotAreForgotten(t *testing.T) {
	for _, servers := range []int{1, 3} {
		c := newScrubbed(t, servers, 1<<20, 40)
		for _, id := range c.ids {
			c.lose(id, 16, 17)
		}
		a := c.servers["a"]
		a.unsound = raft.ErrCorrupt
		c.pass(40 * election)
		require.Equal(t, []wire.Range{{First: 16, Last: 17}}, c.status("a").Lost)
		require.EqualValues(t, c.status("a").Last, c.status("a").Snapshot)
		require.Zero(t, a.base)
		a.unsound = nil
		c.pass(40 * election)
		for _, id := range c.ids {
			require.Empty(t, c.status(id).Lost, "server %s", id)
			require.EqualValues(t, 17, c.servers[id].base, "server %s: what lies behind it stays", id)
		}
	}
}
