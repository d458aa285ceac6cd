package typed_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

// A fleet is three servers, which are upgraded one by one. A payment of more than 50 is of level 1.
type fleet struct {
	t        *testing.T
	network  *memory.Network
	storages map[raft.ServerID]*memory.Storage
	nodes    map[raft.ServerID]*typed.Node[payment, int]
}

func (f *fleet) start(id raft.ServerID, level typed.Level) {
	options := accountOptions
	options.Level = level
	if level > 0 {
		options.LevelOf = func(p payment) typed.Level { return typed.Level(p.Amount / 51) }
	}
	if f.storages[id] == nil {
		f.storages[id] = memory.NewStorage()
	} else {
		f.storages[id] = f.storages[id].Reopen()
	}
	node, err := options.Start(new(accounts), raft.Config{
		ID: id, Storage: f.storages[id], Transport: f.network.Join(id), Logger: slog.New(slog.DiscardHandler),
		Bootstrap: []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}},
	})
	require.NoError(f.t, err)
	f.nodes[id] = node
}

func (f *fleet) upgrade(id raft.ServerID, level typed.Level) {
	require.NoError(f.t, f.nodes[id].Close(context.Background()))
	f.start(id, level)
	_ = f.nodes[id].Read(f.t.Context(), func() {}) // there is a leader, or the server stops
	synctest.Wait()
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t, memory.NewNetwork(memory.Options{}), map[raft.ServerID]*memory.Storage{}, map[raft.ServerID]*typed.Node[payment, int]{}}
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		f.start(id, 0)
	}
	return f
}

func (f *fleet) close() {
	for _, node := range f.nodes {
		require.NoError(f.t, node.Close(context.Background()))
	}
}

// TestLevels: a command of a higher level waits for the last server. From then on no server of the
// lower level runs.
func TestLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.close()
		pay := func(id raft.ServerID, amount int) error {
			_, err := f.nodes[id].Propose(t.Context(), payment{To: "x", Amount: amount})
			return err
		}
		require.NoError(t, pay("a", 1))
		f.upgrade("a", 1)
		require.NoError(t, pay("a", 1))
		err := pay("a", 60)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorIs(t, err, raft.ErrNotInForce)
		require.ErrorContains(t, err, `["b" "c"]`)
		f.upgrade("b", 1)
		err = pay("b", 60)
		require.ErrorIs(t, err, raft.ErrNotInForce)
		require.ErrorContains(t, err, `["c"]`)
		require.ErrorContains(t, pay("a", 102), "the command is of level 2, and Options.Level is 1")

		f.upgrade("b", 0) // back to the earlier version
		f.upgrade("c", 1)
		require.ErrorContains(t, pay("a", 60), `["b"]`)
		f.upgrade("b", 1)
		require.NoError(t, pay("b", 60))
		require.NoError(t, pay("a", 60), "a has only not heard of it, if at all")
		require.NoError(t, pay("c", 1))

		f.upgrade("c", 0)
		<-f.nodes["c"].Done()
		require.ErrorIs(t, f.nodes["c"].Err(), raft.ErrOutdated)
		var unknown *typed.UnknownCommandError
		require.ErrorAs(t, f.nodes["c"].Err(), &unknown)
		f.upgrade("c", 1)
		require.NoError(t, pay("c", 60))
	})
}

// TestLevelInASnapshot: a server that doesn't know the level in force doesn't start on a snapshot
// either.
func TestLevelInASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		defer f.close()
		for _, id := range []raft.ServerID{"a", "b", "c"} {
			f.upgrade(id, 2)
		}
		sum, err := f.nodes["a"].Propose(t.Context(), payment{To: "x", Amount: 60})
		require.NoError(t, err)
		require.Equal(t, 60, sum)
		require.NoError(t, f.nodes["c"].Read(t.Context(), func() {}))
		_, err = f.nodes["c"].Snapshot(t.Context())
		require.NoError(t, err)
		f.upgrade("c", 0)
		<-f.nodes["c"].Done()
		require.ErrorIs(t, f.nodes["c"].Err(), raft.ErrOutdated)
		f.upgrade("c", 1)
		_, err = f.nodes["c"].Propose(t.Context(), payment{To: "x", Amount: 60})
		require.NoError(t, err)
		_, err = f.nodes["a"].Propose(t.Context(), payment{To: "x", Amount: 110})
		require.ErrorIs(t, err, raft.ErrNotInForce)
	})
}

// TestDurableKeepsLevels: what this package keeps is saved with the state of a durable machine, and
// in the same call of Save as what raft keeps.
func TestDurableKeepsLevels(t *testing.T) {
	var applied raft.Index
	var kept []byte
	durable := raft.DurableMachine{
		Load: func() (raft.Index, []byte, error) { return applied, kept, nil },
		Save: func(index raft.Index, beside []byte) error {
			if applied = index; beside != nil {
				kept = bytes.Clone(beside)
			}
			return nil
		},
	}
	options := accountOptions
	options.Level = 3
	open := func() (*typed.StateMachine[payment, int], raft.DurableMachine) {
		m, err := options.StateMachine(new(accounts))
		require.NoError(t, err)
		return m, m.Durable(durable)
	}
	load := func(d raft.DurableMachine) string {
		_, beside, err := d.Load()
		require.NoError(t, err)
		return string(beside)
	}
	m, d := open()
	require.Empty(t, load(d))
	require.NoError(t, d.Save(1, []byte("raft's")))
	m.Apply([]raft.Entry{{Index: 2, Data: []byte("\x00\x01\x01a\x03")}, {Index: 3, Data: []byte("\x00\x02\x03\x01\x01a")}}, make([][]byte, 2))
	require.NoError(t, d.Save(3, nil))
	snapshot := written(t, m)
	require.Equal(t, "\x01\x03\x01\x01a\x03{", string(snapshot[:7]), "level 3 is in force, and a knows it")
	before := kept
	require.NoError(t, d.Save(4, nil))
	require.Equal(t, before, kept, "nothing has changed")

	m, d = open()
	require.Equal(t, "raft's", load(d))
	require.Equal(t, snapshot, written(t, m))
	require.NoError(t, d.Save(5, []byte("raft's newer")))
	m, d = open()
	require.Equal(t, "raft's newer", load(d))
	require.Equal(t, snapshot, written(t, m))

	options.Level = 2
	_, d = open()
	_, _, err := d.Load()
	require.ErrorIs(t, err, raft.ErrOutdated)
	options.Level, kept = 3, []byte{2, 1}
	_, d = open()
	_, _, err = d.Load()
	require.ErrorContains(t, err, "the state wasn't kept by this package")
}
