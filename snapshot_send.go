package raft

import (
	"errors"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A peer that needs entries which the log doesn't hold any more is sent the current snapshot (§5.3). Whether and from where
// on is agreed by messages; the bytes travel in a stream of their own, so that no heartbeat waits behind them.
//
//	leader                                          peer
//	  │ ──── SnapshotRequest: (index, term), size ───▶ │
//	  │ ◀── SnapshotResponse: from this offset on ──── │   so much of this very snapshot it has already
//	  │ ════ stream: SnapshotStream, bytes ══════════▶ │   stored as they come; it may break at any point, and then
//	  │                                                │   all this begins again, from the offset that was reached
//	  │ ◀───── AppendResponse: up to the index ─────── │   when it is installed, durably
//
// What isn't answered is asked again after the next round of heartbeats that the peer has answered: so a peer that is gone
// is asked nothing, and keeps no stream open.

// A SendSnapshot asks for the current snapshot to be sent in a stream: first its Header, and then its bytes from
// Header.Offset on. How it goes is reported by Core.SnapshotMoved and Core.SnapshotSent, by the number of the stream.
type SendSnapshot struct {
	Stream uint64
	Header wire.Message // of the kind SnapshotStream
	Meta   SnapshotMeta
}

// streamEffects is what is to be handed out about snapshots that are sent and received.
type streamEffects struct {
	sends    []SendSnapshot  `state:"transient"`
	stops    []uint64        `state:"transient"`
	verdicts []StreamVerdict `state:"transient"`
	discard  bool            `state:"transient"`
	// streams numbers those that are sent.
	streams uint64
}

func (t *streamEffects) encode(s *stateEncoder) { s.numbers(t.streams) }

func (t *streamEffects) clone() streamEffects {
	n := *t
	n.sends, n.stops, n.verdicts = slices.Clone(t.sends), slices.Clone(t.stops), slices.Clone(t.verdicts)
	return n
}

// A sending is a leader's side of sending its snapshot to a peer.
type sending struct {
	state    sendingState
	snapshot *storedSnapshot
	// attempt numbers the leader's attempts. round is the first one whose answer shows that a question was lost, when it
	// was asked.
	attempt uint64
	asked   bool
	round   uint64
	// stream is the number of the stream. sent is up to where bytes were written to it, seen what that was
	// at the last look, idle for how many looks it has been that.
	stream     uint64
	sent, seen uint64
	idle       int
}

func (t *sending) encode(s *stateEncoder) {
	s.numbers(uint64(t.state))
	if t.state == sendingNot {
		return
	}
	t.snapshot.encode(s)
	s.numbers(t.attempt, flag(t.asked), t.round, t.stream, t.sent, t.seen, uint64(t.idle))
}

type sendingState uint8

const (
	sendingNot     sendingState = iota
	sendingOffered              // to be asked for, or asked
	sendingOpen                 // a stream is open
	sendingDone                 // all was written
)

// supply is what a leader knows of a peer that needs a snapshot.
type supply struct {
	// wants is the index of the snapshot that the peer has lost and needs another one for: its log is as good as any.
	wants Index
	// sending is the snapshot that the peer is sent.
	sending sending
	carried carried
	// lagging says that the peer was sent a snapshot and hasn't caught up since. silent is how
	// often it was looked at since it last answered.
	lagging bool
	silent  uint8
}

func (p *supply) encode(s *stateEncoder) {
	s.numbers(uint64(p.wants), flag(p.lagging), uint64(p.silent))
	p.sending.encode(s)
	p.carried.encode(s)
}

// carried is how far the bytes of a snapshot have got on their way to a peer: the peer has said that it holds them, or a stream has
// taken them. That never falls while the snapshot is the same, though the next stream may begin before. moved says that it has risen
// since servers that catch up were looked after.
type carried struct {
	snapshot *storedSnapshot // the one that was sent last; nil for none
	bytes    uint64
	moved    bool
}

func (t *carried) encode(s *stateEncoder) {
	t.snapshot.encode(s)
	s.numbers(t.bytes, flag(t.moved))
}

// check: no more has got to a peer than there is.
func (t *carried) check(peer ServerID) error {
	if t.snapshot != nil && t.bytes > t.snapshot.bytes {
		return broken("Snapshot Complete", "peer %s was brought %d bytes of %d", peer, t.bytes, t.snapshot.bytes)
	}
	return nil
}

// carry notes up to where the bytes of the snapshot that a peer is sent have got.
func (p *progress) carry(offset uint64) {
	t := &p.carried
	if t.snapshot != p.sending.snapshot {
		t.snapshot, t.bytes = p.sending.snapshot, 0
	}
	if offset > t.bytes {
		t.bytes, t.moved = offset, true
	}
}

// sendingPatience is for how many election timeouts a stream may bring nothing, or an answer fail to come after all was
// sent, until another attempt is made.
const sendingPatience = 4

// maxSilent is at how many looks in a row a peer must not have answered since the one before, to be taken for gone.
const maxSilent = 2

// needs is up to where a peer is about to hold the log, if it was sent a snapshot and hasn't caught up since. From there on
// it needs entries.
func (p *progress) needs() Index {
	if !p.lagging || p.silent >= maxSilent {
		return ^Index(0)
	}
	return max(p.match, p.sending.snapshot.index())
}

// sendingSnapshots says whether a peer that answers is being sent a snapshot.
func (c *Core) sendingSnapshots() bool {
	l, leads := c.role.(*leader)
	if !leads {
		return false
	}
	for i := range l.peers {
		if p := &l.peers[i]; p.sending.state != sendingNot && p.silent < maxSilent {
			return true
		}
	}
	return false
}

// beginSending offers the current snapshot to a peer, which has no use for appends until it has that.
func (c *Core) beginSending(l *leader, p *progress) {
	assert(c.snapshots.current != nil, "Compacted Is Covered")
	if p.wants == 0 {
		p.probe(p.match + 1)
	}
	l.attempts++
	p.sending = sending{state: sendingOffered, snapshot: c.snapshots.current, attempt: l.attempts}
	p.lagging, p.silent = true, 0
	if c.deadlines[streamDeadline].state == deadlineOff {
		c.arm(streamDeadline, c.config.ElectionTimeout)
	}
}

// offerSnapshot asks a peer where to begin.
func (c *Core) offerSnapshot(l *leader, p *progress) {
	t := &p.sending
	if t.state != sendingOffered || t.asked || c.snapshots.damaged {
		return
	}
	t.asked, t.round = true, l.round+1
	c.send(p.id, c.offerOf(t).Message())
}

// offerOf names the snapshot that a peer is sent.
func (c *Core) offerOf(t *sending) wire.SnapshotRequest {
	return wire.SnapshotRequest{
		Snapshot: t.snapshot.place(), Attempt: t.attempt,
		Start: c.state.Start, Serial: t.snapshot.serial, Bytes: t.snapshot.bytes,
	}
}

// sendingAnswered notes that a peer has answered a round, and how far its log is known to reach then.
func (c *Core) sendingAnswered(l *leader, p *progress, round uint64) {
	p.silent = 0
	t := &p.sending
	if p.lagging && p.match >= c.log.commit {
		p.lagging = false
	}
	if t.state == sendingNot {
		c.replaceLost(l, p)
		return
	}
	if p.match >= c.log.base.Index && p.wants == 0 {
		c.endSending(p)
		return
	}
	if t.state == sendingOffered && t.asked && round >= t.round {
		t.asked = false
		if t.snapshot != c.snapshots.current {
			c.attemptAnew(l, p)
		}
	}
}

// replaceLost offers a snapshot to a peer that has lost its own. It must cover as much, or else it would take back what that
// server has promised to hold; so if there is none, one is taken.
func (c *Core) replaceLost(l *leader, p *progress) {
	switch {
	case p.wants == 0:
	case p.wants <= c.snapshots.current.index():
		c.beginSending(l, p)
	default:
		c.snapshots.wanted = max(c.snapshots.wanted, p.wants)
	}
}

// attemptAnew begins to send the snapshot that is the current one by now, after the next round that the peer answers.
func (c *Core) attemptAnew(l *leader, p *progress) {
	l.attempts++
	p.sending = sending{state: sendingOffered, snapshot: c.snapshots.current, attempt: l.attempts, asked: true, round: l.round + 1}
}

// endSending ends what is on its way to a peer: it has what it needs, or isn't one any more.
func (c *Core) endSending(p *progress) {
	if p.sending.state == sendingOpen {
		c.stops = append(c.stops, p.sending.stream)
	}
	p.sending = sending{}
}

// snapshotAnswered opens a stream to a peer that has said where to begin.
func (c *Core) snapshotAnswered(p *progress, m *wire.Message) {
	t := &p.sending
	answer := m.SnapshotResponse()
	if t.state != sendingOffered || answer.Attempt != t.attempt || answer.Start != c.state.Start || answer.Offset > t.snapshot.bytes {
		return
	}
	c.streams++
	t.state, t.stream, t.sent, t.seen, t.idle = sendingOpen, c.streams, answer.Offset, answer.Offset, 0
	p.carry(answer.Offset)
	meta := &t.snapshot.meta
	header := wire.SnapshotStream{SnapshotRequest: c.offerOf(t), Offset: answer.Offset, Configuration: Entry{
		Index: meta.ConfigurationIndex, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &meta.Configuration),
	}}.Message()
	header.To, header.Term = p.id, c.state.Term
	c.stamp(&header)
	c.sends = append(c.sends, SendSnapshot{Stream: t.stream, Header: header, Meta: *meta})
}

