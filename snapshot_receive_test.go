package raft_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func TestInstalledSnapshotIsAcknowledgedWhenItIsDurable(t *testing.T) {
	c := compacted(t)
	c.servers["c"].slowDisk = true
	before := c.status("c")
	c.bring("a", "c", snapshotSize)
	after := c.status("c")
	require.Equal(t, c.servers["a"].current.Index, after.Commit)
	require.LessOrEqual(t, after.Stable, before.Stable, "its write is still to come")
	for _, m := range c.take(is(wire.KindAppendResponse)) {
		require.LessOrEqual(t, m.AppendResponse().Index, before.Stable)
	}
	require.Empty(t, c.servers["c"].restored)
	c.finishWrites("c")
	acknowledged := c.take(is(wire.KindAppendResponse))
	require.NotEmpty(t, acknowledged)
	require.Equal(t, after.Commit, acknowledged[len(acknowledged)-1].AppendResponse().Index)
	require.NotEmpty(t, c.servers["c"].restored)
}

// A server was told that it is removed. Then it was added anew, by a configuration that only a
// snapshot brings. It takes part again. (Simulated run 89317111 ended with a member that answered
// its leader and turned its callers away for ever.)
func TestRemovedServerIsAddedAnewBySnapshot(t *testing.T) {
	c := compacted(t)
	header := c.streams[len(c.streams)-1].send.Header
	c.deliver(wire.Removed{Committed: wire.Place{Index: c.status("a").Commit, Term: c.status("a").Term}}.Message().In(wire.Envelope{
		From: "b", To: "c", Cluster: header.Cluster, FromIncarnation: 101, ToIncarnation: header.ToIncarnation,
	}))
	require.ErrorIs(t, c.status("c").Trouble, raft.ErrRemoved)
	c.bring("a", "c", snapshotSize)
	require.NoError(t, c.status("c").Trouble)
	c.propose("c", "four")
	require.Contains(t, c.commands("c"), "four")
}

// A snapshot is installed while the state machine still applies entries from before. A command among
// them belongs to this server, although the configuration that comes with the snapshot is a later
// one. (Simulated run 8645762 answered such a command with ErrNotApplied.)
func TestCommandBeforeAnInstalledSnapshotIsAnswered(t *testing.T) {
	c := newCores(t, 4)
	c.elect("c")
	s := c.servers["c"]
	s.lame = true
	number := c.propose("c", "x")
	require.NoError(t, c.transfer("c", "a"))
	c.settle()
	c.pass(2 * heartbeat)
	handed := s.log[s.core.Status().Applied:s.core.Status().Commit]
	require.Equal(t, "x", string(handed[len(handed)-2].Data))
	require.Equal(t, c.status("a").Term, handed[len(handed)-1].Term, "the next leader's first entry")

	s.cut = true
	c.remove("a", "d")
	for _, command := range []string{"two", "three"} {
		c.propose("a", command)
		c.snapshot("a")
	}
	s.cut, s.slowDisk = false, true
	c.pass(4 * heartbeat)
	c.bring("a", "c", snapshotSize)
	require.Equal(t, c.servers["a"].current.Index, c.status("c").Commit)
	batch, err := s.applier.Apply(handed)
	require.NoError(t, err)
	s.core.Applied(c.now, batch)
	c.drain("c")
	require.Contains(t, s.answers, raft.Answer{Number: number, Index: handed[len(handed)-2].Index, Result: []byte("x")})
}

func TestUnaskedStreamsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*wire.Envelope, *wire.SnapshotStream){
		"another cluster":  func(e *wire.Envelope, _ *wire.SnapshotStream) { e.Cluster[0]++ },
		"an earlier term":  func(e *wire.Envelope, _ *wire.SnapshotStream) { e.Term-- },
		"another kind":     nil,
		"another start":    func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Start++ },
		"another snapshot": func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Serial++ },
		"another index":    func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Snapshot.Index++ },
		"another size":     func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Bytes++ },
		"another attempt":  func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Attempt++ },
		"further on":       func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Offset++ },
		"no configuration": func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Configuration = raft.Entry{} },
		"one that is none": func(_ *wire.Envelope, b *wire.SnapshotStream) { b.Configuration.Data = []byte("?") },
		"one from the future": func(_ *wire.Envelope, b *wire.SnapshotStream) {
			b.Configuration.Index = b.Snapshot.Index + 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := compacted(t)
			header := c.streams[len(c.streams)-1].send.Header
			envelope, head := header.Envelope, header.SnapshotStream()
			header = wire.AppendRequest{}.Message().In(envelope)
			if change != nil {
				change(&envelope, &head)
				header = head.Message().In(envelope)
			}
			s := c.servers["c"]
			s.core.StreamOpened(c.now, 77, header)
			var e raft.Effects
			s.core.Drain(&e)
			require.Equal(t, []raft.StreamVerdict{{Stream: 77}}, e.Streams)
			require.NoError(t, s.core.Check())
			s.core.StreamMoved(c.now, 77, 50) // a report about a refused stream means nothing
			s.core.StreamEnded(c.now, 77, snapshotSize, raft.StreamComplete)
			c.drain("c")
			require.Zero(t, c.status("c").Snapshot)
			c.bring("a", "c", snapshotSize)
			require.NotZero(t, c.status("c").Snapshot, "the one that was asked for is taken")
		})
	}
}

// attempt returns the question before a stream, with another attempt.
func attempt(head wire.SnapshotStream, number uint64) wire.SnapshotRequest {
	head.Attempt = number
	return head.SnapshotRequest
}

// halfReceived returns a cluster whose third server holds 50 bytes of a snapshot, and the header of
// the stream that has brought them.
func halfReceived(t *testing.T) (*cores, wire.Message) {
	c := compacted(t)
	header := c.streams[len(c.streams)-1].send.Header
	core := c.servers["c"].core
	core.StreamOpened(c.now, 77, header)
	core.StreamMoved(c.now, 77, 50)
	core.StreamEnded(c.now, 77, 50, raft.StreamBroken)
	core.Drain(&raft.Effects{})
	return c, header
}

// A question of an attempt that the leader has given up comes late. The bytes that were received
// since aren't thrown away for it. (Simulated run 500306621.)
func TestLateQuestionThrowsNothingAway(t *testing.T) {
	c, header := halfReceived(t)
	core := c.servers["c"].core
	head := header.SnapshotStream()
	ask := attempt(head, head.Attempt+2)
	core.Receive(c.now, ask.Message().In(header.Envelope))
	late := attempt(head, head.Attempt+1)
	late.Serial, late.Bytes = head.Serial+1, head.Bytes+1
	core.Receive(c.now, late.Message().In(header.Envelope))
	var e raft.Effects
	core.Drain(&e)
	require.False(t, e.DiscardIncoming)
	require.Len(t, e.Messages, 1)
	require.EqualValues(t, 50, e.Messages[0].SnapshotResponse().Offset)
	head.Attempt, head.Offset = ask.Attempt, 50
	core.StreamOpened(c.now, 78, head.Message().In(header.Envelope))
	core.Drain(&e)
	require.Len(t, e.Streams, 1)
	require.True(t, e.Streams[0].Accepted)
}

// A stream that is accepted and refused at once is only refused. The bytes from which it was to go
// on are thrown away before.
func TestStreamThatIsRefusedAtOnceWasNeverAccepted(t *testing.T) {
	c, header := halfReceived(t)
	core := c.servers["c"].core
	head := header.SnapshotStream()
	ask := attempt(head, head.Attempt+1)
	core.Receive(c.now, ask.Message().In(header.Envelope))
	head.Attempt, head.Offset = ask.Attempt, 50
	core.StreamOpened(c.now, 78, head.Message().In(header.Envelope))
	ask.Attempt, ask.Serial, ask.Bytes = ask.Attempt+1, ask.Serial+1, ask.Bytes+1
	core.Receive(c.now, ask.Message().In(header.Envelope))
	var e raft.Effects
	core.Drain(&e)
	require.True(t, e.DiscardIncoming)
	require.Equal(t, []raft.StreamVerdict{{Stream: 78}}, e.Streams)
}

