package raft

import (
	"slices"
	"time"

	"github.com/e17579a5/raft/wire"
)

// outbox is the gate. A message is a claim, and a claim leaves when what it claims is durable.
// Until then the message doesn't exist outside the core: nobody who drives a core can get "persist
// before send" wrong.
//
// Writes are numbered in the order in which they are handed out. What a message claims is in some
// write, which was handed out or is the next one. The message waits for the number of that write:
//
//	message in term T                claims                          leaves when
//	─────────────────────────────    ────────────────────────────    ─────────────────────────────────────
//	any at all, refusals too         "I am in term T, by start S"    the first write that carried T and S is durable
//	vote granted                     "my vote in T is yours"         every write so far, the next included, is
//	append accepted up to i          "my log matches yours to i"     i ≤ stable (see follower.matched)
//	snapshot installed up to i       the same                        the same: its write has lifted stable
//	heartbeat, and its answer        the term                        T is durable
//	leader's append                  the term                        at once: T was durable before it could win
//	pre-vote asked or granted        nothing new                     at once, without S as long as that isn't durable
//
// A message that waits keeps the term in which it was decided, and is dropped when the term rises.
// Sent later under another term, it would claim something that was never checked in that term.
//
// A server's own vote and its own match index follow the same rule: they count when they are
// durable, not when they are cast (§10.2.1). A leader's appends leave while its own disk is still
// writing.
type outbox struct {
	// issued is the number of the last write that was handed out. durable is the number of the last
	// write that is known to be durable.
	issued, durable WriteNumber
	// flights are the writes in (durable, issued].
	flights []flight

	// dirty says that the durable state has changed since the last write.
	dirty bool
	// snapshot becomes the current one with the next write. It is nil if there is none.
	snapshot *storedSnapshot
	// compact is the index up to which the log may be forgotten with the next write, though no
	// snapshot becomes the current one by it. It is 0 if there is none.
	compact Index
	// termWrite is the first write that carries the current term and the current start. A message
	// that leaves before that write is durable claims nothing.
	termWrite WriteNumber
	// leaseWrite is the first write that carries the longest lease that this server may promise.
	leaseWrite WriteNumber

	ready []wire.Message
	held  []heldMessage
}

// encode writes the gate without the messages that wait (AppendState). A message that waits for a
// write which is durable already doesn't wait.
func (o *outbox) encode(s *stateEncoder) {
	s.write(o.issued)
	s.numbers(flag(o.dirty))
	s.write(o.termWrite)
	s.write(o.leaseWrite)
	encodeList(s, o.flights, (*flight).encode)
	o.snapshot.encode(s)
	s.numbers(uint64(o.compact), uint64(len(o.ready)))
	for i := range o.ready {
		s.message(&o.ready[i])
	}
}

func (o *outbox) clone() outbox {
	n := *o
	n.flights = slices.Clone(o.flights)
	n.ready = slices.Clone(o.ready)
	n.held = slices.Clone(o.held)
	return n
}

// check: each message that is held waits for a write that is still to come, and claims the current
// term.
func (o *outbox) check(term Term) error {
	if len(o.held) > maxHeld {
		return broken("Gate", "%d messages wait, more than %d", len(o.held), maxHeld)
	}
	for i := range o.held {
		h := &o.held[i]
		if h.after <= o.durable || h.after > o.issued+1 {
			return broken("Gate", "%v waits for write %d of %d, durable %d", h.message.Kind(), h.after, o.issued, o.durable)
		}
		if h.message.Term != term {
			return broken("Gate", "%v of term %d held in term %d", h.message.Kind(), h.message.Term, term)
		}
	}
	return nil
}

// A flight is a write that was handed out and isn't durable yet.
type flight struct {
	number WriteNumber `state:"derived"`
	// last is how far the log is stable once the write is durable. A truncation lowers it: the
	// confirmation of an old write covers only what no later write has replaced.
	last Index
	// snapshot is the one that the write makes the current one. It is nil if there is none.
	snapshot *storedSnapshot
	// repairs are the lost entries that the write repairs.
	repairs lostEntries `clone:"shared"`
	// bytes are those of the write's entries.
	bytes int `state:"derived"`
}

func (f *flight) encode(s *stateEncoder) {
	s.numbers(uint64(f.last))
	f.snapshot.encode(s)
	f.repairs.encode(s)
}

// A heldMessage waits for write number after.
type heldMessage struct {
	after   WriteNumber
	message wire.Message
}

