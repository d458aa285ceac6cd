package raft

import "github.com/e17579a5/raft/wire"

// incoming is the snapshot that the leader sends to this server (snapshot_send.go); there is one at
// a time. Its bytes are stored as they come. They stay when the stream breaks, so that the next
// stream goes on from there.
type incoming struct {
	state incomingState
	name  snapshotName
	// cluster is the cluster of the sender.
	cluster ClusterID
	meta    *SnapshotMeta // nil until a stream has come
	// term is the term in which the sender has asked last. attempt is the sender's last attempt in
	// this term. A leader counts its attempts anew in each of its terms, and may send the same
	// snapshot in two of them.
	term    Term
	attempt uint64
	held    uint64 // bytes that are stored
	stream  uint64 // the one that brings more; 0 for none
	// pulled says that this server has asked for the snapshot, and not a leader offered it (pull.go).
	pulled bool
	// arriving is the stream whose header is being looked at. It is 0 if there is none.
	arriving uint64 `state:"transient"`
}

func (in *incoming) encode(s *stateEncoder) {
	s.numbers(uint64(in.state))
	if in.state == incomingNot {
		return
	}
	in.name.encode(s)
	s.b = append(s.b, in.cluster[:]...)
	if in.meta != nil {
		s.meta(in.meta)
	}
	s.numbers(uint64(in.term), in.attempt, in.held, in.stream, flag(in.pulled))
}

// check: no more bytes are stored than the snapshot has. When all are said to be stored, all are.
func (in *incoming) check() error {
	if in.held > in.name.size || in.state == incomingStored && in.held != in.name.size {
		return broken("Snapshot Complete", "%d of %d bytes", in.held, in.name.size)
	}
	return nil
}

// A snapshotName names the bytes of a snapshot. Two snapshots of one index need not have the same
// bytes: two servers took them, or one server at two times.
type snapshotName struct {
	from          ServerID
	incarnation   Incarnation
	start, serial uint64
	place         wire.Place
	size          uint64
}

func (n *snapshotName) encode(s *stateEncoder) {
	s.server(n.from)
	s.numbers(uint64(n.incarnation), n.start, n.serial)
	s.place(n.place)
	s.numbers(n.size)
}

type incomingState uint8

const (
	incomingNot     incomingState = iota
	incomingPartial               // some of it is stored
	incomingStored                // all of it is, durably
)

func nameOf(m *wire.Message, offer *wire.SnapshotRequest) snapshotName {
	return snapshotName{m.From, m.FromIncarnation, offer.Start, offer.Serial, offer.Snapshot, offer.Bytes}
}

// A StreamVerdict says what becomes of a stream that another server has opened. If Accepted is
// false, the stream is closed, even if it was accepted before.
//
// If Accepted is true, the bytes of the stream are stored as those of a snapshot, from Offset on.
// Offset is 0, or the number of bytes that were stored before. Once there are Size bytes, they are
// made durable. Core.StreamMoved and Core.StreamEnded report how it goes.
type StreamVerdict struct {
	Stream       uint64
	Accepted     bool
	Meta         SnapshotMeta
	Offset, Size uint64
}

// A StreamEnd says how a stream has ended.
type StreamEnd uint8

// How a stream ends.
const (
	// StreamBroken says that no more bytes come. The stored ones stay.
	StreamBroken StreamEnd = 1 + iota
	// StreamComplete says that the whole snapshot is stored, durably.
	StreamComplete
	// StreamFailed says that the snapshot couldn't be stored, and that nothing of it is.
	StreamFailed
)

