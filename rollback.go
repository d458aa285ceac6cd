package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A disk can go back in time: its folder is restored from a backup, its virtual machine is set
// back, or it loses a write that it has said to have synced. It is the same disk by its
// incarnation, and has forgotten votes that it gave and entries that it acknowledged. Its server
// can't know that by itself; others may.
//
//	who knows better            by what                                      what it does
//	────────────────────────    ─────────────────────────────────────────    ─────────────────────────────
//	any server                  it has heard of another start of the disk,   hears nothing of the disk, and
//	                            that isn't an earlier one                    tells it so (Known)
//	a follower                  another start of its leader has led the      the same
//	                            very term
//	the leader of the term      the disk has acknowledged more than it       its heartbeats say how much
//	                            holds                                        (Heartbeat.Acknowledged)
//	who lags behind a commit    a leader has named a commit index beyond     neither campaigns, nor votes
//	                            a log                                        for such a log
//
// A message of an earlier start may also be one that comes late: so whoever hears it drops it and
// says what it knows, and the judge is the server that is told. It knows its own start, and there
// is no false alarm: starts of a disk are durable before anybody hears of them, and each counts one
// more than what the disk held. So a start that counts as much as the present one, and isn't it,
// can only be one that the disk has forgotten.
//
// A server that starts asks for what the others know (inquiry.go). A server whose disk went back
// takes no part: it gives no vote, acknowledges nothing, and ends its callers' calls. The disk says
// so from then on (DurableState.RolledBack). The cure is that of a lost disk: an empty one, and
// Replace.
type rollback struct {
	// noticed says that this server's own disk has forgotten what it had promised. It stays so for
	// this start.
	noticed bool
	// disks are the other members' disks, as far as this server has heard from them, each server
	// once.
	disks []knownDisk
	// witnessed is the highest commit index that a leader has told. The leaders to come hold as
	// much.
	witnessed Index

	// inquiry is what this server asks the others, and nil once it was answered. reached is the
	// highest term that an answer has named. No vote is given up to there.
	inquiry *inquiry
	reached Term
	// loaded is what the disk had promised when this server started: its term, and the end of its
	// log.
	loaded wire.Place
}

func (r *rollback) encode(s *stateEncoder) {
	s.numbers(flag(r.noticed), uint64(r.witnessed), uint64(r.reached))
	s.place(r.loaded)
	encodeSet(s, r.disks, (*knownDisk).encode)
	r.inquiry.encode(s)
}

func (r *rollback) clone() rollback {
	n := *r
	n.disks = slices.Clone(r.disks)
	n.inquiry = r.inquiry.clone()
	return n
}

// A knownDisk is what a server remembers, while it runs, of another member's disk.
type knownDisk struct {
	server      ServerID
	incarnation Incarnation
	// start is the latest start that was heard of. It only moves to a later one.
	start uint64
	// promised is the most that the disk was heard to promise: a term, and up to where it holds the
	// log of that term's leader. before is that of the starts before the latest one.
	promised, before wire.Place
	// led is the last term that the server was heard to lead, and ledBy the start with which it
	// did.
	led   Term
	ledBy uint64
	// back says that the disk is known to have forgotten what it had promised.
	back bool
}

func (d *knownDisk) encode(s *stateEncoder) {
	s.server(d.server)
	s.numbers(uint64(d.incarnation), d.start, uint64(d.led), d.ledBy, flag(d.back))
	s.place(d.promised)
	s.place(d.before)
}

// known returns what is remembered of the disk of a server, or nil.
func (r *rollback) known(id ServerID, incarnation Incarnation) *knownDisk {
	for i := range r.disks {
		if d := &r.disks[i]; d.incarnation == incarnation && d.server == id {
			return d
		}
	}
	return nil
}

// wentBack says whether a disk is known to have forgotten what it had promised.
func (r *rollback) wentBack(id ServerID, incarnation Incarnation) bool {
	for i := range r.disks {
		if d := &r.disks[i]; d.back && d.incarnation == incarnation && d.server == id {
			return true
		}
	}
	return false
}

// hears says whether a message is of the latest start of its sender's disk. What an earlier start
// has said isn't taken: if the disk went back, it is what a start says that has forgotten a later
// one.
func (c *Core) hears(m *wire.Message) bool {
	d := c.known(m.From, m.FromIncarnation)
	if d == nil {
		if d = c.remember(m); d == nil {
			return true
		}
	}
	if m.Kind() == wire.KindRolledBack {
		c.markBack(d)
		return false
	}
	if m.FromStart == 0 && !d.back {
		return true // a pre-vote of a start that isn't durable yet
	}
	if wire.StartCount(m.FromStart) > wire.StartCount(d.start) {
		d.start, d.before = m.FromStart, d.promised
	}
	if d.back || m.FromStart != d.start {
		if wire.StartCount(m.FromStart) == wire.StartCount(d.start) && m.FromStart != d.start {
			c.markBack(d) // two starts of one count
		}
		c.tellKnown(m, wire.Known{Promised: d.before, Start: d.start, Back: d.back})
		return false
	}
	d.promises(m)
	return c.hearsLeading(d, m)
}

// promises notes what a message says of the disk of its sender.
func (d *knownDisk) promises(m *wire.Message) {
	said := wire.Place{Term: m.Term}
	switch m.Kind() {
	case wire.KindPreVoteRequest, wire.KindPreVoteResponse:
		return // it may name a term that nobody is in
	case wire.KindAppendResponse:
		if answer := m.AppendResponse(); answer.Accepted {
			said.Index = answer.Index
		}
	case wire.KindHeartbeatResponse:
		said.Index = m.HeartbeatResponse().Durable
	case wire.KindHeartbeat:
		said.Index = m.Heartbeat().Stable
	}
	if promisesLess(d.promised, said) {
		d.promised = said
	}
}

