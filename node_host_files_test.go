package raft_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// Hosts with logs on disks and real connections serve many groups, and find them again after a start.
func TestHostsWithFilesAndConnections(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	var servers []raft.Server
	transports := map[raft.ServerID]*tcp.Transport{}
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{Logger: quiet})
		require.NoError(t, err)
		transports[id] = transport
		servers = append(servers, raft.Server{ID: id, Address: transport.Addr().String()})
	}
	start := func(s raft.Server) *raft.Host {
		log, err := wal.Open(filepath.Join(dir, string(s.ID)), wal.Options{Logger: quiet})
		require.NoError(t, err)
		host, err := raft.StartHost(raft.HostConfig{
			ID: s.ID, Address: s.Address, Storage: log, Transport: transports[s.ID], Logger: quiet,
			Group: func(raft.GroupID) raft.Config { return raft.Config{Machine: &journal{}, Bootstrap: servers} },
		})
		require.NoError(t, err)
		return host
	}
	hosts := map[raft.ServerID]*raft.Host{}
	for _, s := range servers {
		hosts[s.ID] = start(s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const groups = 30
	for round := range 3 {
		for i := range groups {
			node, err := hosts[servers[(i+round)%3].ID].Group(raft.GroupID(fmt.Sprint("g", i)))
			require.NoError(t, err)
			result, err := node.Propose(ctx, []byte("x"))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(round+1), string(result))
		}
		b := servers[1]
		require.NoError(t, hosts[b.ID].Close(ctx))
		var err error
		transports[b.ID], err = tcp.Listen(b.Address, tcp.Options{Logger: quiet})
		require.NoError(t, err)
		hosts[b.ID] = start(b)
		n := 0
		for _, node := range hosts[b.ID].Groups() {
			require.NoError(t, node.Read(ctx))
			n++
		}
		require.Equal(t, groups, n)
	}
	for _, host := range hosts {
		require.NoError(t, host.Close(ctx))
	}
}