// answerSnapshot says from which offset on a snapshot is to be sent. A server that has committed
// everything up to the snapshot's index has no use for it.
func (c *Core) answerSnapshot(m *wire.Message) {
	f := c.follow(m.From)
	in, offer := &c.incoming, m.SnapshotRequest()
	if !c.needs(offer.Snapshot.Index) {
		f.owes = true
		return
	}
	if in.state == incomingStored {
		return // it will be installed
	}
	if c.states[snapshotDeadline] != deadlineOff {
		c.refuseSnapshot(m, &offer, wire.RefusedFull) // the disk has refused one lately, and gets a rest
		return
	}
	if c.turnedAway && in.stream == 0 {
		c.refuseSnapshot(m, &offer, wire.RefusedBusy)
		return
	}
	if in.term == m.Term && offer.Attempt < in.attempt {
		return // the leader has given up that attempt: what has come since stays
	}
	if name := nameOf(m, &offer); in.state == incomingNot || in.name != name {
		c.dropIncoming()
		in.state, in.name, in.held = incomingPartial, name, 0
	}
	if in.term != m.Term {
		in.term, in.attempt = m.Term, 0
	}
	in.pulled = false
	if in.stream != 0 {
		// A repeated question is about the stream that is open. A question of another attempt says
		// that the leader has given up that stream, which hasn't ended here yet.
		if offer.Attempt > in.attempt {
			c.refuseStream(in.stream)
		}
		return
	}
	in.attempt = max(in.attempt, offer.Attempt)
	c.reply(m, wire.SnapshotResponse{
		Snapshot: offer.Snapshot, Attempt: offer.Attempt, Start: offer.Start, Serial: offer.Serial, Offset: in.held,
	}.Message())
}

// refuseSnapshot says why a snapshot isn't to be sent now, and how much of one could be stored last.
func (c *Core) refuseSnapshot(m *wire.Message, offer *wire.SnapshotRequest, why wire.Refusal) {
	c.reply(m, wire.SnapshotResponse{
		Snapshot: offer.Snapshot, Attempt: offer.Attempt, Start: offer.Start, Serial: offer.Serial,
		Refused: why, Held: c.snapshots.fitted,
	}.Message())
}

// needs says whether a snapshot of an index has a use here. A snapshot that takes the place of a
// lost one must cover at least as much.
func (c *Core) needs(index Index) bool {
	if lost := c.lost(); lost != 0 {
		return index >= lost
	}
	return index > c.log.commit
}

// StreamOpened reports that another server has opened a stream, and hands in the header that it has
// sent. A StreamVerdict will answer. The number of a stream is not 0, and is never used again.
func (c *Core) StreamOpened(now Instant, stream uint64, header wire.Message) {
	c.wake()
	c.incoming.arriving = stream
	if header.Kind() == wire.KindSnapshotStream {
		c.Receive(now, header)
	} else {
		c.advance(now)
	}
	if c.incoming.arriving == stream {
		c.incoming.arriving = 0
		c.refuseStream(stream)
	}
}

// answerStream accepts the stream for which this server has asked the leader of this term.
func (c *Core) answerStream(m *wire.Message) {
	in := &c.incoming
	if in.arriving == 0 {
		return // it came as a message
	}
	c.follow(m.From)
	head := m.SnapshotStream()
	if in.state != incomingPartial || in.name != nameOf(m, &head.SnapshotRequest) || in.stream != 0 ||
		in.term != m.Term || in.attempt != head.Attempt || in.held != head.Offset {
		return
	}
	c.acceptStream(m, &head)
}

// acceptStream accepts the stream that is arriving.
func (c *Core) acceptStream(m *wire.Message, head *wire.SnapshotStream) {
	in := &c.incoming
	configuration, err := wire.DecodeConfiguration(head.Configuration.Data)
	assert(err == nil, "Configurations Decode")
	in.meta = &SnapshotMeta{
		Index: head.Snapshot.Index, Term: head.Snapshot.Term,
		Configuration: configuration, ConfigurationIndex: head.Configuration.Index,
	}
	in.stream, in.cluster, in.arriving = in.arriving, m.Cluster, 0
	c.verdicts = append(c.verdicts, StreamVerdict{
		Stream: in.stream, Accepted: true, Meta: *in.meta, Offset: in.held, Size: head.Bytes,
	})
}

// refuseStream closes a stream. If its acceptance wasn't handed out yet, nobody hears of that: the
// bytes from which the stream was to go on may be gone by now.
func (c *Core) refuseStream(stream uint64) {
	for i := range c.verdicts {
		if c.verdicts[i].Stream == stream {
			c.verdicts[i] = StreamVerdict{Stream: stream}
			return
		}
	}
	c.verdicts = append(c.verdicts, StreamVerdict{Stream: stream})
}

