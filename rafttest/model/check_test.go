package model

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// entriesOf returns a log with entries of the given terms. Its command makes it differ from other
// logs.
func entriesOf(command string, terms ...raft.Term) []raft.Entry {
	var log []raft.Entry
	for i, term := range terms {
		log = append(log, raft.Entry{Index: raft.Index(i + 1), Term: term, Kind: wire.EntryCommand,
			Origin: raft.Origin{Server: "1", Start: 1}, Number: uint64(i + 1), Data: []byte(command)})
	}
	return log
}

// nodeOf returns a server that follows and that has everything on its disk.
func nodeOf(server int, term raft.Term, log []raft.Entry) *node {
	slots := extend(nil, log)
	last := raft.Index(len(log))
	return &node{server: server, start: 1, view: slots, voters: 0b111,
		disk:   disk{entries: log, slots: slots, state: raft.DurableState{HardState: raft.HardState{Term: term}, Start: 1}},
		status: status{role: follows, term: term, stable: last, last: last}}
}

// leading returns a server like n that leads and has committed up to an index.
func leading(n *node, commit raft.Index) *node {
	l := *n
	l.status.role, l.status.commit = leads, commit
	return &l
}

// ghostOf returns what an observer knows when the leader of a term, server 1, has committed a log.
func ghostOf(in raft.Term, log []raft.Entry) *ghost {
	g := &ghost{}
	g.leaders[in] = leader{1, 1}
	var result machine
	for i, s := range extend(nil, log) {
		result = result.next(&log[i])
		g.committed = append(g.committed, committed{slot: s, entry: log[i], in: in, result: result})
	}
	return g
}

// judged returns the verdict on a step of a server. others are the servers before it.
func judged(g *ghost, before *node, st *step, e event, others ...*node) *Violation {
	st.whole = true
	for _, m := range st.sent {
		st.commit, st.claims = max(st.commit, m.content.AppendRequest().Commit), true
	}
	nodes := append(others[:len(others):len(others)], st.after)
	j := judge{nodes: nodes, i: len(others), before: before, step: st, ghost: g, reads: true}
	j.check(e)
	return j.broken
}

// A trial is a step of the third of three servers, and the invariant that it must be convicted of
// breaking; "" for none.
type trial struct {
	name, broken string
	ghost        *ghost
	before       *node
	step         step
	event        event
	first        *node
	second       *node
}

// run judges the step of each trial.
func run(t *testing.T, trials []trial) {
	t.Helper()
	for _, c := range trials {
		t.Run(c.name, func(t *testing.T) {
			broken := judged(c.ghost, c.before, &c.step, c.event, c.first, c.second)
			if c.broken == "" {
				require.Nil(t, broken)
				return
			}
			require.NotNil(t, broken)
			require.Equal(t, c.broken, broken.Name, "%v", broken)
		})
	}
}

// sent returns a message of server 3 in term 2, in the form that a step has it in.
func sent(m wire.Message) []*message {
	m.From, m.To, m.Term = "3", "1", 2
	return []*message{{from: 2, to: 0, content: m}}
}

// Two logs with the same two terms. y has other commands than x.
var x, y = entriesOf("x", 1, 2), entriesOf("y", 1, 2)

// in returns a follower in term 2.
func in(server int, log []raft.Entry) *node { return nodeOf(server, 2, log) }

func TestLeadersAreJudged(t *testing.T) {
	l := leading(in(2, x), 0)
	run(t, []trial{
		{"the first", "", &ghost{}, in(2, x), step{after: l}, 0, in(0, x), in(1, x)},
		{"a second", sim.ElectionSafety, ghostOf(2, nil), in(2, x), step{after: l}, 0, in(0, x), in(1, x)},
		{"no leader", sim.ElectionSafety, ghostOf(2, nil), in(2, x),
			step{after: in(2, x), plain: true, sent: sent(wire.AppendRequest{}.Message())}, 0, in(0, x), in(1, x)},
		{"complete", "", ghostOf(1, x[:1]), in(2, x), step{after: l}, 0, in(0, x), in(1, x)},
		{"incomplete", sim.LeaderCompleteness, ghostOf(1, x), in(2, nil),
			step{after: leading(in(2, nil), 0)}, 0, in(0, nil), in(1, nil)},
		{"match", "", ghostOf(2, nil), in(2, x),
			step{after: in(2, x), plain: true, sent: sent(wire.HeartbeatResponse{Durable: 2}.Message())}, 0,
			leading(in(0, x), 0), in(1, x)},
		{"no match", sim.Gate, ghostOf(2, nil), in(2, y),
			step{after: in(2, y), plain: true, sent: sent(wire.HeartbeatResponse{Durable: 2}.Message())}, 0,
			leading(in(0, x), 0), in(1, x)},
	})
}