func (h *heldMessage) encode(s *stateEncoder) {
	s.write(h.after)
	s.message(&h.message)
}

// Held calls f with each message that waits for the disk, and with the number of writes that must
// become durable before it leaves, the next one to be handed out included. f must not change the
// messages.
func (c *Core) Held(f func(m *wire.Message, writes int)) {
	for i := range c.out.held {
		h := &c.out.held[i]
		f(&h.message, int(h.after-c.out.durable))
	}
}

// maxHeld bounds the messages that wait for a write. While a disk hangs, a message beyond that is
// lost, as on any network.
const maxHeld = 1 << 10

// send lets a message leave once write number after is durable.
func (o *outbox) send(m wire.Message, after WriteNumber) {
	if after <= o.durable {
		o.ready = append(o.ready, m)
		return
	}
	if len(o.held) == maxHeld || o.waits(&m, after) {
		return
	}
	o.held = append(o.held, heldMessage{after, m})
}

// waits says whether the same answer waits already, for the same write or an earlier one. Requests
// come again and again while a disk is slow. It is enough to say once that they are granted or
// refused. Nor need the same bytes be asked for twice.
func (o *outbox) waits(m *wire.Message, after WriteNumber) bool {
	switch m.Kind() {
	case wire.KindPreVoteResponse, wire.KindVoteResponse, wire.KindAppendResponse, wire.KindHeartbeatResponse, wire.KindRepairRequest:
	default:
		return false
	}
	for i := range o.held {
		if h := &o.held[i]; h.after <= after && h.message.Equal(m) {
			return true
		}
	}
	return false
}

// termChanged notes that the next write carries a new term. The messages that wait in the old term
// are dropped.
func (o *outbox) termChanged() {
	o.dirty = true
	o.termWrite = o.issued + 1
	o.silence()
}

// silence drops whatever waits for a write: none of it is to leave.
func (o *outbox) silence() {
	clear(o.held)
	o.held = o.held[:0]
}

// truncated notes that no write in flight covers anything after an index any more.
func (o *outbox) truncated(after Index) {
	for i := range o.flights {
		o.flights[i].last = min(o.flights[i].last, after)
	}
}

// persisted notes that every write up to n is durable, and releases the messages that waited for
// these writes. It returns what these writes did, as if they had been one, and how many there were.
// That is how far they make the log stable, the last snapshot that they made the current one, what
// they have repaired, and how many bytes of entries were in them.
func (o *outbox) persisted(n WriteNumber) (all flight, writes int) {
	assert(n > o.durable && n <= o.issued, "Writes Persist In Order")
	o.durable = n
	done := 0
	for done < len(o.flights) && o.flights[done].number <= n {
		// A later write may reach less far than an earlier one, if a truncation came between them.
		// But then the truncation lowered the earlier one's mark too.
		f := &o.flights[done]
		all.last = max(all.last, f.last)
		if f.snapshot != nil {
			all.snapshot = f.snapshot
		}
		for _, r := range f.repairs {
			all.repairs = all.repairs.with(r)
		}
		all.bytes += f.bytes
		done++
	}
	o.flights = append(o.flights[:0], o.flights[done:]...)

	kept := o.held[:0]
	for i := range o.held {
		if h := &o.held[i]; h.after <= n {
			o.ready = append(o.ready, h.message)
		} else {
			kept = append(kept, *h)
		}
	}
	clear(o.held[len(kept):])
	o.held = kept
	return all, done
}

