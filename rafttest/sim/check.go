package sim

import (
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A status is the part of a core's state that is checked after every event.
type status struct {
	role                          string
	term                          raft.Term
	commit, applied, stable, last raft.Index

	leaseUntil raft.Instant
	written    raft.Index // up to where the disk was given the log
	handing    bool       // a transfer of the leadership is under way
	noticed    bool       // it says that its disk went back
}

// The roles of a leader, of one that repairs its log before it leads, and of a server that asks for
// votes
const leads, recovers, asks = "leader", "recovering", "candidate"

// look returns the status of a server that is up.
func (s *server) look() status {
	shown := s.core.Status()
	return status{shown.Role, shown.Term, shown.Commit, shown.Applied, shown.Stable, shown.Last, shown.LeaseUntil, shown.Written, shown.HandingOver != "",
		errors.Is(shown.Trouble, raft.ErrRolledBack)}
}

// viewed returns the index up to which the view is the log of the core. What the core has replaced
// since, and not handed to the disk, is still in the view.
func (s *server) viewed() raft.Index { return min(raft.Index(len(s.view)), s.status.written) }

// observe compares the status of a core after an event to the status before it.
func (w *World) observe(i int) {
	s := &w.servers[i]
	now := s.look()
	before := s.status
	if now == before {
		return
	}
	s.status = now
	if now.handing && !before.handing {
		s.handedAt = now.last
	}
	if now.noticed && !before.noticed {
		w.stats.Noticed++
		w.checkAlarm(i)
	}
	w.hash = mix(w.hash ^ uint64(now.term)<<48 ^ uint64(now.commit)<<32 ^ uint64(now.applied)<<16 ^
		uint64(now.stable)<<8 ^ uint64(now.last)<<4 ^ uint64(i))
	if now.applied > now.commit || now.commit > now.last || now.stable > now.last {
		w.fail(Cursors, i, "applied %d, commit %d, stable %d, last %d", now.applied, now.commit, now.stable, now.last)
	}
	if now.term < before.term || now.commit < before.commit || now.applied < before.applied {
		w.fail(Cursors, i, "term %d, commit %d, applied %d fall to %d, %d, %d",
			before.term, before.commit, before.applied, now.term, now.commit, now.applied)
	}
	if s.sticky && now.term != before.term {
		w.fail(Stickiness, i, "a request for its vote raises the term to %d while it hears a leader", now.term)
	}
	if now.term != before.term {
		s.heard = 0
	}
	if now.term >= maxTerm {
		w.fail(BoundedMemory, i, "the term has risen to %d", now.term)
		return
	}
	if shown := s.core.Status(); shown.ConfigurationIndex != s.configuration {
		s.configuration, s.configured = shown.ConfigurationIndex, w.local(s)
	}
	if before.role == leads && now.role != leads {
		w.checkLost(i, &before)
	}
	switch now.role {
	case leads:
		w.observeLeader(i, &before)
	case recovers:
		w.observeRecovering(i)
	case asks:
		w.ghost.leader(now.term).asked |= 1 << i
	}
	if now.commit != before.commit {
		w.observeCommit(i)
	}
	if now.leaseUntil > before.leaseUntil && now.leaseUntil > w.local(s) {
		w.checkLease(i)
		w.checkPromises(i)
	}
	if now.stable != before.stable {
		w.checkStable(i)
	}
}

// observeRecovering checks a server that was elected, and repairs its log before it leads.
func (w *World) observeRecovering(i int) {
	s := &w.servers[i]
	l := w.ghost.leader(s.status.term)
	if l.server != 0 && (int(l.server) != i+1 || l.life != s.life) {
		w.fail(ElectionSafety, i, "has won term %d, which server %d has led already", s.status.term, l.server)
		return
	}
	if l.server == 0 {
		l.server, l.life = int8(i+1), s.life
		w.checkElected(i)
		w.stats.Recovering++
	}
}

// observeLeader checks a server that leads or has just been elected.
func (w *World) observeLeader(i int, before *status) {
	s, now := &w.servers[i], &w.servers[i].status
	l := w.ghost.leader(now.term)
	if before.role == leads && before.term == now.term {
		if now.last < before.last {
			w.fail(LeaderAppendOnly, i, "the log falls from %d to %d in term %d", before.last, now.last, now.term)
		}
		return
	}
	if l.server != 0 && (int(l.server) != i+1 || l.life != s.life) {
		w.fail(ElectionSafety, i, "leads term %d, which server %d has led already", now.term, l.server)
		return
	}
	l.server, l.life = int8(i+1), s.life
	w.checkElected(i)
	w.checkLeases(i)
	w.elected(s)
	for j := range w.links[i] {
		w.links[i][j].appends, w.links[i][j].reached = 0, 0
	}
	w.stats.Elections++
	if w.vacant > 0 {
		tenths := (w.now - w.vacant) * 10 / w.params.Election
		w.stats.Vacancies[min(tenths, int64(len(w.stats.Vacancies))-1)]++
		w.vacant = 0
	}

	// The leader's log now holds whatever leaders of earlier terms have committed. If the disk
	// hasn't been given all of it, extendView looks at the rest.
	var committed raft.Index
	for t := raft.Term(0); t < now.term; t++ {
		committed = max(committed, w.ghost.commits[t])
	}
	seen := min(committed, s.viewed())
	if now.last < committed || seen > 0 && s.view[seen-1] != w.ghost.committed[seen-1] {
		w.fail(LeaderCompleteness, i, "the leader of term %d lacks index %d, which was committed before", now.term, committed)
	}
}

// observeCommit checks that a server may move its commit index as it did.
func (w *World) observeCommit(i int) {
	now := &w.servers[i].status
	g := &w.ghost
	if now.role != leads {
		if now.commit > g.commit() {
			w.fail(CommitKnown, i, "commit %d, but no leader has committed more than %d", now.commit, g.commit())
		}
		return
	}
	// The rule of §3.6.2 demands two things: a quorum holds the entry, and the entry is one of the
	// leader's own term. Such an entry stands for the whole log before it (Log Matching).
	witness := (*disk)(nil)
	holds := func(m *raft.Member) bool {
		d := w.holdsOrDid(m, now.commit, now.term)
		if d == nil || d.term(now.commit) != now.term {
			return false
		}
		witness = d
		return true
	}
	if c := w.servers[i].core.Status().Configuration; !quorum(c, holds) {
		w.fail(QuorumDurable, i, "commits index %d in term %d, but no quorum of %s holds an entry of that term there", now.commit, now.term,
			describeConfiguration(c))
		return
	}
	g.commits[now.term] = max(g.commits[now.term], now.commit)
	w.commitFrom(i, witness, now.commit)
}

// commitFrom takes the log of a disk for committed, up to an index.
func (w *World) commitFrom(i int, d *disk, to raft.Index) {
	g := &w.ghost
	from := g.commit()
	if from >= to {
		return
	}
	if from > 0 && d.slots[from-1] != g.committed[from-1] {
		w.fail(StateMachineSafety, i, "commits index %d on a log that differs at index %d, which was committed before", to, from)
		return
	}
	for index := from + 1; index <= to; index++ {
		e := &d.entries[index-1]
		g.committed = append(g.committed, d.slots[index-1])
		g.entries = append(g.entries, *e)
		var command raft.Index
		if index > 1 {
			command = g.commands[index-2]
		}
		if e.Kind == wire.EntryConfiguration {
			w.commitConfiguration(i, e)
		}
		if e.Kind != wire.EntryNoOp && e.Kind != wire.EntryConfiguration {
			w.commitCommand(i, e)
		}
		result, applied := w.sessionStep(i, e)
		if applied {
			command = index
		}
		g.results = append(g.results, result)
		g.commands = append(g.commands, command)
	}
}

// commitCommand notes that a command is committed and checks that this may happen.
func (w *World) commitCommand(i int, e *raft.Entry) {
	o := w.operationOf(e)
	switch {
	case o == nil || o.data != hashBytes(e.Data):
		w.fail(ExactlyOnce, i, "index %d holds a command that nobody proposed (%s/%d number %d)",
			e.Index, e.Origin.Server, e.Origin.Start, e.Number)
	case o.index != 0:
		w.fail(ExactlyOnce, i, "the command at index %d is committed at index %d already", e.Index, o.index)
	case o.fence != 0 && (e.Term != o.fence || w.ghost.leader(e.Term).server != o.server+1):
		w.fail(Fences, i, "the command at index %d, in term %d, is fenced to term %d of server %d", e.Index, e.Term, o.fence, o.server+1)
	case o.outcome == outcomeNotApplied:
		w.fail(ExactlyOnce, i, "the command at index %d was answered with ErrNotApplied", e.Index)
	default:
		o.index = e.Index
		w.stats.Commands++
	}
}

// checkStable checks that the disk holds what the core takes for stable.
func (w *World) checkStable(i int) {
	s := &w.servers[i]
	stable := s.status.stable
	if stable == 0 {
		return
	}
	if stable > s.disk.last() || stable > raft.Index(len(s.view)) || s.disk.slots[stable-1] != s.view[stable-1] {
		w.fail(StableIsDurable, i, "stable is %d, but the disk holds %d entries, or other ones", stable, s.disk.last())
	}
}

// checkWrite checks a write that a core hands out, and adds its entries to the view of the server's
// log.
func (w *World) checkWrite(i int, write *raft.Write) {
	s := &w.servers[i]
	before := s.disk.state
	number := raft.WriteNumber(1)
	if n := len(s.writes); n > 0 {
		before, number = s.writes[n-1].State, s.writes[n-1].Number+1
	} else if s.lastWrite > 0 {
		number = s.lastWrite + 1
	}
	now := write.State
	switch {
	case write.Number != number:
		w.fail(WritesInOrder, i, "write %d follows write %d", write.Number, number-1)
	case now.Term < before.Term || now.Term == before.Term && before.Vote != "" && now.Vote != before.Vote:
		w.fail(WritesInOrder, i, "term %d and vote %q replace term %d and vote %q", now.Term, now.Vote, before.Term, before.Vote)
	case now.Start < before.Start || before.Incarnation != 0 && now.Incarnation != before.Incarnation ||
		before.Cluster != (raft.ClusterID{}) && now.Cluster != before.Cluster:
		w.fail(WritesInOrder, i, "the identity of the disk changes")
	}
	s.lastWrite = write.Number
	w.checkNamed(i, write)
	if w.violation != nil || len(write.Entries) == 0 {
		return
	}
	first := write.Entries[0].Index
	last := raft.Index(len(s.view))
	if first == 0 || first > last+1 {
		w.fail(WritesInOrder, i, "a write of index %d follows a log of %d entries", first, last)
		return
	}
	if first <= last {
		w.stats.Truncations++
		if first <= s.checked {
			w.fail(StateMachineSafety, i, "index %d is committed, but it is replaced", first)
		}
		if s.ledHere == now.Term {
			w.fail(LeaderAppendOnly, i, "the leader of term %d replaces index %d", now.Term, first)
		}
		w.checkReplaced(i, write)
		s.view = s.view[:first-1]
		s.configurations = truncated(s.configurations, first-1)
	}
	w.extendView(i, write.Entries)
	if s.status.role == leads && s.view[len(s.view)-1].term == s.status.term {
		s.ledHere = s.status.term
		w.checkQuota(i)
		if last := &write.Entries[len(write.Entries)-1]; last.Term == s.status.term && last.Kind != wire.EntryNoOp && last.Kind != wire.EntryConfiguration {
			w.checkRoom(i)
		}
	}
}

// checkQuota checks two limits of a leader: on the commands of its term that are not committed or
// not stable, and on those that are not applied. A single command may exceed a limit.
func (w *World) checkQuota(i int) {
	s := &w.servers[i]
	p := &w.params
	above := func(index raft.Index) int64 {
		from, last := max(index, s.termBegin-1), raft.Index(len(s.view))
		if from >= last {
			return 0
		}
		bytes := s.view[last-1].total
		if from > 0 {
			bytes -= s.view[from-1].total
		}
		return int64(bytes)
	}
	single := int64(w.biggest) + wire.EntryOverhead
	if bytes := above(min(s.status.commit, s.status.stable)); bytes > max(p.MaxUncommitted, single) {
		w.fail(BoundedMemory, i, "%d bytes of commands are not committed, %d are allowed", bytes, p.MaxUncommitted)
	}
	if bytes := above(s.status.applied); bytes > max(p.MaxUnapplied, single) {
		w.fail(BoundedMemory, i, "%d bytes of commands are not applied, %d are allowed", bytes, p.MaxUnapplied)
	}
}

// extendView appends entries to the view of a log and compares each to all logs.
func (w *World) extendView(i int, entries []raft.Entry) {
	s := &w.servers[i]
	var before slot
	if n := len(s.view); n > 0 {
		before = s.view[n-1]
	}
	for j := range entries {
		e := &entries[j]
		w.checkLevel(i, e)
		if e.Index != raft.Index(len(s.view)+1) || e.Term < before.term || e.Term > s.status.term {
			w.fail(WritesInOrder, i, "index %d in term %d follows index %d in term %d", e.Index, e.Term, len(s.view), before.term)
			return
		}
		if e.Term != before.term {
			s.termBegin = e.Index
		}
		if s.status.handing && e.Term == s.status.term && e.Index > s.handedAt && e.Kind == wire.EntryCommand {
			w.fail(HandingOver, i, "takes the command at index %d after it has begun to hand over at %d", e.Index, s.handedAt)
		}
		before = before.next(e)
		s.view = append(s.view, before)
		if s.status.role == leads && e.Term < s.status.term && e.Index <= w.ghost.commit() && before != w.ghost.committed[e.Index-1] {
			w.fail(LeaderCompleteness, i, "the leader of term %d holds another entry at index %d, which was committed before", s.status.term, e.Index)
		}
		if e.Kind == wire.EntryConfiguration {
			w.viewConfiguration(i, place(e), e.Term)
		}
		w.matchLog(i, e.Index, before)
	}
}

// matchLog checks Log Matching for an entry that appears in a log.
func (w *World) matchLog(i int, index raft.Index, now slot) {
	known := w.ghost.at(index)
	for _, k := range *known {
		if k.term == now.term {
			if k.chain != now.chain {
				w.fail(LogMatching, i, "index %d in term %d is another entry, or follows others, than elsewhere", index, now.term)
			}
			return
		}
	}
	*known = append(*known, now)
}

// checkCommitted checks that what a server takes for committed is committed, as far as its log is
// in view.
func (w *World) checkCommitted(i int) {
	s := &w.servers[i]
	to := min(s.status.commit, s.viewed(), w.ghost.commit())
	if to > s.checked {
		s.checked = to
		if s.view[to-1] != w.ghost.committed[to-1] {
			w.fail(StateMachineSafety, i, "index %d is committed here, and with another entry elsewhere", to)
		}
	}
}

// checkApply checks that the command that a state machine gets is the next committed one.
func (w *World) checkApply(r *replica, e *raft.Entry) {
	g := &w.ghost
	switch {
	case e.Index > g.commit():
		w.fail(StateMachineSafety, r.server, "applies index %d, but only %d is committed", e.Index, g.commit())
	case e.Term != g.committed[e.Index-1].term:
		w.fail(StateMachineSafety, r.server, "applies index %d in term %d, committed in term %d",
			e.Index, e.Term, g.committed[e.Index-1].term)
	case e.Index <= r.command || e.Index > 1 && g.commands[e.Index-2] != r.command:
		w.fail(StateMachineSafety, r.server, "applies the command at index %d after that at %d", e.Index, r.command)
	}
	r.command = e.Index
}
