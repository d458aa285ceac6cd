package raft

import (
	"errors"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// Where the others have forgotten lost entries behind their snapshots, a snapshot takes the place of
// these entries, or of a damaged snapshot. If there is a leader, it sends its own (snapshot_send.go).
// But the server that lacks something may be the only one that could be elected. So without a leader
// it asks any member:
//
//	three voters      A  is down
//	                  B  snapshot of 5
//	                  C  1 1 !1 1 1 2      B's log is shorter, and C can't lead without index 3
//
//	C                                                B
//	  │ ── SnapshotPull: 3 at least ────────────────▶ │
//	  │ ◀══ stream: SnapshotStream in term 7, bytes ══ │
//
// A snapshot covers what is committed, so what contradicts it in the log never was, and goes. The
// snapshot comes with its sender's term, and who installs it enters that term first. Otherwise it
// would know more to be committed than a leader of its own, lower term, and that one's appends would
// contradict what is committed.
//
// A leader may be the one that lacks something, and for ever the only one that can lead: the only
// voter. It asks the learners. When it has a snapshot, it steps down, since only a follower installs it.

// A pull is the sending of this server's snapshot to a server that has asked for it.
type pull struct {
	server   ServerID
	stream   uint64
	snapshot *storedSnapshot
	waits    bool // it hasn't begun: others come first
}

func (p *pull) encode(s *stateEncoder) {
	s.server(p.server)
	s.numbers(p.stream, flag(p.waits))
	p.snapshot.encode(s)
}

// maxPulls bounds the snapshots that a server sends at a time because others have asked for them.
const maxPulls = 2

// pullSnapshot asks a member for its snapshot, if no member has given the bytes and no leader sends
// one. What takes the place of a lost snapshot must be new enough, so each member is asked in turn.
func (c *Core) pullSnapshot() {
	in, r := &c.incoming, &c.repairs
	if c.snapshots.restore == restoreLost && in.state == incomingNot {
		r.pullFrom = c.nextToAsk(r.pullFrom)
	}
	offered := in.state == incomingPartial && !in.pulled && c.leaderID() != ""
	if r.pullFrom == "" || !c.mayPull() || in.state == incomingStored || in.stream != 0 || offered || c.armed(snapshotDeadline) {
		return
	}
	request := wire.SnapshotPull{Least: c.leastPulled()}
	if in.state == incomingPartial && in.name.from == r.pullFrom {
		request.Start, request.Serial, request.Offset = in.name.start, in.name.serial, in.held
	}
	c.sendOpen(r.pullFrom, request.Message())
}

// leastPulled returns the index that a snapshot must cover to be of use in the place of lost entries
// or of a lost snapshot, and 0 if none is. It is never before this server's own snapshot, even if that
// is damaged: the server has promised to hold as much.
func (c *Core) leastPulled() Index {
	if c.log.obstacle() == 0 && c.snapshots.restore != restoreLost {
		return 0
	}
	return max(c.log.obstacle(), c.snapshots.current.index())
}

// mayPull says whether a snapshot of another server is of use here, and no leader sends one. A leader
// whose own snapshot is damaged has none to send. So when nobody has given the bytes in a while, other
// members are asked beside the leader.
func (c *Core) mayPull() bool {
	leader := c.leaderID()
	beside := c.repairs.rounds > 1 && c.repairs.pullFrom != leader
	return c.leastPulled() != 0 && (leader == "" || beside)
}

// pullInstead asks the members for a snapshot in the place of the one that is lost. It says whether
// it does so: this server lacks nothing else, and isn't alone.
func (c *Core) pullInstead() bool {
	if c.snapshots.restore != restoreLost || c.noticed || len(c.otherServers()) == 0 {
		return false
	}
	if !c.armed(repairDeadline) {
		c.repairs.rounds = min(c.repairs.rounds+1, maxRepairWait)
		c.pullSnapshot()
		c.arm(repairDeadline, c.config.ElectionTimeout)
	}
	return true
}

// answerPull sends this server's snapshot to a member that has asked for it. One that asks again has
// lost the stream. The stream claims this server's term, so the term must be durable.
func (c *Core) answerPull(m *wire.Message) {
	r, snapshot, request := &c.repairs, c.snapshots.current, m.SnapshotPull()
	if c.inquiry != nil || !c.namesForRepair(m.From, m.FromIncarnation) || c.out.termWrite > c.out.durable || c.snapshots.damaged {
		return
	}
	if snapshot.index() < request.Least {
		if request.Least <= c.log.handed {
			c.snapshots.wanted = max(c.snapshots.wanted, request.Least) // it is asked for again
		}
		return
	}
	if snapshot.meta.founding() {
		return
	}
	if slices.ContainsFunc(r.pulls, func(p pull) bool { return p.server == m.From && p.waits && p.snapshot == snapshot }) {
		return // it would be the last in the line again
	}
	r.pulls = slices.DeleteFunc(r.pulls, func(p pull) bool {
		if p.server == m.From {
			c.stops = append(c.stops, p.stream)
		}
		return p.server == m.From
	})
	if len(r.pulls) >= maxPulls {
		return
	}
	c.streams++
	r.pulls = append(r.pulls, pull{server: m.From, stream: c.streams, snapshot: snapshot})
	meta := &snapshot.meta
	head := wire.SnapshotStream{
		SnapshotRequest: c.offerOf(&sending{snapshot: snapshot}), Pulled: true,
		Configuration: Entry{
			Index: meta.ConfigurationIndex, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &meta.Configuration),
		},
	}
	if request.Start == c.state.Start && request.Serial == snapshot.serial && request.Offset <= snapshot.bytes {
		head.Offset = request.Offset
	}
	header := head.Message()
	header.To, header.ToIncarnation, header.Term = m.From, m.FromIncarnation, c.state.Term
	c.stamp(&header)
	c.sends = append(c.sends, SendSnapshot{Stream: c.streams, Header: header, Meta: *meta})
}

// pullSent notes that a stream to a server that has asked for the snapshot has ended. It says
// whether the stream was one of these.
func (c *Core) pullSent(stream uint64, reason error) bool {
	r := &c.repairs
	at := slices.IndexFunc(r.pulls, func(p pull) bool { return p.stream == stream })
	if at < 0 {
		return false
	}
	if errors.Is(reason, ErrCorrupt) && r.pulls[at].snapshot == c.snapshots.current {
		c.snapshots.damaged = true
	}
	r.pulls = slices.Delete(r.pulls, at, at+1)
	return true
}

// pullWaits notes whether a stream waits that was asked for.
func (c *Core) pullWaits(stream uint64, waits bool) {
	for i := range c.repairs.pulls {
		if p := &c.repairs.pulls[i]; p.stream == stream {
			p.waits = waits
		}
	}
}

// answerPulled accepts a stream with a snapshot for which this server has asked, if it is still of
// use.
func (c *Core) answerPulled(m *wire.Message) {
	in, head := &c.incoming, m.SnapshotStream()
	if in.arriving == 0 || m.From != c.repairs.pullFrom || !c.mayPull() || head.Snapshot.Index < c.leastPulled() {
		return
	}
	if why := c.snapshotContradicts(m); why != "" {
		c.refuse(m, why)
		return
	}
	name := nameOf(m, &head.SnapshotRequest)
	if in.state == incomingStored || in.stream != 0 {
		return
	}
	if in.state == incomingNot || in.name != name {
		c.dropIncoming()
		in.state, in.name, in.held = incomingPartial, name, 0
	}
	if in.held != head.Offset {
		return
	}
	in.term, in.attempt, in.pulled = m.Term, 0, true
	c.acceptStream(m, &head)
}
