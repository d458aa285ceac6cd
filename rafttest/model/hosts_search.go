package model

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A HostSearch explores all runs within some bounds, with one worker. It can be used once.
type HostSearch struct {
	bounds Hosts
	// Sample says how often the calm is tried: from one in so many states (0: from none).
	Sample uint64
	// Limit ends the search after so many states (0: it has no end).
	Limit int
	// random chooses what is lost, in a walk.
	random *rand.Rand

	nodes     []*hostNode
	nodeOf    map[sum]uint32
	messages  []hostMessage
	messageOf map[sum]uint32
	ghosts    []*hostGhost
	ghostOf   map[sum]uint32
	steps     map[hostStepKey]*hostResult

	known   map[sum]uint32 // the states by their numbers
	parents []hostParent
	start   *hostState
	result  HostResult
	buffer  []byte
}

// A HostResult says what a search has found.
type HostResult struct {
	States, Steps, Calms, Nodes, Messages, Depth int
	// Beyond are the steps that weren't taken because they leave the bounds. Exhausted says that all
	// other runs were explored.
	Beyond    int
	Exhausted bool
	Violation *Violation
}

// String implements fmt.Stringer.
func (r HostResult) String() string {
	text := fmt.Sprintf("%d states, %d steps, depth %d, %d calms, of %d processes and %d messages", r.States, r.Steps, r.Depth, r.Calms,
		r.Nodes, r.Messages)
	if r.Exhausted {
		text += ", exhausted"
	}
	return text
}

type hostMessage struct {
	content wire.Message
	link    int // from·MaxServers + to
	to      int
	group   int // -1 for the process
}

// A hostState is all processes, with the messages on their links and with what may still happen.
type hostState struct {
	number, depth uint32
	now           raft.Instant
	budget        hostBudget
	ghost         uint32
	nodes         [MaxServers]uint32
	messages      []uint32 // in the order of their numbers
}

// A hostParent is how a state was first found.
type hostParent struct {
	state uint32
	move  hostMove
}

// A hostMove is an event at a process, or a tick of the clock of all.
type hostMove struct {
	at    uint8
	clock bool
	event hostEvent
}

// NewHosts returns a search. It returns an error if the processes don't come to the state in which it
// is to begin.
func NewHosts(bounds Hosts) (*HostSearch, error) {
	s := &HostSearch{
		bounds: bounds, nodeOf: map[sum]uint32{}, messageOf: map[sum]uint32{}, ghostOf: map[sum]uint32{},
		steps: map[hostStepKey]*hostResult{}, known: map[sum]uint32{},
	}
	if bounds.Processes < 2 || bounds.Processes > MaxServers || bounds.Groups < 1 || bounds.Groups > maxGroups || bounds.InFlight < 1 ||
		(bounds.Cut || bounds.Given) && (bounds.Fresh || bounds.Cut && bounds.Given || bounds.Groups > 1 || bounds.Processes < 3) {
		return nil, fmt.Errorf("model: %d processes, %d groups, %d messages on a link", bounds.Processes, bounds.Groups, bounds.InFlight)
	}
	c := newCalm(&bounds)
	if err := c.begin(); err != nil {
		return nil, err
	}
	s.start = s.state(c)
	return s, nil
}

// state returns the state in which the calm has ended.
func (s *HostSearch) state(c *calm) *hostState {
	one := &hostState{now: c.now, budget: s.bounds.budget()}
	ghost := &hostGhost{pasts: make([]hostPast, s.bounds.Groups)}
	for i, h := range c.hosts {
		n := s.addNode(h)
		one.nodes[i] = n.id
		for g := range n.members {
			p, v := &ghost.pasts[g], &n.members[g]
			switch {
			case v.status.role == leads:
				p.leaders[v.status.term] = leader{int8(i + 1), v.start}
				for n := len(p.committed); n < int(v.status.commit); n++ {
					p.committed, p.in = append(p.committed, v.view[n]), append(p.in, v.status.term)
				}
			case v.follows() != 0:
				p.followed[i] |= 1 << v.follows()
			}
			if c.lost != 0 && i > 0 { // it has followed the first one
				term := look(c.hosts[0].members[g].core).term
				p.followed[i] |= 1 << term
				p.left[i][term] = c.lost + 1
			}
		}
	}
	one.ghost = s.addGhost(ghost)
	for i := range c.network {
		one.messages = append(one.messages, s.addMessage(&c.network[i]))
	}
	slices.Sort(one.messages)
	return one
}

func (s *HostSearch) addNode(h *host) *hostNode {
	s.buffer = h.append(s.buffer[:0])
	key := hashOf(hashNode, s.buffer)
	id, known := s.nodeOf[key]
	if known {
		return s.nodes[id]
	}
	n := &hostNode{id: uint32(len(s.nodes)), host: h}
	for g := range h.members {
		var v hostView
		if m := &h.members[g]; m.core != nil {
			status := m.core.Status()
			v = hostView{look(m.core), m.view(), status.Start, status.LeaseUntil}
		}
		n.members = append(n.members, v)
	}
	s.nodeOf[key] = n.id
	s.nodes = append(s.nodes, n)
	return n
}

