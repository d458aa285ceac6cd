package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// A host is a process that serves several groups. It isn't shared: a step happens to a copy.
type host struct {
	at      int
	starts  uint64
	book    *coalesce.Book
	members []hostMember
	// asked are the groups that the Book wants to take a turn. hangs says that the shards stand
	// still.
	asked uint8
	hangs bool
}

// A hostMember is one group at a process.
type hostMember struct {
	core      *raft.Core // nil while it doesn't run
	coalesced *raft.Coalesced
	disk      disk
	writes    []raft.Write // handed out, and not durable yet
	// turning says that a turn has begun and not ended.
	turning bool
}

// A hostLock guards nothing: all happens in one goroutine.
type hostLock struct{}

func (hostLock) Lock()   {}
func (hostLock) Unlock() {}

// A hostStep is what comes of an event, beside the change of the process.
type hostStep struct {
	bounds *Hosts
	now    raft.Instant
	host   *host

	sent []wire.Message
	// told is what the leaders' cores were told in their turns.
	told []hostTold
	// asked are the reads that were asked for, and answers those that callers got.
	asked   []hostCall
	answers []hostAnswer
	broken  *Violation
}

// A hostTold is what a core was told in a turn.
type hostTold struct {
	group int
	left  coalesce.Left
}

// A hostCall is a read at a member, by its number and by the start of the member.
type hostCall struct {
	at, group     int
	start, number uint64
}

// A hostAnswer is what the caller of a member got.
type hostAnswer struct {
	hostCall
	answer raft.Answer
}

func groupOf(g int) raft.GroupID { return raft.GroupID([]byte{'g', '0' + byte(g)}) }

func (s *hostStep) fail(name, format string, args ...any) {
	if s.broken == nil {
		s.broken = violated(name, s.host.at, format, args...)
	}
}

// begin starts the process.
func (s *hostStep) begin() {
	h := s.host
	h.starts++
	h.asked, h.hangs = 0, false
	h.book = coalesce.NewBook(coalesce.Config{
		Self: idOf(h.at), Start: h.starts, Heartbeat: tick, ElectionTimeout: hostWait, Shards: 1, Now: coalesce.Instant(s.now),
	})
	for g := range h.members {
		s.beginGroup(g)
	}
}

// beginGroup starts a group.
func (s *hostStep) beginGroup(g int) {
	h := s.host
	m := &h.members[g]
	config := raft.CoreConfig{
		ID: idOf(h.at), Saved: m.disk.saved(), Seed: uint64(1 + h.at), Heartbeat: tick, ElectionTimeout: hostWait, ClockDrift: 1,
		Coalesced: true, Now: s.now,
	}
	if s.bounds.Leases {
		config.MaxLease = hostHold
	}
	core, err := raft.NewCore(config)
	if err != nil {
		s.fail(sim.Assertion, "doesn't start: %v", err)
		return
	}
	for i := range s.bounds.Processes {
		if i == h.at {
			continue
		}
		envelope := wire.Envelope{From: idOf(i), To: idOf(h.at), Cluster: clusterID, Term: foundingTerm,
			FromIncarnation: incarnation, ToIncarnation: incarnation, FromStart: wire.NextStart(0, 0)}
		core.Receive(s.now, wire.Started{}.Message().In(envelope))
		core.Receive(s.now, wire.Known{Start: core.Origin().Start}.Message().In(envelope))
	}
	*m = hostMember{core: core, coalesced: raft.NewCoalesced(core, groupOf(g), 0, h.book, hostLock{}), disk: m.disk}
	s.turn(g, nil)
}

// fails ends a group in a process that goes on.
func (s *hostStep) fails(g int) {
	m := &s.host.members[g]
	m.core, m.writes, m.turning = nil, nil, false
	s.host.asked &^= 1 << g
	m.coalesced.End(s.now)
	m.coalesced = nil
	s.drainBook()
}

// turn lets a group take a turn, in which something is handed to its core.
func (s *hostStep) turn(g int, hand func(core *raft.Core)) {
	m := &s.host.members[g]
	s.host.asked &^= 1 << g
	m.coalesced.Before(s.now)
	s.told = append(s.told, hostTold{g, leftOf(m.coalesced)})
	if hand != nil {
		hand(m.core)
	}
	m.core.Tick(s.now)
	s.perform(g)
	m.turning = true
	if !s.bounds.Apart {
		s.endTurn(g)
	}
}

// read asks a group for a read.
func (s *hostStep) read(g int, ask func(*raft.Core, raft.Instant) uint64) {
	s.turn(g, func(core *raft.Core) {
		s.asked = append(s.asked, hostCall{s.host.at, g, core.Origin().Start, ask(core, s.now)})
	})
}

// endTurn ends a turn.
func (s *hostStep) endTurn(g int) {
	m := &s.host.members[g]
	m.turning = false
	m.coalesced.After(s.now)
	s.host.book.Turned(coalesce.Instant(s.now), 0)
	s.drainBook()
}

