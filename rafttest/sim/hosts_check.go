package sim

import (
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The checks of hosts know the truth: each message of a process carries what the servers of its
// process were when it left. What a Book concludes from the message may be less than that, and never
// more.

// watched is what the simulator notes of a process's present life.
type watched struct {
	// rounds are when the rounds to each other process left, by their numbers from 1, on this
	// process's clock.
	rounds [MaxServers][]raft.Instant
	// heard is when a round of each other process arrived last, on this process's clock.
	heard [MaxServers]raft.Instant
	// alive is when each group's server had a reason last not to campaign: it started or went on, was
	// still asking the others what they know of its disk, lacked entries, had a disk that stood still,
	// heard its leader, asked for votes, gave one, or had another term or role than before.
	alive [MaxGroups]int64
	was   [MaxGroups]seen
	// founding says that the server had an empty log then. It waits longer, so that others found the group.
	founding [MaxGroups]bool
	// full is until when each group's server knew its disk to be full: it lets others campaign first for a
	// while. filled says that it did so after its last turn.
	full   [MaxGroups]int64
	filled [MaxGroups]bool
	woken  int64 // when the process, or a shard of it, went on after a pause
}

// A seen is what a server was after a turn.
type seen struct {
	term raft.Term
	role string
	hurt bool // its disk lacks entries, or stands still; or it still asks what others know of it
}

func (s *watched) forget() {
	for i := range s.rounds {
		s.rounds[i] = s.rounds[i][:0]
	}
	s.heard = [MaxServers]raft.Instant{}
}

// notes notes what a message of a process says when it leaves: a round begins, and an answer promises
// to keep quiet for leases.
func (h *Hosts) notes(i, to int, sent *mail) {
	p := &h.processes[i]
	body := sent.message.ProcessHeartbeat()
	if want := p.room + 1; body.Room != want {
		h.fail(Gate, nil, i, "says %d of the room of its disk, and was told %d", body.Room, want)
	}
	for k := range body.Stands {
		h.checkListed(i, &body.Stands[k], sent)
	}
	if round := int(body.Round); round > len(p.rounds[to]) {
		if round != len(p.rounds[to])+1 {
			h.fail(Gate, nil, i, "round %d to process %d follows round %d", round, to+1, len(p.rounds[to]))
			return
		}
		p.rounds[to] = append(p.rounds[to], h.local(i))
	}
	if body.AnsweredRound == 0 {
		return
	}
	for _, w := range h.worlds {
		s, t := &w.servers[i], &sent.truth[w.group]
		if t.up && !t.leads && t.leader == h.processes[to].id {
			s.promised = max(s.promised, p.heard[to]+raft.Instant(s.disk.state.MaxLease))
		}
	}
}

// checkListed checks that a process serves and leads a group that it lists, in the term that it says and on
// the same disk.
func (h *Hosts) checkListed(i int, stand *wire.Stand, sent *mail) {
	w := h.worlds[stand.Group[1]-'0']
	if t := &sent.truth[w.group]; !t.up || !t.leads || t.term != stand.Term || t.incarnation != stand.Leader {
		h.fail(RemovedIsSilent, w, i, "lists itself as the leader of group %d in term %d, and is: %+v", w.group, stand.Term, *t)
	}
}

// learns notes what a message of a process tells the one that gets it.
func (h *Hosts) learns(i int, sent *mail) {
	p, from := &h.processes[i], int(sent.from)
	body := sent.message.ProcessHeartbeat()
	if body.Round != 0 {
		p.heard[from] = h.local(i)
	}
	answers := body.AnsweredStart == p.start && body.AnsweredRound > 0 && body.AnsweredRound <= uint64(len(p.rounds[from]))
	for _, w := range h.worlds {
		s, t := &w.servers[i], &sent.truth[w.group]
		if !s.up || !t.up || t.term != s.status.term {
			continue
		}
		if t.leads && s.status.role == "follower" {
			p.alive[w.group] = h.now
		}
		if c := &s.confirmed[from]; answers && t.leader == p.id && s.status.role == leads {
			if left := p.rounds[from][body.AnsweredRound-1]; left > c.vouched.left || c.vouched.incarnation != t.incarnation {
				c.vouched = vouched{t.incarnation, left}
			}
		}
	}
}

// watch notes, after a turn of a group, whether its server has a reason not to campaign.
func (h *Hosts) watch(w *World, i int) {
	p, s := &h.processes[i], &w.servers[i]
	asking, hurt := w.mayAsk(s), len(s.disk.gone) > 0 || w.stands(s)
	if s.full || p.filled[w.group] {
		p.full[w.group] = h.now
	}
	p.filled[w.group] = s.full
	was := &p.was[w.group]
	now := seen{s.status.term, s.status.role, hurt || asking}
	if now != *was || now.role != "follower" || asking || hurt {
		*was = now
		w.spokenTo(i)
	}
}

// stands reports whether a server's disk has finished no write, or no read, for an election timeout.
func (w *World) stands(s *server) bool {
	before := w.local(s) - raft.Instant(w.params.Election)
	return len(s.writes) > 0 && s.wrote.earliest <= before || len(s.fetches)+len(s.fetched) > 0 && s.read.earliest <= before
}

// spokenTo notes that something in the name of its leader reaches a server.
func (w *World) spokenTo(i int) {
	if w.hosts != nil {
		p := &w.hosts.processes[i]
		p.alive[w.group], p.founding[w.group] = w.now, w.servers[i].disk.last() == 0
	}
}

// asksNow notes that a server asks for votes, or gives one.
func (w *World) asksNow(i int, m *wire.Message) {
	switch m.Kind() {
	case wire.KindPreVoteRequest, wire.KindVoteRequest, wire.KindVoteResponse:
		w.spokenTo(i)
	}
}

// roomRest is for how many election timeouts a server whose disk was full lets others campaign first.
const roomRest = 10

// lookAt looks at all servers of a process, in which nothing may happen for a long time.
func (h *Hosts) lookAt(i int) {
	for _, w := range h.worlds {
		s := &w.servers[i]
		if !s.up || s.held || s.paused > h.now || w.violation != nil {
			continue
		}
		if s.status.role == leads {
			h.checkLeads(w, i)
		} else {
			h.checkCandidate(w, i)
		}
	}
}

// checkLeads checks that a leader that no quorum answers doesn't lead on, though nothing wakes it
// (§6.2).
func (h *Hosts) checkLeads(w *World, i int) {
	s := &w.servers[i]
	now, limit := w.local(s), raft.Instant(h.params.Election+h.params.Election/2)
	shown := s.core.Status()
	if h.now-h.processes[i].woken < 2*h.params.Election || now-s.leaderSince < limit || now-s.configured < limit || shown.ConfigurationIndex > w.ghost.commit() {
		return
	}
	if !w.mayBeConfirmedSince(i, now-limit) {
		w.fail(CheckQuorum, i, "leads on in term %d, though no quorum of %s, itself among them, has answered what left within one and a half election timeouts",
			s.status.term, describeConfiguration(shown.Configuration))
	}
}

// checkCandidate checks that a voter campaigns that has heard no leader for one and a half election
// timeouts, though nobody asks it anything. One that was founding its group when it heard its leader last
// may wait longer.
func (h *Hosts) checkCandidate(w *World, i int) {
	s, p := &w.servers[i], &h.processes[i]
	election := h.params.Election + h.params.Election*h.params.Drift/1_000_000
	limit := election + election/2 + 3*h.params.Heartbeat
	if at := p.full[w.group]; at != 0 && h.now-at < (roomRest+3)*election {
		limit += election
	}
	shown := s.core.Status()
	if h.now-p.alive[w.group] <= limit || p.founding[w.group] || s.frozen != frozenNot || s.status.commit <= 1 || shown.Configuration == nil || !w.counts(i) || len(s.writes)+len(s.disk.gone) > 0 || w.mayAsk(s) {
		return
	}
	m := memberOf(shown.Configuration, s.id)
	if shown.Trouble != nil || m == nil || m.Role != raft.Voter || m.Incarnation != shown.Incarnation {
		return
	}
	w.fail(Candidates, i, "follows %q in term %d, and hasn't campaigned %d ns after it had a reason not to; %d are allowed",
		shown.Leader, shown.Term, h.now-p.alive[w.group], limit)
}

// complete reports whether all members of a group take part, but for those whose processes aren't heard.
// While one doesn't, and its process is heard, the leader looks after it in vain.
func (w *World) complete() bool {
	members := w.ghost.settled.Members
	for j := range members {
		i := serverOf(members[j].ID)
		if s := &w.servers[i]; w.diskOf(&members[j]) != s.disk || (!s.up || s.noticed() || w.exhausted(i)) && !s.silentForGood() {
			return false
		}
	}
	for i := range w.n {
		if s := &w.servers[i]; s.frozen != frozenNot && !s.silentForGood() {
			return false // it is heard, and lacks something, or asks
		}
	}
	return len(w.streams) == 0 // a stream to one of these doesn't end here
}

// busy says which server isn't left to the Book, or "" if there is none.
func (h *Hosts) busy() string {
	for _, w := range h.worlds {
		if !w.complete() {
			continue
		}
		for i := range h.n {
			s := &w.servers[i]
			if !w.counts(i) || s.frozen != frozenNot {
				continue
			}
			if h.processes[i].seats[w.group].Deadline() != endless {
				return fmt.Sprintf("group %d at process %d, as %s of term %d, isn't at rest", w.group, i+1, s.status.role, s.status.term)
			}
		}
	}
	return ""
}
