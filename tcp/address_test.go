package tcp_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
)

// unfound are addresses at which nobody finds a server.
var unfound = []string{"", ":7001", "0.0.0.0:7001", "[::]:7001", "[::ffff:0.0.0.0]:7001", "a", "a:", "127.0.0.1"}

func TestCheckAddress(t *testing.T) {
	transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, transport.Close()) }()
	for _, address := range unfound {
		require.Error(t, transport.CheckAddress(address), address)
	}
	for _, address := range []string{"127.0.0.1:7001", "[::1]:7001", "a.example:7001", "a:http", "[fe80::1%eth0]:7001"} {
		require.NoError(t, transport.CheckAddress(address), address)
	}
}

// A cluster isn't founded with an address at which nobody finds a server, and none is stored by a
// change.
func TestAddressesWhereNobodyIsFound(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	start := func(servers []raft.Server, address string) (*raft.Node, *memory.Storage, error) {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{Logger: quiet})
		require.NoError(t, err)
		storage := memory.NewStorage()
		if address == "own" {
			address, servers = "", []raft.Server{{ID: "a", Address: transport.Addr().String()}}
		}
		node, err := raft.Start(raft.Config{
			ID: "a", Address: address, Machine: &tally{}, Storage: storage, Transport: transport, Bootstrap: servers, Logger: quiet,
		})
		return node, storage, err
	}
	for _, address := range unfound {
		good := raft.Server{ID: "a", Address: "127.0.0.1:7001"}
		_, storage, err := start([]raft.Server{good, {ID: "b", Address: address}}, "")
		require.ErrorIs(t, err, raft.ErrConfig, address)
		require.ErrorContains(t, err, `"b"`)
		saved, err := storage.Reopen().Load()
		require.NoError(t, err)
		require.Zero(t, saved.State, "nothing was stored")
		if address != "" {
			_, _, err = start([]raft.Server{good}, address)
			require.ErrorIs(t, err, raft.ErrConfig, address)
		}
	}
	node, _, err := start(nil, "own")
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close(t.Context())) }()
	require.NoError(t, node.Read(t.Context()))
	for _, address := range unfound {
		_, err := node.AddServer(t.Context(), raft.Server{ID: "b", Address: address})
		require.ErrorIs(t, err, raft.ErrMembers, address)
		require.ErrorIs(t, err, raft.ErrNotApplied, address)
		_, err = node.AddLearner(t.Context(), raft.Server{ID: "b", Address: address})
		require.ErrorIs(t, err, raft.ErrMembers, address)
		_, err = node.SetMembers(t.Context(), []raft.Member{{Server: raft.Server{ID: "a"}}, {Server: raft.Server{ID: "b", Address: address}}})
		require.ErrorIs(t, err, raft.ErrMembers, address)
	}
	_, err = node.AddServer(t.Context(), raft.Server{ID: "b", Address: node.Status().Members[0].Address})
	require.ErrorIs(t, err, raft.ErrMembers, "a is there")
	_, err = node.AddServer(t.Context(), raft.Server{ID: "a"})
	require.NoError(t, err, "it stays where it is")
}