// sendingTo returns the peer that a stream goes to, or nil when it has been given up.
func (c *Core) sendingTo(stream uint64) (*leader, *progress) {
	if l, leads := c.role.(*leader); leads {
		for i := range l.peers {
			if t := &l.peers[i].sending; t.state == sendingOpen && t.stream == stream {
				return l, &l.peers[i]
			}
		}
	}
	return nil, nil
}

// SnapshotMoved reports up to which offset a snapshot was written to its stream.
func (c *Core) SnapshotMoved(now Instant, stream, offset uint64) {
	c.advance(now)
	if _, p := c.sendingTo(stream); p != nil {
		p.sending.sent = max(p.sending.sent, offset)
		p.carry(offset)
	}
}

// SnapshotSent reports that a stream has ended: with nil when all was written, or with the reason for which it
// wasn't. A broken stream is one; ErrNoSnapshot, that the snapshot isn't the current one any more, is another;
// ErrCorrupt, that it is damaged here, means that a new one is taken.
func (c *Core) SnapshotSent(now Instant, stream uint64, reason error) {
	c.advance(now)
	l, p := c.sendingTo(stream)
	switch {
	case p == nil:
	case reason == nil:
		p.sending.state, p.sending.idle = sendingDone, 0
		p.carry(p.sending.snapshot.bytes)
	default:
		if errors.Is(reason, ErrCorrupt) && p.sending.snapshot == c.snapshots.current {
			c.snapshots.damaged = true
			c.sendAnother(l)
			return
		}
		c.attemptAnew(l, p)
	}
}

