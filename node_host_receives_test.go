package raft_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// streams count the streams to a server that are open.
type streams struct {
	mu     sync.Mutex
	to     raft.ServerID
	open   map[raft.ServerID]int // from which server
	opened int
	most   map[raft.ServerID]int // and "" for all of them together
}

func (s *streams) count(from raft.ServerID, more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	s.open[from] += more
	for _, n := range s.open {
		all += n
	}
	s.opened += max(more, 0)
	s.most[from], s.most[""] = max(s.most[from], s.open[from]), max(s.most[""], all)
}

// A streaming transport counts streams.
type streaming struct {
	raft.Transport
	from raft.ServerID
	all  *streams
}

func (s *streaming) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	w, err := s.Transport.OpenStream(ctx, to)
	if err != nil || to != s.all.to {
		return w, err
	}
	s.all.count(s.from, 1)
	return &counting{w, sync.OnceFunc(func() { s.all.count(s.from, -1) })}, nil
}

type counting struct {
	io.WriteCloser
	ended func()
}

func (c *counting) Close() error {
	c.ended()
	return c.WriteCloser.Close()
}

// slowStreams starts hosts whose groups have snapshots that take twenty seconds to be sent.
func slowStreams(t *testing.T, n int, to raft.ServerID) (*hosts, *tallies, *streams) {
	all := &streams{to: to, open: map[raft.ServerID]int{}, most: map[raft.ServerID]int{}}
	machines := &tallies{adapt: func(_ raft.ServerID, _ raft.GroupID, m *tallyMachine) { m.size = 20 << 10 }}
	h := newHostsOf(t, n, func(c *raft.HostConfig) {
		c.Transport = &streaming{c.Transport, c.ID, all}
	}, func(id raft.ServerID, group raft.GroupID, c *raft.Config) {
		machines.config(id, group, c)
		c.SnapshotBytesPerSecond, c.TailBytes = 1<<10, 1
	})
	return h, machines, all
}

// shorten takes two snapshots of a group at each of some servers, so that the log begins behind the first.
func (h *hosts) shorten(group raft.GroupID, at ...raft.ServerID) {
	for range 2 {
		h.propose(at[0], group, strings.Repeat("x", 1000))
		time.Sleep(time.Second)
		for _, id := range at {
			node, err := h.running[id].Group(group)
			require.NoError(h.t, err)
			_, err = node.Snapshot(h.t.Context())
			require.NoError(h.t, err)
		}
	}
}

// A host that was away receives a few snapshots at a time, from each server no more than that one sends
// at a time. None of them begins anew because it had to wait.
func TestSnapshotsAreReceivedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups, perServer, places = 36, 4, 8
		h, machines, all := slowStreams(t, 5, "e")
		defer h.close()
		name := func(i int) raft.GroupID { return raft.GroupID(fmt.Sprint("g", i)) }
		for i := range groups {
			h.propose("a", name(i), "1")
		}
		time.Sleep(time.Second)
		require.NoError(t, h.running["e"].Close(context.Background()))
		for i := range groups {
			h.shorten(name(i), "a", "b", "c", "d")
		}
		h.start("e")
		time.Sleep(10 * time.Second)
		s := h.running["e"].Status()
		require.Equal(t, []int{places, groups - places}, []int{s.Receiving, s.ToReceive})
		stages := map[string]int{}
		for _, host := range h.running {
			for _, node := range host.Groups() {
				for _, p := range node.Status().Peers {
					if p.ID == "e" && p.Snapshot != nil {
						stages[p.Snapshot.Stage]++
					}
				}
			}
		}
		require.Equal(t, map[string]int{"streaming": places, "waiting": groups - places}, stages)
		time.Sleep(3 * time.Minute)
		s = h.running["e"].Status()
		require.Zero(t, s.Receiving+s.ToReceive)
		for i := range groups {
			require.EqualValues(t, 3, machines.of["e"][name(i)].counted(), "of %s", name(i))
		}
		require.Equal(t, places, all.most[""])
		for id, most := range all.most {
			if id != "" {
				require.LessOrEqual(t, most, perServer, "from %s", id)
			}
		}
		require.Equal(t, groups, all.opened, "each snapshot was sent once")
	})
}

// A server that joins many groups at once isn't given up by those whose snapshots wait for others.
func TestJoiningServerWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 12 // three times as many as one server sends another one at a time
		h, machines, all := slowStreams(t, 1, "b")
		defer h.close()
		name := func(i int) raft.GroupID { return raft.GroupID(fmt.Sprint("g", i)) }
		for i := range groups {
			h.shorten(name(i), "a")
		}
		h.servers = append(h.servers, raft.Server{ID: "b", Address: "b"})
		h.disks["b"] = memory.NewStorage()
		h.start("b")
		var adding sync.WaitGroup
		for i := range groups {
			node, err := h.running["a"].Group(name(i))
			require.NoError(t, err)
			adding.Go(func() {
				_, err := node.AddServer(context.Background(), h.servers[1])
				if err != nil {
					t.Error(name(i), err)
				}
			})
		}
		adding.Wait()
		for i := range groups {
			require.EqualValues(t, 2, machines.of["b"][name(i)].counted(), "of %s", name(i))
		}
		require.Equal(t, groups, all.opened, "each snapshot was sent once")
	})
}
