package model

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// A calm is a run in which all goes well from here: nothing is lost or late, and nobody fails. It must
// end with a leader in each group that all members follow, and with nothing to do.
type calm struct {
	bounds  Hosts
	now     raft.Instant
	hosts   []*host
	network []wire.Message
	broken  *Violation
	// dead is a process that has ended for good, if it isn't negative.
	dead int
	// lost is when the others lost the first process. kept are the messages that are to be on their way
	// when the search begins: the first ones on each link.
	lost raft.Instant
	kept []wire.Message
}

func newCalm(bounds *Hosts) *calm {
	c := &calm{bounds: *bounds, now: 1, dead: -1}
	c.bounds.Apart, c.bounds.AsyncDisks, c.bounds.Late = false, false, false
	return c
}

// calmTime bounds how long a calm takes, and calmSteps how often something is due in it.
const (
	calmTime  = 30 * hostWait
	calmSteps = 5000
)

// begin starts all processes. Unless all is to begin then, the first one is made the leader of all
// groups.
func (c *calm) begin() error {
	founding := hostFounding(&c.bounds)
	for i := range c.bounds.Processes {
		h := &host{at: i, members: make([]hostMember, c.bounds.Groups)}
		for g := range h.members {
			h.members[g].disk = founded(i, founding)
		}
		c.hosts = append(c.hosts, h)
		c.do(h, hostEvent{kind: hostBegins}, nil)
	}
	c.deliver()
	if c.bounds.Fresh || c.broken != nil {
		return c.failure()
	}
	for g := range c.bounds.Groups {
		c.do(c.hosts[g%c.bounds.leaders()], hostEvent{kind: hostElect, group: uint8(g)}, nil)
	}
	if err := c.end(); err != nil {
		return err
	}
	for until := c.now + 3*raft.Instant(tick); c.now < until; { // until all have vouched
		c.deliver()
		c.pass()
	}
	if err := c.end(); err != nil {
		return err
	}
	switch {
	case c.bounds.Cut:
		return c.cut()
	case c.bounds.Given:
		c.do(c.hosts[0], hostEvent{kind: hostTransfer, other: 1}, nil)
		err := c.end()
		c.network = c.kept
		return err
	}
	return nil
}

// cut lets the others lose the first process when they have answered it, and elect another leader.
func (c *calm) cut() error {
	c.now = max(c.now, raft.Instant(c.hosts[0].book.Deadline()))
	c.do(c.hosts[0], hostEvent{kind: hostBeat}, nil)
	c.dead = 0
	c.deliver()
	for len(c.kept) < len(c.hosts)-1 { // until all others have answered
		c.pass()
		c.deliver()
	}
	c.lost = c.now
	for _, h := range c.living() {
		c.do(h, hostEvent{kind: hostLoses}, nil)
	}
	c.do(c.hosts[1], hostEvent{kind: hostElect}, nil)
	for n := 0; n < calmSteps; n++ {
		c.deliver()
		if c.broken != nil {
			return c.broken
		}
		for _, h := range c.living() {
			if s := look(h.members[0].core); s.role == leads && s.commit == s.last {
				c.dead, c.network = -1, c.kept
				return nil
			}
		}
		c.pass()
	}
	return errors.New("nobody is elected in the place of the first process")
}

// keep keeps a message on its way, if its link has room.
func (c *calm) keep(m *wire.Message) {
	n := 0
	for i := range c.kept {
		n += int(bit(c.kept[i].From == m.From, 0))
	}
	if n < c.bounds.InFlight {
		c.kept = append(c.kept, *m)
	}
}

// hostFounding returns the first entry of every log.
func hostFounding(bounds *Hosts) raft.Entry {
	configuration := raft.Configuration{Cluster: clusterID, Level: wire.LatestLevel,
		Members: bounds.configuration((1<<bounds.Processes - 1) &^ bounds.Learners)}
	return raft.Entry{Index: 1, Term: foundingTerm, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}
}

// failure returns the violation, if there is one.
func (c *calm) failure() error {
	if c.broken != nil {
		return c.broken
	}
	return nil
}

