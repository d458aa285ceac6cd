package model

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// A judge checks a step of one server against the whole cluster and its past. Its invariants are
// those of rafttest/sim, under the same names.
type judge struct {
	nodes  []*node // of the cluster, after the step
	i      int     // the server whose step it is
	before *node
	step   *step
	ghost  *ghost
	// own says that ghost is a copy of this judge, which may be changed.
	own bool
	// reads says that reads are possible in this search. Without them nobody needs to know what was
	// acknowledged.
	reads  bool
	broken *Violation
}

func (j *judge) fail(name, format string, args ...any) {
	if j.broken == nil {
		j.broken = violated(name, j.i, format, args...)
	}
}

// change returns the ghost for changes. It makes a copy first, if there is none yet.
func (j *judge) change() *ghost {
	if !j.own {
		j.ghost, j.own = j.ghost.clone(), true
	}
	return j.ghost
}

// check checks everything that the step has brought. Afterwards ghost is what the observer knows
// after the step.
func (j *judge) check(e event) {
	if !j.step.plain {
		now := &j.step.after.status
		if e.kind() == eventCrash || e.kind() == eventDamage {
			j.forget()
		}
		if j.step.call != 0 {
			j.open(kindOf(e))
		}
		if now.role == leads && (j.before.status.role != leads || j.before.status.term != now.term) {
			j.checkLeader()
		}
		if now.role == recovers && (j.before.status.role != recovers || j.before.status.term != now.term) {
			j.checkElected()
		}
		if now.commit != j.before.status.commit {
			j.checkCommit()
		}
		if j.step.whole {
			j.checkCommitted()
		}
		if !sameLog(j.before.view, j.step.after.view) {
			j.checkLogs()
		}
		for i := range j.step.applied {
			j.checkApplied(&j.step.applied[i])
		}
		for i := range j.step.answers {
			j.checkAnswer(&j.step.answers[i])
		}
	}
	if j.step.commit > j.ghost.commit() {
		j.fail(sim.CommitKnown, "tells commit %d, but no leader has committed more than %d", j.step.commit, j.ghost.commit())
	}
	if j.step.claims {
		for _, m := range j.step.sent {
			j.checkMessage(m)
		}
	}
}

// forget ends the calls at a server that has crashed.
func (j *judge) forget() {
	for _, c := range j.ghost.calls {
		if int(c.server) == j.i {
			j.dropCalls(func(c *call) bool { return int(c.server) == j.i })
			return
		}
	}
}

func (j *judge) dropCalls(which func(*call) bool) {
	g := j.change()
	kept := g.calls[:0]
	for i := range g.calls {
		if !which(&g.calls[i]) {
			kept = append(kept, g.calls[i])
		}
	}
	g.calls = kept
}

// open notes a new call.
func (j *judge) open(kind callKind) {
	g := j.change()
	c := call{server: int8(j.i), kind: kind, start: j.step.after.start, number: j.step.call}
	if kind == callRead {
		c.since = g.acknowledged
	}
	g.calls = append(g.calls, c)
}

// checkElected checks that a server that was elected is the only one in its term.
func (j *judge) checkElected() {
	n := j.step.after
	now := &n.status
	if l := j.ghost.leaders[now.term]; l.server != 0 && (int(l.server) != j.i+1 || l.start != n.start) {
		j.fail(sim.ElectionSafety, "leads term %d, which server %d has led already", now.term, l.server)
		return
	}
	j.change().leaders[now.term] = leader{int8(j.i + 1), n.start}
}

// checkLeader checks a server that begins to lead.
func (j *judge) checkLeader() {
	n := j.step.after
	now := &n.status
	j.checkElected()
	for index := range j.ghost.committed {
		if c := &j.ghost.committed[index]; c.in < now.term && at(n.view, raft.Index(index+1)) != c.slot {
			j.fail(sim.LeaderCompleteness, "the leader of term %d lacks index %d, which was committed before", now.term, index+1)
			return
		}
	}
}

