package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wire"
)

// A journal is a state machine that keeps the commands. The result of a command is how many there
// are by then.
type journal struct {
	mu       sync.Mutex
	commands []string
}

func (j *journal) Apply(entries []raft.Entry, results [][]byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range entries {
		j.commands = append(j.commands, string(entries[i].Data))
		results[i] = fmt.Append(nil, len(j.commands))
	}
}

func (j *journal) Snapshot() (io.WriterTo, error) {
	return nil, errors.New("a journal is replayed from its log")
}

func (j *journal) Restore(io.Reader) error {
	return errors.New("a journal is replayed from its log")
}

// applied returns the commands so far.
func (j *journal) applied() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.commands)
}

const electionTimeout = 100 * time.Millisecond

// start starts a server that is reached at the address "at ID". Without a Bootstrap list it waits
// to be added.
func start(network *memory.Network, id raft.ServerID, storage raft.Storage, list ...raft.Server) (*raft.Node, *journal, error) {
	machine := &journal{}
	node, err := raft.Start(raft.Config{
		ID: id, Machine: machine, Storage: storage, Transport: network.Join(id), Bootstrap: list,
		Heartbeat: electionTimeout / 5, ElectionTimeout: electionTimeout, Logger: slog.New(slog.DiscardHandler),
	})
	return node, machine, err
}

// reached returns a server with its address.
func reached(id raft.ServerID) raft.Server { return raft.Server{ID: id, Address: "at " + string(id)} }

// Two of three servers are lost. What the third one holds goes on as a cluster of its own, and the
// old servers are no part of it.
func TestRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, list := memory.NewNetwork(memory.Options{}), []raft.Server{reached("a"), reached("b"), reached("c")}
		start := func(id raft.ServerID, storage raft.Storage) (*raft.Node, *journal) {
			node, machine, err := start(network, id, storage, list...)
			require.NoError(t, err)
			t.Cleanup(func() { _ = node.Close(context.Background()) })
			return node, machine
		}
		disks, nodes := map[raft.ServerID]*memory.Storage{}, map[raft.ServerID]*raft.Node{}
		for _, s := range list {
			disks[s.ID] = memory.NewStorage()
			nodes[s.ID], _ = start(s.ID, disks[s.ID])
		}
		_, err := nodes["a"].Propose(t.Context(), []byte("before"))
		require.NoError(t, err)
		time.Sleep(5 * electionTimeout)
		// The others go first: a leader that closes hands over, and its successor appends to the log of "a".
		require.NoError(t, nodes["b"].Close(t.Context()))
		require.NoError(t, nodes["c"].Close(t.Context()))
		synctest.Wait()
		was := nodes["a"].Status()
		require.NoError(t, nodes["a"].Close(t.Context()))

		storage := disks["a"].Reopen()
		before, err := recovery.Inspect(storage)
		require.NoError(t, err)
		require.Equal(t, was.Last, before.Last)
		require.Zero(t, before.Record)
		require.Contains(t, before.String(), "b at at b, a voter")
		_, err = recovery.Recover(storage.Reopen(), string(make([]byte, 2000)))
		require.ErrorIs(t, err, raft.ErrConfig)
		storage = storage.Reopen()
		recovered, err := recovery.Recover(storage, "at a")
		require.NoError(t, err)
		require.Equal(t, was.Last+1, recovered.Record)
		require.Equal(t, was.Cluster, recovered.Cluster)
		require.Contains(t, recovered.String(), recovered.Recovered.String())

		// The servers of the old cluster are strangers to the new one: they know no key that counts.
		saved, err := storage.Reopen().Load()
		require.NoError(t, err)
		configuration, _, err := saved.Configuration()
		require.NoError(t, err)
		require.Len(t, before.Configuration.Keys, 1)
		require.Len(t, configuration.Keys, 1)
		require.NotEqual(t, before.Configuration.Keys, configuration.Keys)

		a, machine := start("a", storage.Reopen())
		_, err = a.Propose(t.Context(), []byte("after"))
		require.NoError(t, err)
		require.Equal(t, []string{"before", "after"}, machine.applied())
		require.Equal(t, recovered.Recovered, a.Status().Cluster)
		require.Len(t, a.Status().Members, 1)

		// A server of the old cluster that comes back isn't heard, and can't be added as it is.
		b, _ := start("b", disks["b"].Reopen())
		time.Sleep(5 * electionTimeout)
		require.NoError(t, a.Read(t.Context()))
		require.ErrorIs(t, b.Status().Trouble, raft.ErrOtherCluster, "it says why nobody hears it")
		_, err = a.AddServer(t.Context(), reached("b"))
		require.ErrorIs(t, err, raft.ErrForeignServer)
		require.NoError(t, b.Close(t.Context()))
		b, machine = start("b", memory.NewStorage())
		_, err = a.AddServer(t.Context(), reached("b"))
		require.NoError(t, err)
		require.NoError(t, b.Read(t.Context()))
		require.Equal(t, []string{"before", "after"}, machine.applied())
	})
}

func TestRecoverNothing(t *testing.T) {
	_, err := recovery.Recover(memory.NewStorage(), "x")
	require.ErrorIs(t, err, raft.ErrNoCluster)
}

// A lying storage says that it holds something else than it does.
type lying struct {
	raft.Storage
	saved raft.Saved
}

func (l lying) Load() (raft.Saved, error) { return l.saved, nil }

// A configuration that can't be decoded is damage, even if a later one can be decoded. So is a log
// whose server has no ID.
func TestRecoverDamage(t *testing.T) {
	configuration := wire.AppendConfiguration(nil, &raft.Configuration{
		Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: reached("a"), Role: raft.Voter, Incarnation: 1}},
	})
	entries := []raft.Entry{
		{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: []byte("damaged")},
		{Index: 2, Term: 1, Kind: wire.EntryConfiguration, Data: configuration},
	}
	state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "a", Cluster: raft.ClusterID{1}}
	runs := []raft.TermRun{{First: 1, Term: 1}}
	_, err := recovery.Inspect(lying{saved: raft.Saved{State: state, Last: 2, Configurations: entries}})
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorIs(t, err, wire.ErrMalformed)
	_, err = recovery.Recover(lying{saved: raft.Saved{Last: 2, Configurations: entries[1:]}}, "x")
	require.ErrorIs(t, err, raft.ErrCorrupt)
	_, err = recovery.Inspect(lying{saved: raft.Saved{State: state, Last: 2, Runs: runs, Configurations: entries[1:]}})
	require.NoError(t, err)

	// What no start accepts, nobody is to recover.
	for reason, saved := range map[string]raft.Saved{
		"from 0 to 2 with 0 terms": {State: state, Last: 2},
		"gap":                      {State: state, Last: 2, Runs: []raft.TermRun{{First: 2, Term: 1}}},
		"only in term 1":           {State: state, Last: 2, Runs: []raft.TermRun{{First: 1, Term: 2}}},
	} {
		saved.Configurations = entries[1:]
		_, err = recovery.Inspect(lying{saved: saved})
		require.ErrorIs(t, err, raft.ErrCorrupt, reason)
		require.ErrorContains(t, err, reason)
		_, err = recovery.Recover(lying{saved: saved}, "x")
		require.ErrorIs(t, err, raft.ErrCorrupt, reason)
	}
}
