package model

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// A hostEvent is what can happen to a process.
type hostEvent struct {
	kind         hostKind
	group, other uint8
	message      uint32
}

type hostKind uint8

const (
	hostBegins hostKind = iota
	hostArrival
	hostTurn      // a group takes a turn
	hostEndOfTurn // it ends its turn
	hostTick      // a deadline of its core has passed
	hostElect     // its core campaigns before its time
	hostPersist
	hostPropose
	hostReads
	hostReadsByLease
	hostTransfer // to other
	hostChange   // to the target of a number
	hostFails    // the group ends in a process that goes on
	hostRevives
	hostBeat
	hostLoses // the transport has lost other
	hostCrash
	hostHangs
	hostGoesOn
)

// A hostNode is a process in one of its states. It is never changed.
type hostNode struct {
	id      uint32
	host    *host
	members []hostView
}

// A hostView is what the checks look at in a member.
type hostView struct {
	status status
	view   []slot
	start  uint64
	lease  raft.Instant
}

// A hostResult is what an event makes of a process.
type hostResult struct {
	after   *hostNode
	sent    []uint32
	told    []hostTold
	asked   []hostCall
	answers []hostAnswer
	broken  *Violation
}

// A hostStepKey is what a step depends on.
type hostStepKey struct {
	node  uint32
	now   raft.Instant
	event hostEvent
}

// step returns what an event makes of a process.
func (s *HostSearch) step(n *hostNode, now raft.Instant, e hostEvent) *hostResult {
	key := hostStepKey{n.id, now, e}
	if known := s.steps[key]; known != nil {
		return known
	}
	step := hostStep{bounds: &s.bounds, now: now, host: copyOf(n.host)}
	step.do(e, s.message(e))
	result := &hostResult{told: step.told, asked: step.asked, answers: step.answers, broken: step.broken, after: n}
	if step.broken == nil {
		result.after = s.addNode(step.host)
	}
	for i := range step.sent {
		result.sent = append(result.sent, s.addMessage(&step.sent[i]))
	}
	s.steps[key] = result
	return result
}

// message returns the message that arrives in an event.
func (s *HostSearch) message(e hostEvent) *wire.Message {
	if e.kind != hostArrival {
		return nil
	}
	return &s.messages[e.message].content
}

// do lets an event happen. A panic of the code is a violation.
func (s *hostStep) do(e hostEvent, m *wire.Message) {
	defer func() {
		if r := recover(); r != nil {
			broken := violated(sim.Assertion, s.host.at, "%v", r)
			var invariant *raft.InvariantError
			if err, ok := r.(error); ok && errors.As(err, &invariant) {
				broken = violated(sim.Assertion, s.host.at, "%s", invariant.Name)
			}
			s.broken = broken
		}
	}()
	s.happen(e, m)
	if !s.bounds.Late {
		s.takeTurns()
	}
}

func (s *hostStep) happen(e hostEvent, m *wire.Message) {
	h, g, now := s.host, int(e.group), s.now
	switch e.kind {
	case hostBegins, hostCrash:
		for g := range h.members {
			h.members[g] = hostMember{disk: h.members[g].disk}
		}
		s.begin()
	case hostArrival:
		s.receive(m)
	case hostTurn, hostTick:
		s.turn(g, nil)
	case hostEndOfTurn:
		s.endTurn(g)
	case hostElect:
		s.turn(g, func(core *raft.Core) { core.Pass("elect") })
	case hostPersist:
		s.turn(g, func(*raft.Core) { s.persist(g) })
	case hostPropose:
		s.turn(g, func(core *raft.Core) { core.Propose(now, []byte("x")) })
	case hostReads:
		s.read(g, (*raft.Core).Read)
	case hostReadsByLease:
		s.read(g, (*raft.Core).ReadByLease)
	case hostTransfer:
		s.turn(g, func(core *raft.Core) { _ = core.Transfer(now, idOf(int(e.other))) })
	case hostChange:
		members := s.bounds.configuration(s.bounds.Targets[e.other])
		s.turn(g, func(core *raft.Core) { core.Call(now, wire.Call{Kind: wire.CallSet, Members: members}) })
	case hostFails:
		s.fails(g)
	case hostRevives:
		s.beginGroup(g)
	case hostBeat:
		if !h.hangs {
			h.book.Turned(coalesce.Instant(now), 0)
		}
		h.book.Beat(coalesce.Instant(now))
		s.drainBook()
	case hostLoses:
		h.book.Lost(coalesce.Instant(now), idOf(int(e.other)))
		s.drainBook()
	case hostHangs:
		h.hangs = true
	case hostGoesOn:
		h.hangs = false
		h.book.Turned(coalesce.Instant(now), 0)
		s.drainBook()
	}
}

// describe says what happens in an event.
func (s *HostSearch) describe(at uint8, e hostEvent) string {
	id, group := idOf(int(at)), groupOf(int(e.group))
	switch e.kind {
	case hostArrival:
		c := s.message(e)
		if c.Kind() == wire.KindProcessHeartbeat {
			return fmt.Sprintf("%s>%s %s", c.From, c.To, heartbeatText(c))
		}
		return fmt.Sprintf("%s>%s %s %s", c.From, c.To, c.Group, sim.MessageText(c))
	case hostLoses:
		return fmt.Sprintf("%s loses %s", id, idOf(int(e.other)))
	case hostTransfer:
		return fmt.Sprintf("%s %s is asked to hand over to %s", id, group, idOf(int(e.other)))
	case hostChange:
		return fmt.Sprintf("%s %s is asked for the voters %b", id, group, s.bounds.Targets[e.other])
	case hostBeat, hostCrash, hostHangs, hostGoesOn:
		return fmt.Sprintf("%s %s", id, hostKindNames[e.kind])
	}
	return fmt.Sprintf("%s %s %s", id, group, hostKindNames[e.kind])
}

var hostKindNames = map[hostKind]string{
	hostBegins: "begins", hostTurn: "takes a turn", hostEndOfTurn: "ends its turn", hostTick: "is due", hostElect: "campaigns",
	hostPersist: "is durable", hostPropose: "proposes", hostReads: "reads", hostReadsByLease: "reads by lease", hostFails: "fails", hostRevives: "starts again", hostBeat: "beats",
	hostCrash: "crashes and starts", hostHangs: "hangs", hostGoesOn: "goes on",
}

// heartbeatText describes a heartbeat of a process.
func heartbeatText(m *wire.Message) string {
	b := m.ProcessHeartbeat()
	text := fmt.Sprintf("round %d (%d–%d)", b.Round, b.Base, b.Version)
	for i := range b.Stands {
		text += fmt.Sprintf(" +%s/%d", b.Stands[i].Group, b.Stands[i].Term)
	}
	for _, group := range b.Gone {
		text += " -" + string(group)
	}
	if b.AnsweredRound > 0 {
		text += fmt.Sprintf(" answers %d up to %d but %v", b.AnsweredRound, b.AnsweredVersion, b.Excepted)
	}
	if len(b.Lost) > 0 {
		text += fmt.Sprintf(" lost %v", b.Lost)
	}
	return text
}