// The answer from where on to send goes to the disk that asked, though this server's log knows only
// the disk before it.
func TestSnapshotIsAnsweredToTheDiskThatAsked(t *testing.T) {
	c := compacted(t)
	header := c.streams[len(c.streams)-1].send.Header
	header.FromIncarnation = 4711
	s := c.servers["c"]
	s.core.Receive(c.now, attempt(header.SnapshotStream(), 7).Message().In(header.Envelope))
	var e raft.Effects
	s.core.Drain(&e)
	require.Len(t, e.Messages, 1)
	require.Equal(t, wire.KindSnapshotResponse, e.Messages[0].Kind())
	require.EqualValues(t, 4711, e.Messages[0].ToIncarnation)
}

// A server was given another disk. Its log may reach only as far as where the lost disk was its
// cluster's only voter. It isn't alone all the same: a leader by a later configuration brings it
// another snapshot.
func TestAnotherDiskIsNotTheOnlyVoter(t *testing.T) {
	for incarnation, alone := range map[raft.Incarnation]bool{7: true, 8: false} {
		cluster := raft.ClusterID{1}
		voter := raft.Member{Server: raft.Server{ID: "a", Address: "a:1"}, Role: raft.Voter, Incarnation: 7}
		_, err := raft.NewCore(raft.CoreConfig{
			ID: "a", Seed: 1, Incarnation: incarnation, Heartbeat: heartbeat, ElectionTimeout: election,
			Saved: raft.Saved{
				State: raft.DurableState{HardState: raft.HardState{Term: 2}, Server: "a", Incarnation: incarnation, Start: 1, Cluster: cluster},
				Snapshot: raft.SnapshotMeta{Index: 5, Term: 2, ConfigurationIndex: 1,
					Configuration: raft.Configuration{Cluster: cluster, Members: []raft.Member{voter}}},
				SnapshotBytes: 10, SnapshotDamage: raft.ErrCorrupt, Base: 5, BaseTerm: 2, Last: 5,
			},
		})
		if alone {
			require.ErrorIs(t, err, raft.ErrCorrupt)
			require.ErrorContains(t, err, "no other server to get one from")
		} else {
			require.NoError(t, err)
		}
	}
}

// To answer commands may move those that wait: each of those that a snapshot covers has its answer all
// the same.
func TestManyCommandsThatASnapshotCoversAreAnswered(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindAppendRequest && m.To == "c" }
	numbers := map[uint64]bool{}
	for n := range 120 {
		number := c.propose("c", fmt.Sprint(n))
		numbers[number] = n < 30 || n >= 90
	}
	for number, waits := range numbers { // few enough to stay, so that the next answers move the others
		if !waits {
			c.servers["c"].core.Cancel(number, context.Canceled)
			delete(numbers, number)
		}
	}
	c.pass(heartbeat)
	for range 2 {
		c.propose("a", "more")
		c.snapshot("a")
	}
	c.lost = nil
	c.pass(4 * heartbeat)
	c.bring("a", "c", snapshotSize)
	c.pass(2 * heartbeat)
	require.Equal(t, c.status("a").Commit, c.status("c").Commit)
	for _, answer := range c.servers["c"].answers {
		if numbers[answer.Number] {
			require.ErrorIs(t, answer.Err, raft.ErrSnapshotInstalled)
			delete(numbers, answer.Number)
		}
	}
	require.Empty(t, numbers)
}
