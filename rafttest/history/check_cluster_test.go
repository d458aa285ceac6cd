package history_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/history"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// A counter is the state machine of a small service. A command adds to it.
type counter struct {
	mu    sync.Mutex
	value int64
}

func (c *counter) Apply(entries []raft.Entry, results [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range entries {
		amount, _ := binary.Varint(entries[i].Data)
		c.value += amount
		results[i] = binary.AppendVarint(nil, c.value)
	}
}

func (c *counter) Value() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

func (c *counter) Snapshot() (io.WriterTo, error) {
	return bytes.NewReader(binary.AppendVarint(nil, c.Value())), nil
}

func (c *counter) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value, _ = binary.Varint(b)
	return err
}

// A load is a number of clients of a cluster. Each performs one operation after the other at random
// servers.
type load struct {
	cluster *rafttest.Cluster[*counter]
	history *history.History[history.CounterCall, history.CounterResult]
	// read prepares a read at a server. It is raft.Node.Read, or what a test puts in its place.
	read func(node *raft.Node, ctx context.Context) error
}

func (l *load) client(client int, luck *rand.Rand) {
	for range 40 {
		at := luck.IntN(l.cluster.Len())
		call := history.CounterCall{Add: luck.Int64N(1 << 40), Read: luck.IntN(3) == 0}
		began := l.history.Begin(client, call)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		value, err := l.do(ctx, at, call)
		cancel()
		began.End(history.CounterResult{Value: value}, err)
		<-time.After(time.Duration(luck.IntN(200)) * time.Millisecond)
	}
}

func (l *load) do(ctx context.Context, at int, call history.CounterCall) (int64, error) {
	node, machine := l.cluster.Node(at), l.cluster.Machine(at)
	if call.Read {
		err := l.read(node, ctx)
		return machine.Value(), err
	}
	result, err := node.Propose(ctx, binary.AppendVarint(nil, call.Add))
	value, _ := binary.Varint(result)
	return value, err
}

// run runs clients on a cluster. Meanwhile it crashes and parts the servers. It returns what the
// clients saw.
func run(t *testing.T, seed uint64, read func(*raft.Node, context.Context) error) (h *history.History[history.CounterCall, history.CounterResult]) {
	synctest.Test(t, func(t *testing.T) {
		c := rafttest.NewCluster(t, 3, func() *counter { return new(counter) }, rafttest.ClusterOptions{
			Network: memory.Options{Seed: seed, Faults: memory.Faults{MaxDelay: 30 * time.Millisecond, Loss: 0.01, Duplicate: 0.01, Reorder: 0.05}},
			Disk: func(server int) rafttest.Disk {
				return rafttest.SimDisk(simfs.New(seed*10+uint64(server)), func(fs vfs.FS) (raft.Storage, error) {
					return wal.Open("/log", wal.Options{FS: fs, SegmentSize: wal.MinSegmentSize})
				})
			},
		})
		l := &load{cluster: c, history: history.New[history.CounterCall, history.CounterResult](), read: read}
		var clients sync.WaitGroup
		for i := range 4 {
			clients.Go(func() { l.client(i, rand.New(rand.NewPCG(seed, uint64(i)))) })
		}
		luck := rand.New(rand.NewPCG(seed, 99))
		for range 6 {
			<-time.After(time.Duration(luck.IntN(1000)) * time.Millisecond)
			switch leader := c.Leader(); luck.IntN(3) {
			case 0:
				c.Crash(leader)
				<-time.After(time.Duration(luck.IntN(2000)) * time.Millisecond)
				c.Restart(leader)
			case 1:
				c.Isolate(leader)
				<-time.After(time.Duration(luck.IntN(4000)) * time.Millisecond)
				c.Heal()
			case 2:
				for i := range c.Len() {
					c.Crash(i)
				}
				for i := range c.Len() {
					c.Restart(i)
				}
			}
		}
		clients.Wait()
		c.Converge()
		h = l.history
	})
	return h
}

// TestClusterIsLinearizable demands that clients see a linearizable service on real nodes with
// crashes and partitions.
func TestClusterIsLinearizable(t *testing.T) {
	var sum history.Count
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			h := run(t, seed, (*raft.Node).Read)
			count := h.Count()
			sum.Returned += count.Returned
			sum.Refused += count.Refused
			sum.Unknown += count.Unknown
			require.NoError(t, history.Check(h, history.Counter()))
			require.Greater(t, count.Returned, 80)
		})
	}
	require.Positive(t, sum.Unknown, "some operations were in flight when a server crashed")
	t.Logf("%+v", sum)
}

// TestStaleReadsAreConvicted demands that Check convicts reads that don't ask the leader.
func TestStaleReadsAreConvicted(t *testing.T) {
	convicted := 0
	for seed := range uint64(4) {
		h := run(t, seed, func(*raft.Node, context.Context) error { return nil })
		if err := history.Check(h, history.Counter()); err != nil {
			require.ErrorContains(t, err, "not linearizable")
			convicted++
		}
	}
	require.Equal(t, 4, convicted)
}
