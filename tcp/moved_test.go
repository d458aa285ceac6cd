package tcp_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// A household is a few nodes that may move.
type household struct {
	t        *testing.T
	c        *cluster
	storages map[raft.ServerID]*memory.Storage
	nodes    map[raft.ServerID]*raft.Node
	at       map[raft.ServerID]string // where each server is
	moved    []raft.Server
}

// settle starts three servers at their first addresses, and lets them agree on something.
func settle(t *testing.T, c *cluster) *household {
	h := &household{t, c, map[raft.ServerID]*memory.Storage{}, map[raft.ServerID]*raft.Node{}, map[raft.ServerID]string{}, nil}
	for _, s := range peers("a", "b", "c") {
		h.storages[s.ID], h.at[s.ID] = memory.NewStorage(), s.Address
		h.start(s.ID)
	}
	h.requireWorks("a")
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		require.NoError(t, h.nodes[id].Read(t.Context()))
	}
	return h
}

func (h *household) start(id raft.ServerID) {
	h.storages[id] = h.storages[id].Reopen()
	h.startOn(id, h.storages[id])
}

// startOn starts a server on a disk.
func (h *household) startOn(id raft.ServerID, disk raft.Storage) {
	transport, err := tcp.Listen(h.at[id], h.c.options)
	require.NoError(h.t, err)
	h.nodes[id], err = raft.Start(raft.Config{
		ID: id, Address: h.at[id], Machine: &tally{}, Storage: disk, Transport: transport,
		Bootstrap: peers("a", "b", "c"), Moved: h.moved, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(h.t, err)
	node := h.nodes[id]
	h.t.Cleanup(func() { require.NoError(h.t, node.Close(context.Background())) })
}

// move stops servers, and starts them at other addresses.
func (h *household) move(round int, ids ...raft.ServerID) {
	for _, id := range ids {
		require.NoError(h.t, h.nodes[id].Close(h.t.Context()))
		h.at[id] = fmt.Sprintf("%s%d:1", id, round)
	}
	for _, id := range ids {
		h.start(id)
	}
}

// everybody returns where everybody is.
func (h *household) everybody() []raft.Server {
	return []raft.Server{{ID: "a", Address: h.at["a"]}, {ID: "b", Address: h.at["b"]}, {ID: "c", Address: h.at["c"]}}
}

func (h *household) propose(id raft.ServerID) error {
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	_, err := h.nodes[id].Propose(ctx, []byte("1"))
	return err
}

func (h *household) requireWorks(id raft.ServerID) {
	h.t.Helper()
	require.NoError(h.t, h.propose(id))
}

// known returns where the log of a server says that everybody is.
func (h *household) known(id raft.ServerID) (servers []raft.Server) {
	for _, m := range h.nodes[id].Status().Members {
		servers = append(servers, m.Server)
	}
	return servers
}

// All servers have moved, and each says what is wrong. With the list of where they are they elect a
// leader, which puts the addresses into the log. No disk is lost.
func TestAllServersMove(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		h := settle(t, c)
		before := h.nodes["a"].Status().Members
		h.move(2, "a", "b", "c")
		pass(20 * time.Second)
		for _, id := range []raft.ServerID{"a", "b", "c"} {
			status := h.nodes[id].Status()
			require.ErrorIs(t, status.Trouble, raft.ErrMoved)
			require.ErrorContains(t, status.Trouble, fmt.Sprintf("%s:1, not %s2:1", id, id))
			require.NotNil(t, status.NoLeader)
			require.ErrorIs(t, h.propose(id), raft.ErrMoved)
		}
		h.at = map[raft.ServerID]string{"a": "a3:1", "b": "b3:1", "c": "c3:1"}
		h.moved = h.everybody()
		h.move(3, "a", "b", "c")
		h.requireWorks("b")
		pass(10 * time.Second)
		for _, id := range []raft.ServerID{"a", "b", "c"} {
			status := h.nodes[id].Status()
			require.NoError(t, status.Trouble)
			require.Equal(t, h.everybody(), h.known(id))
			for i, m := range status.Members {
				require.Equal(t, before[i].Incarnation, m.Incarnation, "no disk was lost")
			}
		}
		h.moved = nil
		h.move(3, "a", "b", "c")
		h.requireWorks("c")
	})
}

