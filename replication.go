package raft

import (
	"time"

	"github.com/e17579a5/raft/wire"
)

// leader is the server whose log is the cluster's log in its term (§3.5).
type leader struct {
	begin Index // of the entry that began the term; no read is served before it is committed
	peers []progress
	rounds
	quota
	waitingRoom

	reads    leaderReads
	forwards []originForwards
	calls    []originCalls

	handover handover
	asking   asking
	changing
	lately lately
	// attempts counts the attempts to send a snapshot, to any peer.
	attempts uint64
}

func (l *leader) encode(s *stateEncoder) {
	s.b = append(s.b, 'l')
	s.numbers(uint64(l.begin), l.attempts)
	encodeSet(s, l.peers, (*progress).encode)
	l.rounds.encode(s)
	l.quota.encode(s)
	l.waitingRoom.encode(s)
	l.reads.encode(s)
	encodeSet(s, l.forwards, (*originForwards).encode)
	encodeSet(s, l.calls, (*originCalls).encode)
	l.handover.encode(s)
	l.asking.encode(s)
	l.changing.encode(s)
	l.lately.encode(s)
}

func (l *leader) clone() role {
	n := *l
	n.peers = cloneList(l.peers, (*progress).clone)
	n.rounds = l.rounds.clone()
	n.quota = l.quota.clone()
	n.waitingRoom = l.waitingRoom.clone()
	n.reads = l.reads.clone()
	n.forwards = cloneList(l.forwards, (*originForwards).clone)
	n.calls = cloneList(l.calls, (*originCalls).clone)
	n.handover = l.handover.clone()
	n.changing = l.changing.clone()
	return &n
}

// check: a leader's data fit its log, its term and its deadlines.
func (l *leader) check(c *Core) error {
	if c.state.Vote != c.id {
		return broken("Leader Voted For Itself", "vote %q", c.state.Vote)
	}
	for i := range l.peers {
		if err := l.peers[i].check(c.log.last); err != nil {
			return err
		}
	}
	if err := l.handover.check(c); err != nil {
		return err
	}
	if err := l.catchUp.check(c.log.last); err != nil {
		return err
	}
	return l.quota.check()
}

// peer returns the progress of a server, or nil.
func (l *leader) peer(id ServerID) *progress {
	for i := range l.peers {
		if l.peers[i].id == id {
			return &l.peers[i]
		}
	}
	return nil
}

// progressOf returns the progress of a member's disk, or nil.
func (l *leader) progressOf(m *Member) *progress {
	if p := l.peer(m.ID); p != nil && p.incarnation == m.Incarnation {
		return p
	}
	return nil
}

// own returns the value if a member is this server with this disk, and 0 otherwise.
func (c *Core) own(m *Member, value uint64) uint64 {
	if m.ID == c.id && m.Incarnation == c.state.Incarnation {
		return value
	}
	return 0
}

// appendEntry puts an entry of this term at the end of the leader's log.
func (c *Core) appendEntry(e Entry) {
	e.Index, e.Term = c.log.last+1, c.state.Term
	c.log.append(&e)
	c.configurationAppended(&e)
}

// advanceCommit moves commit to the last index that a quorum holds durably, if the entry there is
// of the leader's own term. This server's own disk counts like that of any other. An older entry
// may be on a majority and still be replaced (Figure 8): it commits only under an entry of this
// term (§3.6.2).
func (c *Core) advanceCommit(l *leader) {
	held := Index(quorum(c.log.configuration(), func(m *Member) uint64 {
		if c.wentBack(m.ID, m.Incarnation) {
			return 0
		}
		if p := l.progressOf(m); p != nil {
			return uint64(p.match)
		}
		return c.own(m, uint64(c.log.sound()))
	}))
	if held > c.log.commit && held >= l.begin {
		c.log.commitTo(held)
	}
	l.releaseQuota(&c.log)
}

// drainLeader sends the peers what they haven't got yet: entries, and the news of what is
// committed.
func (c *Core) drainLeader(l *leader) {
	c.dismiss(l)
	c.startReadRound(l)
	for i := range l.peers {
		p := &l.peers[i]
		if p.since <= c.log.commit {
			c.sendAppends(l, p)
			c.offerSnapshot(l, p)
		}
		c.tellCommit(p)
	}
	c.drainTransfer(l)
}

