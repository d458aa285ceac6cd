package rafttest_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/tcp"
)

// over returns a function that joins servers to a network.
func over(network *memory.Network) func(id raft.ServerID) (raft.Transport, string, error) {
	return func(id raft.ServerID) (raft.Transport, string, error) { return network.Join(id), string(id), nil }
}

// joinTCP joins a server at a port that the system chooses.
func joinTCP(raft.ServerID) (raft.Transport, string, error) {
	transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, "", err
	}
	return transport, transport.Addr().String(), nil
}

// TestTransportOfThisModule demands that every transport of this module keeps the contract.
func TestTransportOfThisModule(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			require.NoError(t, rafttest.TestTransport(over(memory.NewNetwork(memory.Options{})), rafttest.TransportOptions{Inline: true}))
		})
	})
	t.Run("in memory with delays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			faults := memory.Faults{MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond}
			require.NoError(t, rafttest.TestTransport(over(memory.NewNetwork(memory.Options{Faults: faults})), rafttest.TransportOptions{}))
		})
	})
	t.Run("tcp", func(t *testing.T) {
		require.NoError(t, rafttest.TestTransport(joinTCP, rafttest.TransportOptions{Patience: time.Minute}))
	})
}

// A transport is checked on real sockets, as here, or in a bubble over a network in memory.
func ExampleTestTransport() {
	err := rafttest.TestTransport(func(raft.ServerID) (raft.Transport, string, error) {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, "", err
		}
		return transport, transport.Addr().String(), nil
	}, rafttest.TransportOptions{})
	fmt.Println(err)
	// Output: <nil>
}