func TestCommitsAreJudged(t *testing.T) {
	l, to := leading(in(2, x), 0), func(i raft.Index) step { return step{after: leading(in(2, x), i)} }
	twice := append(x[:1:1], raft.Entry{Index: 2, Term: 2, Kind: wire.EntryCommand, Origin: x[0].Origin, Number: 1})
	told := step{after: in(2, x), plain: true, sent: sent(wire.AppendRequest{Commit: 1}.Message())}
	run(t, []trial{
		{"quorum", "", ghostOf(2, nil), l, to(2), 0, in(0, x), in(1, nil)},
		{"alone", sim.QuorumDurable, ghostOf(2, nil), l, to(2), 0, in(0, nil), in(1, nil)},
		{"old term", sim.QuorumDurable, ghostOf(2, nil), l, to(1), 0, in(0, x), in(1, x)},
		{"another log", sim.StateMachineSafety, ghostOf(2, y), l, to(2), 0, in(0, x), in(1, x)},
		{"under a later leader", sim.LeaderCompleteness, ghostOf(2, nil), l, to(2), 0,
			in(0, x), leading(nodeOf(1, 3, entriesOf("z", 1, 1)), 0)},
		{"command twice", sim.ExactlyOnce, ghostOf(2, nil), l, step{after: leading(in(2, twice), 2)}, 0, in(0, twice), in(1, nil)},
		{"known", "", ghostOf(2, x), in(2, x), step{after: commits(in(2, x), 2)}, 0, in(0, x), in(1, x)},
		{"unknown", sim.CommitKnown, ghostOf(2, x[:1]), in(2, x), step{after: commits(in(2, x), 2)}, 0, in(0, x), in(1, x)},
		{"other", sim.StateMachineSafety, ghostOf(2, x), in(2, y), step{after: commits(in(2, y), 2)}, 0, in(0, x), in(1, x)},
		{"unknown, told", sim.CommitKnown, ghostOf(2, nil), in(2, x), told, 0, in(0, x), in(1, x)},
	})
}

// TestJointCommitsAreJudged demands that, while a configuration is joint, a majority of each half
// holds what is committed (§4.3). A configuration that a step appends counts only after that step.
func TestJointCommitsAreJudged(t *testing.T) {
	joint := func(n *node, voters, old servers) *node { n.voters, n.old = voters, old; return n }
	at := func(commit raft.Index, voters, old servers) *node {
		return joint(leading(in(2, x), commit), voters, old)
	}
	run(t, []trial{
		{"both halves", "", ghostOf(2, nil), at(0, 0b101, 0b111), step{after: at(2, 0b101, 0b111)}, 0, in(0, x), in(1, nil)},
		{"old half alone", sim.QuorumDurable, ghostOf(2, nil), at(0, 0b101, 0b111), step{after: at(2, 0b101, 0b111)}, 0, in(0, nil), in(1, x)},
		{"new half alone", sim.QuorumDurable, ghostOf(2, nil), at(0, 0b100, 0b111), step{after: at(2, 0b100, 0b111)}, 0, in(0, nil), in(1, nil)},
		{"settled by the step", sim.QuorumDurable, ghostOf(2, nil), at(0, 0b110, 0b101), step{after: at(2, 0b110, 0)}, 0, in(0, nil), in(1, x)},
		{"alone", "", ghostOf(2, nil), at(0, 0b111, 0), step{after: at(2, 0b100, 0)}, 0, in(0, nil), in(1, nil)},
	})
}

