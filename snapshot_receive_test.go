package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

func TestInstalledSnapshotIsAcknowledgedWhenItIsDurable(t *testing.T) {
	c := compacted(t)
	c.servers["c"].slowDisk = true
	before := c.status("c")
	c.bring("a", "c", snapshotSize)
	after := c.status("c")
	require.Equal(t, c.servers["a"].current.Index, after.Commit)
	require.Equal(t, before.Stable, after.Stable, "its write is still to come")
	for _, m := range c.take(is(raft.AppendResponse)) {
		require.LessOrEqual(t, m.Index, before.Stable)
	}
	require.Empty(t, c.servers["c"].restored)
	c.finishWrites("c")
	acknowledged := c.take(is(raft.AppendResponse))
	require.NotEmpty(t, acknowledged)
	require.Equal(t, after.Commit, acknowledged[len(acknowledged)-1].Index)
	require.NotEmpty(t, c.servers["c"].restored)
}

// A server that was told that it is removed, and was added anew in what a snapshot stands for, takes part again. (Simulated run
// 89317111 ended with a member that answered its leader and turned its callers away for ever.)
func TestRemovedServerIsAddedAnewBySnapshot(t *testing.T) {
	c := compacted(t)
	told := c.streams[len(c.streams)-1].send.Header
	told = raft.Message{
		Kind: raft.Removed, From: "b", To: "c", Cluster: told.Cluster, FromIncarnation: 101,
		ToIncarnation: told.ToIncarnation, Index: c.status("a").Commit, LogTerm: c.status("a").Term,
	}
	c.deliver(told)
	require.ErrorIs(t, c.status("c").Trouble, raft.ErrRemoved)
	c.bring("a", "c", snapshotSize)
	require.NoError(t, c.status("c").Trouble)
	c.propose("c", "four")
	require.Contains(t, c.commands("c"), "four")
}

func TestStreamsThatNobodyHasAskedForAreRefused(t *testing.T) {
	for name, change := range map[string]func(*raft.Message){
		"another kind":     func(m *raft.Message) { m.Kind = raft.AppendRequest },
		"another cluster":  func(m *raft.Message) { m.Cluster[0]++ },
		"an earlier term":  func(m *raft.Message) { m.Term-- },
		"another start":    func(m *raft.Message) { m.Start++ },
		"another snapshot": func(m *raft.Message) { m.Number++ },
		"another index":    func(m *raft.Message) { m.Index++ },
		"another size":     func(m *raft.Message) { m.Size++ },
		"another attempt":  func(m *raft.Message) { m.Round++ },
		"further on":       func(m *raft.Message) { m.Offset++ },
		"no configuration": func(m *raft.Message) { m.Entries = nil },
		"two of them":      func(m *raft.Message) { m.Entries = append(m.Entries, m.Entries[0]) },
		"one that is none": func(m *raft.Message) { m.Entries = []raft.Entry{{Kind: raft.EntryConfiguration, Data: []byte("?")}} },
		"one from the future": func(m *raft.Message) {
			m.Entries = append([]raft.Entry(nil), m.Entries...)
			m.Entries[0].Index = m.Index + 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := compacted(t)
			header := c.streams[len(c.streams)-1].send.Header
			change(&header)
			s := c.servers["c"]
			s.core.StreamOpened(c.now, 77, header)
			var e raft.Effects
			s.core.Drain(&e)
			require.Equal(t, []raft.StreamVerdict{{Stream: 77}}, e.Streams)
			require.NoError(t, s.core.Check())
			s.core.StreamMoved(c.now, 77, 50) // what is told about it all the same means nothing
			s.core.StreamEnded(c.now, 77, snapshotSize, raft.StreamComplete)
			c.drain("c")
			require.Zero(t, c.status("c").Snapshot)
			c.bring("a", "c", snapshotSize)
			require.NotZero(t, c.status("c").Snapshot, "the one that was asked for is taken")
		})
	}
}

// halfReceived returns a cluster whose third server holds 50 bytes of a snapshot, and the header of the stream that brought them.
func halfReceived(t *testing.T) (*cores, raft.Message) {
	c := compacted(t)
	header := c.streams[len(c.streams)-1].send.Header
	core := c.servers["c"].core
	core.StreamOpened(c.now, 77, header)
	core.StreamMoved(c.now, 77, 50)
	core.StreamEnded(c.now, 77, 50, raft.StreamBroken)
	core.Drain(&raft.Effects{})
	return c, header
}

// A question of an attempt that the leader has given up since comes late: what was received isn't thrown away for it. (Simulated
// run 500306621.)
func TestLateQuestionThrowsNothingAway(t *testing.T) {
	c, header := halfReceived(t)
	core := c.servers["c"].core
	ask := header
	ask.Kind, ask.Entries, ask.Round = raft.SnapshotRequest, nil, header.Round+2
	core.Receive(c.now, ask)
	late := ask
	late.Round, late.Number, late.Size = header.Round+1, header.Number+1, header.Size+1
	core.Receive(c.now, late)
	var e raft.Effects
	core.Drain(&e)
	require.False(t, e.DiscardIncoming)
	require.Len(t, e.Messages, 1)
	require.EqualValues(t, 50, e.Messages[0].Offset)
	header.Round, header.Offset = ask.Round, 50
	core.StreamOpened(c.now, 78, header)
	core.Drain(&e)
	require.Len(t, e.Streams, 1)
	require.True(t, e.Streams[0].Accepted)
}

// A stream that is accepted and at once refused is only refused: what it was to go on from is thrown away before.
func TestStreamThatIsRefusedAtOnceWasNeverAccepted(t *testing.T) {
	c, header := halfReceived(t)
	core := c.servers["c"].core
	ask := header
	ask.Kind, ask.Entries, ask.Round = raft.SnapshotRequest, nil, header.Round+1
	core.Receive(c.now, ask)
	header.Round, header.Offset = ask.Round, 50
	core.StreamOpened(c.now, 78, header)
	ask.Round, ask.Number, ask.Size = ask.Round+1, ask.Number+1, ask.Size+1
	core.Receive(c.now, ask)
	var e raft.Effects
	core.Drain(&e)
	require.True(t, e.DiscardIncoming)
	require.Equal(t, []raft.StreamVerdict{{Stream: 78}}, e.Streams)
}

// Where to begin is told to the disk that asked, though this server's log knows only the one before it.
func TestSnapshotIsAnsweredToTheDiskThatAsked(t *testing.T) {
	c := compacted(t)
	ask := c.streams[len(c.streams)-1].send.Header
	ask.Kind, ask.Entries, ask.Round = raft.SnapshotRequest, nil, 7
	ask.FromIncarnation = 4711
	s := c.servers["c"]
	s.core.Receive(c.now, ask)
	var e raft.Effects
	s.core.Drain(&e)
	require.Len(t, e.Messages, 1)
	require.Equal(t, raft.SnapshotResponse, e.Messages[0].Kind)
	require.EqualValues(t, 4711, e.Messages[0].ToIncarnation)
}

// Of a server that was given another disk, the log may reach only as far as where the lost one was its cluster's only voter. It isn't
// alone: whoever leads by a later configuration brings it another snapshot.
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
