package raft_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A host takes a few snapshots at a time, and the groups have theirs in the order in which they were due.
// Those that wait sleep: nothing is sent for them.
func TestSnapshotsAreTakenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups, places = 12, 4
		gate := make(chan struct{})
		var running, most atomic.Int32
		machines := &tallies{adapt: func(id raft.ServerID, _ raft.GroupID, m *tallyMachine) {
			m.write = func(io.Writer) error {
				if id == "a" {
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					<-gate
				}
				return nil
			}
		}}
		h := newHostsOf(t, 3, nil, func(id raft.ServerID, group raft.GroupID, c *raft.Config) {
			machines.config(id, group, c)
			c.SnapshotMinBytes = 4 << 10
		})
		defer h.close()
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		var order []raft.GroupID
		for i := range groups {
			group := raft.GroupID(fmt.Sprintf("g%02d", i))
			for range 5 {
				h.propose("a", group, string(make([]byte, 1000)))
			}
			order = append(order, group)
			time.Sleep(10 * time.Millisecond)
		}
		s := h.running["a"].Status()
		require.Equal(t, []int{places, groups - places}, []int{s.Taking, s.ToTake})
		require.Equal(t, order[:places], machines.took())
		for i := range groups - places {
			gate <- struct{}{}
			synctest.Wait()
			require.Equal(t, order[places+i:places+i+1], machines.took())
		}
		open()
		time.Sleep(time.Second)
		require.EqualValues(t, places, most.Load())
		s = h.running["a"].Status()
		require.Zero(t, s.Taking+s.ToTake)
	})
}

// A snapshot of which nothing is written gives its place up. It is taken all the same, and the caller who
// has asked for it hears of it.
func TestSnapshotThatHangsGivesItsPlaceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hanging, slow = 4, 4
		gate := make(chan struct{})
		machines := &tallies{adapt: func(_ raft.ServerID, group raft.GroupID, m *tallyMachine) {
			m.write = func(w io.Writer) error {
				switch group[0] {
				case 'h': // it hangs
					<-gate
				case 's': // it takes long, and moves
					for range 300 {
						time.Sleep(100 * time.Millisecond)
						if _, err := w.Write(make([]byte, 8)); err != nil {
							return err
						}
					}
				}
				return nil
			}
		}}
		h := newHostsOf(t, 1, nil, machines.config)
		defer h.close()
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		var all sync.WaitGroup
		take := func(group raft.GroupID) {
			h.propose("a", group, "1")
			node, err := h.running["a"].Group(group)
			require.NoError(t, err)
			all.Go(func() {
				_, err := node.Snapshot(context.Background())
				require.NoError(t, err)
			})
			synctest.Wait()
		}
		for i := range hanging {
			take(raft.GroupID(fmt.Sprint("h", i)))
		}
		for i := range slow + 1 {
			take(raft.GroupID(fmt.Sprint("s", i)))
		}
		begun := time.Now()
		s := h.running["a"].Status()
		require.Equal(t, []int{hanging, slow + 1}, []int{s.Taking, s.ToTake})
		time.Sleep(10 * time.Second)
		s = h.running["a"].Status()
		require.Equal(t, []int{hanging + slow, 1}, []int{s.Taking, s.ToTake}, "those that move keep their places")
		time.Sleep(time.Minute)
		s = h.running["a"].Status()
		require.Equal(t, []int{hanging, 0}, []int{s.Taking, s.ToTake})
		open()
		all.Wait()
		require.Less(t, time.Since(begun), 2*time.Minute)
	})
}

// Groups that end, and groups whose snapshots fail, give their places and their turns back.
func TestPlacesOfSnapshotsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		machines := &tallies{adapt: func(_ raft.ServerID, group raft.GroupID, m *tallyMachine) {
			m.write = func(io.Writer) error {
				switch group[0] {
				case 'f':
					return io.ErrUnexpectedEOF
				case 'h':
					<-gate
				}
				return nil
			}
		}}
		h := newHostsOf(t, 1, nil, machines.config)
		defer h.close()
		defer close(gate)
		host := h.running["a"]
		take := func(group raft.GroupID) *raft.Node {
			h.propose("a", group, "1")
			node, err := host.Group(group)
			require.NoError(t, err)
			go node.Snapshot(context.Background())
			synctest.Wait()
			return node
		}
		for i := range 10 {
			take(raft.GroupID(fmt.Sprint("f", i)))
		}
		s := host.Status()
		require.Zero(t, s.Taking+s.ToTake)
		var nodes []*raft.Node
		for i := range 6 {
			nodes = append(nodes, take(raft.GroupID(fmt.Sprint("h", i))))
		}
		s = host.Status()
		require.Equal(t, []int{4, 2}, []int{s.Taking, s.ToTake})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.NoError(t, nodes[5].Close(ctx), "it waits in the line")
		require.Error(t, nodes[0].Close(ctx), "it hangs")
		synctest.Wait()
		s = host.Status()
		require.Equal(t, []int{4, 0}, []int{s.Taking, s.ToTake}, "the one that waited has the place")
	})
}

// A turn that comes when no snapshot is due any more goes to the next group.
func TestTurnThatComesInVainIsGivenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		machines := &tallies{adapt: func(_ raft.ServerID, group raft.GroupID, m *tallyMachine) {
			m.write = func(io.Writer) error {
				if group[0] == 'h' {
					<-gate
				}
				return nil
			}
		}}
		h := newHostsOf(t, 1, nil, machines.config)
		defer h.close()
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		ask := func(group raft.GroupID) (cancel func()) {
			h.propose("a", group, "1")
			node, err := h.running["a"].Group(group)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			go node.Snapshot(ctx)
			synctest.Wait()
			return cancel
		}
		for i := range 4 {
			defer ask(raft.GroupID(fmt.Sprint("h", i)))()
		}
		for i := range 3 * 4 {
			ask(raft.GroupID(fmt.Sprint("vain", i)))()
		}
		defer ask("last")()
		machines.took()
		for range 2 {
			gate <- struct{}{}
			synctest.Wait()
		}
		require.Equal(t, []raft.GroupID{"last"}, machines.took())
		s := h.running["a"].Status()
		require.Equal(t, []int{2, 0}, []int{s.Taking, s.ToTake})
	})
}
