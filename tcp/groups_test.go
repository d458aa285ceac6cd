package tcp_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// appendIn sends an append of a group with one entry, of that index and size.
func (s *server) appendIn(group raft.GroupID, to raft.ServerID, index raft.Index, size int) {
	s.Send(wire.AppendRequest{Entries: []raft.Entry{
		{Index: index, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, size)},
	}}.Message().In(wire.Envelope{From: s.id, To: to, Term: 1, Group: group}))
}

// Two processes have two connections in each direction, however many groups they serve, and what else
// they have are streams.
func TestConnectionsForManyGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		const groups = 1000
		var dials atomic.Int64
		c.options.Dial = countingDial(&dials, c.network.Dial)
		c.options.QueueBytes = 1 << 30
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(2 * time.Second)
		for round := range raft.Index(3) {
			var sending sync.WaitGroup
			for i := range groups {
				sending.Go(func() {
					group := raft.GroupID(fmt.Sprint("group ", i))
					for _, way := range []struct {
						from *server
						to   raft.ServerID
					}{{a, "b"}, {b, "a"}} {
						if i%100 == 0 {
							way.from.appendIn(group, way.to, 2*round+1, 1<<20)
						}
						way.from.appendIn(group, way.to, 2*round+2, 100)
					}
				})
			}
			sending.Wait()
			pass(time.Second)
			for _, s := range []*server{a, b} {
				require.Len(t, s.messages, groups+groups/100)
				last := make(map[raft.GroupID]raft.Index)
				for len(s.messages) > 0 {
					m := <-s.messages
					require.Greater(t, m.Entries()[0].Index, last[m.Group], "in order within each group")
					last[m.Group] = m.Entries()[0].Index
				}
				require.Equal(t, 4, s.Stats().Connections, "two in each direction")
			}
		}
		require.LessOrEqual(t, dials.Load(), int64(4+1), "b wasn't there yet when a began")
		w, err := a.OpenStream(t.Context(), "b")
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 5, a.Stats().Connections)
		require.NoError(t, w.Close())
		close((<-b.streams).done)
	})
}

// A group that floods a slow link delays its own appends, and nothing of other groups.
func TestFloodDelaysItself(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b", "a")
		const rate = 1 << 20
		c.options.Dial = newThrottle(rate, c.network.Dial).Dial
		a := c.start("a", "b")
		pass(2 * time.Second)
		for i := range raft.Index(1000) {
			a.appendIn("flood", "b", i+1, 16<<10)
		}
		pass(time.Second)
		for len(b.messages) > 0 {
			<-b.messages
		}
		a.appendIn("quiet", "b", 1, 100)
		a.Send(wire.ProcessHeartbeat{Round: 1}.Message().In(wire.Envelope{From: "a", To: "b", FromStart: 1}))
		a.Send(wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{From: "a", To: "b", Term: 1, Group: "quiet"}))
		a.Send(wire.VoteRequest{}.Message().In(wire.Envelope{From: "a", To: "b", Term: 2, Group: "other"}))
		a.Send(wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{From: "a", To: "b", Term: 1, Group: "flood"}))
		pass(time.Second) // in which the link carries 1 MiB
		var quiet []wire.Kind
		for len(b.messages) > 0 {
			if m := <-b.messages; m.Group != "flood" {
				quiet = append(quiet, m.Kind())
			} else {
				require.Equal(t, wire.KindAppendRequest, m.Kind(), "its heartbeat is behind its appends")
			}
		}
		require.Equal(t, []wire.Kind{wire.KindProcessHeartbeat, wire.KindVoteRequest, wire.KindAppendRequest, wire.KindHeartbeat}, quiet)
	})
}
