package tcp_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
)

// Three nodes agree over connections that break all the time: each of them applies every command
// once.
func TestNodesOverBreakingConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		const workers, commands = 10, 50
		servers := peers("a", "b", "c")
		var nodes []*raft.Node
		var tallies []*tally
		var dials atomic.Int64
		for _, server := range servers {
			options := c.options
			options.Dial = countingDial(&dials, c.options.Dial)
			transport, err := tcp.Listen(server.Address, options)
			require.NoError(t, err)
			machine := &tally{}
			node, err := raft.Start(raft.Config{
				ID: server.ID, Machine: machine, Storage: memory.NewStorage(), Transport: transport,
				Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			t.Cleanup(func() { closeAtRest(t, node, transport) })
			nodes, tallies = append(nodes, node), append(tallies, machine)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		stop := make(chan struct{})
		var breaking sync.WaitGroup
		breaking.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(70 * time.Millisecond):
					c.network.Reset(servers[i%len(servers)].Address)
				}
			}
		})
		var proposing sync.WaitGroup
		for i := range workers {
			proposing.Go(func() {
				for range commands {
					if _, err := nodes[i%len(nodes)].Propose(ctx, []byte("1")); err != nil {
						t.Error(err)
						return
					}
					<-time.After(20 * time.Millisecond)
				}
			})
		}
		proposing.Wait()
		close(stop)
		breaking.Wait()
		require.Greater(t, int(dials.Load()), 20)
		for _, node := range nodes {
			require.NoError(t, node.Read(ctx))
		}
		for i, node := range nodes {
			require.NoError(t, node.Close(ctx))
			require.Equal(t, int64(workers*commands), tallies[i].value)
		}
	})
}