// do lets an event happen at a process.
func (c *calm) do(h *host, e hostEvent, m *wire.Message) {
	s := hostStep{bounds: &c.bounds, now: c.now, host: h}
	s.do(e, m)
	if s.broken != nil && c.broken == nil {
		c.broken = s.broken
	}
	for i := range s.sent {
		if serverOf(s.sent[i].To) < len(c.hosts) || h.book == nil {
			c.network = append(c.network, s.sent[i])
		}
	}
}

// deliver lets all messages arrive, in the order in which they were sent.
func (c *calm) deliver() {
	for len(c.network) > 0 && c.broken == nil {
		m := c.network[0]
		c.network = c.network[1:]
		to := serverOf(m.To)
		switch {
		case c.bounds.Given && m.Kind() == wire.KindTimeoutNow || c.bounds.Cut && to == 0 && to == c.dead:
			c.keep(&m)
		case to < len(c.hosts) && to != c.dead:
			c.do(c.hosts[to], hostEvent{kind: hostArrival}, &m)
		}
	}
}

// mend ends all that doesn't go well.
func (c *calm) mend() {
	for _, h := range c.living() {
		if h.hangs {
			c.do(h, hostEvent{kind: hostGoesOn}, nil)
		}
		for g := range h.members {
			m := &h.members[g]
			if m.core != nil && m.turning {
				c.do(h, hostEvent{kind: hostEndOfTurn, group: uint8(g)}, nil)
			}
			for m.core != nil && len(m.writes) > 0 && c.broken == nil {
				c.do(h, hostEvent{kind: hostPersist, group: uint8(g)}, nil)
			}
			if m.core == nil {
				c.do(h, hostEvent{kind: hostRevives, group: uint8(g)}, nil)
			}
			if h.asked>>g&1 != 0 {
				c.do(h, hostEvent{kind: hostTurn, group: uint8(g)}, nil)
			}
		}
	}
}

// end lets the time pass until all is well.
func (c *calm) end() error {
	c.mend()
	until := c.now + raft.Instant(calmTime)
	for n := 0; ; n++ {
		c.deliver()
		if c.broken != nil {
			return c.broken
		}
		unsettled := c.unsettled()
		if unsettled == nil {
			return nil
		}
		if c.now > until || n > calmSteps {
			return fmt.Errorf("after %d steps %w", n, unsettled)
		}
		c.pass()
	}
}

// pass lets the next thing happen that is due.
func (c *calm) pass() {
	due := never
	for _, h := range c.living() {
		due = min(due, raft.Instant(h.book.Deadline()))
		for g := range h.members {
			due = min(due, h.members[g].coalesced.Deadline())
		}
	}
	if due == never {
		due = c.now + raft.Instant(hostWait)
	}
	c.now = max(c.now, due) + 1
	for _, h := range c.living() {
		for g := range h.members {
			if h.members[g].coalesced.Deadline() <= c.now {
				c.do(h, hostEvent{kind: hostTick, group: uint8(g)}, nil)
				c.deliver()
			}
		}
		if raft.Instant(h.book.Deadline()) <= c.now {
			c.do(h, hostEvent{kind: hostBeat}, nil)
			c.deliver()
		} else if !h.hangs {
			h.book.Turned(coalesce.Instant(c.now), 0)
		}
	}
}

// living returns the processes that haven't ended for good.
func (c *calm) living() (living []*host) {
	for i, h := range c.hosts {
		if i != c.dead {
			living = append(living, h)
		}
	}
	return living
}

// unsettled says what isn't well.
func (c *calm) unsettled() error {
	for g := range c.bounds.Groups {
		var leader *host
		for _, h := range c.living() {
			if h.members[g].core.Leads() {
				leader = h
			}
		}
		if leader == nil {
			return fmt.Errorf("group %d has no leader", g)
		}
		led := look(leader.members[g].core)
		for _, h := range c.living() {
			m := &h.members[g]
			s := look(m.core)
			switch {
			case s.term != led.term || s.leader != idOf(leader.at) || h != leader && s.role != follows:
				return fmt.Errorf("%s of group %d is a %s in term %d and follows %q, while %s leads term %d",
					idOf(h.at), g, s.role, s.term, s.leader, idOf(leader.at), led.term)
			case m.coalesced.Deadline() != never:
				return fmt.Errorf("%s of group %d isn't settled, as a %s of term %d", idOf(h.at), g, s.role, s.term)
			}
		}
	}
	return nil
}