// drainWrite hands out what isn't written yet, as one write: as much as the disk does in a while
// (pace), and as much as it has room for. The rest of the log waits for the next write. The state
// never waits for entries: each write carries the whole of it. Nor does a compaction, which may be
// what makes room. Entries that were lost take no more than half of a write while others wait.
func (c *Core) drainWrite(e *Effects) {
	o, l := &c.out, &c.log
	if len(o.flights) >= c.config.MaxWrites {
		return
	}
	limit := min(c.disk.room, c.config.MaxWriteBytes)
	if len(c.repairs.got) > 0 {
		limit /= 2
	}
	entries := c.fitting(l.tail.entries(l.written, l.last, limit))
	bytes := sizeOf(entries)
	repairs := c.repairWrite(c.roomForRepairs(bytes), 2*limit-bytes, bytes == 0)
	if !o.dirty && o.snapshot == nil && o.compact == 0 && len(entries) == 0 && len(repairs) == 0 {
		if l.written < l.last {
			c.diskStarts(writeDeadline) // a disk without room is one that stands still
		}
		return
	}
	o.issued++
	e.Write = Write{Number: o.issued, State: c.state, Entries: entries, Repairs: repairs}
	l.written += Index(len(entries))
	f := flight{number: o.issued, last: l.written, snapshot: o.snapshot, bytes: bytes + sizeOf(repairs)}
	for i := range repairs {
		at := repairs[i].Index
		f.repairs = f.repairs.with(wire.Range{First: at, Last: at})
	}
	if len(o.flights) == 0 {
		c.disk.begin(c.now)
		if len(entries) > 0 && c.armed(writeDeadline) {
			c.disarm(writeDeadline) // it had no room until now
		}
	}
	o.flights = append(o.flights, f)
	e.Write.Compact = o.compact
	if s := o.snapshot; s != nil {
		e.Write.Snapshot, e.Write.Compact = &s.meta, max(s.compact, o.compact)
	}
	if e.Write.Compact > 0 {
		l.compact(e.Write.Compact)
		c.repairs.keep(l.lost)
		c.snapshots.forgetPast(l.base.Index)
	}
	o.dirty, o.snapshot, o.compact = false, nil, 0
	c.diskStarts(writeDeadline)
}

// sizeOf returns what entries count for against limits in bytes.
func sizeOf(entries []Entry) (bytes int) {
	for i := range entries {
		bytes += entries[i].Size()
	}
	return bytes
}

// diskStarts begins to watch the disk's writes or reads, unless they are watched already.
func (c *Core) diskStarts(watch deadlineName) {
	if c.states[watch] == deadlineOff {
		c.arm(watch, c.patience(watch))
	}
}

// diskMoved notes that the disk has finished a write or a read, and watches on if it owes more.
func (c *Core) diskMoved(watch deadlineName, owed int) {
	if owed > 0 {
		c.arm(watch, c.patience(watch))
	} else {
		c.disarm(watch)
	}
}

// diskStalled says whether the disk has owed writes, or reads, for an election timeout, and has
// finished none of them.
func (c *Core) diskStalled() bool { return c.passed(writeDeadline) || c.passed(readDeadline) }

// Persisted reports that every write up to number n is durable.
func (c *Core) Persisted(now Instant, n WriteNumber) {
	c.advance(now)
	l := &c.log
	done, writes := c.out.persisted(n)
	l.stable = max(l.stable, done.last)
	assert(l.stable <= l.written, "Cursors Ordered")
	c.disk.done(c.now, done.bytes, writes, c.config.goal()/time.Duration(c.config.MaxWrites), micros(c.config.goal()))
	c.space.room = less(c.space.room, uint64(done.bytes)) // until the storage says how much is left
	if done.bytes > 0 || !c.starved() {
		c.diskMoved(writeDeadline, len(c.out.flights))
	}
	if done.snapshot != nil {
		c.snapshotCurrent(done.snapshot)
	}
	if len(done.repairs) > 0 {
		c.repaired(done.repairs)
	}
	switch r := c.role.(type) {
	case *candidate:
		c.countVotes(r)
	case *leader:
		c.advanceCommit(r)
	}
}

// send sends a message to a server in the current term. The message leaves when the term is
// durable.
func (c *Core) send(to ServerID, m wire.Message) {
	m.To = to
	c.stamp(&m)
	m.Term = c.state.Term
	c.out.send(m, c.out.termWrite)
}

// sendTo sends a message to a server with a certain disk. Without it, stamp would name the disk
// that this server's configuration names. That disk may be an old one, and an answer to a lost disk
// is no answer to the disk in its place.
func (c *Core) sendTo(to ServerID, disk Incarnation, m wire.Message) {
	m.ToIncarnation = disk
	c.send(to, m)
}

// reply answers a message. The answer goes to the disk that asked.
func (c *Core) reply(to *wire.Message, m wire.Message) { c.sendTo(to.From, to.FromIncarnation, m) }

// stamp fills in the envelope of a message, except the term.
func (c *Core) stamp(m *wire.Message) {
	m.From = c.id
	m.Cluster = c.state.Cluster
	m.FromIncarnation, m.FromStart = c.state.Incarnation, c.state.Start
	if configuration := c.log.configuration(); configuration != nil && m.ToIncarnation == 0 {
		if member := configuration.Member(m.To); member != nil {
			m.ToIncarnation = member.Incarnation
		}
	}
}