// sendAnother ends all streams that bring a snapshot that was found damaged: the one that takes its place may be of the same index, and
// have other bytes.
func (c *Core) sendAnother(l *leader) {
	for i := range l.peers {
		if p := &l.peers[i]; p.sending.state != sendingNot && p.sending.snapshot == c.snapshots.current {
			c.endSending(p)
			c.attemptAnew(l, p)
		}
	}
}

// checkSendings gives up streams that bring nothing, or go to peers that don't answer.
func (c *Core) checkSendings(l *leader) {
	c.disarm(streamDeadline)
	for i := range l.peers {
		p := &l.peers[i]
		t := &p.sending
		if t.state == sendingNot && !p.lagging {
			continue
		}
		p.silent = min(p.silent+1, maxSilent)
		c.arm(streamDeadline, c.config.ElectionTimeout)
		if t.sent != t.seen {
			t.idle = 0
		} else {
			t.idle++
		}
		t.seen = t.sent
		open, idle := t.state == sendingOpen || t.state == sendingDone, t.idle >= sendingPatience
		if open && (p.silent >= maxSilent || idle) {
			c.endSending(p)
			c.attemptAnew(l, p)
		}
		if open && idle && !p.fetching {
			// What stands still may be the disk that the snapshot is read from, and nothing else may be asked of it: so
			// it is asked for an entry, and if that doesn't come either, this server doesn't lead on.
			p.fetching = true
			c.fetch(Fetch{For: p.id, After: c.log.base.Index, Last: c.log.last, MaxBytes: 1})
		}
	}
}

// abandonSendings ends all streams of a leader that steps down.
func (c *Core) abandonSendings() {
	if l, leads := c.role.(*leader); leads {
		for i := range l.peers {
			c.endSending(&l.peers[i])
		}
	}
	c.disarm(streamDeadline)
}
