package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A breach breaks one invariant, in a cluster in which nothing was wrong: it changes what a server
// says, what a disk holds, or what an observer has seen before, and lets the simulator look. lead is
// the server that leads, and other one that follows.
type breach func(w *World, lead, other int)

// breaches has a breach for each invariant that can be broken so. The tests of the commands and of the
// storages break the others: see unbroken.
var breaches = map[string][]breach{
	ElectionSafety: {func(w *World, lead, other int) {
		w.ghost.leader(w.servers[lead].status.term).server = int8(other + 1)
		w.observeLeader(lead, &status{})
	}, func(w *World, lead, other int) {
		m := w.says(other, lead, wire.Heartbeat{Round: 1})
		w.checkMessage(other, &m)
	}},
	LeaderAppendOnly: {func(w *World, lead, _ int) {
		before := w.servers[lead].status
		before.last++
		w.observeLeader(lead, &before)
	}},
	LogMatching: {func(w *World, lead, _ int) {
		s := w.servers[lead].view[0]
		s.chain++
		w.matchLog(lead, 1, s)
	}},
	LeaderCompleteness: {func(w *World, lead, _ int) {
		w.ghost.commits[0] = w.servers[lead].status.last + 1
		w.observeLeader(lead, &status{})
	}, func(w *World, lead, _ int) {
		w.servers[lead].view[0].chain++
		w.ghost.commits[0] = 1
		w.observeLeader(lead, &status{})
	}},
	StateMachineSafety: {func(w *World, lead, _ int) {
		w.checkApply(&w.servers[lead].replica, &raft.Entry{Index: w.ghost.commit() + 1})
	}, func(w *World, lead, _ int) {
		w.checkApply(&w.servers[lead].replica, &raft.Entry{Index: w.ghost.commit(), Term: 99})
	}, func(w *World, lead, _ int) { // the same once more
		w.checkApply(&w.servers[lead].replica, &w.ghost.entries[w.ghost.commit()-1])
	}, func(w *World, lead, _ int) {
		w.servers[lead].checked, w.ghost.committed[0].chain = 0, 1
		w.servers[lead].status.commit = 1
		w.checkCommitted(lead)
	}},
	OneVote: {func(w *World, lead, other int) {
		w.checkVote(other, 99, lead)
		w.checkVote(other, 99, other)
	}},
	Cursors: {func(w *World, lead, _ int) {
		w.servers[lead].status.term++
		w.observe(lead)
	}, func(w *World, _, other int) {
		w.servers[other].status.applied++
		w.observe(other)
	}, func(w *World, lead, _ int) { // it starts in an earlier term
		w.servers[lead].disk.state.Start = 0 // as it was at the start
		w.servers[lead].disk.state.Term++
		w.checkStart(lead)
	}},
	StableIsDurable: {func(w *World, _, other int) {
		w.servers[other].disk.slots[w.servers[other].status.stable-1].chain++
		w.checkStable(other)
	}},
	QuorumDurable: {func(w *World, lead, _ int) { // one disk isn't a majority
		for i := range w.n {
			if i != lead {
				*w.servers[i].disk = disk{state: w.servers[i].disk.state}
			}
		}
		w.observeCommit(lead)
	}},
	CommitKnown: {func(w *World, _, other int) {
		w.servers[other].status.commit = w.ghost.commit() + 1
		w.observeCommit(other)
	}, func(w *World, lead, other int) {
		m := w.says(lead, other, wire.Heartbeat{Commit: w.ghost.commit() + 1})
		w.checkMessage(lead, &m)
	}},
	Gate: {func(w *World, lead, other int) {
		m := w.says(other, lead, wire.AppendResponse{Accepted: true, Index: w.servers[other].disk.last() + 1})
		w.checkMessage(other, &m)
	}, func(w *World, lead, other int) {
		m := w.says(other, lead, wire.HeartbeatResponse{Durable: w.servers[other].disk.last() + 1})
		w.checkMessage(other, &m)
	}, func(w *World, lead, other int) {
		m := w.says(other, lead, wire.HeartbeatResponse{Lease: 1})
		w.checkMessage(other, &m)
	}, func(w *World, lead, other int) {
		w.servers[other].disk.state.Term--
		m := w.says(other, lead, wire.VoteResponse{})
		w.checkMessage(other, &m)
	}, func(w *World, lead, other int) {
		w.checkVote(other, w.servers[other].disk.state.Term, (lead+1)%w.n)
		w.checkVote(other, w.servers[other].disk.state.Term, (lead+2)%w.n)
	}},
	WritesInOrder: {func(w *World, lead, _ int) {
		w.checkStart(lead) // the disk holds this very start by now
	}, func(w *World, _, other int) {
		w.checkWrite(other, &raft.Write{Number: w.servers[other].lastWrite + 2, State: w.servers[other].disk.state})
	}, func(w *World, _, other int) {
		write := raft.Write{Number: w.servers[other].lastWrite + 1, State: w.servers[other].disk.state}
		write.State.Term--
		w.checkWrite(other, &write)
	}, func(w *World, _, other int) {
		last := w.servers[other].disk.last()
		w.checkWrite(other, &raft.Write{Number: w.servers[other].lastWrite + 1, State: w.servers[other].disk.state, Entries: []raft.Entry{{Index: last + 2}}})
	}},
	ExactlyOnce: {func(w *World, lead, _ int) {
		w.commitCommand(lead, &raft.Entry{Index: 9, Kind: wire.EntryCommand, Number: 1, Origin: raft.Origin{Server: "9"}})
	}, func(w *World, lead, _ int) { // once more
		w.commitCommand(lead, w.command1())
	}, func(w *World, lead, _ int) {
		e := w.command1()
		w.ops[1].index, w.ops[1].outcome = 0, outcomeNotApplied
		w.commitCommand(lead, e)
	}},
	NothingLost: {func(w *World, lead, _ int) {
		w.checkOutcome(lead, &operation{}, &raft.Answer{Index: 1})
	}},
	ReplicasEqual: {func(w *World, lead, _ int) {
		w.checkOutcome(lead, &operation{index: w.ops[1].index}, &raft.Answer{Index: w.ops[1].index, Result: []byte("another")})
	}},
	BytesKept: {func(w *World, _, other int) {
		write := w.nextWrite(other)
		write.Repairs = []raft.Entry{w.servers[other].disk.entries[1]}
		write.Repairs[0].Data = []byte("another")
		w.checkRepairs(other, write)
	}},
	SoundAcknowledged: {func(w *World, lead, other int) {
		w.step(Event{Op: OpLose, Server: int8(other), N: lostAt(2, 1)}, nil)
		w.step(Event{Op: OpCrash, Server: int8(other)}, nil)
		w.step(Event{Op: OpStart, Server: int8(other)}, nil)
		m := w.says(other, lead, wire.AppendResponse{Accepted: true, Index: 3})
		w.checkSound(other, m.AppendResponse().Index)
	}},
	NothingGivenUp: {func(w *World, _, other int) {
		s := &w.servers[other]
		s.checked = 0
		w.checkWrite(other, w.nextWrite(other, raft.Entry{Index: 2, Term: s.status.term + 1}))
	}},
	OwnAnswers: {func(w *World, lead, _ int) {
		w.checkOwn(lead, &operation{op: OpPropose, data: w.ops[1].data}, &raft.Answer{Index: w.ops[1].index, Result: []byte("another")})
	}},
	Strangers: {func(w *World, lead, _ int) {
		asked := wire.IdentityRequest{}.Message().In(wire.Envelope{From: outsider})
		w.checkTold(lead, &asked, []wire.Message{wire.IdentityResponse{}.Message().In(wire.Envelope{To: outsider, FromIncarnation: 1})})
	}, func(w *World, lead, _ int) {
		w.servers[lead].named(wire.ClusterKey{1})
		w.checkKeys(lead)
	}, func(w *World, lead, _ int) {
		s := &w.servers[lead]
		s.named(wire.ClusterKey{1})
		s.keys = []wire.ClusterKey{{2}, {1}}
		w.checkKeys(lead)
	}, func(w *World, lead, _ int) {
		s := &w.servers[lead]
		s.named(wire.ClusterKey{1}).Members = nil
		s.keys = []wire.ClusterKey{{1}}
		w.checkKeys(lead)
	}},
	LeadersHeard: {func(w *World, lead, other int) {
		w.keyed(wire.ClusterKey{1})
		s := &w.servers[other]
		s.keys, s.known = []wire.ClusterKey{{1}}, [MaxServers]string{}
		m := w.says(lead, other, wire.Heartbeat{})
		m.Cluster = s.disk.state.Cluster
		w.marked(s, &m)
	}},
	KeysStayInside: {func(w *World, lead, _ int) {
		index := w.keyed(wire.ClusterKey{1})
		call := &wire.Call{Kind: wire.CallRemove, Members: []raft.Member{{Server: raft.Server{ID: "9"}}}}
		w.checkChanged(lead, &operation{index: index, call: call}, &raft.Answer{Index: index})
	}},
	NoContradiction: {func(w *World, lead, other int) {
		m := w.says(lead, other, wire.VoteRequest{})
		m.Term = 1 << 62
		w.servers[other].core.Receive(w.local(&w.servers[other]), m)
		w.checkRefused(other, false)
	}},
	AskedFirst: {func(w *World, lead, other int) {
		s := &w.servers[other]
		s.inquiry = inquiry{begun: w.local(s), members: s.core.Status().Configuration.Members}
		m := w.says(other, lead, wire.HeartbeatResponse{})
		w.checkMessage(other, &m)
	}, func(w *World, lead, other int) {
		s := &w.servers[other]
		w.servers[lead].heardOf[other].before = wire.Place{Term: s.loaded.Term + 1}
		m := w.says(lead, other, wire.Known{Start: s.core.Origin().Start})
		m.ToIncarnation = s.disk.state.Incarnation
		w.answered(other, &m)
	}, func(w *World, _, other int) {
		w.servers[other].disk.state.RolledBack = true
		w.asksFrom(other)
	}},
	NoFalseAlarm: {func(w *World, _, other int) {
		w.servers[other].status.noticed = true
		w.checkAlarm(other)
	}},
	FreshReads: {func(w *World, lead, _ int) {
		w.checkFresh(lead, &operation{since: w.ghost.commit() + 1}, &raft.Answer{Index: w.ghost.commit()})
	}, func(w *World, lead, _ int) {
		w.checkFresh(lead, &operation{}, &raft.Answer{Fresh: w.local(&w.servers[lead]), Index: w.ghost.acknowledged - 1})
	}},
	Answers: {func(w *World, lead, _ int) {
		w.checkAnswer(lead, &raft.Answer{Number: 1 << 30})
	}, func(w *World, lead, _ int) { // a second time
		w.checkAnswer(int(w.ops[1].server), &raft.Answer{Number: w.ops[1].number})
	}, func(w *World, lead, _ int) {
		w.checkOutcome(lead, &operation{}, &raft.Answer{Err: errGivenUp})
	}, func(w *World, lead, _ int) {
		s := &w.servers[lead]
		earlier := raft.SnapshotMeta{Index: s.status.applied - 1}
		s.disk.current = &snapshotFile{meta: earlier}
		w.wantSnapshot(s)
		w.checkSnapshotAnswer(lead, &raft.SnapshotAnswer{Number: 1, Index: earlier.Index})
	}, func(w *World, lead, _ int) {
		w.checkSnapshotAnswer(lead, &raft.SnapshotAnswer{Number: 1})
	}},
	Levels: {func(w *World, lead, _ int) {
		w.servers[lead].level = 0
		w.checkLevel(lead, &raft.Entry{Kind: wire.EntryNoOp})
	}},
	Stickiness: {func(w *World, _, other int) {
		s := &w.servers[other]
		s.sticky = true
		s.status.term--
		w.observe(other)
	}},
	CheckQuorum: {func(w *World, lead, _ int) {
		s := &w.servers[lead]
		s.leaderSince, s.configured = 0, 0
		w.now += 10 * w.params.Election
		w.checkQuorum(lead)
	}},
	StalledDisk: {func(w *World, lead, _ int) {
		s := &w.servers[lead]
		s.leaderSince, s.wrote, s.writes = 0, instant{}, []*raft.Write{{}}
		w.now += 10 * w.params.Election
		w.checkLeadership(lead)
	}},
	LeadershipLasts: {func(w *World, lead, _ int) {
		w.checkLost(lead, &w.servers[lead].status)
	}, func(w *World, lead, _ int) { // a write that isn't done yet is no reason
		s := &w.servers[lead]
		s.writes, s.wrote = []*raft.Write{{}}, w.drained(s)
		w.checkStepDown(lead)
	}, func(w *World, lead, _ int) { // nor is a read
		s := &w.servers[lead]
		s.fetches, s.read = []raft.Fetch{{}}, w.drained(s)
		w.checkStepDown(lead)
	}, func(w *World, _, other int) {
		w.checkCampaign(other)
	}, func(w *World, lead, _ int) {
		w.undisturbedNow()
		s := &w.servers[lead]
		s.leaderSince = 0
		w.checkLost(lead, &status{role: leads, term: s.status.term - 1})
	}},
	Leases: {func(w *World, lead, _ int) {
		s := &w.servers[lead]
		s.status.leaseUntil = w.local(s) + 1
		w.checkPromises(lead)
	}, func(w *World, lead, other int) { // the promise of one of two others, or of none for so long
		s, o := &w.servers[lead], &w.servers[other]
		w.params.Drift = 1000
		s.status.leaseUntil = w.local(s) + 1_000_000
		o.promised = w.local(o) + 1_001_500
		w.checkPromises(lead)
	}, func(w *World, lead, _ int) {
		w.ghost.leader(w.servers[lead].status.term + 1).server = 1
		w.checkLease(lead)
	}, func(w *World, lead, _ int) { // none at all, though nothing is wrong
		w.undisturbedNow()
		w.params.MaxLease = w.params.Election
		s := &w.servers[lead]
		s.leaderSince, s.configured = -100*raft.Instant(w.params.Election), -100*raft.Instant(w.params.Election)
		w.checkLeaseHeld(lead)
	}},
	InTime: {func(w *World, lead, _ int) {
		w.undisturbedNow()
		w.checkInTime(lead, &operation{due: w.now - 1}, &raft.Answer{})
	}},
	SentOnce: {func(w *World, lead, other int) {
		w.undisturbedNow()
		w.servers[lead].leaderSince = -100 * raft.Instant(w.params.Election)
		l := &w.links[lead][other]
		l.reached = 5
		w.checkSentOnce(lead, l, []raft.Entry{{Index: 5}})
	}},
	HandingOver: {func(w *World, lead, other int) {
		s := &w.servers[lead]
		s.transfers = []transfer{{to: int8(other + 1), since: s.status.term}}
		w.checkTransfer(lead, &raft.Answer{Call: true})
	}, func(w *World, lead, other int) {
		w.servers[other].disk.slots = w.servers[other].disk.slots[:1]
		m := w.says(lead, other, wire.TimeoutNow{})
		w.checkHandOver(lead, &m)
	}},
	Fences: {func(w *World, lead, _ int) {
		e := w.command1()
		w.ops[1].index, w.ops[1].outcome, w.ops[1].fence = 0, outcomeOpen, 99
		w.commitCommand(lead, e)
	}},
	ArrivedFirst: {func(w *World, lead, other int) {
		s := &w.servers[other]
		s.arrived = []arrived{{message: w.says(lead, other, wire.Heartbeat{Round: 1})}}
		w.now += 10 * w.params.Election
		s.heard = 0
		(&turn{w, other}).Tick(w.local(s))
	}},
	DeadlinesMove: {func(w *World, _, other int) {
		w.now += 10 * w.params.Election
		w.checkTimes(other, &Event{Op: OpExpire}, nil)
	}},
	BoundedMemory: {func(w *World, lead, other int) {
		m := w.says(lead, other, wire.AppendRequest{Entries: make([]raft.Entry, 100)})
		w.params.MaxAppend = 99*wire.EntryOverhead - 1
		w.checkBounds(lead, &m)
	}, func(w *World, lead, other int) {
		m := w.says(lead, other, wire.AppendRequest{})
		m.ToIncarnation = w.servers[other].disk.state.Incarnation
		for range w.params.WindowMessages + 2 { // the first one may belong to a round of heartbeats
			w.checkBounds(lead, &m)
		}
	}, func(w *World, lead, _ int) {
		s := &w.servers[lead]
		for range w.params.Writes {
			s.writes = append(s.writes, &raft.Write{Number: s.lastWrite, State: s.disk.state})
		}
		w.handWrite(lead, raft.Write{Number: s.lastWrite + 1, State: s.disk.state})
	}, func(w *World, lead, _ int) {
		one := w.ghost.entries[:1]
		w.handTasks(lead, &raft.Effects{Apply: [][]raft.Entry{one, one, one, one, one}})
	}, func(w *World, lead, _ int) {
		w.params.MaxUncommitted, w.biggest = 0, 0
		w.servers[lead].status.stable, w.servers[lead].termBegin = 1, 1
		w.checkQuota(lead)
	}, func(w *World, lead, _ int) {
		w.params.MaxUnapplied, w.biggest = 0, 0
		w.servers[lead].status.applied, w.servers[lead].termBegin = 1, 1
		w.checkQuota(lead)
	}},
	CoreCheck: {func(w *World, lead, other int) {
		w.swap(lead, w.servers[other].core) // which is no clone
	}},
	Convergence: {func(w *World, _, _ int) { // it isn't founded
		w.reset(w.params)
		w.patience = 0
		w.step(Event{Op: OpFound}, nil)
	}, func(w *World, _, _ int) {
		w.patience = 0
		w.step(Event{Op: OpSettle}, nil)
	}},
	Starts: {func(w *World, _, other int) {
		w.crash(other, 0)
		w.servers[other].disk.state.Server = "another"
		w.start(other, 0)
	}},
	Belongs: {func(w *World, _, other int) {
		w.servers[other].kept.index = 1
		w.judgeStart(other, nil)
	}, func(w *World, _, other int) {
		w.servers[other].kept.index = w.servers[other].disk.last() + 1
		w.judgeStart(other, nil)
	}},
	SnapshotSound: {func(w *World, lead, _ int) {
		w.checkMeta(lead, &raft.SnapshotMeta{Index: w.ghost.commit() + 1})
	}, func(w *World, lead, _ int) {
		w.checkMeta(lead, &raft.SnapshotMeta{Index: 1, Term: w.ghost.committed[0].term, ConfigurationIndex: 1})
	}, func(w *World, lead, _ int) {
		counts := w.ghost.configurations[0].configuration
		w.checkMeta(lead, &raft.SnapshotMeta{Index: 2, Term: w.ghost.committed[1].term, Configuration: *counts, ConfigurationIndex: 2})
	}, func(w *World, lead, _ int) { // the current one wasn't read
		d, write := w.servers[lead].disk, w.nextWrite(lead)
		d.previous, d.current = &snapshotFile{meta: *w.metaAt1()}, &snapshotFile{meta: raft.SnapshotMeta{Index: 2}}
		write.Compact = 2
		w.checkNamed(lead, write)
	}},
	RoomKept: {func(w *World, lead, _ int) {
		w.params.Reserve = 100
		w.checkRoom(lead)
	}, func(w *World, lead, other int) { // one disk of three isn't enough
		w.params.Reserve = 100
		w.servers[other].disk.room.owned = 1 << 20
		w.checkRoom(lead)
	}},
	RefusedWhenFull: {func(w *World, lead, other int) {
		s := &w.servers[lead]
		w.params.Reserve, s.dry, s.leaderSince = 100, 1, -100*raft.Instant(w.params.Election)
		_ = s.core.Transfer(w.local(s), w.servers[other].id) // meanwhile it takes nothing
		s.core.Propose(w.local(s), nil)
		w.now += 10 * w.params.Election
		w.checkDry(lead)
	}},
	GoesOn: {func(w *World, lead, _ int) {
		w.freed = w.now
		w.now += 10 * w.params.Election
		w.checkRefusedFull(lead, &operation{}, raft.ErrFull)
	}},
	LogBounded: {func(w *World, _, _ int) {
		w.params.SnapshotMin = 0
		w.checkGrown()
	}},
	Assertion: {func(w *World, _, _ int) {
		w.guard(func() { panic("broken") })
	}},
}