// sendAppends sends a peer everything that its window allows. A peer that is probed gets one
// append, even an empty one, to learn where the logs agree. A peer that needs entries which the log
// doesn't hold any more is sent a snapshot.
func (c *Core) sendAppends(l *leader, p *progress) {
	if p.next <= c.log.base.Index && !p.waiting {
		if p.replicating {
			if p.sending.state == sendingNot {
				c.beginSending(l, p)
			}
			return
		}
		p.next = c.log.base.Index + 1 // if the logs agree at base, nothing is missing
	}
	last := p.end(c.log.last)
	for !p.full(c.config) && (p.next <= last || !p.replicating) {
		room := p.room(c.config)
		if len(p.window) > 0 && room < p.demands() {
			return // until something in the window is acknowledged
		}
		entries := c.log.tail.entries(p.next-1, max(last, p.next-1), min(c.config.MaxAppendBytes, room))
		if entries == nil && c.log.lost.has(p.next) && p.next <= last {
			if p.replicating {
				c.sendInstead(l, p)
				return
			}
			c.sendAppend(p, nil) // it shows where the logs agree
			continue
		}
		if entries == nil && p.next <= last {
			if !p.replicating {
				room = min(room, c.config.MaxAppendBytes) // more would be read in vain
			}
			p.fetching = true
			c.fetch(Fetch{For: p.id, After: p.next - 1, Last: last, MaxBytes: max(min(room, fetchBytes), 1)})
			return
		}
		if !p.fits(entries, room) {
			return
		}
		c.sendAppend(p, entries)
	}
}

// sendAppend sends one append. The only write of this term that must be durable is the one by which
// the leader won. So the append travels while this server's own disk is writing (§10.2.1).
func (c *Core) sendAppend(p *progress, entries []Entry) {
	previous, ok := c.log.term(p.next - 1)
	assert(ok, "Leader Knows Terms")
	m := wire.AppendRequest{
		Previous: wire.Place{Index: p.next - 1, Term: previous}, Commit: c.log.commit, Entries: entries,
	}.Message()
	last := p.next - 1 + Index(len(entries))
	p.sent(last, m.Size(), c.config.LargeAppend)
	p.told = max(p.told, min(c.log.commit, last))
	c.send(p.id, m)
}

// fetchedToSend sends entries that were read from the disk, unless the peer needs others by now.
func (c *Core) fetchedToSend(l *leader, p *progress, f Fetch, entries []Entry) {
	p.fetching = false
	if p.next != f.After+1 || p.next <= c.log.base.Index || p.full(c.config) {
		return
	}
	if len(entries) == 0 {
		p.probe(p.next)
		p.probed, p.waiting = p.next-1, true // until the next heartbeat is answered
		return
	}
	for len(entries) > 0 && !p.full(c.config) {
		room := p.room(c.config)
		if !p.fits(entries, room) {
			p.large = windowed{p.next, entries[0].Size()}
			return
		}
		n, bytes := 1, entries[0].Size()
		for ; n < len(entries); n++ {
			if bytes += entries[n].Size(); bytes > min(c.config.MaxAppendBytes, room) {
				break
			}
		}
		c.sendAppend(p, entries[:n:n])
		entries = entries[n:]
	}
}

// tellCommit tells a peer at once what is committed, if callers there wait for it. The other peers
// learn it with the next append or heartbeat.
func (c *Core) tellCommit(p *progress) {
	commit := min(c.log.commit, p.match)
	if p.told < p.owed && p.told < commit {
		p.told = commit
		c.send(p.id, wire.Heartbeat{Acknowledged: c.acknowledgedBy(p), Commit: c.log.commit, Stable: c.log.stable}.Message())
	}
}

// acknowledgedBy returns the last entry that a peer has acknowledged, or zero when the log has
// forgotten it.
func (c *Core) acknowledgedBy(p *progress) wire.Place {
	if term, known := c.log.term(p.match); known {
		return wire.Place{Index: p.match, Term: term}
	}
	return wire.Place{}
}