// drainBook sees to what the Book wants done.
func (s *hostStep) drainBook() {
	var out coalesce.Out
	s.host.book.Drain(&out)
	s.sent = append(s.sent, out.Messages...)
	for _, id := range out.Turns {
		for g := range s.host.members {
			if groupOf(g) == id && s.host.members[g].core != nil {
				s.host.asked |= 1 << g
				s.host.members[g].coalesced.Asked()
			}
		}
	}
}

// takeTurns lets the groups take the turns that the Book has asked for.
func (s *hostStep) takeTurns() {
	for h := s.host; h.asked != 0 && !h.hangs && s.broken == nil; {
		for g := range h.members {
			if h.asked>>g&1 != 0 {
				if h.members[g].turning {
					s.endTurn(g)
				}
				s.turn(g, nil)
			}
		}
	}
}

// A blank is a state machine without a state.
type blank struct{}

func (blank) Apply(_ []raft.Entry, results [][]byte) { clear(results) }
func (blank) Snapshot() (io.WriterTo, error)         { return nil, errors.ErrUnsupported }
func (blank) Restore(io.Reader) error                { return errors.ErrUnsupported }

// perform sees to what a core wants done, and to what follows from that.
func (s *hostStep) perform(g int) {
	m := &s.host.members[g]
	core := m.core
	for busy := true; busy && s.broken == nil; {
		var e raft.Effects
		core.Drain(&e)
		busy = false
		for _, a := range e.Answers {
			s.answers = append(s.answers, hostAnswer{hostCall{s.host.at, g, core.Origin().Start, a.Number}, a})
		}
		for i := range e.Messages {
			e.Messages[i].Group = groupOf(g)
			s.sent = append(s.sent, e.Messages[i])
		}
		if e.Write.Number != 0 {
			m.writes = append(m.writes, e.Write)
			if !s.bounds.AsyncDisks {
				s.persist(g)
				busy = true
			}
		}
		for _, entries := range e.Apply {
			batch, err := raft.NewApplier(blank{}, core.Origin()).Apply(entries)
			if err != nil {
				s.fail(sim.Assertion, "%v", err)
				return
			}
			core.Applied(s.now, batch)
			busy = true
		}
		for _, f := range e.Fetches {
			core.Fetched(s.now, f, m.disk.read(f))
			busy = true
		}
	}
	if err := core.Check(); err != nil {
		s.fail(sim.CoreCheck, "%v", err)
	}
}

// persist makes the oldest write durable.
func (s *hostStep) persist(g int) {
	m := &s.host.members[g]
	w := m.writes[0]
	m.disk = m.disk.with(&w)
	m.writes = slices.Clone(m.writes[1:])
	m.core.Persisted(s.now, w.Number)
}

// view returns a member's log with all writes that were handed out.
func (m *hostMember) view() []slot {
	d := m.disk
	for i := range m.writes {
		d = d.with(&m.writes[i])
	}
	return d.slots
}

// receive takes a message.
func (s *hostStep) receive(m *wire.Message) {
	if m.Kind() == wire.KindProcessHeartbeat {
		s.host.book.Receive(coalesce.Instant(s.now), m)
		s.drainBook()
		return
	}
	for g := range s.host.members {
		if groupOf(g) == m.Group && s.host.members[g].core != nil {
			s.turn(g, func(core *raft.Core) { core.Receive(s.now, *m) })
		}
	}
}

// append appends an encoding of all that decides what the process does.
func (h *host) append(b []byte) []byte {
	b = append(b, byte(h.at), byte(h.starts), h.asked, byte(bit(h.hangs, 0)))
	for g := range h.members {
		m := &h.members[g]
		b = append(b, byte(bit(m.core != nil, 0)|bit(m.turning, 1)))
		b = encodeLog(b, &m.disk.state, m.disk.entries, &ownNames)
		for i := range m.writes {
			b = encodeLog(append(b, 1), &m.writes[i].State, m.writes[i].Entries, &ownNames)
		}
		if b = append(b, 0); m.core == nil {
			continue
		}
		b = append(b, byte(bit(m.coalesced.Deadline() == never, 0)))
		start := len(b)
		b = binary.AppendUvarint(appendTimes(m.core.AppendState(b, ownNames.of), m.core), uint64(len(b)-start))
	}
	return appendBook(b, h.book)
}

// never is when nothing is due.
const never = raft.Instant(1<<63 - 1)

// ownNames names each server by its number.
var ownNames = namings(1, false)[0]

func bit(b bool, n int) uint8 {
	if b {
		return 1 << n
	}
	return 0
}

// text describes a process in a few characters.
func (h *host) text() (text string) {
	for g := range h.members {
		m := &h.members[g]
		if m.core == nil {
			text += " –"
			continue
		}
		status := look(m.core)
		role := map[string]string{follows: "F", preCandidates: "P", candidates: "C", recovers: "R", leads: "L"}[status.role]
		text += fmt.Sprintf(" %s%d %d/%d", role, status.term, status.commit, status.last)
		if m.coalesced.Deadline() == never {
			text += "·"
		}
		if m.turning {
			text += "…"
		}
	}
	if h.hangs {
		text += " hangs"
	}
	return text[1:]
}
