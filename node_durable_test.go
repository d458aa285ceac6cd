package raft_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A ledger is a journal that keeps its own durable state. After a crash it is as of the last save
// that became durable.
type ledger struct {
	journal
	mu      sync.Mutex
	index   raft.Index
	beside  []byte
	page    []string
	latest  []byte // what Save was last given beside the state
	batches int
	lag     bool // while it is set, saves don't become durable
}

func (l *ledger) durable() *raft.DurableMachine {
	return &raft.DurableMachine{
		Load: func() (raft.Index, []byte, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.journal.mu.Lock()
			defer l.journal.mu.Unlock()
			l.commands, l.latest = append([]string(nil), l.page...), l.beside
			return l.index, l.beside, nil
		},
		Save: func(applied raft.Index, beside []byte) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.batches++
			if beside != nil {
				l.latest = append([]byte(nil), beside...)
			}
			if !l.lag {
				l.index, l.beside, l.page = applied, l.latest, l.journal.applied()
			}
			return nil
		},
	}
}

func TestDurableMachineGoesOnWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		machine := &ledger{}
		c.adjust = func(config *raft.Config) { config.Machine, config.Durable = machine, machine.durable() }
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "command", 5)
		_, err := c.nodes["a"].Snapshot(t.Context())
		require.NoError(t, err)
		id, err := c.nodes["a"].OpenSession(t.Context())
		require.NoError(t, err)
		sent := raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}
		first, err := c.nodes["a"].ProposeInSession(t.Context(), sent, []byte("in a session"))
		require.NoError(t, err)
		commands = append(commands, "in a session")
		c.close("a")

		saves := machine.batches
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, machine.applied())
		require.Zero(t, machine.restored, "its state is newer than the snapshot")
		require.LessOrEqual(t, machine.batches, saves+1, "nothing but the entry of the new term was applied")
		again, err := c.nodes["a"].ProposeInSession(t.Context(), sent, []byte("in a session"))
		require.NoError(t, err)
		require.Equal(t, first, again, "what it has kept beside its state knows the command")
		require.Equal(t, commands, machine.applied())

		machine.mu.Lock()
		machine.lag = true
		machine.mu.Unlock()
		commands = append(commands, proposeMany(t, c.nodes["a"], "lagging", 5)...)
		c.close("a")
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, machine.applied(), "what it had not kept is applied again, from the log")
		require.Zero(t, machine.restored)
		c.close("a")

		machine.mu.Lock()
		machine.index = 1000
		machine.mu.Unlock()
		c.disks["a"] = &disk{Storage: c.disks["a"].Reopen()}
		_, err = raft.Start(c.config("a"))
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, "the state machine has applied index 1000, but the log ends at")
	})
}

func TestDurableMachineThatFellBehindIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		machine := &ledger{lag: true}
		c.adjust = func(config *raft.Config) {
			config.Machine, config.Durable = machine, machine.durable()
			config.SnapshotMinBytes, config.SnapshotFactor, config.TailBytes = 2000, 1, 1
		}
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "command", 300)
		synctest.Wait()
		c.close("a")
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, machine.applied())
		require.Equal(t, 1, machine.restored, "the log doesn't go back so far")
	})
}

// A state machine that has applied what the log doesn't hold isn't of this log: the log alone was
// put back, or the machine is another server's. It is refused by name. One that is only older goes
// on, or is restored.
func TestDurableMachineOfAnotherLogIsRefused(t *testing.T) {
	kept := func(applied raft.Index, term raft.Term) (beside []byte) {
		applier := raft.NewApplier(new(journal), raft.Origin{})
		require.NoError(t, applier.Resume(&raft.DurableMachine{Save: func(_ raft.Index, b []byte) error { beside = b; return nil }}, 0, nil))
		_, err := applier.Apply([]raft.Entry{{Index: applied, Term: term, Kind: wire.EntryNoOp}})
		require.NoError(t, err)
		return beside
	}
	// The log has indexes 4 and 5 of term 2, and 6 of term 4; before is a snapshot of term 2.
	saved := raft.Saved{
		State: raft.DurableState{HardState: raft.HardState{Term: 4}, Server: "a", Incarnation: 1, Cluster: raft.ClusterID{1}},
		Snapshot: raft.SnapshotMeta{Index: 3, Term: 2, ConfigurationIndex: 1, Configuration: raft.Configuration{
			Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: reached("a"), Role: raft.Voter, Incarnation: 1}},
		}},
		SnapshotBytes: 1, Base: 3, BaseTerm: 2, Last: 6, Runs: []raft.TermRun{{First: 4, Term: 2}, {First: 6, Term: 4}},
	}
	for _, c := range []struct {
		applied raft.Index
		term    raft.Term
		want    string
	}{
		{1, 1, ""}, {2, 3, ""}, // restored
		{3, 2, ""}, {5, 2, ""}, {6, 4, ""},
		{3, 1, "the state machine has applied index 3 of term 1, but the log holds one of term 2 there"},
		{5, 3, "the state machine has applied index 5 of term 3, but the log holds one of term 2 there"},
		{6, 3, "the state machine has applied index 6 of term 3, but the log holds one of term 4 there"},
		{7, 4, "the state machine has applied index 7, but the log ends at 6"},
	} {
		_, err := raft.NewCore(raft.CoreConfig{
			ID: "a", Seed: 1, Bootstrap: []raft.Server{reached("a")}, Saved: saved,
			DurableMachine: true, MachineApplied: c.applied, MachineBeside: kept(c.applied, c.term),
		})
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, c.want+": they don't belong together")
	}
	_, err := raft.NewCore(raft.CoreConfig{
		ID: "a", Seed: 1, Bootstrap: []raft.Server{reached("a")}, Saved: saved, DurableMachine: true, MachineApplied: 5, MachineBeside: []byte{1},
	})
	require.ErrorContains(t, err, "decode the bytes that Durable.Load returned")
}
