package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// patience is how long a leader may go on without its disk, in election timeouts on its own clock.
// The core is more patient with a write of a large entry than with others.
const patience = 3

// expectSticky notes whether the message that is about to be delivered must not raise the server's
// term (§4.2.3), and whether it comes from a stranger. A leader may be one for a while: a new key is
// demanded from when it is in the log, though a leader that lacks it may be elected (raft, keys.go).
// What the server demands isn't known if it holds back effects.
func (w *World) expectSticky(s *server, m *wire.Message) {
	s.stranger = (s.held || len(s.keys) > 0) && w.strange(s, m.From)
	s.sticky = m.Kind() == wire.KindVoteRequest && !m.VoteRequest().Transfer && (s.status.role == leads ||
		s.heard != 0 && w.local(s) < s.heard+raft.Instant(w.params.Election))
}

// checkTimes notes when a server heard what, and checks conditions that must not last.
func (w *World) checkTimes(i int, e *Event, m *wire.Message) {
	s := &w.servers[i]
	s.sticky = false
	if s.status.role != "follower" {
		if e.Op == OpExpire {
			w.checkCampaign(i)
		}
		s.heard = 0
	}
	if len(s.writes) > 0 && s.status.role == leads {
		w.checkStalled(i)
	}
	switch e.Op {
	case OpDeliver:
		if m.Term != s.status.term || s.outdated {
			return
		}
		switch m.Kind() {
		case wire.KindAppendRequest, wire.KindHeartbeat:
			shown := s.core.Status()
			own := m.ToIncarnation == shown.Incarnation || m.ToIncarnation == 0 && shown.Cluster == m.Cluster
			// Of a leader that the configuration doesn't name (any more), the server may know by
			// heart that this start of it is over.
			known := shown.Configuration == nil || shown.Configuration.Names(m.From, m.FromIncarnation)
			if s.status.role == "follower" && own && !s.stranger {
				w.spokenTo(i)
				if known {
					s.heard = w.local(s)
				}
			}
		case wire.KindHeartbeatResponse:
			w.roundAnswered(s, e.Peer, m)
			w.links[i][e.Peer].appends = 0
		case wire.KindAppendResponse, wire.KindSnapshotResponse:
			w.links[i][e.Peer].appends = 0
		}
	case OpLost:
		s.heard = 0
	case OpExpire:
		if next := s.core.Deadline(); next <= w.local(s) {
			w.fail(DeadlinesMove, i, "its deadline has just passed and is due again at once")
		}
		if s.status.role == leads {
			w.checkLeadership(i)
			w.checkLeaseHeld(i)
			w.checkDry(i)
		}
	}
}

// checkStalled checks that a leader whose disk stands still asks to be woken up, whatever else
// keeps it busy.
func (w *World) checkStalled(i int) {
	s := &w.servers[i]
	limit, now := raft.Instant(patience*w.params.Election), w.local(s)
	if now-s.wrote.latest > limit && now-s.leaderSince > limit && s.core.Deadline() > now {
		w.fail(StalledDisk, i, "leads on until %d ns from now at least, though no write became durable for %d election timeouts",
			s.core.Deadline()-now, patience)
	}
}

// checkLeadership checks, when a leader has just looked at its clock, that it may go on leading.
func (w *World) checkLeadership(i int) {
	s := &w.servers[i]
	limit := raft.Instant(patience * w.params.Election)
	now := w.local(s)
	if len(s.writes) > 0 && now-s.wrote.latest > limit && now-s.leaderSince > limit {
		w.fail(StalledDisk, i, "leads on, though no write became durable for %d election timeouts", patience)
	}
	w.checkQuorum(i)
}
