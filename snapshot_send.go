package raft

import (
	"errors"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A peer that needs entries which the log doesn't hold any more is sent the current snapshot
// (§5.3). Messages agree on whether to send it, and from which offset on. The bytes travel in a
// stream of their own, so that no heartbeat waits behind them.
//
//	leader                                          peer
//	  │ ──── SnapshotRequest: (index, term), size ───▶ │
//	  │ ◀── SnapshotResponse: from this offset on ──── │   so many bytes of this very snapshot are there
//	  │ ════ stream: SnapshotStream, bytes ══════════▶ │   they are stored as they come; if the stream
//	  │                                                │   breaks, all this begins again, from the
//	  │                                                │   offset that was reached
//	  │ ◀───── AppendResponse: up to the index ─────── │   the snapshot is installed, durably
//
// A question without an answer is asked again after the next round of heartbeats that the peer has
// answered. So a peer that is gone is asked nothing, and keeps no stream open.

// A SendSnapshot asks for the current snapshot to be sent in a stream: first its Header, and then
// its bytes from Header.Offset on. Core.SnapshotMoved and Core.SnapshotSent report how it goes, by
// the number of the stream.
type SendSnapshot struct {
	Stream uint64
	Header wire.Message // of the kind SnapshotStream
	Meta   SnapshotMeta
}

// streamEffects are the effects about snapshots that are sent and received.
type streamEffects struct {
	sends    []SendSnapshot  `state:"transient"`
	stops    []uint64        `state:"transient"`
	verdicts []StreamVerdict `state:"transient"`
	discard  bool            `state:"transient"`
	// turnedAway says that the driver has no place for the snapshot that is being offered.
	turnedAway bool `state:"transient"`
	// streams is the number of the last stream that was opened for sending.
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
	state sendingState
	// waits says that the stream, or the peer, has no place for the snapshot yet: others come first.
	waits    bool
	snapshot *storedSnapshot
	// attempt is the number of this attempt among the leader's. asked says that the peer was asked
	// where to begin. round is then the first round whose answer shows that the question was lost.
	attempt uint64
	asked   bool
	round   uint64
	// stream is the number of the stream. sent is the offset up to which bytes were written to it.
	// seen is what sent was at the last look, and idle is the number of looks at which it hadn't
	// changed.
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
	s.numbers(t.attempt, flag(t.asked), t.round, t.stream, t.sent, t.seen, uint64(t.idle), flag(t.waits))
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
	// wants is the index of a snapshot that the peer has lost and needs another one for. Its log is
	// as good as any other.
	wants Index
	// sending is how the peer is sent a snapshot.
	sending sending
	carried carried
	// roomless says that the peer has refused the snapshot for want of room.
	roomless bool
	// lagging says that the peer was sent a snapshot and hasn't caught up since. silent is how
	// often the leader has looked at the peer since its last answer, at most maxSilent.
	lagging bool
	silent  uint8
}

func (p *supply) encode(s *stateEncoder) {
	s.numbers(uint64(p.wants), flag(p.lagging), uint64(p.silent), flag(p.roomless))
	p.sending.encode(s)
	p.carried.encode(s)
}

// carried is how far the bytes of a snapshot have got on their way to a peer: the peer has said
// that it holds them, or a stream has taken them. bytes never falls while the snapshot is the same,
// though the next stream may begin at a lower offset. moved says that bytes has risen since the
// last look at servers that catch up.
type carried struct {
	snapshot *storedSnapshot // the one that was sent last; nil for none
	bytes    uint64
	moved    bool
}

func (t *carried) encode(s *stateEncoder) {
	t.snapshot.encode(s)
	s.numbers(t.bytes, flag(t.moved))
}

// check: no more bytes have got to a peer than the snapshot has.
func (t *carried) check(peer ServerID) error {
	if t.snapshot != nil && t.bytes > t.snapshot.bytes {
		return broken("Snapshot Complete", "peer %s was brought %d bytes of %d", peer, t.bytes, t.snapshot.bytes)
	}
	return nil
}

// carry notes the offset up to which the bytes of the snapshot that a peer is sent have got.
func (p *progress) carry(offset uint64) {
	t := &p.carried
	if t.snapshot != p.sending.snapshot {
		t.snapshot, t.bytes = p.sending.snapshot, 0
	}
	if offset > t.bytes {
		t.bytes, t.moved = offset, true
	}
}

// sendingPatience is the number of election timeouts after which another attempt is made, because a
// stream brings nothing, or because there is no answer after everything was sent.
const sendingPatience = 4

// maxSilent is the number of looks in a row without an answer in between, after which a peer is
// taken for gone.
const maxSilent = 2

// needs returns the index up to which a peer is about to hold the log, if it was sent a snapshot
// and hasn't caught up since: it needs the entries from there on. For any other peer it is the
// highest index, and for one that has no room for a snapshot, which may stay so for ever, or for which
// it isn't the turn yet.
func (p *progress) needs() Index {
	if !p.lagging || p.roomless || p.sending.waits || p.silent >= maxSilent {
		return ^Index(0)
	}
	return max(p.match, p.sending.snapshot.index())
}

// sendingSnapshots says whether a peer that answers is being sent a snapshot for which it has room, and
// which doesn't wait until others were sent.
func (c *Core) sendingSnapshots() bool {
	l, leads := c.role.(*leader)
	if !leads {
		return false
	}
	for i := range l.peers {
		if p := &l.peers[i]; p.sending.state != sendingNot && p.silent < maxSilent && !p.roomless && !p.sending.waits {
			return true
		}
	}
	return false
}

// maySend says whether a peer may be sent the current snapshot. A peer that leaves isn't sent a
// later configuration than the one by which it leaves (progress.end). It learns of its removal when
// it asks for votes.
func (c *Core) maySend(p *progress) bool {
	return p.leaving == 0 || c.snapshots.current.meta.ConfigurationIndex <= p.leaving
}

// beginSending offers the current snapshot to a peer. Until the peer has it, appends are of no use
// to it.
func (c *Core) beginSending(l *leader, p *progress) {
	assert(c.snapshots.current != nil, "Compacted Is Covered")
	if !c.maySend(p) {
		return
	}
	if p.wants == 0 {
		p.probe(p.match + 1)
	}
	l.attempts++
	p.sending = sending{state: sendingOffered, snapshot: c.snapshots.current, attempt: l.attempts}
	p.lagging, p.silent = true, 0
	if c.states[streamDeadline] == deadlineOff {
		c.arm(streamDeadline, c.config.ElectionTimeout)
	}
}

// offerSnapshot asks a peer from which offset on to send.
func (c *Core) offerSnapshot(l *leader, p *progress) {
	t := &p.sending
	if t.state != sendingOffered || t.asked || c.snapshots.damaged {
		return
	}
	t.asked, t.round = true, l.round+1
	c.send(p.id, c.offerOf(t).Message())
}

// offerOf returns the question about the snapshot that a peer is sent.
func (c *Core) offerOf(t *sending) wire.SnapshotRequest {
	return wire.SnapshotRequest{
		Snapshot: t.snapshot.place(), Attempt: t.attempt,
		Start: c.state.Start, Serial: t.snapshot.serial, Bytes: t.snapshot.bytes,
	}
}

// sendingAnswered notes that a peer has answered a round, 0 for an append, and goes on with what
// the peer needs.
func (c *Core) sendingAnswered(l *leader, p *progress, round uint64) {
	p.silent = 0
	t := &p.sending
	if p.lagging && p.match >= c.log.commit {
		p.lagging = false
	}
	c.watchSendings(p)
	if t.state == sendingNot {
		c.replaceLost(l, p)
		return
	}
	if p.match >= c.log.servable(t.snapshot.index()) && p.wants == 0 {
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

// replaceLost offers a snapshot to a peer that has lost its own. It must cover as much as the lost
// one: a shorter one would take back what that server has promised to hold. If there is no such
// snapshot, one is taken.
func (c *Core) replaceLost(l *leader, p *progress) {
	switch {
	case p.wants == 0:
	case p.wants <= c.snapshots.current.index():
		c.beginSending(l, p)
	default:
		c.snapshots.wanted = max(c.snapshots.wanted, p.wants)
	}
}

// attemptAnew begins to send the snapshot that is the current one by now. It asks after the next
// round that the peer answers.
func (c *Core) attemptAnew(l *leader, p *progress) {
	if !c.maySend(p) {
		p.sending = sending{}
		return
	}
	l.attempts++
	p.sending = sending{
		state: sendingOffered, snapshot: c.snapshots.current, attempt: l.attempts, asked: true, round: l.round + 1,
	}
}

// endSending ends what is on its way to a peer. The peer has what it needs, or isn't a peer any
// more, or another attempt follows.
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
	if t.state != sendingOffered || answer.Attempt != t.attempt || answer.Start != c.state.Start ||
		answer.Offset > t.snapshot.bytes {
		return
	}
	t.waits = answer.Refused == wire.RefusedBusy
	if p.roomless = answer.Refused != 0 && !t.waits; answer.Refused != 0 {
		return // it is asked again after the next round
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

// sendingTo returns the peer to which a stream goes, or nil when the stream was given up.
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

// SnapshotMoved reports the offset up to which a snapshot was written to its stream.
func (c *Core) SnapshotMoved(now Instant, stream, offset uint64) {
	c.advance(now)
	if _, p := c.sendingTo(stream); p != nil {
		p.sending.sent, p.sending.waits = max(p.sending.sent, offset), false
		p.carry(offset)
	}
	c.pullWaits(stream, false)
}

// SnapshotSent reports that a stream has ended. reason is nil when everything was written.
// ErrNoSnapshot says that the snapshot isn't the current one any more. ErrCorrupt says that the
// snapshot is damaged here; the core then has a new one taken. Any other reason stands for a broken
// stream.
func (c *Core) SnapshotSent(now Instant, stream uint64, reason error) {
	c.advance(now)
	if c.pullSent(stream, reason) {
		return
	}
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

// sendAnother ends all streams that bring a snapshot which was found damaged. The snapshot that
// takes its place may have the same index and other bytes.
func (c *Core) sendAnother(l *leader) {
	for i := range l.peers {
		if p := &l.peers[i]; p.sending.state != sendingNot && p.sending.snapshot == c.snapshots.current {
			c.endSending(p)
			c.attemptAnew(l, p)
		}
	}
}

// gone says that a peer doesn't answer, and that nothing is on its way to it but a question. There is
// nothing to look at until it answers.
func (p *supply) gone() bool {
	return p.silent >= maxSilent && p.sending.state <= sendingOffered
}

// watchSendings has the leader look at a peer from time to time that is being sent a snapshot, or was sent
// one and lags behind.
func (c *Core) watchSendings(p *progress) {
	if (p.sending.state != sendingNot || p.lagging) && !p.gone() && c.states[streamDeadline] == deadlineOff {
		c.arm(streamDeadline, c.config.ElectionTimeout)
	}
}

// checkSendings gives up streams that bring nothing, and streams to peers that don't answer.
func (c *Core) checkSendings(l *leader) {
	c.disarm(streamDeadline)
	for i := range l.peers {
		p := &l.peers[i]
		t := &p.sending
		if t.state == sendingNot && !p.lagging {
			continue
		}
		p.silent = min(p.silent+1, maxSilent)
		if t.sent != t.seen || t.waits {
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
			// The disk from which the snapshot is read may stand still, while this server asks
			// nothing else of it. So it is asked for an entry. If that doesn't come either, this
			// server leads no longer.
			p.fetching = true
			c.fetch(Fetch{For: p.id, After: c.log.base.Index, Last: c.log.last, MaxBytes: 1})
		}
		c.watchSendings(p)
	}
}

// abandonSendings ends all streams of a leader that steps down.
func (c *Core) abandonSendings() {
	if l, leads := c.role.(*leader); leads {
		for i := range l.peers {
			c.endSending(&l.peers[i])
		}
	}
}