// startRound sends a heartbeat to every peer. A quorum of answers shows that no other leader was
// elected before the heartbeat left. This renews the leadership (§6.2), and confirms the reads that
// wait for it (§6.4).
func (c *Core) startRound(l *leader) {
	l.sent(c.now)
	l.asked = l.round
	if c.log.commit >= l.begin {
		l.reads.join(l.round, c.log.commit)
	}
	lease := c.askLease(l)
	for i := range l.peers {
		p := &l.peers[i]
		behind, asks := c.asksBehind(p)
		if !asks {
			p.heartbeat(l.round)
		}
		p.told = max(p.told, min(c.log.commit, p.match))
		c.send(p.id, wire.Heartbeat{Acknowledged: c.acknowledgedBy(p), Commit: c.log.commit, Stable: c.log.stable, Round: l.round, Lease: lease}.Message())
		if asks {
			c.send(p.id, behind)
		}
		if p.leaving != 0 {
			p.farewell--
		}
	}
	c.askIdentities(l)
	c.arm(heartbeatDeadline, c.config.Heartbeat)
	c.takeLease(l)
	c.confirmRounds(l)
}

// confirmRounds finds the last round that a quorum has answered.
func (c *Core) confirmRounds(l *leader) {
	confirmed := quorum(c.log.configuration(), func(m *Member) uint64 {
		return c.answered(l, m)
	})
	if confirmed <= l.confirmed {
		return
	}
	// The time runs from the moment when the round left: its answers say nothing about later.
	c.arm(quorumDeadline, c.config.ElectionTimeout-time.Duration(c.now-l.confirm(confirmed)))
	c.confirmReads(l)
}

// said is what a peer has said of itself in its answers to heartbeats.
type said struct {
	// round is the last round that the peer has answered. promised is the last round by which it
	// promised a lease.
	round, promised uint64
	// fitness is the peer's priority plus one, or 0 when it shouldn't lead.
	fitness uint64
	vacancy vacancy
	// level is the highest level that the peer knows. It is 0 while that makes no difference.
	level wire.Level
}

func (a *said) encode(s *stateEncoder) {
	s.numbers(a.round, a.promised, a.fitness, uint64(a.level))
	a.vacancy.encode(s)
}

// heartbeatAnswered takes the answer to a heartbeat.
func (c *Core) heartbeatAnswered(l *leader, p *progress, m *wire.Message) {
	answer := m.HeartbeatResponse()
	if answer.Round > l.round || max(answer.Durable, answer.Received, answer.Lost) > c.log.last {
		return
	}
	p.acknowledge(answer.Durable)
	if answer.Round >= p.round {
		p.vacancy.note(answer.Room, answer.Full, &c.log, answer.Received)
	}
	p.answered(answer.Round, answer.Received)
	p.fitness = answer.Fitness
	c.levelHeard(p, answer.Level)
	if c.config.MaxLease > 0 && answer.Lease >= c.config.MaxLease {
		p.promised = max(p.promised, answer.Round)
	}
	p.wants = answer.Lost
	c.sendingAnswered(l, p, answer.Round)
	c.advanceCommit(l)
	c.takeLease(l)
	c.confirmRounds(l)
}

// appendAnswered takes the answer to an append.
func (c *Core) appendAnswered(l *leader, p *progress, m *wire.Message) {
	answer := m.AppendResponse()
	if answer.Accepted {
		if answer.Index > c.log.last {
			return
		}
		p.acknowledge(answer.Index)
		if p.vacancy.full {
			l.needed = l.round + 1 // there may be room by now, of which only its next answer tells
		}
		c.sendingAnswered(l, p, 0)
		c.advanceCommit(l)
		return
	}
	// Some refusals are out of date: the peer has acknowledged that index since, or the append was
	// given up.
	if p.sending.state != sendingNot && p.wants == 0 || answer.Index <= p.match ||
		!p.replicating && (!p.waiting || answer.Index != p.probed) {
		return
	}
	agree, base := c.log.lastWithin(answer.Agree.Index, answer.Agree.Term), c.log.base
	if agree == base && (answer.Agree.Index < base.Index || answer.Agree.Term < base.Term) {
		if p.sending.state == sendingNot {
			c.beginSending(l, p) // they agree nowhere in what is left of the log
			return
		}
		p.probe(base.Index + 1)
		p.probed, p.waiting = base.Index, true // until the next heartbeat is answered
		return
	}
	p.probe(agree.Index + 1)
}