// A server that lagged behind learns from the new leader where servers were before they all moved. It goes on
// to look for them where the list has them, until the log says where they are now.
func TestServerThatLaggedBehindMoves(t *testing.T) {
	for _, to := range []string{"c3:1", "c:1"} { // the last one is where it was at first
		t.Run(to, func(t *testing.T) { testLaggardMoves(t, to) })
	}
}

func testLaggardMoves(t *testing.T, to string) {
	inBubble(t, func(t *testing.T, c *cluster) {
		h := settle(t, c)
		require.NoError(t, h.nodes["a"].Close(t.Context()))
		h.moved = []raft.Server{{ID: "b", Address: "b2:1"}, {ID: "c", Address: "c2:1"}}
		h.move(2, "b", "c") // a doesn't hear of it
		h.requireWorks("c")
		pass(10 * time.Second)
		for _, id := range []raft.ServerID{"b", "c"} {
			require.Equal(t, h.everybody(), h.known(id))
			require.NoError(t, h.nodes[id].Close(t.Context()))
		}
		h.at = map[raft.ServerID]string{"a": "a3:1", "b": "b3:1", "c": to}
		h.moved = h.everybody()
		h.start("a")
		h.start("c")
		h.requireWorks("c") // c leads: a lacks what both others have
		h.start("b")
		pass(20 * time.Second)
		for _, id := range []raft.ServerID{"a", "b", "c"} {
			require.NoError(t, h.nodes[id].Status().Trouble)
			require.Equal(t, h.everybody(), h.known(id))
		}
		h.requireWorks("b")
	})
}

// A list is no more than where to look: whoever isn't found there keeps its address in the log, and
// whoever comes later gets it then. A server that has another disk is refused.
func TestListOfMovedServersIsChecked(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		h := settle(t, c)
		require.NoError(t, h.nodes["c"].Close(t.Context()))
		h.moved = []raft.Server{{ID: "a", Address: "a2:1"}, {ID: "b", Address: "b2:1"}, {ID: "c", Address: "c2:1"}}
		disk := h.storages["c"]
		h.storages["c"], h.at["c"] = memory.NewStorage(), "c2:1"
		h.start("c") // with an empty disk
		h.move(2, "a", "b")
		h.requireWorks("a")
		pass(time.Minute)
		require.Equal(t, []raft.Server{{ID: "a", Address: "a2:1"}, {ID: "b", Address: "b2:1"}, {ID: "c", Address: "c:1"}}, h.known("a"))
		require.NoError(t, h.nodes["c"].Close(t.Context()))
		h.storages["c"] = disk
		h.start("c")
		h.requireWorks("c")
		pass(time.Minute)
		require.Equal(t, h.everybody(), h.known("a"))
		require.Equal(t, h.everybody(), h.known("c"))
	})
}

// A server that moves alone says what is wrong with it, and AddServer puts that right. A list from
// an earlier move changes nothing about it.
func TestOneServerMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		h := settle(t, c)
		h.moved = []raft.Server{{ID: "a", Address: "a2:1"}, {ID: "b", Address: "b2:1"}, {ID: "c", Address: "c2:1"}}
		h.move(2, "a", "b", "c")
		h.requireWorks("a")
		pass(10 * time.Second)
		require.Equal(t, h.everybody(), h.known("a"))
		h.moved = nil
		h.move(3, "c")
		pass(20 * time.Second)
		require.ErrorIs(t, h.nodes["c"].Status().Trouble, raft.ErrMoved)
		_, err := h.nodes["a"].AddServer(t.Context(), raft.Server{ID: "c", Address: "c3:1"})
		require.NoError(t, err)
		h.requireWorks("c")
		require.NoError(t, h.nodes["c"].Status().Trouble)
		pass(10 * time.Second)
		require.Equal(t, h.everybody(), h.known("b"))
	})
}

