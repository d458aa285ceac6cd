package typed_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

// A transfer is a command that writes its own bytes.
type transfer struct {
	From, To uint32
	Amount   int64
}

func (t transfer) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(t.From)), uint64(t.To))
	return binary.AppendVarint(b, t.Amount), nil
}

func (t *transfer) UnmarshalBinary(b []byte) error {
	from, n := binary.Uvarint(b)
	to, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 {
		return errors.New("no transfer")
	}
	amount, l := binary.Varint(b[n+m:])
	if l <= 0 || n+m+l != len(b) {
		return errors.New("no transfer")
	}
	*t = transfer{uint32(from), uint32(to), amount}
	return nil
}

// A total is a result that writes its own bytes.
type total int64

func (t total) AppendBinary(b []byte) ([]byte, error) { return binary.AppendVarint(b, int64(t)), nil }

func (t *total) UnmarshalBinary(b []byte) error {
	v, n := binary.Varint(b)
	if n != len(b) || n <= 0 {
		return errors.New("no total")
	}
	*t = total(v)
	return nil
}

// A bank is the same state for the two that are compared.
type bank struct{ moved total }

func (b *bank) Snapshot() (io.WriterTo, error) { return nil, errors.New("not needed here") }
func (b *bank) Restore(io.Reader) error        { return errors.New("not needed here") }

type typedBank struct{ bank }

func (b *typedBank) Apply(t transfer) (total, error) {
	b.moved += total(t.Amount)
	return b.moved, nil
}

// A plainBank does by hand what package typed does.
type plainBank struct {
	bank
	mu    sync.RWMutex
	arena []byte
}

func (b *plainBank) Apply(entries []raft.Entry, results [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arena = b.arena[:0]
	for i := range entries {
		var t transfer
		if err := t.UnmarshalBinary(entries[i].Data); err != nil {
			panic(err)
		}
		b.moved += total(t.Amount)
		begun := len(b.arena)
		b.arena, _ = b.moved.AppendBinary(b.arena)
		results[i] = b.arena[begun:len(b.arena):len(b.arena)]
	}
}

var binaryOptions = typed.Options[transfer, total]{Commands: typed.Binary[transfer](), Results: typed.Binary[total]()}

// leaderOf starts three servers in memory, and returns the one that leads.
func leaderOf[N interface {
	Status() raft.Status
	CloseSession(context.Context, raft.SessionID) error
	Close(context.Context) error
}](tb testing.TB, start func(raft.Config) (N, error)) N {
	network := memory.NewNetwork(memory.Options{})
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	var nodes []N
	for _, server := range servers {
		node, err := start(raft.Config{
			ID: server.ID, Storage: memory.NewStorage(), Transport: network.Join(server.ID),
			Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			Heartbeat: 100 * time.Millisecond, ElectionTimeout: 2 * time.Second,
		})
		require.NoError(tb, err)
		tb.Cleanup(func() { require.NoError(tb, node.Close(context.Background())) })
		nodes = append(nodes, node)
	}
	for { // that a session is closed which isn't there changes nothing, and takes a leader
		require.NoError(tb, nodes[0].CloseSession(tb.Context(), raft.SessionID{Term: 1, Index: 1}))
		for _, node := range nodes {
			if node.Status().Role == "leader" {
				return node
			}
		}
	}
}

// BenchmarkTyped compares commands that go through this package with commands for which the same is
// done by hand. Clients propose by turns, so whatever else the machine does falls on all. The metric
// typed/plain is the time of the first over that of the second ones, as the median of all rounds; it
// may be 1.05. plain/plain is the same for a second cluster by hand: what differs there is chance.
// more-allocs is what the first allocates more for a command.
func BenchmarkTyped(b *testing.B) {
	byType := leaderOf(b, func(c raft.Config) (*typed.Node[transfer, total], error) {
		return binaryOptions.Start(new(typedBank), c)
	})
	plain := func() func(context.Context) (total, error) {
		byHand := leaderOf(b, func(c raft.Config) (*raft.Node, error) {
			c.Machine = new(plainBank)
			return raft.Start(c)
		})
		return func(ctx context.Context) (sum total, err error) {
			command, _ := transfer{From: 7, To: 300, Amount: 1000}.AppendBinary(nil)
			result, err := byHand.Propose(ctx, command)
			if err != nil {
				return 0, err
			}
			return sum, sum.UnmarshalBinary(result)
		}
	}
	proposers := []func(context.Context) (total, error){
		func(ctx context.Context) (total, error) {
			return byType.Propose(ctx, transfer{From: 7, To: 300, Amount: 1000})
		},
		plain(), plain(),
	}
	for _, clients := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("%d", clients), func(b *testing.B) {
			var rounds [3][]float64 // typed/plain, plain/plain, more-allocs
			for n := 0; b.Loop(); n++ {
				var took [3]time.Duration
				var allocated [3]float64
				for i := range proposers {
					who := (i + n) % len(proposers)
					took[who], allocated[who] = turn(b, clients, proposers[who])
				}
				rounds[0] = append(rounds[0], float64(2*took[0])/float64(took[1]+took[2]))
				rounds[1] = append(rounds[1], float64(took[1])/float64(took[2]))
				rounds[2] = append(rounds[2], allocated[0]-allocated[1])
			}
			for i, metric := range []string{"typed/plain", "plain/plain", "more-allocs"} {
				slices.Sort(rounds[i])
				b.ReportMetric(rounds[i][len(rounds[i])/2], metric)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// turnCommands is how many commands are proposed in a turn.
const turnCommands = 1 << 14

// turn lets clients propose commands, each one after the other, and returns how long that took, and
// how many allocations each command took.
func turn(b *testing.B, clients int, propose func(context.Context) (total, error)) (time.Duration, float64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			ctx, cancel := context.WithCancel(b.Context()) // callers then share no lock
			defer cancel()
			for range turnCommands / clients {
				if _, err := propose(ctx); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	return took, float64(after.Mallocs-before.Mallocs) / turnCommands
}