// answerAppend takes a leader's entries (§3.5).
func (c *Core) answerAppend(m *wire.Message) {
	f := c.follow(m.From)
	f.member, f.disk = m.ToIncarnation != 0, m.FromIncarnation
	l, request := &c.log, m.AppendRequest()
	if c.removed != 0 && f.member && request.Previous.Index >= c.removed {
		c.heardOfLeader() // what was sent before the removal doesn't go so far
	}
	entries := request.Entries
	previous := request.Previous
	if previous.Index < l.commit {
		// The committed part equals the leader's log, so only the entries beyond it are looked at.
		skip := int(min(l.commit-previous.Index, Index(len(entries))))
		previous.Index += Index(skip)
		entries = entries[skip:]
		if skip > 0 {
			previous.Term = request.Entries[skip-1].Term
		}
		if previous.Index < l.commit {
			f.owes = true
			return
		}
		assert(l.matches(previous.Index, previous.Term), "Leader Completeness: a leader contradicts what is committed")
	}
	if !l.matches(previous.Index, previous.Term) {
		agree := l.lastWithin(previous.Index, previous.Term)
		c.reply(m, wire.AppendResponse{Index: request.Previous.Index, Agree: agree}.Message())
		return
	}
	c.appendAfter(f, m.Cluster, previous.Index, entries)
	matched := previous.Index + Index(len(entries))
	f.matched = max(f.matched, matched)
	f.owes = f.owes || matched <= l.stable
	l.commitTo(max(l.commit, min(request.Commit, f.matched)))
	c.witnessed = max(c.witnessed, request.Commit)
}

// appendAfter makes the log continue with entries after an index. Entries that the log has already
// stay: a repeated or late append shortens nothing. Only an entry of another term, and what follows
// it, gives way.
func (c *Core) appendAfter(f *follower, cluster ClusterID, after Index, entries []Entry) {
	l := &c.log
	for i := range entries {
		e := &entries[i]
		if l.matches(e.Index, e.Term) {
			continue
		}
		if e.Index <= l.last {
			assert(f.matched < e.Index, "Log Matching: a leader contradicts itself")
			c.truncate(e.Index - 1)
		}
		c.join(cluster)
		l.extend(entries[i:])
		for ; i < len(entries); i++ {
			c.configurationAppended(&entries[i])
			c.commandLogged(&entries[i])
		}
		return
	}
}

// acknowledge tells the leader how far this log equals the leader's log, durably.
func (c *Core) acknowledge(f *follower) {
	if f.leader == "" {
		return
	}
	durable := min(f.matched, c.log.sound())
	if durable > f.acked || f.owes {
		f.acked, f.owes = max(f.acked, durable), false
		c.sendTo(f.leader, f.disk, wire.AppendResponse{Accepted: true, Index: durable}.Message())
	}
}

// answerHeartbeat obeys a leader. What this disk has acknowledged in this term it holds, and it
// equals the leader's log: nothing of it is truncated before the term ends. If the disk holds less,
// or something else, it has forgotten what it acknowledged.
func (c *Core) answerHeartbeat(m *wire.Message) {
	heartbeat := m.Heartbeat()
	acknowledged := heartbeat.Acknowledged
	forgotten := acknowledged.Index > c.log.commit && !c.log.matches(acknowledged.Index, acknowledged.Term)
	if forgotten && m.ToIncarnation == c.state.Incarnation {
		c.noticeRollback()
		c.saysRolledBack(m)
		return
	}
	f := c.follow(m.From)
	f.member, f.disk = m.ToIncarnation != 0, m.FromIncarnation
	if commit := min(heartbeat.Commit, max(acknowledged.Index, f.matched)); commit > c.log.commit && !forgotten {
		f.matched = max(f.matched, commit)
		c.log.commitTo(commit)
	}
	c.witnessed = max(c.witnessed, heartbeat.Commit)
	if heartbeat.Round != 0 {
		held := min(f.matched, c.log.sound())
		f.acked, f.owes = max(f.acked, held), false // the answer says it
		c.reply(m, wire.HeartbeatResponse{
			Round: heartbeat.Round, Durable: held, Received: f.matched, Lost: c.lost(),
			Lease: c.promise(heartbeat.Lease), Fitness: c.fitness(), Full: c.saysFull(), Room: c.saysRoom(), Level: c.config.Level,
		}.Message())
	}
}
