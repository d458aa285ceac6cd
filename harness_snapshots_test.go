package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// snapshots are the snapshots of a server of bare cores. All have the same size, and no bytes.
type snapshots struct {
	current  raft.SnapshotMeta // on the disk
	base     raft.Index        // up to where the log is forgotten
	taking   *raft.SnapshotMeta
	slow     bool     // snapshots are taken until the test says that they are done
	lost     bool     // the current one is damaged, which is found out at the next start
	restored []string // what the state machine was restored from
	done     []raft.SnapshotAnswer
	told     []string // what happened, for a transcript
	// unsound is what reading the current snapshot to its end comes to; nil for a sound one.
	unsound error
}

const snapshotSize = 100

// A stream brings a snapshot from one server to another.
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

// restarted returns what a crash leaves.
func (s *snapshots) restarted() snapshots {
	return snapshots{current: s.current, base: s.base, lost: s.lost}
}

func (s *snapshots) tell(format string, args ...any) {
	s.told = append(s.told, fmt.Sprintf(format, args...))
}

// drainSnapshots performs a core's effects about snapshots. It says whether the core was told
// something.
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
	if e.VerifySnapshot != nil {
		s.tell("reads snapshot %d", e.VerifySnapshot.Index)
		s.core.SnapshotVerified(c.now, s.unsound)
		again = true
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
		s.tell("sends snapshot %d to %s from %d on", send.Meta.Index, send.Header.To, send.Header.SnapshotStream().Offset)
		c.streams = append(c.streams, &stream{from: id, send: send})
	}
	return again
}

// taken ends the taking of a snapshot.
func (c *cores) taken(id raft.ServerID) {
	c.servers[id].core.SnapshotTaken(c.now, snapshotSize)
}

// named makes a snapshot the current one on a disk. If the log doesn't reach the snapshot, the
// snapshot has come from another server.
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

// bring lets the newest stream between two servers bring bytes, or begin. With the last byte the
// stream ends.
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
	st.held = min(st.held+bytes, st.send.Header.SnapshotStream().Bytes)
	s.tell("has %d of %d bytes", st.held, st.send.Header.SnapshotStream().Bytes)
	if st.held < st.send.Header.SnapshotStream().Bytes {
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

// compacted makes a cluster of three. c has missed entries that a has forgotten, and a has told it
// so.
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
