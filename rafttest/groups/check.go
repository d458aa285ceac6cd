package groups

import (
	"fmt"
	"time"

	"github.com/e17579a5/raft"
)

// check looks at a member after its turn: Election Safety (§3.2) and Leases (§6.4.1) hold.
func (m *member) check() {
	w := m.h.w
	status := m.core.Status()
	if err := m.core.Check(); err != nil {
		w.fail("%s of %s: %v", m.id, m.h.id, err)
	}
	if status.Role != "leader" {
		return
	}
	if w.elected[m.id] == nil {
		w.elected[m.id] = map[raft.Term]int{}
	}
	if was, known := w.elected[m.id][status.Term]; known && was != m.h.at {
		w.fail("%s has two leaders in term %d", m.id, status.Term)
	}
	_, known := w.elected[m.id][status.Term]
	w.elected[m.id][status.Term] = m.h.at
	if !known {
		m.showLeases()
	}
	for _, other := range w.hosts {
		o := other.member(m.id)
		if other == m.h || o.core == nil {
			continue
		}
		theirs := o.core.Status()
		if theirs.Role == "leader" && theirs.Term < status.Term && theirs.LeaseUntil > other.now() {
			w.fail("%s: %s leads term %d while %s holds a lease of term %d", m.id, m.h.id, status.Term, other.id, theirs.Term)
		}
		if theirs.Role == "leader" && theirs.Term > status.Term && status.LeaseUntil > m.h.now() {
			w.fail("%s: %s holds a lease of term %d while %s leads term %d", m.id, m.h.id, status.Term, other.id, theirs.Term)
		}
	}
}

// showLeases lets the leaders of earlier terms take a turn: their cores learn then what leases they
// hold.
func (m *member) showLeases() {
	for _, other := range m.h.w.hosts {
		o := other.member(m.id)
		if other != m.h && other.running && !other.paused && o.core != nil && o.core.Leads() {
			o.turn()
		}
	}
}

func (h *host) member(id raft.GroupID) *member {
	for _, m := range h.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// propose hands a command to a member. Its answer counts as acknowledged.
func (m *member) propose() {
	m.call(func(now raft.Instant) { m.core.Propose(now, []byte("x")) })
}

// read hands a read to a member. It must see what was acknowledged before.
func (m *member) read(byLease bool) {
	seen := m.h.w.acked[m.id]
	m.call(func(now raft.Instant) {
		number := uint64(0)
		if byLease {
			number = m.core.ReadByLease(now)
		} else {
			number = m.core.Read(now)
		}
		m.reads[number] = seen
	})
}

func (m *member) answered(a *raft.Answer) {
	w := m.h.w
	switch {
	case a.Err != nil || a.Call:
	case a.Read:
		if a.Index < m.reads[a.Number] {
			w.fail("%s at %s: a read sees index %d, but %d was acknowledged before", m.id, m.h.id, a.Index, m.reads[a.Number])
		}
		delete(m.reads, a.Number)
		w.answeredReads++
	default:
		w.acked[m.id] = max(w.acked[m.id], a.Index)
	}
}

// Settled says whether all groups have a leader that all members follow, and cost nothing. It says
// which one doesn't.
func (w *World) Settled() error {
	for _, first := range w.hosts[0].members {
		leader, term := raft.ServerID(""), raft.Term(0)
		for _, h := range w.hosts {
			m := h.member(first.id)
			if m.core == nil {
				return fmt.Errorf("%s doesn't run at %s", m.id, h.id)
			}
			s := m.core.Status()
			if leader == "" {
				leader, term = s.Leader, s.Term
			}
			if s.Leader == "" || s.Leader != leader || s.Term != term {
				return fmt.Errorf("%s at %s follows %q in term %d, not %q in %d", m.id, h.id, s.Leader, s.Term, leader, term)
			}
			if m.coalesced.Deadline() != 1<<63-1 {
				return fmt.Errorf("%s at %s, as %s of term %d, isn't settled", m.id, h.id, s.Role, s.Term)
			}
		}
	}
	return nil
}

// settle lets the time pass until all is settled.
func (w *World) settle(within time.Duration) error {
	end := w.now + raft.Instant(within)
	for {
		if err := w.Run(w.Heartbeat); err != nil {
			return err
		}
		err := w.Settled()
		if err == nil {
			return nil
		}
		if w.now > end {
			w.fail("after %v without faults: %v", within, err)
			return w.failure
		}
	}
}