// dropIncoming lets go of what was received, if there is anything.
func (c *Core) dropIncoming() {
	in := &c.incoming
	if in.stream != 0 {
		c.refuseStream(in.stream)
	}
	if in.state == incomingPartial && in.held > 0 || in.stream != 0 {
		c.discard = true
	}
	*in = incoming{arriving: in.arriving}
}

// StreamMoved reports how many bytes of a snapshot are stored.
func (c *Core) StreamMoved(now Instant, stream, held uint64) {
	c.advance(now)
	if in := &c.incoming; in.stream == stream && stream != 0 {
		in.held = held
	}
}

// StreamEnded reports that a stream that was accepted has ended, in which way, and how many bytes
// of the snapshot are stored.
func (c *Core) StreamEnded(now Instant, stream, held uint64, end StreamEnd) {
	c.advance(now)
	in := &c.incoming
	if in.stream != stream || stream == 0 {
		return
	}
	before := in.held
	in.stream, in.held = 0, held
	switch end {
	case StreamComplete:
		assert(held == in.name.size, "Snapshot Complete")
		in.state = incomingStored
	case StreamFailed:
		*in, c.snapshots.fitted = incoming{}, max(before, held)
		c.arm(snapshotDeadline, snapshotRetry*c.config.ElectionTimeout)
	}
}

// drainIncoming installs a snapshot that has come. It lets go of one that isn't needed any more,
// because the log has brought what it covers.
func (c *Core) drainIncoming() {
	in := &c.incoming
	if in.state == incomingNot {
		return
	}
	useless := !c.needs(in.name.place.Index)
	if in.pulled {
		useless = c.leastPulled() == 0 || in.name.place.Index < c.leastPulled()
	}
	if useless {
		c.dropIncoming()
		return
	}
	r, asks := c.role.(*candidate)
	if in.pulled && in.state == incomingStored && (asks && r.pre || c.elected()) {
		c.stepDown() // nobody else would end this
	}
	_, follows := c.role.(*follower)
	// The claims of a candidate about its log must stay true while the votes come, so only a
	// follower installs a snapshot. And one snapshot is restored after the other.
	restore := c.snapshots.restore
	if in.state == incomingStored && follows && (restore == restoreNot || restore == restoreLost) {
		if why := c.metaContradicts(in.meta); why != "" {
			c.refuse(&wire.Message{Envelope: wire.Envelope{From: in.name.from, Term: in.term}}, why)
			c.dropIncoming()
			return
		}
		if in.pulled && in.term > c.state.Term {
			c.adoptTerm(in.term)
		}
		c.install(c.role.(*follower))
	}
}

// install puts a snapshot in the place of the log up to its index (§5.3). The state machine is
// restored from it when it is durable.
func (c *Core) install(f *follower) {
	in, s, l := &c.incoming, &c.snapshots, &c.log
	s.serial++
	snapshot := &storedSnapshot{
		meta: *in.meta, bytes: in.name.size, serial: s.serial, handed: s.handedBytes, compact: in.meta.Index, installed: true,
	}
	c.join(in.cluster)
	before := l.commit
	configuration := in.meta.Configuration
	if !l.install(snapshot.place(), placedConfiguration{in.meta.ConfigurationIndex, &configuration}) {
		c.out.truncated(before)
		f.matched = min(f.matched, before)
		f.acked = min(f.acked, f.matched)
	}
	c.repairs.keep(l.lost)
	c.serversChanged = true
	if c.named > before {
		c.named = 0 // it may be in no other log
	}
	if c.named == 0 {
		c.findNamed()
	}
	c.addedAnew(&configuration)
	c.fetched = nil
	s.taken, s.named, c.out.snapshot = nil, snapshot, snapshot
	s.restore = restoreWaiting
	if f.leader != "" {
		f.matched, f.owes = max(f.matched, in.meta.Index), true
	}
	*in = incoming{arriving: in.arriving}
}
