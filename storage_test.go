package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Saved finds the latest configuration and the last term in what was loaded.
func TestSavedTellsItsEnd(t *testing.T) {
	configuration := func(id raft.ServerID) raft.Configuration {
		return raft.Configuration{
			Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: raft.Server{ID: id}, Role: raft.Voter, Incarnation: 1}},
		}
	}
	entry := func(index raft.Index, id raft.ServerID) raft.Entry {
		c := configuration(id)
		return raft.Entry{Index: index, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &c)}
	}
	snapshot := raft.SnapshotMeta{Index: 5, Term: 2, Configuration: configuration("a"), ConfigurationIndex: 3}
	for name, test := range map[string]struct {
		saved raft.Saved
		term  raft.Term
		at    raft.Index
		of    raft.ServerID
	}{
		"nothing":          {},
		"a snapshot alone": {saved: raft.Saved{Snapshot: snapshot, Base: 5, BaseTerm: 2, Last: 5}, term: 2, at: 3, of: "a"},
		"another cluster's snapshot": {
			saved: raft.Saved{Snapshot: raft.SnapshotMeta{Index: 5, Term: 2}, Base: 5, BaseTerm: 2, Last: 5}, term: 2,
		},
		"a log behind a snapshot": {
			saved: raft.Saved{
				Snapshot: snapshot, Base: 4, BaseTerm: 1, Last: 9, Runs: []raft.TermRun{{First: 5, Term: 2}, {First: 8, Term: 3}},
				Configurations: []raft.Entry{entry(6, "b"), entry(8, "c")},
			},
			term: 3, at: 8, of: "c",
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.term, test.saved.LastTerm())
			latest, at, err := test.saved.Configuration()
			require.NoError(t, err)
			require.Equal(t, test.at, at)
			if test.of == "" {
				require.Nil(t, latest)
				return
			}
			require.Equal(t, configuration(test.of), *latest)
		})
	}
	damaged := raft.Saved{Configurations: []raft.Entry{{Index: 1, Kind: wire.EntryConfiguration, Data: []byte("x")}, entry(2, "a")}}
	_, _, err := damaged.Configuration()
	require.ErrorIs(t, err, raft.ErrCorrupt)

	damaged.Last, damaged.Runs = 2, []raft.TermRun{{First: 1, Term: 1}}
	damaged.State = raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "a", Incarnation: 1, Cluster: raft.ClusterID{1}}
	require.NoError(t, damaged.Check())
	_, err = raft.NewCore(raft.CoreConfig{ID: "a", Heartbeat: 1, ElectionTimeout: 10, Saved: damaged})
	require.ErrorIs(t, err, raft.ErrCorrupt, "a start says what Configuration says")
	require.ErrorContains(t, err, "configuration at 1")
}