func TestLogsAreJudged(t *testing.T) {
	long, other := entriesOf("x", 1, 1, 2), entriesOf("y", 1, 1, 2)
	g := ghostOf(2, x)
	mine := entriesOf("x", 1, 2)
	mine[1].Number = 9
	run(t, []trial{
		{"the same past", "", &ghost{}, in(2, nil), step{after: in(2, long)}, 0, in(0, long[:2]), in(1, nil)},
		{"another entry", sim.LogMatching, &ghost{}, in(2, nil), step{after: in(2, y)}, 0, in(0, x), in(1, nil)},
		{"another past", sim.LogMatching, &ghost{}, in(2, nil), step{after: in(2, other)}, 0, in(0, long), in(1, nil)},
		{"applied", "", g, in(2, x), step{after: in(2, x), applied: x}, 0, in(0, x), in(1, x)},
		{"applied too much", sim.StateMachineSafety, ghostOf(2, x[:1]), in(2, x),
			step{after: in(2, x), applied: x}, 0, in(0, x), in(1, x)},
		{"applied another", sim.StateMachineSafety, g, in(2, x), step{after: in(2, x), applied: mine}, 0, in(0, x), in(1, x)},
	})
}

func TestAnswersAreJudged(t *testing.T) {
	own := entriesOf("x", 1, 2)
	own[1].Origin, own[1].Number = raft.Origin{Server: "3", Start: 1}, 7
	right := ghostOf(2, own).committed[1].result.show()
	waiting := func(c ...call) *ghost { g := ghostOf(2, own); g.calls = c; return g }
	asked := call{server: 2, start: 1, number: 7}
	read := call{server: 2, start: 1, number: 7, kind: callRead, since: 2}
	early := call{server: 2, start: 1, number: 7, kind: callRead}
	a, b, c := in(0, own), in(1, own), in(2, own)
	says := func(answer raft.Answer) step {
		answer.Number = 7
		return step{after: c, answers: []raft.Answer{answer}}
	}
	reads := func(index raft.Index) step {
		return step{after: commits(c, 1), answers: []raft.Answer{{Number: 7, Read: true, Index: index}}}
	}
	run(t, []trial{
		{"right", "", waiting(asked), c, says(raft.Answer{Index: 2, Result: right}), 0, a, b},
		{"to nobody", sim.Answers, waiting(), c, says(raft.Answer{Index: 2, Result: right}), 0, a, b},
		{"after a crash", sim.Answers, waiting(asked), c, says(raft.Answer{Index: 2, Result: right}), eventCrash, a, b},
		{"another result", sim.ReplicasEqual, waiting(asked), c, says(raft.Answer{Index: 2}), 0, a, b},
		{"another place", sim.NothingLost, waiting(asked), c, says(raft.Answer{Index: 1, Result: right}), 0, a, b},
		{"not committed", sim.NothingLost, waiting(asked), c, says(raft.Answer{Index: 3}), 0, a, b},
		{"not applied", sim.ExactlyOnce, waiting(asked), c, says(raft.Answer{Err: raft.ErrNotApplied}), 0, a, b},
		{"unknown", "", waiting(asked), c, says(raft.Answer{Err: raft.ErrOutcomeUnknown}), 0, a, b},
		{"no outcome", sim.Answers, waiting(asked), c, says(raft.Answer{Err: raft.ErrClosed}), 0, a, b},
		{"fresh read", "", waiting(early), c, reads(1), 0, a, b},
		{"old read", sim.FreshReads, waiting(read), c, reads(1), 0, a, b},
		{"read ahead", sim.FreshReads, waiting(early), c, reads(2), 0, a, b},
	})
}

// TestRefusedCommandsAreJudged demands that a command that was answered with ErrNotApplied isn't
// committed later.
func TestRefusedCommandsAreJudged(t *testing.T) {
	own := entriesOf("x", 1, 2)
	own[1].Origin, own[1].Number = raft.Origin{Server: "3", Start: 1}, 7
	g := ghostOf(2, nil)
	g.refused = []call{{server: 2, start: 1, number: 7}}
	l := leading(in(2, own), 0)
	run(t, []trial{{"refused", sim.ExactlyOnce, g, l, step{after: leading(in(2, own), 2)}, 0, in(0, own), in(1, nil)}})
}

// commits returns a server like n that knows what is committed and has applied it.
func commits(n *node, commit raft.Index) *node {
	l := *n
	l.status.commit, l.status.applied = commit, commit
	return &l
}
