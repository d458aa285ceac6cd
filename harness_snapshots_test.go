package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// snapshots are those of a server of bare cores. All have the same size, and no bytes.
type snapshots struct {
	current  raft.SnapshotMeta // on the disk
	base     raft.Index        // up to where the log is forgotten
	taking   *raft.SnapshotMeta
	slow     bool     // snapshots are taken until the test says that they are done
	lost     bool     // the current one is damaged, which is found out at the next start
	restored []string // what the state machine was restored from
	done     []raft.SnapshotAnswer
	told     []string // what happened, for a transcript
}

const snapshotSize = 100

// A stream is one from one server to another.
type stream struct {
	from     raft.ServerID
	send     raft.SendSnapshot
	number   uint64 // at the receiver; 0 until it has begun
	verdict  *raft.StreamVerdict
	held     uint64
	finished bool
}

// load fills in what a storage says of its snapshot.
func (s *snapshots) load(saved *raft.Saved, log []raft.Entry) {
	if s.current.Index == 0 {
		return
	}
	saved.Snapshot, saved.SnapshotBytes, saved.Base = s.current, snapshotSize, s.base
	if s.base > 0 {
		saved.BaseTerm = log[s.base-1].Term
	}
	if s.lost {
		saved.SnapshotDamage = raft.ErrCorrupt
	}
}

// restarted is what a crash leaves.
func (s *snapshots) restarted() snapshots {
	return snapshots{current: s.current, base: s.base, lost: s.lost}
}

func (s *snapshots) tell(format string, args ...any) {
	s.told = append(s.told, fmt.Sprintf(format, args...))
}

// drainSnapshots does what a core wants done about snapshots. It says whether the core has been told something.
func (c *cores) drainSnapshots(id raft.ServerID, e *raft.Effects) bool {
	s := c.servers[id]
	again := false
	if e.RestoreSnapshot != nil {
		s.restored = append(s.restored, fmt.Sprint(e.RestoreSnapshot.Index))
		s.tell("restores snapshot %d", e.RestoreSnapshot.Index)
		s.core.Restored(c.now)
		again = true
	}
	if e.TakeSnapshot != nil {
		s.taking = e.TakeSnapshot
		s.tell("takes snapshot %d of term %d", s.taking.Index, s.taking.Term)
		if !s.slow {
			c.taken(id)
			again = true
		}
	}
	s.done = append(s.done, e.SnapshotAnswers...)
	for _, stop := range e.StopSends {
		s.tell("stops stream %d", stop)
		for _, st := range c.streams {
			if st.from == id && st.send.Stream == stop {
				c.breakStream(st)
			}
		}
	}
	for i := range e.Streams {
		for _, st := range c.streams {
			if st.number == e.Streams[i].Stream && st.send.Header.To == id {
				st.verdict = &e.Streams[i]
				st.held = st.verdict.Offset
				s.tell("stream accepted: %v, from %d", st.verdict.Accepted, st.verdict.Offset)
			}
		}
	}
	if e.DiscardIncoming {
		s.tell("throws away what it has received")
	}
	for _, send := range e.Sends {
		s.tell("sends snapshot %d to %s from %d on", send.Meta.Index, send.Header.To, send.Header.Offset)
		c.streams = append(c.streams, &stream{from: id, send: send})
	}
	return again
}

// taken ends the taking of a snapshot.
func (c *cores) taken(id raft.ServerID) {
	c.servers[id].core.SnapshotTaken(c.now, snapshotSize)
}

// named makes a snapshot the current one on a disk. One that the log doesn't reach has come from a server whose does.
func (c *cores) named(s *server, w *raft.Write) {
	if w.Snapshot != nil {
		s.current, s.lost = *w.Snapshot, false
		if raft.Index(len(s.log)) < w.Snapshot.Index || s.log[w.Snapshot.Index-1].Term != w.Snapshot.Term {
			for _, other := range c.servers {
				if raft.Index(len(other.log)) >= w.Snapshot.Index && other.log[w.Snapshot.Index-1].Term == w.Snapshot.Term {
					s.log = append([]raft.Entry(nil), other.log[:w.Snapshot.Index]...)
				}
			}
		}
		s.tell("has snapshot %d on its disk, and the log from %d on", s.current.Index, max(s.base, w.Compact)+1)
	}
	s.base = max(s.base, w.Compact)
}

// bring lets the newest stream between two servers bring bytes, or begin. With the last of them it ends.
func (c *cores) bring(from, to raft.ServerID, bytes uint64) *stream {
	var st *stream
	for _, other := range c.streams {
		if other.from == from && other.send.Header.To == to && !other.finished {
			st = other
		}
	}
	require.NotNil(c.t, st, "no stream from %s to %s", from, to)
	s := c.servers[to]
	if st.number == 0 {
		c.opened++
		st.number = c.opened
		s.core.StreamOpened(c.now, st.number, st.send.Header)
		c.drain(to)
	}
	if st.verdict == nil || !st.verdict.Accepted {
		c.breakStream(st)
		return st
	}
	st.held = min(st.held+bytes, st.send.Header.Size)
	s.tell("has %d of %d bytes", st.held, st.send.Header.Size)
	if st.held < st.send.Header.Size {
		s.core.StreamMoved(c.now, st.number, st.held)
		c.servers[from].core.SnapshotMoved(c.now, st.send.Stream, st.held)
		c.drain(to)
		return st
	}
	st.finished = true
	c.servers[from].core.SnapshotSent(c.now, st.send.Stream, nil)
	s.core.StreamEnded(c.now, st.number, st.held, raft.StreamComplete)
	c.drain(from)
	c.drain(to)
	return st
}