func (s *HostSearch) addMessage(m *wire.Message) uint32 {
	s.buffer = wire.AppendMessage(s.buffer[:0], m)
	key := hashOf(hashMessage, s.buffer)
	id, known := s.messageOf[key]
	if !known {
		id = uint32(len(s.messages))
		from, to, group := serverOf(m.From), serverOf(m.To), -1
		if m.Kind() != wire.KindProcessHeartbeat {
			group = int(m.Group[1] - '0')
		}
		s.messageOf[key] = id
		s.messages = append(s.messages, hostMessage{*m, from*MaxServers + to, to, group})
	}
	return id
}

func (s *HostSearch) addGhost(g *hostGhost) uint32 {
	s.buffer = g.append(s.buffer[:0])
	key := hashOf(hashGhost, s.buffer)
	id, known := s.ghostOf[key]
	if !known {
		id = uint32(len(s.ghosts))
		g.id = id
		s.ghostOf[key] = id
		s.ghosts = append(s.ghosts, g)
	}
	return id
}

// add notes a state. It returns false if it was known before.
func (s *HostSearch) add(one *hostState, parent hostParent) bool {
	b := binary.AppendUvarint(s.buffer[:0], uint64(one.now))
	b = append(b, one.budget[:]...)
	b = binary.LittleEndian.AppendUint32(b, one.ghost)
	for _, id := range one.nodes {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	for _, id := range one.messages {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	s.buffer = b
	key := hashOf(hashBudget, b)
	if _, known := s.known[key]; known {
		return false
	}
	one.number = uint32(len(s.parents))
	s.known[key] = one.number
	s.parents = append(s.parents, parent)
	s.result.States++
	return true
}

// Run explores all runs, the shortest ones first.
func (s *HostSearch) Run(ctx context.Context) HostResult {
	s.add(s.start, hostParent{})
	next := []*hostState{s.start}
	for len(next) > 0 && s.result.Violation == nil {
		level := next
		next = nil
		for i, one := range level {
			if s.Limit > 0 && s.result.States >= s.Limit || i%64 == 0 && ctx.Err() != nil {
				return s.finish(false)
			}
			s.try(one)
			s.expand(one, func(move hostMove, after *hostState) {
				if s.add(after, hostParent{one.number, move}) {
					next = append(next, after)
				}
			})
			if s.result.Violation != nil {
				break
			}
			level[i] = nil
		}
		s.result.Depth++
	}
	return s.finish(s.result.Violation == nil)
}

func (s *HostSearch) finish(exhausted bool) HostResult {
	s.result.Exhausted = exhausted
	s.result.Nodes, s.result.Messages = len(s.nodes), len(s.messages)
	return s.result
}

// try lets all go well from a state, if it is one of the sample.
func (s *HostSearch) try(one *hostState) {
	if s.Sample == 0 || mix(uint64(one.number))%s.Sample != 0 {
		return
	}
	dead := []int{-1}
	if s.bounds.Processes > 2 && len(s.bounds.Targets)+int(s.bounds.Learners) == 0 {
		dead = append(dead, int(one.number/7)%s.bounds.Processes) // the others are a quorum
	}
	for _, at := range dead {
		s.result.Calms++
		c := newCalm(&s.bounds)
		c.now, c.dead = one.now, at
		for _, id := range one.nodes[:s.bounds.Processes] {
			c.hosts = append(c.hosts, copyOf(s.nodes[id].host))
		}
		for _, id := range one.messages {
			c.network = append(c.network, s.messages[id].content)
		}
		if err := c.end(); err != nil {
			what := "with all servers"
			if at >= 0 {
				what = fmt.Sprintf("without server %d", at+1)
			}
			s.broken(one, nil, &Violation{calmEnds, fmt.Sprintf("%s: %v", what, err), max(at, 0)})
		}
	}
}

// broken notes the first violation: of a move after a state, or of the state itself.
func (s *HostSearch) broken(one *hostState, move *hostMove, v *Violation) {
	if s.result.Violation != nil {
		return
	}
	s.result.Violation = v
	if move != nil {
		s.parents = append(s.parents, hostParent{one.number, *move})
	} else {
		s.parents = append(s.parents, s.parents[one.number])
	}
}

// Transcript writes the run that broke an invariant: a line for each step.
func (s *HostSearch) Transcript(out io.Writer) {
	if s.result.Violation == nil {
		return
	}
	var moves []hostMove
	for at := uint32(len(s.parents) - 1); at != 0; at = s.parents[at].state {
		moves = append(moves, s.parents[at].move)
	}
	slices.Reverse(moves)
	nodes := s.start.nodes
	now := s.start.now
	line := func(what string) {
		fmt.Fprintf(out, "%-100s", what)
		for _, id := range nodes[:s.bounds.Processes] {
			fmt.Fprintf(out, " │ %-20s", s.nodes[id].host.text())
		}
		fmt.Fprintln(out)
	}
	line("")
	for _, m := range moves {
		if m.clock {
			now += raft.Instant(tick)
			line("a tick")
			continue
		}
		if after := s.step(s.nodes[nodes[m.at]], now, m.event).after; after != nil {
			nodes[m.at] = after.id
		}
		line(s.describe(m.at, m.event))
	}
	fmt.Fprintf(out, "*** %v\n", s.result.Violation)
}
