package raft_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// After a storm that a host has no memory for, all of it is there again, and each caller has heard the
// truth.
func TestMemoryOfAHostIsWholeAfterAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 512 << 10
		h := newHostsOf(t, 3, func(c *raft.HostConfig) { c.MaxBytes, c.TailBytes = limit, limit }, nil)
		defer h.close()
		const groups, callers = 10, 40
		for i := range groups {
			h.propose("a", raft.GroupID(fmt.Sprint("g", i)), "1")
		}
		var applied, refused atomic.Int64
		storm := func() {
			var all sync.WaitGroup
			for i := range groups * callers {
				node, err := h.running[h.servers[i%3].ID].Group(raft.GroupID(fmt.Sprint("g", i%groups)))
				require.NoError(t, err)
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					switch _, err := node.Propose(ctx, make([]byte, 16<<10)); {
					case err == nil:
						applied.Add(1)
					case errors.Is(err, raft.ErrNotApplied) && errors.Is(err, raft.ErrOverloaded):
						refused.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		for range 3 {
			storm()
		}
		if t.Failed() {
			return
		}
		require.Positive(t, refused.Load())
		require.EqualValues(t, 3*groups*callers, applied.Load()+refused.Load())
		time.Sleep(100 * time.Millisecond) // the groups don't rest yet
		for _, host := range h.running {
			bytes, counted := host.TailBytes()
			require.LessOrEqual(t, counted, limit)
			require.LessOrEqual(t, bytes, limit+groups*20<<10, "beyond the limit one entry of each group")
			require.Greater(t, bytes, limit/2)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait() // whatever comes at this instant is handed in
		for id, host := range h.running {
			lent, sure := host.WaitingBytes()
			require.Equal(t, []int{0, 0}, []int{lent, sure}, "of %s", id)
			bytes, counted := host.TailBytes()
			require.Equal(t, []int{0, 0}, []int{bytes, counted}, "of %s: groups that rest have no entries in memory", id)
		}
		was := applied.Load()
		for i := range groups {
			node, err := h.running["b"].Group(raft.GroupID(fmt.Sprint("g", i)))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err = node.Propose(ctx, []byte("2"))
			cancel()
			require.NoError(t, err)
		}
		time.Sleep(time.Second)
		for i := range groups {
			group := raft.GroupID(fmt.Sprint("g", i))
			require.Equal(t, len(h.machine("a", group).applied()), len(h.machine("c", group).applied()))
		}
		require.Equal(t, was, applied.Load())
	})
}

// Commands that callers wait for take no room from the messages that bring their answers.
func TestCommandsLeaveMessagesTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHostsOf(t, 3, func(c *raft.HostConfig) { c.MaxBytes = 256 << 10 }, nil)
		defer h.close()
		h.propose("a", "g", "1")
		node, err := h.running["c"].Group("g")
		require.NoError(t, err)
		require.NoError(t, node.Read(t.Context()))
		for id, host := range h.running { // the leader is another one
			if g, err := host.Group("g"); err == nil && g.Leadership().Role == "leader" && id == "c" {
				require.NoError(t, g.TransferLeadership(t.Context(), "a"))
			}
		}
		h.network.Isolate("c")
		var all sync.WaitGroup
		var refused atomic.Int64
		for range 40 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := node.Propose(ctx, make([]byte, 16<<10)); errors.Is(err, raft.ErrOverloaded) {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		require.Positive(t, refused.Load(), "all room of the commands is taken")
		require.Less(t, refused.Load(), int64(40))
		h.network.Heal()
		all.Wait()
	})
}
