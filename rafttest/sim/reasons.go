package sim

import (
	"sort"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The simulator knows each reason for which a leadership may end in its term: no quorum has
// answered a round that left within the last election timeout; the disk has finished nothing for
// as long; the leader was removed; or its disk went back. A leadership also ends with a higher
// term. So the simulator looks at whoever campaigns, too: it mustn't have heard its leader within
// an election timeout. A run in which nothing is wrong (Params.quiet) has one leader, whatever
// else it draws.

// An instant is when something happened by a server's clock, as far as the simulator knows. What a
// core decides while its effects are held back isn't seen at once.
type instant struct{ earliest, latest raft.Instant }

// drained returns when the effects that are being drained were decided.
func (w *World) drained(s *server) instant {
	now := instant{w.local(s), w.local(s)}
	if s.mixed {
		now.earliest = s.heldSince
	}
	if s.told != 0 {
		now.earliest = min(now.earliest, s.told)
	}
	return now
}

// A sentRound is a round of heartbeats, and when it left.
type sentRound struct {
	number uint64
	left   instant
}

// A confirmation is the last round of the present leadership that a server has answered.
type confirmation struct {
	incarnation raft.Incarnation
	sentRound
	vouched vouched
}

// A vouched is when the last round of a process left that another one has answered while its server
// followed this leader (hosts).
type vouched struct {
	incarnation raft.Incarnation
	left        raft.Instant
}

// times are what the simulator notes of a server, on that server's clock, to judge what it does
// when time has passed. All of them belong to the server's present life.
type times struct {
	heard  raft.Instant // when a leader of the present term was last heard; 0 for never
	sticky bool         // the message that is being delivered must not raise the term
	// stranger says that it comes from a server that this one takes for a stranger.
	stranger bool

	leaderSince raft.Instant
	rounds      []sentRound // of the present leadership
	confirmed   [MaxServers]confirmation
	// configuration is the index of the latest configuration. It has come to count at configured.
	configuration raft.Index
	configured    raft.Instant

	// wrote and read are when the oldest write or fetch that isn't done began to wait, or the one
	// before it was done.
	wrote, read instant
	heldSince   raft.Instant // when the first of the effects that are held back were decided
	// told is the last instant that the core was told, or 0. A call that is given up comes without
	// one: what the core decides then, it dates back.
	told raft.Instant

	// promised is the end of the lease that was promised to a leader. It outlives a life: so does
	// the promise.
	promised raft.Instant
}

// forgetTimes forgets what a life's end makes void.
func (s *server) forgetTimes() {
	s.times = times{rounds: s.rounds[:0], promised: s.promised}
}

// elected begins to note what a new leader's peers answer.
func (w *World) elected(s *server) {
	s.leaderSince = w.local(s)
	s.rounds, s.confirmed = s.rounds[:0], [MaxServers]confirmation{}
}

// roundLeaves notes that a round leaves a leader.
func (w *World) roundLeaves(s *server, number uint64) {
	if n := len(s.rounds); number != 0 && (n == 0 || s.rounds[n-1].number < number) {
		s.rounds = append(s.rounds, sentRound{number, w.drained(s)})
	}
}

// roundAnswered notes that a peer has answered a round of a leader.
func (w *World) roundAnswered(s *server, from int8, m *wire.Message) {
	number, c := m.HeartbeatResponse().Round, &s.confirmed[from]
	if c.incarnation == m.FromIncarnation && c.number >= number {
		return
	}
	at := sort.Search(len(s.rounds), func(i int) bool { return s.rounds[i].number >= number })
	if at < len(s.rounds) && s.rounds[at].number == number {
		*c = confirmation{m.FromIncarnation, s.rounds[at], c.vouched}
	}
}

// confirmedSince reports whether a quorum, in which this leader counts itself, has answered a round
// that left after an instant.
func (w *World) confirmedSince(i int, at raft.Instant) bool {
	s := &w.servers[i]
	return quorum(s.core.Status().Configuration, func(m *raft.Member) bool {
		j := serverOf(m.ID)
		c := &s.confirmed[j]
		return j == i || c.number != 0 && c.incarnation == m.Incarnation && c.left.earliest > at
	})
}

// mayBeConfirmedSince reports whether a quorum may have answered a round that left after an instant:
// one of this leader's, or one of its process's.
func (w *World) mayBeConfirmedSince(i int, at raft.Instant) bool {
	s := &w.servers[i]
	return quorum(s.core.Status().Configuration, func(m *raft.Member) bool {
		j := serverOf(m.ID)
		c := &s.confirmed[j]
		return j == i || c.number != 0 && c.incarnation == m.Incarnation && c.left.latest > at ||
			c.vouched.incarnation == m.Incarnation && c.vouched.left > at
	})
}

// checkLost checks, when a server has ceased to lead, that it may.
func (w *World) checkLost(i int, before *status) {
	s := &w.servers[i]
	if s.status.term == before.term {
		w.checkStepDown(i)
	}
	if w.undisturbed() && w.local(s)-s.leaderSince > raft.Instant(w.params.Election) {
		w.fail(LeadershipLasts, i, "doesn't lead term %d any more, and nothing has happened", before.term)
	}
}

// checkStepDown checks, when a server has ceased to lead within a term, that there is a reason.
func (w *World) checkStepDown(i int) {
	s := &w.servers[i]
	now, limit, shown := w.local(s), raft.Instant(w.params.Election), s.core.Status()
	switch {
	case s.status.noticed, !shown.Configuration.Counts(s.id, shown.Incarnation):
	case len(s.writes) > 0 && now-s.wrote.earliest >= limit:
	case s.full && s.status.last > raft.Index(len(s.view)): // its disk has no room for the rest
	case len(s.fetches)+len(s.fetched) > 0 && now-s.read.earliest >= limit:
	case now-s.configured < limit: // another quorum counts
	case s.lacksBytes(): // that its state machine needs
	case s.hasInstead(): // a follower installs it
	case w.confirmedSince(i, now-limit):
		w.fail(LeadershipLasts, i, "doesn't lead term %d any more, though its disk goes on and a quorum has answered what left within an election timeout",
			s.status.term)
	}
}

// checkCampaign checks, when time has made a server ask for votes, that it hasn't heard its leader
// lately. It hears no stranger.
func (w *World) checkCampaign(i int) {
	s := &w.servers[i]
	if now := w.local(s); s.heard != 0 && now-s.heard < raft.Instant(w.params.Election) {
		w.fail(LeadershipLasts, i, "asks for votes, though it heard its leader %d ns ago", now-s.heard)
	}
}

// checkQuorum checks, when a leader has just looked at its clock, that a quorum has answered what
// left within the last election timeout (§6.2).
func (w *World) checkQuorum(i int) {
	s := &w.servers[i]
	now, limit := w.local(s), raft.Instant(w.params.Election)
	shown := s.core.Status()
	if now-s.leaderSince < limit || now-s.configured < limit || shown.ConfigurationIndex > w.ghost.commit() {
		return // the term has just begun, or another configuration has come to count only a while ago
	}
	if !w.mayBeConfirmedSince(i, now-limit) {
		w.fail(CheckQuorum, i, "leads on, though no quorum of %s, itself among them, has answered what left within an election timeout",
			describeConfiguration(shown.Configuration))
	}
}

// promises notes that a server promises a lease.
func (w *World) promises(s *server, length raft.Instant) {
	s.promised = max(s.promised, w.local(s)+length)
}

// checkPromises checks, when a leader takes a lease, that a quorum keeps quiet until it ends, even
// if from now on the leader's clock is as slow as it may be and all others are as fast (§6.4.1).
func (w *World) checkPromises(i int) {
	s := &w.servers[i]
	longest := float64(s.status.leaseUntil-w.local(s)) / (1 - float64(w.params.Drift)/1e6)
	quiet := func(m *raft.Member) bool {
		j := serverOf(m.ID)
		if w.diskOf(m) != w.servers[j].disk {
			return true // a disk that is gone grants no vote
		}
		o := &w.servers[j]
		return j == i || float64(o.promised-w.local(o))/(1+float64(w.params.Drift)/1e6)+1 >= longest
	}
	if c := s.core.Status().Configuration; !quorum(c, quiet) {
		w.fail(Leases, i, "takes a lease for up to %.0f ns, but no quorum of %s has promised to keep quiet for so long", longest, describeConfiguration(c))
	}
}
