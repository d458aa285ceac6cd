package raft_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// However reads come and are given up while there is no leader, no more of them wait than the limit
// says. Once there is a leader, those that still wait are answered once and in order.
func TestReadsThatAreGivenUpTakeNoRoom(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := newCores(t, 3)
		s := c.servers["a"]
		limit := rapid.IntRange(1, 300).Draw(r, "limit")
		s.config.MaxPending = limit
		c.restart("a")
		var waiting []uint64
		refused := 0
		for range rapid.IntRange(1, 20).Draw(r, "rounds") {
			for range rapid.IntRange(0, 100).Draw(r, "reads") {
				if number := s.core.Read(c.now); len(waiting) < limit {
					waiting = append(waiting, number)
				} else {
					refused++
				}
			}
			for range rapid.IntRange(0, 100).Draw(r, "cancellations") {
				if len(waiting) == 0 {
					break
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(r, "which")
				s.core.CancelRead(waiting[i])
				s.core.CancelRead(waiting[i])
				waiting = slices.Delete(waiting, i, i+1)
			}
			c.drain("a")
			require.Len(r, s.answers, refused)
			require.Equal(r, len(waiting), s.core.Status().PendingReads)
		}
		s.answers = nil
		c.pass(5 * election)
		var answered []uint64
		for _, a := range s.answers {
			require.Equal(r, raft.Answer{Number: a.Number, Read: true, Index: a.Index, Fresh: a.Fresh}, a)
			answered = append(answered, a.Number)
		}
		require.True(r, slices.Equal(waiting, answered))
		require.Zero(r, s.core.Status().PendingReads)
	})
}

// All callers may give up at the same moment. That must not hold up the one loop that everything
// goes through.
func BenchmarkCancelRead(b *testing.B) {
	const waiting = 1 << 16 // at least, and up to twice as many
	core, err := raft.NewCore(raft.CoreConfig{ID: "a", Incarnation: 1, MaxPending: 2 * waiting})
	require.NoError(b, err)
	asked := 0
	more := func() {
		for range waiting {
			core.Read(0)
		}
		asked += waiting
	}
	more()
	b.ResetTimer()
	for i := range b.N {
		if i%waiting == 0 {
			b.StopTimer()
			more()
			b.StartTimer()
		}
		core.CancelRead(uint64(i + 1))
	}
	require.Equal(b, asked-b.N, core.Status().PendingReads)
}

// A read is confirmed by answers to its own round (§6.4). A server may refuse a heartbeat of an
// earlier term. That answers no round of this term, even if the leader of the earlier term leads
// this one too, and its rounds have come as far since.
func TestRefusalOfAnEarlierTermConfirmsNoRead(t *testing.T) {
	t.Run("another leader between", func(t *testing.T) {
		refuseEarlierTerm(t, func(c *cores) { c.elect("b") })
	})
	t.Run("a restart", func(t *testing.T) {
		refuseEarlierTerm(t, func(c *cores) { c.restart("a") })
	})
}

// refuseEarlierTerm lets a lead, lead again in a later term, and hear a refusal of the earlier one.
func refuseEarlierTerm(t *testing.T, between func(*cores)) {
	c := newCores(t, 3)
	c.elect("a")
	a := c.servers["a"]
	a.core.Read(c.now)
	c.drain("a")
	late := c.take(func(m wire.Message) bool {
		return m.Kind() == wire.KindHeartbeat && m.To == "b" && m.Heartbeat().Round == 2
	})
	require.Len(t, late, 1)
	c.settle()
	require.Len(t, a.answers, 1)

	between(c)
	c.elect("a")
	a.answers = nil
	c.deliver(late[0])
	refusals := c.take(func(m wire.Message) bool { return m.From == "b" && m.To == "a" })
	require.Len(t, refusals, 1)

	a.cut = true
	c.elect("c")
	c.propose("c", "new")
	require.Len(t, c.servers["c"].answers, 1)

	a.cut = false
	a.core.Read(c.now)
	c.drain("a")
	require.Len(t, c.take(func(m wire.Message) bool { return m.Kind() == wire.KindHeartbeat && m.Heartbeat().Round == 2 }), 2)
	c.deliver(refusals[0])
	require.Equal(t, "leader", c.status("a").Role)
	require.Empty(t, a.answers, "a read that lacks what was acknowledged before it")
}