// unbroken says how each of the other invariants is shown to be looked after.
var unbroken = map[string]string{
	Sessions:     "mutants of the sessions",
	Steps:        "mutants of the changes of members",
	CatchingUp:   "a mutant that gives up a server while bytes of its snapshot come",
	Succession:   "a mutant that ignores priorities",
	LentEntries:  "a test of rafttest.Check",
	DurableState: "a test of rafttest.Check",
	Recovery:     "mutants of the log",
	Invariant:    "a test of rafttest.Check",
}

// says returns a message from one server to another, in the sender's term.
func (w *World) says(from, to int, body interface{ Message() wire.Message }) wire.Message {
	s := &w.servers[from]
	return body.Message().In(wire.Envelope{From: s.id, To: w.servers[to].id, Term: s.status.term})
}

// keyed gives the last committed configuration a key that a removed server knows, and returns the
// index of that configuration.
func (w *World) keyed(key wire.ClusterKey) raft.Index {
	last := &w.ghost.configurations[len(w.ghost.configurations)-1]
	configuration := *last.configuration
	configuration.Keys, configuration.KeyOutworn = []wire.ClusterKey{key}, true
	last.configuration = &configuration
	return last.index
}

// named gives the last configuration in a server's log a key, and returns that configuration.
func (s *server) named(key wire.ClusterKey) *raft.Configuration {
	last := &s.configurations[len(s.configurations)-1]
	configuration := *last.configuration
	configuration.Keys = []wire.ClusterKey{key}
	last.configuration = &configuration
	return &configuration
}

