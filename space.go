package raft

// A full disk is a state, and no failure. The storage says for how many bytes of entries it has
// room that nobody else can take. A leader takes a command only if a quorum has room for it:
//
//	a disk's room     ├── reserve ──┼── for commands ──┤
//	                                    ▲ behind what the disk still lacks of the log
//
// The reserve is kept by who takes commands, and never by who stores. A follower stores whatever
// fits, out of the reserve too. Suppose that it didn't:
//
//	A leads, takes a command that nobody else has room for, and starts again
//	A must lead, for its log is longer; but what it needs is behind the command, and nobody stores that:
//	the entry that begins its term, each read, and the change of the members that would help
//
// So what is in a log gets onto a quorum's disks, and the reserve is there for the rest: for terms
// and votes, for the entries that begin terms, for changes of the members and for a compaction.
// These are few, and each of them may be the cure. None is refused.
//
// When even the reserve is used up, entries wait in memory, for as long as it takes. To the core the
// disk is then one that stands still: this server acknowledges nothing more, and neither leads nor
// campaigns. Its state is written all the same, and so is a compaction, which may make room: they
// never stand behind entries that don't fit. If the storage has no room even for these, it waits
// instead of failing. All goes on by itself when there is room.
//
// A server whose disk is full isn't fit to lead, campaigns later than others, and frees what it can
// (reclaim.go).
type space struct {
	// limited says that the storage knows its room. While it doesn't, the room has no end.
	limited bool
	// full says that hardly more than the reserve is left.
	full bool
	// captured says that a snapshot was begun since the disk became full.
	captured bool
	// room is what the storage has said last.
	room uint64
	// tried is the room when a snapshot failed last, or was to be tried again.
	tried uint64
}

// endless is the room of a storage that doesn't know its room.
const endless = 1<<64 - 1

func (s *space) encode(e *stateEncoder, w *weights) {
	e.numbers(flag(s.limited))
	if !s.limited {
		return
	}
	e.numbers(s.room, flag(s.full), flag(s.captured), s.tried)
	w.encode(e)
}

// fullBelow returns the room below which a disk counts as full, and roomyFrom the room from which
// on it doesn't any more. They are apart so that a disk near one of them doesn't go back and forth.
func (c *CoreConfig) fullBelow() uint64 { return uint64(c.ReserveBytes) + uint64(c.ReserveBytes)/2 }
func (c *CoreConfig) roomyFrom() uint64 { return 2 * uint64(c.ReserveBytes) }

// fullWith says whether a disk with so much room is full, which it was before or not.
func (c *CoreConfig) fullWith(room uint64, was bool) bool {
	return room < c.fullBelow() || was && room < c.roomyFrom()
}

// roomRest is for how many election timeouts a disk that was full must have had room before its
// server is fit to lead again. Otherwise the leadership would come back with each snapshot, and go
// again.
const roomRest = 10

// Room reports for how many bytes of entries the storage has room that nobody else can take, by
// Entry.Size. It is math.MaxUint64 for a room without end, and that is what the core assumes until
// the first report. A driver asks the storage after each write, and tells Room after Persisted. It
// also asks whenever it hands in other events: room may come while nothing is written.
func (c *Core) Room(now Instant, bytes uint64) {
	c.advance(now)
	s := &c.space
	if s.full && bytes > s.room || bytes > s.tried && bytes-s.tried >= uint64(c.config.ReserveBytes)/4 {
		s.tried = bytes
		c.disarm(snapshotDeadline) // a snapshot may have failed for want of room
	}
	was := s.full
	s.limited, s.room = bytes != endless, bytes
	s.full = c.config.fullWith(bytes, was)
	switch {
	case s.full && !was:
		s.captured = false
		c.disarm(roomDeadline)
	case was && !s.full:
		c.arm(roomDeadline, roomRest*c.config.ElectionTimeout)
	}
}

// lacksRoom says whether this server shouldn't lead because its disk is full, or was a while ago.
func (c *Core) lacksRoom() bool { return c.space.full || c.armed(roomDeadline) }

// free returns for how many bytes this disk has room behind the log as it is.
func (c *Core) free() uint64 {
	if !c.space.limited {
		return endless
	}
	return less(c.space.room, c.log.bytesAfter(c.log.stable))
}

// fitting returns the first of some entries, as many as the disk has room for beside the writes in
// flight.
func (c *Core) fitting(entries []Entry) []Entry {
	if !c.space.limited {
		return entries
	}
	room := c.unclaimed()
	for i := range entries {
		size := uint64(entries[i].Size())
		if size > room {
			if i == 0 && c.outsized(writeDeadline) {
				i = 1
			}
			return entries[:i:i]
		}
		room -= size
	}
	return entries
}

// outsized says that an entry for which there is no room is tried all the same. The storage has all
// the room that it was to have, so the entry is larger than any that this server takes: it comes from
// a server, or a time, with another limit. It has waited for room until a deadline has passed.
func (c *Core) outsized(waited deadlineName) bool {
	return c.passed(waited) && len(c.out.flights) == 0 && c.space.room >= c.config.roomyFrom()
}

// unclaimed returns for how many bytes the disk has room beside the writes in flight.
func (c *Core) unclaimed() uint64 {
	room := c.space.room
	for i := range c.out.flights {
		room = less(room, uint64(c.out.flights[i].bytes))
	}
	return room
}

// roomForRepairs returns for how many bytes of lost entries the next write has room, beside so many
// bytes of entries that are new. There may be many to repair, and nobody has kept room for them. So
// they leave half of the reserve to what isn't refused. Until a leader has heard that they have taken
// room, it may take a command for which there is none any more: that one waits for room.
func (c *Core) roomForRepairs(beside int) uint64 {
	if !c.space.limited {
		return endless
	}
	return less(c.unclaimed(), uint64(beside)+uint64(c.config.ReserveBytes)/2)
}

