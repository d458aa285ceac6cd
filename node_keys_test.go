package raft_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A locksmith is a transport that can prove keys, and notes those that it is given.
type locksmith struct {
	raft.Transport
	given   [][]wire.ClusterKey
	without int // how many messages were sent before the first keys
	sent    int
}

func (s *locksmith) SetKeys(keys []wire.ClusterKey) { s.given = append(s.given, keys) }

func (s *locksmith) Send(m wire.Message) {
	s.sent++
	if s.given == nil {
		s.without++
	}
	s.Transport.Send(m)
}

// A node gives its transport the keys of the configuration before it sends anything.
func TestTransportIsGivenTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := []wire.ClusterKey{{2}, {1}}
		configuration := raft.Configuration{Cluster: raft.ClusterID{1}, Keys: keys, Level: wire.LatestLevel}
		for i, id := range []raft.ServerID{"a", "b"} {
			configuration.Members = append(configuration.Members, raft.Member{
				Server: raft.Server{ID: id, Address: "at " + string(id)}, Role: raft.Voter, Incarnation: raft.Incarnation(i + 1),
			})
		}
		storage := memory.NewStorage()
		require.NoError(t, storage.Write(raft.Write{
			State:   raft.DurableState{Server: "a", Incarnation: 1, Cluster: raft.ClusterID{1}, HardState: raft.HardState{Term: 1}},
			Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}},
		}))
		transport := &locksmith{Transport: memory.NewNetwork(memory.Options{}).Join("a")}
		node, err := raft.Start(raft.Config{
			ID: "a", Machine: &journal{}, Storage: storage, Transport: transport, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		time.Sleep(2 * electionTimeout)
		require.NoError(t, node.Close(context.Background()))
		require.Equal(t, [][]wire.ClusterKey{keys}, transport.given)
		require.Zero(t, transport.without)
		require.NotZero(t, transport.sent)
	})
}
