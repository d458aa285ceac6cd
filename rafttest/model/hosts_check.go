package model

import (
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A hostPast is what an observer knows of a group that forgets nothing.
type hostPast struct {
	// leaders are the leaders by term, plus 1 in server, and committed is the log as far as some leader
	// has committed it, each entry with the lowest term in which it was.
	leaders   [maxHostTerm]leader
	committed []slot
	in        []raft.Term
	// followed are the terms in which a process has followed their leader, one bit each. left is when
	// it has ended to, plus 1.
	followed [MaxServers]uint16
	left     [MaxServers][maxHostTerm]raft.Instant
	// acknowledged is the highest index that any caller has got in an answer, and reads are those that
	// wait for one. They are noted only if anybody reads.
	acknowledged raft.Index
	reads        []hostRead
}

// A hostRead is a read that waits, with the index that was acknowledged when it was asked for.
type hostRead struct {
	hostCall
	since raft.Index
}

// maxHostTerm bounds the terms of a run.
const maxHostTerm = 16

// The invariants that only processes with several groups have
const (
	// vouchersTrue: what a core is told of others was so.
	vouchersTrue = "Vouchers True"
	// calmEnds: when all goes well from here, each group has a leader that all follow, and nothing to do.
	calmEnds = "Calm Ends"
)

// A hostGhost is the past of all groups. It is never changed.
type hostGhost struct {
	id    uint32
	pasts []hostPast
}

func (g *hostGhost) clone() *hostGhost {
	n := &hostGhost{pasts: slices.Clone(g.pasts)}
	for i := range n.pasts {
		p := &n.pasts[i]
		p.committed, p.in = slices.Clone(p.committed), slices.Clone(p.in)
		p.reads = slices.Clone(p.reads)
	}
	return n
}

func (g *hostGhost) append(b []byte) []byte {
	for i := range g.pasts {
		p := &g.pasts[i]
		for t, l := range p.leaders {
			if l.server != 0 {
				b = binary.AppendUvarint(append(b, byte(t), byte(l.server)), l.start)
			}
		}
		b = append(b, 0, byte(len(p.committed)))
		for i, s := range p.committed {
			b = binary.LittleEndian.AppendUint64(append(b, byte(p.in[i])), s.chain)
		}
		for i := range p.followed {
			b = binary.LittleEndian.AppendUint16(b, p.followed[i])
			for _, at := range p.left[i] {
				b = binary.AppendUvarint(b, uint64(at))
			}
		}
		b = append(b, byte(p.acknowledged), byte(len(p.reads)))
		for i := range p.reads {
			r := &p.reads[i]
			b = binary.AppendUvarint(binary.AppendUvarint(append(b, byte(r.at), byte(r.since)), r.start), r.number)
		}
	}
	return b
}

// A hostJudge checks a step of one process against all others and their past.
type hostJudge struct {
	now    raft.Instant
	nodes  []*hostNode // after the step
	before *hostNode
	at     int
	reads  bool       // whether anybody reads
	ghost  *hostGhost // which may be changed
	broken *Violation
}

func (j *hostJudge) fail(name, format string, args ...any) {
	if j.broken == nil {
		j.broken = violated(name, j.at, format, args...)
	}
}

// check checks everything that the step has brought.
func (j *hostJudge) check(r *hostResult) {
	for i := range r.told {
		j.checkTold(&r.told[i])
	}
	for g := range j.nodes[j.at].members {
		before, now := &j.before.members[g], &j.nodes[j.at].members[g]
		if now.status.term >= maxHostTerm {
			continue // such a step isn't taken
		}
		j.follow(g, before, now)
		j.checkLog(g, before, now)
		if now.status.role == leads {
			j.checkLeader(g, before, now)
		}
	}
	if j.reads {
		j.checkCalls(r)
	}
}

// checkCalls notes the reads that were asked for, and checks all answers: a read sees what was
// acknowledged before it was asked for, and what is acknowledged is committed.
func (j *hostJudge) checkCalls(r *hostResult) {
	for g := range j.ghost.pasts {
		p := &j.ghost.pasts[g]
		p.reads = slices.DeleteFunc(p.reads, func(r hostRead) bool { // the member has ended with its calls
			return r.at == j.at && r.start != j.nodes[j.at].members[g].start
		})
	}
	for _, c := range r.asked {
		p := &j.ghost.pasts[c.group]
		p.reads = append(p.reads, hostRead{c, p.acknowledged})
	}
	for i := range r.answers {
		a := &r.answers[i]
		p := &j.ghost.pasts[a.group]
		at := slices.IndexFunc(p.reads, func(r hostRead) bool { return a.answer.Read && r.hostCall == a.hostCall })
		if a.answer.Read && at < 0 {
			j.fail(sim.Answers, "answers read %d, which is not open", a.answer.Number)
			continue
		}
		index := a.answer.Index
		if a.answer.Err == nil && a.answer.Read && index < p.reads[at].since {
			j.fail(sim.FreshReads, "a read sees index %d, but %d was acknowledged before it was asked for", index, p.reads[at].since)
		}
		if a.answer.Err == nil && int(index) > len(p.committed) {
			j.fail(sim.NothingLost, "index %d is acknowledged, but only %d entries are committed", index, len(p.committed))
		}
		if a.answer.Read {
			p.reads = slices.Delete(p.reads, at, at+1)
		}
		if a.answer.Err == nil {
			p.acknowledged = max(p.acknowledged, index)
		}
	}
}

// follow notes whether a process follows, and when it has ended to.
func (j *hostJudge) follow(g int, before, now *hostView) {
	p := &j.ghost.pasts[g]
	was, is := before.follows(), now.follows()
	if is != 0 {
		p.followed[j.at] |= 1 << is
		p.left[j.at][is] = 0
	}
	if was != 0 && was != is {
		p.left[j.at][was] = j.now + 1
	}
}

// follows returns the term in which a member follows its leader, or 0.
func (v *hostView) follows() raft.Term {
	if v.status.role == follows && v.status.leader != "" {
		return v.status.term
	}
	return 0
}

// checkTold checks what a leader's core is told: that a process has answered its round, in its term.
func (j *hostJudge) checkTold(t *hostTold) {
	p := &j.ghost.pasts[t.group]
	for _, v := range t.left.Vouched {
		at := serverOf(v.ID)
		left := p.left[at][t.left.Term] - 1
		if p.followed[at]>>t.left.Term&1 == 0 || left >= 0 && left < raft.Instant(v.Sent) {
			j.fail(vouchersTrue, "%s has answered a round of %d in term %d, but it doesn't follow", v.ID, v.Sent, t.left.Term)
		}
	}
	for _, h := range t.left.Heard {
		if l := p.leaders[h.Term]; l.server != int8(serverOf(h.Leader)+1) {
			j.fail(vouchersTrue, "%s was heard as leader of term %d, which it never led", h.Leader, h.Term)
		}
	}
}

// checkLog checks what is committed.
func (j *hostJudge) checkLog(g int, before, now *hostView) {
	p := &j.ghost.pasts[g]
	commit := int(now.status.commit)
	if commit > len(now.view) {
		return // the group doesn't run
	}
	for i := range commit {
		switch {
		case i < len(p.committed):
			if p.committed[i] != now.view[i] {
				j.fail(sim.StateMachineSafety, "commits another entry %d", i+1)
			}
		case now.status.role == leads:
			p.committed = append(p.committed, now.view[i])
			p.in = append(p.in, now.status.term)
		case before.status.role == leads: // it has committed the entry, and stepped down
			p.committed = append(p.committed, now.view[i])
			p.in = append(p.in, before.status.term)
		default:
			j.fail(sim.CommitKnown, "commits entry %d, which no leader has committed", i+1)
		}
	}
}

// checkLeader checks a leader: it is the only one of its term, has all that was committed before, and
// no other one holds a lease.
func (j *hostJudge) checkLeader(g int, before, now *hostView) {
	p := &j.ghost.pasts[g]
	term := now.status.term
	if l := p.leaders[term]; l.server != 0 && (int(l.server) != j.at+1 || l.start != now.start) {
		j.fail(sim.ElectionSafety, "leads term %d, which server %d has led already", term, l.server)
	}
	p.leaders[term] = leader{int8(j.at + 1), now.start}
	if before.status.role != leads || before.status.term != term {
		for i, s := range p.committed {
			if p.in[i] < term && at(now.view, raft.Index(i+1)) != s {
				j.fail(sim.LeaderCompleteness, "the leader of term %d lacks index %d, which was committed before", term, i+1)
			}
		}
	}
	for k, n := range j.nodes {
		other := &n.members[g]
		if k == j.at || other.status.role != leads {
			continue
		}
		first, second := now, other
		if first.status.term > second.status.term {
			first, second = second, first
		}
		if first.lease > j.now {
			j.fail(sim.Leases, "there is a leader of term %d, while the one of term %d holds a lease until %d",
				second.status.term, first.status.term, first.lease)
		}
	}
}