// This is the same over TCP, with logs on a disk. The computer may be so busy that a leader loses
// its place, and a command its answer: so the commands are those of a session, sent until one is
// answered, and applied once.
func TestAllServersMoveOverTCP(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	ids := []raft.ServerID{"a", "b", "c"}
	start := func(moved bool) (nodes []*raft.Node, servers []raft.Server) {
		var transports []*tcp.Transport
		for _, id := range ids {
			transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{Logger: quiet})
			require.NoError(t, err)
			transports = append(transports, transport)
			servers = append(servers, raft.Server{ID: id, Address: transport.Addr().String()})
		}
		for i, id := range ids {
			storage, err := wal.Open(filepath.Join(dir, string(id)), wal.Options{Logger: quiet})
			require.NoError(t, err)
			config := raft.Config{ID: id, Machine: &tally{}, Storage: storage, Transport: transports[i], Bootstrap: servers, Logger: quiet}
			if moved {
				config.Moved = servers
			}
			node, err := raft.Start(config)
			require.NoError(t, err)
			nodes = append(nodes, node)
		}
		return nodes, servers
	}
	var session *raft.Session
	for round := range 3 {
		nodes, servers := start(round > 0)
		for session == nil {
			require.NoError(t, ctx.Err())
			if id, err := nodes[0].OpenSession(ctx); err == nil {
				session = raft.NewSession(id)
			}
		}
		for i, node := range nodes {
			command, err := session.Next()
			require.NoError(t, err)
			result, err := node.ProposeInSession(ctx, command, []byte("1"))
			for err != nil {
				require.NoError(t, ctx.Err(), "%v", err)
				result, err = node.ProposeInSession(ctx, command, []byte("1"))
			}
			session.Done(command)
			require.Equal(t, fmt.Sprint(3*round+i+1), string(result), "nothing was lost, and nothing applied twice")
		}
		for _, node := range nodes { // until the addresses are in every log
			for i := 0; i < len(servers); {
				require.NoError(t, ctx.Err())
				if node.Status().Members[i].Server == servers[i] {
					i++
				} else {
					time.Sleep(10 * time.Millisecond)
				}
			}
		}
		for _, node := range nodes {
			require.NoError(t, node.Close(ctx))
		}
	}
}

// Two copies of one disk run at the same time, each at an address of its own. Both say what is
// wrong, as far as each can know, and so does the leader. The cluster goes on, and the cure is that
// of a lost disk.
func TestCopiesOfOneDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		h := settle(t, c)
		require.NoError(t, h.nodes["c"].Close(t.Context()))
		h.at["c"] = "c2:1"
		dirs := [2]string{t.TempDir(), t.TempDir()}
		open := func(dir string) raft.Storage {
			log, err := wal.Open(dir, wal.Options{Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			return log
		}
		h.startOn("c", open(dirs[0])) // on an empty disk
		_, err := h.nodes["a"].Replace(t.Context(), raft.Server{ID: "c", Address: "c2:1"})
		require.NoError(t, err)
		require.NoError(t, h.nodes["c"].Close(t.Context()))
		require.NoError(t, os.CopyFS(dirs[1], os.DirFS(dirs[0])))

		var copies []*raft.Node
		for i, dir := range dirs {
			h.at["c"] = fmt.Sprintf("c%d:1", 2+i)
			h.startOn("c", open(dir))
			copies = append(copies, h.nodes["c"])
		}
		pass(20 * time.Second)
		h.requireWorks("a")
		require.ErrorIs(t, copies[0].Status().Trouble, raft.ErrRolledBack)
		require.ErrorIs(t, copies[1].Status().Trouble, raft.ErrMoved, "answers go to where the other one is")
		told := 0
		for _, id := range []raft.ServerID{"a", "b"} {
			for _, p := range h.nodes[id].Status().Peers {
				if p.Trouble != nil {
					require.Equal(t, raft.ServerID("c"), p.ID)
					require.ErrorIs(t, p.Trouble, raft.ErrRolledBack)
					told++
				}
			}
		}
		require.Equal(t, 1, told, "the leader knows it")

		for _, node := range copies {
			require.NoError(t, node.Close(t.Context()))
		}
		h.at["c"], h.storages["c"] = "c4:1", memory.NewStorage()
		h.start("c")
		_, err = h.nodes["a"].Replace(t.Context(), raft.Server{ID: "c", Address: "c4:1"})
		require.NoError(t, err)
		require.NoError(t, h.nodes["c"].Read(t.Context()))
	})
}