// command1 returns the entry of operation 1.
func (w *World) command1() *raft.Entry { return &w.ghost.entries[w.ops[1].index-1] }

// undisturbedNow makes the simulator believe that it is in the middle of a run in which nothing is
// wrong.
func (w *World) undisturbedNow() {
	w.timed, w.phase, w.phaseBegun = true, phaseFaults, w.now-2*w.params.Election
	w.params.FaultKinds = 0
}

// TestEachInvariantCanBreak demands that each invariant is broken by what breaks it, and by nothing
// else. It is the first test and isn't parallel, so that an invariant which is lost is noticed at
// once, and not behind all the runs of the other tests.
func TestEachInvariantCanBreak(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "violation.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if c, ok := n.(*ast.GenDecl); ok && c.Tok == token.CONST {
			for _, spec := range c.Specs {
				name, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				require.Equal(t, breaches[name] == nil, unbroken[name] != "", "%s: one of the two", name)
			}
		}
		return true
	})
	for name, all := range breaches {
		for i, breaks := range all {
			w := healthy(t)
			lead := w.leading()
			breaks(w, lead, (lead+1)%3)
			if assert.NotNil(t, w.violation, "%s, breach %d", name, i) {
				assert.Equal(t, name, w.violation.Name, "breach %d: %s", i, w.violation.Detail)
			}
		}
	}
}