// hearsLeading says whether a message isn't that of a leader whose term another start of it has
// led. No start leads a term in which an earlier one was: it has to campaign, in a later one.
func (c *Core) hearsLeading(d *knownDisk, m *wire.Message) bool {
	switch m.Kind() {
	case wire.KindAppendRequest, wire.KindHeartbeat, wire.KindTimeoutNow, wire.KindSnapshotRequest, wire.KindSnapshotStream:
	default:
		return true
	}
	if m.Pulled() {
		return true // any server may send it
	}
	if m.Term == d.led && m.FromStart != d.ledBy {
		c.tellKnown(m, wire.Known{Promised: d.before, Start: d.ledBy, Led: d.led})
		return false
	}
	if m.Term > d.led {
		d.led, d.ledBy = m.Term, m.FromStart
	}
	return true
}

// remember begins to remember the disk that the configuration names for the sender of a message. It
// returns nil if the configuration names none, or another one. What isn't named any more is
// forgotten.
func (c *Core) remember(m *wire.Message) *knownDisk {
	configuration := c.log.configuration()
	if configuration == nil || !configuration.Names(m.From, m.FromIncarnation) {
		return nil
	}
	c.disks = slices.DeleteFunc(c.disks, func(d knownDisk) bool { return !configuration.Names(d.server, d.incarnation) })
	c.disks = append(c.disks, knownDisk{server: m.From, incarnation: m.FromIncarnation})
	return &c.disks[len(c.disks)-1]
}

// markBack notes that the disk of another server has forgotten what it had promised: what it has
// acknowledged and granted counts no longer.
func (c *Core) markBack(d *knownDisk) {
	d.back = true
	switch r := c.role.(type) {
	case *leader:
		c.changeOfRolledBack(r, d)
	case *candidate:
		r.ballots = slices.DeleteFunc(r.ballots, func(b ballot) bool { return b.from == d.server && b.incarnation == d.incarnation })
		if !slices.Contains(r.refused, d.server) {
			r.refused = append(r.refused, d.server)
		}
	}
}

// changeOfRolledBack ends a change of the members that waits to hear who a server is, if that
// server has the disk that the cluster knows, and it went back: the change would make it no better.
func (c *Core) changeOfRolledBack(l *leader, d *knownDisk) {
	if l.change != nil && wire.FindMember(l.change.asked, d.server) >= 0 {
		c.dropChange(l, callOutcome{refusal: wire.RefusedRolledBack, about: d.server})
	}
}

// tellKnown tells the sender of a message what is known of its disk.
func (c *Core) tellKnown(m *wire.Message, known wire.Known) { c.reply(m, known.Message()) }

// knownTold takes what another server knows of this one's disk, and judges itself.
func (c *Core) knownTold(m *wire.Message) {
	if m.ToIncarnation != c.state.Incarnation {
		return // of another disk, or of any
	}
	known, own := m.Known(), c.state.Start
	_, leads := c.role.(*leader)
	forgot := known.Start != own && wire.StartCount(known.Start) >= wire.StartCount(own)
	ledBefore := leads && known.Led == c.state.Term && known.Start != own
	promised := known.Start == own && promisesLess(c.loaded, known.Promised)
	if known.Back || forgot || ledBefore || promised {
		c.noticeRollback()
		return
	}
	c.inquiryAnswered(m)
}

// noticeRollback ends this server's part in the cluster, because its disk has forgotten what it had
// promised.
func (c *Core) noticeRollback() {
	if c.noticed {
		return
	}
	c.noticed, c.trouble = true, ErrRolledBack
	c.state.RolledBack, c.out.dirty = true, true
	c.inquiry = nil
	c.disarm(inquiryDeadline)
	c.become(&follower{})
	c.out.silence()
	c.dropIncoming()
	c.fresh = neverSynced
	c.failCallers(ErrRolledBack)
}

// saysRolledBack answers whoever asks something of this server, whose disk went back.
func (c *Core) saysRolledBack(m *wire.Message) {
	asks := m.Heartbeat().Round != 0
	switch m.Kind() {
	case wire.KindPreVoteRequest, wire.KindVoteRequest, wire.KindIdentityRequest:
		asks = true
	}
	if asks {
		c.reply(m, wire.RolledBack{}.Message())
	}
}

// barred returns why callers at this server get no answer ever, or nil.
func (c *Core) barred() error {
	switch {
	case c.noticed:
		return ErrRolledBack
	case c.removed != 0:
		return ErrRemoved
	}
	return nil
}

// troubledPeer returns the first peer, by its ID, that is known to take no part, and why.
func (c *Core) troubledPeer(l *leader) (id ServerID, why error) {
	for i := range l.peers {
		if p := &l.peers[i]; id == "" || p.id < id {
			if trouble := c.peerTrouble(p); trouble != nil {
				id, why = p.id, trouble
			}
		}
	}
	return id, why
}

// peerTrouble says why a peer takes no part, if that is known.
func (c *Core) peerTrouble(p *progress) error { return refusals[c.peerRefusal(p)] }

// peerRefusal is peerTrouble, for the answer to a call. It is 0 if nothing is known.
func (c *Core) peerRefusal(p *progress) wire.Refusal {
	switch {
	case c.wentBack(p.id, p.incarnation):
		return wire.RefusedRolledBack
	case p.replaced:
		return wire.RefusedOtherDisk
	}
	return 0
}