// starved says whether entries wait for room.
func (c *Core) starved() bool {
	l := &c.log
	return c.space.limited && l.written < l.last && len(c.fitting(l.tail.entries(l.written, l.last, 1))) == 0
}

// crowded says whether there may be no room for all of the log: hardly more than the reserve is left
// behind it.
func (c *Core) crowded() bool {
	return c.space.limited && (c.space.full || c.free() < uint64(c.config.ReserveBytes))
}

// less returns a−b, and 0 if b is more. What is endless stays so.
func less(a, b uint64) uint64 {
	if a == endless {
		return a
	}
	return a - min(a, b)
}

// saysRoom returns what an answer to a heartbeat says of this disk's room (wire.HeartbeatResponse).
func (c *Core) saysRoom() uint64 { return c.free() + 1 } // of an endless room it says 0

// saysFull returns whether an answer to a heartbeat says that this disk is full. What is on its way to
// the disk takes room as long as it isn't there, and doesn't make it full. But when entries wait for
// room while nothing is being written, and the disk has less room than it was to have, then none comes
// by itself.
func (c *Core) saysFull() bool {
	return c.space.full || c.starved() && len(c.out.flights) == 0 && c.space.room < c.config.roomyFrom()
}

// vacancy is what a peer has said of the room on its disk, as saysRoom and saysFull return it, and how
// many bytes the log had up to where the peer had received it then (weights.total): the log may forget
// since what follows there.
type vacancy struct {
	said, at uint64
	full     bool
}

func (v *vacancy) encode(s *stateEncoder) { s.numbers(v.said, v.at, flag(v.full)) }

// note takes what a peer says that has received the log up to an index.
func (v *vacancy) note(said uint64, full bool, l *entryLog, received Index) {
	if *v = (vacancy{}); said != 0 {
		*v = vacancy{said, l.weights.total - l.bytesAfter(received), full}
	}
}

// room returns what the peer has said.
func (v *vacancy) room() uint64 { return v.said - 1 }

// left returns what is left of a peer's room behind a leader's whole log.
func (v *vacancy) left(l *entryLog) uint64 {
	if v.room() == endless {
		return endless
	}
	return less(v.room(), l.weights.total-v.at)
}

// A budget is how many bytes of commands a leader may take: now, and at most later, as far as it
// can tell. A command within now is taken. One beyond later is refused, since the disks are full.
// One in between waits: the disks aren't full, and have only too much to store at the moment.
type budget struct{ now, later uint64 }

// A verdict says what becomes of a command.
type verdict int

const (
	commandFits verdict = iota
	commandWaits
	commandRefused
)

// judge says what becomes of a command of so many bytes.
func (b *budget) judge(bytes int) verdict {
	switch {
	case uint64(bytes) <= b.now:
		return commandFits
	case uint64(bytes) > b.later:
		return commandRefused
	}
	return commandWaits
}

// take notes that a command was taken.
func (b *budget) take(bytes int) {
	b.now, b.later = less(b.now, uint64(bytes)), less(b.later, uint64(bytes))
}

// budget returns what this leader may take: what a quorum has room for, beside each one's reserve
// and what each still lacks of the log. This server is one of them, like any other. One that hasn't
// answered lately counts for nothing, however much room it had.
//
// A leader that has just been elected doesn't know the others' rooms until a quorum has answered
// its first round. If its own room has an end, it waits for that.
func (c *Core) budget(l *leader) budget {
	if c.space.limited && l.confirmed == l.began {
		return budget{0, endless}
	}
	if !c.space.limited && !l.knowsRooms() {
		return budget{endless, endless}
	}
	room := func(m *Member) (left uint64, full bool) {
		p := l.progressOf(m)
		switch {
		case p == nil:
			return c.own(m, c.free()), c.space.full || c.own(m, 1) == 0
		case c.wentBack(m.ID, m.Incarnation), p.round == 0, p.round < l.lately.rounds[0]:
			return 0, true
		}
		return p.vacancy.left(&c.log), p.vacancy.full
	}
	reserve := uint64(c.config.ReserveBytes)
	return budget{
		now: quorum(c.log.configuration(), func(m *Member) uint64 {
			left, _ := room(m)
			return less(left, reserve)
		}),
		later: quorum(c.log.configuration(), func(m *Member) uint64 {
			left, full := room(m)
			if !full {
				return endless
			}
			return less(left, reserve)
		}),
	}
}

// lately is by which a leader tells the peers that have answered within the last one or two election
// timeouts: rounds are the rounds that had left when one, and two, of them had passed.
type lately struct {
	ticks  int
	rounds [2]uint64
}

func (t *lately) encode(s *stateEncoder) { s.numbers(uint64(t.ticks), t.rounds[0], t.rounds[1]) }

// tickRooms is called in each heartbeat interval.
func (c *Core) tickRooms(l *leader) {
	t := &l.lately
	if !c.space.limited && !l.knowsRooms() {
		return
	}
	if t.ticks++; t.ticks >= int(c.config.ElectionTimeout/c.config.Heartbeat) {
		*t = lately{rounds: [2]uint64{t.rounds[1], l.round}}
	}
}

// knowsRooms says whether any peer has said how much room it has.
func (l *leader) knowsRooms() bool {
	for i := range l.peers {
		if l.peers[i].vacancy.said != 0 {
			return true
		}
	}
	return false
}

// fullPeer returns the first member whose disk is full, as far as this leader knows, or "".
func (c *Core) fullPeer(l *leader) ServerID {
	for i := range l.peers {
		if p := &l.peers[i]; p.leaving == 0 && p.vacancy.full {
			return p.id
		}
	}
	return ""
}