// breakStream breaks a stream, and tells both sides.
func (c *cores) breakStream(st *stream) {
	if st.finished {
		return
	}
	st.finished = true
	c.servers[st.from].core.SnapshotSent(c.now, st.send.Stream, fmt.Errorf("broken"))
	if st.verdict != nil && st.verdict.Accepted {
		c.servers[st.send.Header.To].core.StreamEnded(c.now, st.number, st.held, raft.StreamBroken)
	}
}

// snapshot takes a snapshot at a server.
func (c *cores) snapshot(id raft.ServerID) {
	c.servers[id].core.Snapshot(c.now)
	c.drain(id)
}

// compacted makes a cluster of three in which c has missed what a has forgotten, and is told so.
func compacted(t *testing.T) *cores {
	c := newCores(t, 3)
	c.elect("a")
	c.propose("a", "one")
	c.servers["c"].cut = true
	for _, command := range []string{"two", "three"} {
		c.propose("a", command)
		c.snapshot("a")
	}
	c.servers["c"].cut = false
	c.pass(4 * heartbeat)
	require.NotEmpty(t, c.streams)
	return c
}

func TestSnapshotHoldsTheConfigurationOfItsIndex(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.propose("a", "one")
	c.servers["b"].cut, c.servers["c"].cut = true, true
	applied := c.status("a").Applied
	c.servers["a"].core.Call(c.now, raft.Call{Kind: raft.CallRemove, Members: []raft.Member{{Server: raft.Server{ID: "c"}, Role: raft.Voter}}})
	c.drain("a")
	require.Greater(t, c.status("a").Last, applied, "a configuration is in the log, which counts, but isn't committed")
	c.snapshot("a")
	meta := c.servers["a"].current
	require.Equal(t, applied, meta.Index)
	require.EqualValues(t, 1, meta.ConfigurationIndex, "an uncommitted configuration isn't in a snapshot (§5.1)")
	require.Len(t, meta.Configuration.Members, 3)
}

func TestSnapshotIsNamedOnlyOnceTheLogIsStable(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.servers["a"].slowDisk = true
	c.propose("a", "one") // committed and applied, by b and c
	require.Greater(t, c.status("a").Applied, c.status("a").Stable)
	c.snapshot("a")
	require.NotEmpty(t, c.servers["a"].told, "it is taken")
	c.drain("a")
	for _, w := range c.servers["a"].writes {
		require.Nil(t, w.Snapshot, "a log that ends before its snapshot would be dropped")
	}
	c.finishWrites("a")
	c.finishWrites("a")
	require.Equal(t, c.status("a").Applied, c.servers["a"].current.Index)
	require.Len(t, c.servers["a"].done, 1)
	require.NoError(t, c.servers["a"].done[0].Err)
}

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

// A leader counts its attempts anew in each of its terms: one that leads again with the same snapshot isn't taken for late.
func TestAttemptsAreThoseOfATerm(t *testing.T) {
	c := compacted(t)
	header := c.streams[len(c.streams)-1].send.Header
	s := c.servers["c"]
	ask := header
	ask.Kind, ask.Entries, ask.Round = raft.SnapshotRequest, nil, 7
	s.core.Receive(c.now, ask)
	ask.Term, ask.Round = ask.Term+1, 1
	s.core.Receive(c.now, ask)
	header.Term, header.Round = ask.Term, ask.Round
	s.core.StreamOpened(c.now, 77, header)
	var e raft.Effects
	s.core.Drain(&e)
	require.Len(t, e.Streams, 1)
	require.True(t, e.Streams[0].Accepted)
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

func TestLeaderThatStepsDownEndsItsStreams(t *testing.T) {
	c := compacted(t)
	c.bring("a", "c", 10)
	c.servers["a"].core.Receive(c.now, raft.Message{
		Kind: raft.Heartbeat, From: "b", To: "a", Cluster: c.status("a").Cluster, FromIncarnation: 101, ToIncarnation: 100,
		Term: c.status("a").Term + 1, Round: 1,
	})
	c.drain("a")
	require.Contains(t, c.servers["a"].told, fmt.Sprintf("stops stream %d", c.streams[len(c.streams)-1].send.Stream))
}

func TestFailedSnapshotIsToldToThoseWhoAsked(t *testing.T) {
	c := newCores(t, 1)
	c.elect("a")
	s := c.servers["a"]
	s.slow = true
	c.snapshot("a")
	c.snapshot("a")
	broken := fmt.Errorf("no room")
	s.core.SnapshotFailed(c.now, broken)
	c.drain("a")
	require.Equal(t, []raft.SnapshotAnswer{{Number: 1, Err: broken}, {Number: 2, Err: broken}}, s.done)
	c.snapshot("a")
	require.Len(t, s.told, 2, "who asks again has it tried at once")
	s.core.CancelSnapshot(3)
	c.taken("a")
	c.drain("a")
	require.Len(t, s.done, 2, "who doesn't wait any more is told nothing")
	require.NotZero(t, c.status("a").Snapshot)
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
