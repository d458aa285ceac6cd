package raft_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A narrowTransport drops messages above its limit, as package tcp does.
type narrowTransport struct {
	raft.Transport
	max int
}

func (n *narrowTransport) MaxMessage() int { return n.max }

func (n *narrowTransport) Send(m wire.Message) {
	if len(wire.AppendMessage(nil, &m)) <= n.max {
		n.Transport.Send(m)
	}
}

// A narrowStorage refuses writes above its limit, as package wal does.
type narrowStorage struct {
	raft.Storage
	max int
}

func (n *narrowStorage) MaxWrite() int { return n.max }

func (n *narrowStorage) Write(w raft.Write) error {
	size := 0
	for i := range w.Entries {
		size += len(w.Entries[i].Data) + 512
	}
	if size > n.max {
		return fmt.Errorf("a write of %d bytes, more than %d", size, n.max)
	}
	return n.Storage.Write(w)
}

// What Start accepts works: with any limits of the config, of the transport and of the storage, the
// largest command is applied wherever it is proposed, and many are. Otherwise Start says which two
// limits disagree.
func TestWhatStartAcceptsWorks(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		message := rapid.SampledFrom([]int{4 << 10, 5000, 10_000, 64 << 10, 1 << 20}).Draw(r, "MaxMessage")
		write := rapid.SampledFrom([]int{4 << 10, 5000, 10_000, 64 << 10, 1 << 20}).Draw(r, "MaxWrite")
		command := rapid.SampledFrom([]int{0, 1, 800, message - 4096, message - 4095, write - 4096, write - 4095, message, 2 * write}).Draw(r, "MaxCommandBytes")
		limits := map[string]int{}
		for _, name := range []string{"append", "window", "tail", "pending", "uncommitted", "unapplied", "inbox"} {
			limits[name] = rapid.SampledFrom([]int{0, 1, 1000, 100_000}).Draw(r, name)
		}
		writes := rapid.SampledFrom([]int{0, 1, 3}).Draw(r, "MaxWrites")
		adjust := func(config *raft.Config) {
			config.Transport = &narrowTransport{config.Transport, message}
			config.Storage = &narrowStorage{config.Storage, write}
			config.MaxCommandBytes, config.MaxWrites = command, writes
			config.MaxAppendBytes, config.WindowBytes, config.TailBytes = limits["append"], limits["window"], limits["tail"]
			config.MaxPendingBytes, config.MaxInboxBytes = limits["pending"], limits["inbox"]
			config.MaxUncommittedBytes, config.MaxUnappliedBytes = limits["uncommitted"], limits["unapplied"]
		}
		fits := max(command, 1) <= message-4096 && max(command, 1) <= write-4096
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, memory.Faults{})
			c.adjust = adjust
			if !fits {
				_, err := raft.Start(c.config("a"))
				require.ErrorIs(r, err, raft.ErrConfig)
				require.ErrorContains(r, err, "MaxCommandBytes")
				require.Regexp(r, "MaxMessage|MaxWrite", err.Error())
				return
			}
			for _, id := range c.ids {
				c.start(id)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			largest := command
			if largest == 0 {
				largest = min(1<<20, message-4096, write-4096)
			}
			for _, id := range c.ids {
				_, err := c.nodes[id].Propose(ctx, make([]byte, largest))
				require.NoError(r, err, "the largest command at %s", id)
				_, err = c.nodes[id].Propose(ctx, make([]byte, largest+1))
				require.ErrorIs(r, err, raft.ErrTooLarge)
				var all []<-chan outcome
				for range 50 {
					all = append(all, propose(ctx, c.nodes[id], string(make([]byte, min(largest, 300)))))
				}
				for _, done := range all {
					if got := <-done; got.err != nil {
						require.True(r, errors.Is(got.err, raft.ErrOverloaded) && limits["pending"] != 0, "%v", got.err)
					}
				}
			}
		})
	})
}