// checkCommit checks that the server may move its commit index as it did.
func (j *judge) checkCommit() {
	n := j.step.after
	now := &n.status
	led := j.before.status.role == leads && j.before.status.term == now.term
	if now.role != leads && !led { // a leader may have stepped down because of what it committed
		if now.commit > j.ghost.commit() {
			j.fail(sim.CommitKnown, "commit %d, but no leader has committed more than %d", now.commit, j.ghost.commit())
		}
		return
	}
	if now.commit < j.before.status.commit {
		return // the server has started again
	}
	// The rule of §3.6.2 demands two things: a quorum holds the entry, and the entry is one of the
	// leader's own term. Such an entry stands for the whole log before it (Log Matching). The
	// quorum is that of the configuration before the step: a configuration that the step itself
	// appends follows what the step has committed. There is one exception. A step can commit the
	// very configuration that it appends if the leader is alone in it.
	holds, witness := servers(0), (*disk)(nil)
	for i, other := range j.nodes {
		if at(other.disk.slots, now.commit).term == now.term {
			holds |= 1 << i
			witness = &other.disk
		}
	}
	rule := n
	if led && n.voters|n.old != 1<<j.i {
		rule = j.before
	}
	if witness == nil || !rule.voters.majority(holds) || rule.old != 0 && !rule.old.majority(holds) {
		j.fail(sim.QuorumDurable, "commits index %d in term %d, which only the disks %03b of %03b and %03b hold",
			now.commit, now.term, holds, rule.voters, rule.old)
		return
	}
	j.commitFrom(witness)
}

// commitFrom takes the log of a disk for committed, as far as the leader has committed.
func (j *judge) commitFrom(d *disk) {
	to, term := j.step.after.status.commit, j.step.after.status.term
	for i := raft.Index(1); i <= to; i++ {
		now := at(d.slots, i)
		if i <= j.ghost.commit() {
			if j.ghost.committed[i-1].slot != now {
				j.fail(sim.StateMachineSafety, "commits index %d on a log that differs at index %d, which was committed before", to, i)
				return
			}
			if j.ghost.committed[i-1].in > term {
				j.change().committed[i-1].in = term
			}
			continue
		}
		c := committed{slot: now, entry: d.entries[i-1], in: term}
		if i > 1 {
			c.result = j.ghost.committed[i-2].result
		}
		if c.entry.Kind == wire.EntryCommand {
			j.checkCommand(&c.entry)
			c.result = c.result.next(&c.entry)
		}
		g := j.change()
		g.committed = append(g.committed, c)
	}
	for _, other := range j.nodes {
		s := &other.status
		if s.role == leads && s.term > term && at(other.view, to) != at(d.slots, to) {
			j.fail(sim.LeaderCompleteness, "commits index %d in term %d, but the leader of term %d lacks it", to, term, s.term)
		}
	}
}

// checkCommand checks that a command is committed only once, and not after its caller was told that
// it never will be.
func (j *judge) checkCommand(e *raft.Entry) {
	for i := range j.ghost.committed {
		if sameCommand(&j.ghost.committed[i].entry, e) {
			j.fail(sim.ExactlyOnce, "the command at index %d is committed at index %d already", e.Index, i+1)
		}
	}
	for i := range j.ghost.refused {
		if j.ghost.refused[i].proposed(e) {
			j.fail(sim.ExactlyOnce, "the command at index %d was answered with ErrNotApplied", e.Index)
		}
	}
}

// sameCommand reports whether two entries are of one kind and come from one call.
func sameCommand(a, b *raft.Entry) bool {
	return a.Kind == b.Kind && a.Origin == b.Origin && a.Number == b.Number
}

// checkCommitted checks that what the server takes for committed is committed, as far as its log is
// in view.
func (j *judge) checkCommitted() {
	n := j.step.after
	to := min(n.status.commit, raft.Index(len(n.view)), j.ghost.commit())
	if to > 0 && at(n.view, to) != j.ghost.committed[to-1].slot {
		j.fail(sim.StateMachineSafety, "index %d is committed here, and with another entry elsewhere", to)
	}
}

// checkLogs checks Log Matching between the logs of this server and of each other one. From the
// last index at which both have the same term, back to the first, the logs must be equal.
func (j *judge) checkLogs() {
	own := j.step.after.view
	for k, other := range j.nodes {
		for i := raft.Index(min(len(own), len(other.view))); i > 0 && k != j.i; i-- {
			a, b := at(own, i), at(other.view, i)
			if a.term != b.term {
				continue
			}
			if a != b {
				j.fail(sim.LogMatching, "index %d in term %d is another entry, or follows others, than at server %d", i, a.term, k+1)
			}
			break
		}
	}
}

// checkApplied checks that an entry that the state machine got is committed.
func (j *judge) checkApplied(e *raft.Entry) {
	if e.Index > j.ghost.commit() {
		j.fail(sim.StateMachineSafety, "applies index %d, but only %d is committed", e.Index, j.ghost.commit())
		return
	}
	if c := &j.ghost.committed[e.Index-1].entry; c.Term != e.Term || !sameCommand(c, e) {
		j.fail(sim.StateMachineSafety, "applies an entry at index %d that isn't the one committed there", e.Index)
	}
}

