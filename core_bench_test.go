package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A circuit is three bare cores with state machines, whose disks and network take no time. What is
// left is the work of the cores.
type circuit struct {
	cores    map[raft.ServerID]*raft.Core
	ids      []raft.ServerID
	effects  raft.Effects
	network  []wire.Message
	appliers map[*raft.Core]*raft.Applier
	now      raft.Instant
	leader   *raft.Core
	answered int // commands
	steps    int // calls of the cores
}

// newCircuit returns a circuit with a leader.
func newCircuit(tb testing.TB) *circuit {
	c := &circuit{cores: make(map[raft.ServerID]*raft.Core), appliers: make(map[*raft.Core]*raft.Applier)}
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	for i, s := range servers {
		core, err := raft.NewCore(raft.CoreConfig{
			ID: s.ID, Bootstrap: servers, Seed: 1, Incarnation: raft.Incarnation(1 + i), TailBytes: 1 << 20,
		})
		require.NoError(tb, err)
		c.cores[s.ID] = core
		c.ids = append(c.ids, s.ID)
		c.appliers[core] = raft.NewApplier(&nothing{}, core.Origin())
	}
	for range 100 {
		for _, id := range c.ids {
			c.now = max(c.now, c.cores[id].Deadline())
			c.cores[id].Tick(c.now)
			c.drain(c.cores[id])
			c.deliver()
			if c.cores[id].Status().Role == "leader" {
				c.leader = c.cores[id]
				return c
			}
		}
	}
	require.Fail(tb, "no leader")
	return nil
}

// deliver delivers messages until there are none.
func (c *circuit) deliver() {
	for i := 0; i < len(c.network); i++ {
		core := c.cores[c.network[i].To]
		core.Receive(c.now, c.network[i])
		c.steps++
		c.drain(core)
	}
	clear(c.network)
	c.network = c.network[:0]
}

// drain performs a core's effects, except that it doesn't deliver its messages.
func (c *circuit) drain(core *raft.Core) {
	for again := true; again; {
		e := &c.effects
		core.Drain(e)
		c.steps++
		again = e.Write.Number != 0 || len(e.Apply) > 0
		c.network = append(c.network, e.Messages...)
		for _, a := range e.Answers {
			if a.Err == nil {
				c.answered++
			}
		}
		if e.Write.Number != 0 {
			core.Persisted(c.now, e.Write.Number)
			c.steps++
		}
		for _, entries := range e.Apply {
			batch, err := c.appliers[core].Apply(entries)
			if err != nil {
				panic(err)
			}
			core.Applied(c.now, batch)
			c.steps++
		}
	}
}

// propose proposes a batch of commands at the leader, and delivers everything.
func (c *circuit) propose(batch int, command []byte) {
	for range batch {
		c.leader.Propose(c.now, command)
		c.steps++
	}
	c.drain(c.leader)
	c.deliver()
}

// BenchmarkCore measures the protocol without clocks, disks, networks and goroutines. Three cores
// take a batch of commands from the proposals to the answers.
func BenchmarkCore(b *testing.B) {
	for _, batch := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			c := newCircuit(b)
			command := make([]byte, 128)
			c.steps, c.answered = 0, 0
			b.ReportAllocs()
			for b.Loop() {
				c.propose(batch, command)
			}
			require.Equal(b, b.N*batch, c.answered)
			b.ReportMetric(float64(c.steps)/b.Elapsed().Seconds(), "steps/s")
			b.ReportMetric(float64(c.answered)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}

// TestCoreAllocations: for a batch of commands three cores allocate a few slices, however many
// commands there are. Each further allocation is one for each batch of every user.
func TestCoreAllocations(t *testing.T) {
	for batch, most := range map[int]float64{1: 2, 64: 3, 1024: 24} {
		c := newCircuit(t)
		command := make([]byte, 128)
		const runs = 50
		for range runs {
			c.propose(batch, command)
		}
		c.answered = 0
		got := testing.AllocsPerRun(runs, func() { c.propose(batch, command) })
		require.Equal(t, (runs+1)*batch, c.answered, "one more than it counts is to warm up")
		require.LessOrEqual(t, got, most, "allocations for a batch of %d commands", batch)
	}
}