// checkAnswer checks the answer that a caller gets.
func (j *judge) checkAnswer(a *raft.Answer) {
	same := func(c *call) bool {
		kind := callCommand
		if a.Read {
			kind = callRead
		} else if a.Call {
			kind = callChange
		}
		return int(c.server) == j.i && c.kind == kind && c.start == j.step.after.start && c.number == a.Number
	}
	var asked *call
	for i := range j.ghost.calls {
		if c := &j.ghost.calls[i]; same(c) {
			asked = &call{}
			*asked = *c
		}
	}
	if asked == nil {
		j.fail(sim.Answers, "answers call %d, which is not open", a.Number)
		return
	}
	j.dropCalls(same)
	switch {
	case a.Err == nil && a.Read:
		j.checkRead(asked, a)
	case a.Err == nil && a.Call:
		if a.Index == 0 || a.Index > j.ghost.commit() || j.ghost.committed[a.Index-1].entry.Kind != wire.EntryConfiguration {
			j.fail(sim.NothingLost, "change %d is acknowledged at index %d, but no configuration is committed there", a.Number, a.Index)
		}
	case a.Call:
	case a.Err == nil:
		j.checkResult(asked, a)
	case !a.Read && errors.Is(a.Err, raft.ErrNotApplied):
		g := j.change()
		g.refused = append(g.refused, *asked)
		for i := range g.committed {
			if asked.proposed(&g.committed[i].entry) {
				j.fail(sim.ExactlyOnce, "command %d is answered with ErrNotApplied, but committed at index %d", a.Number, i+1)
			}
		}
	case !a.Read && !errors.Is(a.Err, raft.ErrOutcomeUnknown):
		j.fail(sim.Answers, "command %d: the error %v names no outcome", a.Number, a.Err)
	}
}

func (j *judge) checkRead(asked *call, a *raft.Answer) {
	if a.Index < asked.since {
		j.fail(sim.FreshReads, "a read sees index %d, but %d was acknowledged before it was called", a.Index, asked.since)
	}
	if applied := j.step.after.status.applied; a.Index > applied {
		j.fail(sim.FreshReads, "a read is answered at index %d, but %d is applied", a.Index, applied)
	}
	j.acknowledge(a.Index)
}

func (j *judge) checkResult(asked *call, a *raft.Answer) {
	if a.Index == 0 || a.Index > j.ghost.commit() {
		j.fail(sim.NothingLost, "command %d is acknowledged at index %d, but only %d entries are committed", a.Number, a.Index, j.ghost.commit())
		return
	}
	c := &j.ghost.committed[a.Index-1]
	if !asked.proposed(&c.entry) {
		j.fail(sim.NothingLost, "command %d is acknowledged at index %d, but another entry is committed there", a.Number, a.Index)
		return
	}
	if string(a.Result) != string(c.result.show()) {
		j.fail(sim.ReplicasEqual, "command %d is answered with %s, which isn't the result of index %d",
			a.Number, a.Result, a.Index)
	}
	j.acknowledge(a.Index)
}

// show returns the answer of the state machine in this state.
func (m machine) show() []byte { return fmt.Appendf(nil, "%x", uint64(m)) }

func (j *judge) acknowledge(index raft.Index) {
	if j.reads && index > j.ghost.acknowledged {
		j.change().acknowledged = index
	}
}

// checkMessage checks what a message claims about other servers.
func (j *judge) checkMessage(m *message) {
	c := &m.content
	switch c.Kind() {
	case wire.KindAppendRequest, wire.KindHeartbeat:
		if c.Term >= raft.Term(len(j.ghost.leaders)) || int(j.ghost.leaders[c.Term].server) != j.i+1 {
			j.fail(sim.ElectionSafety, "%v in term %d, which it doesn't lead", c.Kind(), c.Term)
		}
	case wire.KindAppendResponse:
		if answer := c.AppendResponse(); answer.Accepted {
			j.checkMatch(m, answer.Index)
		}
	case wire.KindHeartbeatResponse:
		j.checkMatch(m, c.HeartbeatResponse().Durable)
	}
}

// checkMatch checks an acknowledgement: what it covers equals the log of the leader that it is for,
// as long as that leads.
func (j *judge) checkMatch(m *message, upto raft.Index) {
	to := j.nodes[m.to]
	if upto > 0 && to.status.role == leads && to.status.term == m.content.Term && upto <= raft.Index(len(to.view)) &&
		at(to.view, upto) != at(j.step.after.disk.slots, upto) {
		j.fail(sim.Gate, "%v up to index %d, where the leader's log differs", m.content.Kind(), upto)
	}
}
