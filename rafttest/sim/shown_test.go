package sim

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// errBoth names two outcomes.
var errBoth = errors.Join(raft.ErrNotApplied, raft.ErrOutcomeUnknown)

// singleChecks has a breach for single checks, beyond one for each invariant. Each is known by a piece of
// what it tells.
var singleChecks = map[string]struct {
	name   string
	breaks breach
}{
	// of writes and logs
	"commits index 3 on a log that differs at index 2": {StateMachineSafety, func(w *World, lead, _ int) {
		w.ghost.committed = w.ghost.committed[:2]
		w.ghost.committed[1].chain++
		w.commitFrom(lead, w.servers[lead].disk, 3)
	}},
	"a write repairs index 99 in term 0": {WritesInOrder, func(w *World, _, other int) {
		write := w.nextWrite(other)
		write.Repairs = []raft.Entry{{Index: 99}}
		w.checkRepairs(other, write)
	}},
	"has won term": {ElectionSafety, func(w *World, lead, other int) {
		w.ghost.leader(w.servers[lead].status.term).server = int8(other + 1)
		w.observeRecovering(lead)
	}},
	"the identity of the disk changes": {WritesInOrder, func(w *World, _, other int) {
		write := w.nextWrite(other)
		write.State.Cluster[0]++
		w.checkWrite(other, write)
	}},
	"index 1 is committed, but it is replaced": {StateMachineSafety, func(w *World, _, other int) {
		w.checkWrite(other, w.nextWrite(other, raft.Entry{Index: 1}))
	}},
	"replaces index 2": {LeaderAppendOnly, func(w *World, lead, _ int) {
		w.servers[lead].checked = 0
		w.checkWrite(lead, w.nextWrite(lead, raft.Entry{Index: 2}))
	}},
	"in term 0 follows index": {WritesInOrder, func(w *World, _, other int) {
		w.extendView(other, []raft.Entry{{Index: raft.Index(len(w.servers[other].view)) + 1, Kind: wire.EntryNoOp}})
	}},
	"after it has begun to hand over": {HandingOver, func(w *World, lead, _ int) {
		s := &w.servers[lead]
		s.status.handing = true
		w.extendView(lead, []raft.Entry{{Index: s.status.last + 1, Term: s.status.term, Kind: wire.EntryCommand}})
	}},
	"holds another entry at index 1": {LeaderCompleteness, func(w *World, lead, _ int) {
		w.servers[lead].view = nil
		w.extendView(lead, []raft.Entry{{Index: 1, Kind: wire.EntryNoOp}})
	}},
	"a write has 0 bytes beyond its first entry": {BoundedMemory, func(w *World, _, other int) {
		w.params.WriteBytes = -1
		w.handWrite(other, *w.nextWrite(other))
	}},
	"hands an empty batch": {StateMachineSafety, func(w *World, lead, _ int) {
		w.handTasks(lead, &raft.Effects{Apply: [][]raft.Entry{{}}})
	}},
	"asks for a second snapshot": {SnapshotSound, func(w *World, lead, _ int) {
		w.servers[lead].capture = &capture{}
		w.handTasks(lead, &raft.Effects{TakeSnapshot: &raft.SnapshotMeta{}})
	}},
	"the configuration at index 9: ": {Levels, func(w *World, lead, _ int) {
		w.checkLevel(lead, &raft.Entry{Index: 9, Kind: wire.EntryConfiguration, Data: []byte{0xff}})
	}},

	// of messages
	`from "9" to `: {Gate, func(w *World, lead, other int) {
		m := w.says(other, lead, wire.Heartbeat{})
		m.From = "9"
		w.checkMessage(other, &m)
	}},
	"whose address it hasn't told": {Gate, func(w *World, lead, other int) {
		w.servers[lead].known[other], w.servers[lead].reached[other] = "", false
		m := w.says(lead, other, wire.Heartbeat{})
		w.checkMessage(lead, &m)
	}},
	"names start 0x1, durable is ": {Gate, func(w *World, lead, other int) {
		m := w.says(lead, other, wire.Heartbeat{})
		m.FromStart = 1
		w.checkMessage(lead, &m)
	}},
	"names its disk 1, but ": {Gate, func(w *World, lead, other int) {
		m := w.says(lead, other, wire.IdentityResponse{})
		m.FromIncarnation = 1
		w.checkMessage(lead, &m)
	}},
	"of start 1, durable is": {Gate, func(w *World, lead, other int) {
		m := w.says(other, lead, wire.ForwardRequest{Start: 1})
		w.checkMessage(other, &m)
	}},
	"where the leader's log differs": {Gate, func(w *World, lead, other int) {
		w.servers[lead].view[0].chain++
		m := w.says(other, lead, wire.AppendResponse{Accepted: true, Index: 1})
		w.checkMessage(other, &m)
	}},
	"steps down though the answers of 2 of 3": {ArrivedFirst, func(w *World, lead, other int) {
		s := &w.servers[lead]
		s.arrived = []arrived{{message: w.says(other, lead, wire.HeartbeatResponse{})}}
		s.leaderSince = -100 * raft.Instant(w.params.Election)
		w.now += 10 * w.params.Election
		(&turn{w, lead}).Tick(w.local(s))
	}},

	// of answers
	"but the state machine is at 0": {FreshReads, func(w *World, lead, _ int) {
		w.servers[lead].replica.command = 0
		w.checkRead(lead, &operation{read: true}, &raft.Answer{Read: true, Index: w.ghost.commit()})
	}},
	"a read sees a state that is": {FreshReads, func(w *World, lead, _ int) {
		w.params.ReadAge = 0
		w.checkFresh(lead, &operation{stale: true, since: w.ghost.commit() + 1}, &raft.Answer{Index: w.ghost.commit()})
	}},
	"command 7: the error raft: command not applied raft: outcome of command unknown names two outcomes": {Answers, func(w *World, lead, _ int) {
		w.checkOutcome(lead, &operation{}, &raft.Answer{Number: 7, Err: errBoth})
	}},
	"call 0: the error raft: command not applied raft: outcome of command unknown names two outcomes": {Answers, func(w *World, lead, _ int) {
		w.checkChanged(lead, &operation{call: &wire.Call{}}, &raft.Answer{Err: errBoth})
	}},
	"call 0: the error given up names no outcome": {Answers, func(w *World, lead, _ int) {
		w.checkChanged(lead, &operation{call: &wire.Call{}}, &raft.Answer{Err: errGivenUp})
	}},
	"command 7 is answered with ErrNotApplied, but committed at index 2": {ExactlyOnce, func(w *World, lead, _ int) {
		w.checkOutcome(lead, &operation{index: 2}, &raft.Answer{Number: 7, Err: raft.ErrNotApplied})
	}},
	"answers a transfer, number 99": {Answers, func(w *World, lead, _ int) {
		w.checkTransfer(lead, &raft.Answer{Call: true, Number: 99})
	}},
	"doesn't name one outcome": {Answers, func(w *World, lead, _ int) {
		w.servers[lead].transfers = []transfer{{}}
		w.checkTransfer(lead, &raft.Answer{Call: true, Err: errGivenUp})
	}},
	"the session opened at index 1 is called": {Sessions, func(w *World, lead, _ int) {
		w.sessionAnswered(lead, &operation{op: OpOpen, index: 1}, &raft.Answer{})
	}},
	"committed at index 0, is answered with": {Sessions, func(w *World, lead, _ int) {
		w.checkRefusal(lead, &operation{}, &raft.Answer{Err: raft.ErrSessionExpired})
	}},

	// of leases and elections
	"holds a lease for another 100 ns": {Leases, func(w *World, lead, other int) {
		o := &w.servers[other]
		o.status = status{role: leads, term: w.servers[lead].status.term - 1, leaseUntil: w.local(o) + 100}
		w.checkLeases(lead)
	}},
	"campaign while it holds a lease": {Leases, func(w *World, lead, other int) {
		w.servers[lead].status.leaseUntil = 1
		m := w.says(lead, other, wire.TimeoutNow{})
		w.checkHandOver(lead, &m)
	}},
	"without the votes of a quorum of": {ElectionSafety, func(w *World, lead, _ int) {
		for j := range w.n {
			if j != lead {
				*w.ghost.vote(j, w.servers[lead].status.term) = 0
			}
		}
		w.checkElected(lead)
	}},

	// of configurations
	"follows the one at index 1": {Steps, func(w *World, lead, _ int) {
		w.checkSteps(lead, placed{1, w.ghost.settled}, placed{2, &raft.Configuration{}})
	}},
	"a configuration that nobody asked for": {ExactlyOnce, func(w *World, lead, _ int) {
		w.checkChange(lead, placed{2, w.ghost.settled}, 0)
	}},
	"the change at index 2 has ended at index 1 already": {ExactlyOnce, func(w *World, lead, _ int) {
		w.checkChange(lead, placed{2, w.ghost.settled}, w.change(operation{index: 1}))
	}},
	"has changed the members: 123 became ": {ExactlyOnce, func(w *World, lead, _ int) {
		w.checkChange(lead, placed{2, &raft.Configuration{Refusal: wire.RefusedHalfway + 1}}, w.change(operation{}))
	}},
	"the change at index 2 was answered with ErrNotApplied": {ExactlyOnce, func(w *World, lead, _ int) {
		w.checkChange(lead, placed{2, w.ghost.settled}, w.change(operation{outcome: outcomeNotApplied}))
	}},
	"follows one with an outworn key at index 1": {Steps, func(w *World, lead, _ int) {
		w.checkRenewed(lead, placed{1, w.ghost.settled}, placed{2, &raft.Configuration{}}, 0)
	}},
	"ends in the configuration 123": {Steps, func(w *World, lead, _ int) {
		call := &wire.Call{Kind: wire.CallRemove, Members: w.ghost.settled.Members[:1]}
		w.checkTarget(lead, &operation{call: call}, w.ghost.settled)
	}},
	"but no settled configuration is committed there": {NothingLost, func(w *World, lead, _ int) {
		w.checkChanged(lead, &operation{call: &wire.Call{}}, &raft.Answer{Index: 99})
	}},
	"is acknowledged at index 1, but ended at index 2 (refused: false)": {NothingLost, func(w *World, lead, _ int) {
		w.checkChanged(lead, &operation{call: &wire.Call{}, index: 2}, &raft.Answer{Index: 1})
	}},
	"is answered with ErrNotApplied, but done at index 2": {ExactlyOnce, func(w *World, lead, _ int) {
		w.checkChanged(lead, &operation{call: &wire.Call{}, index: 2}, &raft.Answer{Err: raft.ErrNotApplied})
	}},
	"though the one at index 99 isn't committed": {Steps, func(w *World, lead, _ int) {
		w.checkAppendedConfiguration(lead, &placed{index: 99}, placed{index: 100})
	}},
	"though it has committed nothing in term": {Steps, func(w *World, lead, _ int) {
		w.ghost.commits[w.servers[lead].status.term] = 0
		w.checkAppendedConfiguration(lead, &placed{}, placed{index: 9})
	}},
	"uses the configuration at index 1, but the last one in its log is at 0": {Steps, func(w *World, lead, _ int) {
		w.servers[lead].configurations = nil
		w.checkConfiguration(lead)
	}},

	// of snapshots
	"which isn't stored": {SnapshotSound, func(w *World, lead, _ int) {
		write := w.nextWrite(lead)
		write.Snapshot = w.metaAt1()
		w.checkNamed(lead, write)
	}},
	"the snapshot of index 1 replaces that of index 2": {SnapshotSound, func(w *World, lead, _ int) {
		d, write := w.servers[lead].disk, w.nextWrite(lead)
		write.Snapshot = w.metaAt1()
		d.stored = append(d.stored, &snapshotFile{meta: *write.Snapshot})
		d.current = &snapshotFile{meta: raft.SnapshotMeta{Index: 2}}
		w.checkNamed(lead, write)
	}},
	"the snapshot of index 1 replaces a log that is committed up to": {StateMachineSafety, func(w *World, lead, _ int) {
		s, write := &w.servers[lead], w.nextWrite(lead)
		write.Snapshot = w.metaAt1()
		s.disk.stored = append(s.disk.stored, &snapshotFile{meta: *write.Snapshot})
		s.view[0].term++
		w.checkNamed(lead, write)
	}},
	"the log is forgotten up to 5, but the snapshot covers 0": {SnapshotSound, func(w *World, lead, _ int) {
		write := w.nextWrite(lead)
		write.Compact = 5
		w.checkNamed(lead, write)
	}},
	"is written after it was closed": {SnapshotSound, func(w *World, lead, _ int) {
		h := &held{r: &w.servers[lead].replica, inner: new(bytes.Buffer), closed: true}
		_, _ = h.WriteTo(io.Discard) // an empty buffer fails nowhere
	}},
	"is closed twice": {SnapshotSound, func(w *World, lead, _ int) {
		h := &held{r: &w.servers[lead].replica, closed: true}
		_ = h.Close() // it reports to the world
	}},
	"1 captures of the state machine were never closed": {SnapshotSound, func(w *World, lead, _ int) {
		w.servers[lead].replica.open = 1
		w.release(&w.servers[lead])
	}},
	"is other bytes here than one captured at server": {ReplicasEqual, func(w *World, lead, other int) {
		w.checkBytes(lead, w.metaAt1(), []byte("one"), 0)
		w.checkBytes(other, w.metaAt1(), []byte("two"), 0)
	}},
	"a snapshot of 0 bytes is sent as one of 1 bytes": {SnapshotSound, func(w *World, lead, other int) {
		s, meta := &w.servers[lead], w.metaAt1()
		s.disk.current = &snapshotFile{meta: *meta}
		w.open(&stream{from: int8(lead), to: int8(other), meta: *meta, header: wire.SnapshotStream{SnapshotRequest: wire.SnapshotRequest{Bytes: 1}}.Message()})
	}},
	"a stream goes on at 5 of another snapshot": {SnapshotSound, func(w *World, _, other int) {
		w.streams = append(w.streams, &stream{number: 7, to: int8(other)})
		w.judge(&w.servers[other], &raft.StreamVerdict{Stream: 7, Accepted: true, Meta: *w.metaAt1(), Offset: 5})
	}},

	// of sessions
	"command 1 of client 0 (sent only once: false) is answered with": {Sessions, func(w *World, lead, _ int) {
		w.ghost.verdicts[0].err = raft.ErrSessionExpired
		w.checkRefusal(lead, &operation{index: 1, sequence: 1}, &raft.Answer{Err: errors.Join(raft.ErrSessionExpired, raft.ErrNotApplied)})
	}},
	"but was applied at index 3": {Sessions, func(w *World, lead, _ int) {
		w.ghost.verdicts[0].err = raft.ErrSessionExpired
		w.sessions[0].calls = []call{{}, {command: raft.SessionCommand{Sequence: 1}, copies: 1, applied: 3}}
		w.checkRefusal(lead, &operation{index: 1, sequence: 1, only: true}, &raft.Answer{Err: errors.Join(raft.ErrSessionExpired, raft.ErrNotApplied)})
	}},
	"and was at index 3": {Sessions, func(w *World, lead, _ int) {
		w.sessions[0].calls = []call{{}, {command: raft.SessionCommand{Sequence: 1}, applied: 3}}
		e := w.command1()
		w.ops[1].op, w.ops[1].sequence = OpCall, 1
		w.callApplied(lead, e)
	}},
	"differs from that of the same entries taken one by one": {Sessions, func(w *World, lead, _ int) {
		w.params.Sessions = 1
		w.ghost.verdicts[1].table++
		w.checkTable(&w.servers[lead], 2)
	}},

	// of durable state machines
	"its store can't be opened: out of order": {DurableState, func(w *World, lead, _ int) {
		w.options.Store = func() Store { return closedStore{} }
		w.openMachine(lead)
	}},
	"its store opens without a state machine": {DurableState, func(w *World, lead, _ int) {
		w.options.Store = func() Store { return oddStore{} }
		w.openMachine(lead)
	}},
	"its store opens without Load or without Save": {DurableState, func(w *World, lead, _ int) {
		w.options.Store = func() Store { return oddStore{machine: new(chainMachine)} }
		w.openMachine(lead)
	}},
	"a new store can't apply and save what was committed up to index 1: ": {DurableState, func(w *World, lead, _ int) {
		w.options.Store = func() Store {
			return oddStore{new(chainMachine), raft.DurableMachine{
				Load: func() (raft.Index, []byte, error) { return 0, nil, nil },
				Save: func(raft.Index, []byte) error { return errBroken },
			}}
		}
		w.remake(lead, 1)
	}},
	"an empty store can't be opened: out of order": {DurableState, func(w *World, _, _ int) {
		w.options.Store = func() Store { return closedStore{} }
		w.machine()
	}},
	"Load failed: out of order": {DurableState, func(w *World, lead, _ int) {
		w.servers[lead].durable.Load = func() (raft.Index, []byte, error) { return 0, nil, errBroken }
		w.loadState(lead)
	}},
	"Load returned index 7 and": {DurableState, func(w *World, lead, _ int) {
		w.servers[lead].saves = []saved{{}}
		w.servers[lead].durable.Load = func() (raft.Index, []byte, error) { return 7, nil, nil }
		w.loadState(lead)
	}},
	"Save of index 7 failed: out of order": {DurableState, func(w *World, lead, _ int) {
		w.servers[lead].durable.Save = func(raft.Index, []byte) error { return errBroken }
		w.save(lead, 7, nil)
	}},
	"a durable state machine has applied index 99": {StateMachineSafety, func(w *World, lead, _ int) {
		_ = w.keep(lead, 99, nil) // it reports to the world
	}},
	"what a durable state machine has kept can't be restored": {SnapshotSound, func(w *World, lead, _ int) {
		w.params.Durable = 1000
		w.servers[lead].kept, w.servers[lead].replica.inner = kept{index: 2}, &illiterate{}
		w.resume(lead)
	}},
	"what is kept beside a durable state machine can't be restored": {SnapshotSound, func(w *World, lead, _ int) {
		s := &w.servers[lead]
		w.params.Durable = 1000
		w.options.Store = func() Store { return closedStore{} }
		s.kept = kept{index: 2, beside: []byte("nonsense")}
		w.resume(lead)
	}},
	"captured at server 1, can't be restored": {SnapshotSound, func(w *World, lead, _ int) {
		meta := w.metaAt1()
		w.servers[lead].disk.current = &snapshotFile{meta: *meta, bytes: []byte("nonsense")}
		w.restore(&w.servers[lead], meta)
	}},
	"differs from that of the same commands applied one by one": {ReplicasEqual, func(w *World, lead, _ int) {
		w.servers[lead].replica.inner = new(chainMachine)
		w.checkStates()
	}},
	"after index ": {Invariant, func(w *World, lead, _ int) {
		w.options.Invariant = func(raft.StateMachine) error { return errBroken }
		w.servers[lead].replica.Apply(nil, nil)
	}},

	// of time
	"leads on until": {StalledDisk, func(w *World, lead, _ int) {
		s := &w.servers[lead]
		s.wrote.latest, s.leaderSince = -100*raft.Instant(w.params.Election), -100*raft.Instant(w.params.Election)
		w.checkStalled(lead)
	}},
}

// nextWrite returns a write that a server may hand out next, with entries.
func (w *World) nextWrite(i int, entries ...raft.Entry) *raft.Write {
	s := &w.servers[i]
	return &raft.Write{Number: s.lastWrite + 1, State: s.disk.state, Entries: entries}
}

// metaAt1 returns what a snapshot of index 1 must say.
func (w *World) metaAt1() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{Index: 1, Term: w.ghost.committed[0].term, Configuration: *w.ghost.configurations[0].configuration, ConfigurationIndex: 1}
}

// change notes a change of the members, and returns its number.
func (w *World) change(o operation) int32 {
	o.call = &wire.Call{}
	w.ops = append(w.ops, o)
	return int32(len(w.ops))
}

// elsewhere has the checks without a breach, by the beginning of what they tell, and says what shows
// each of them.
var elsewhere = map[string]string{
	"Apply has changed the command":                       "a test of rafttest.Check",
	"a log that exists can't be opened":                   "mutants of the log",
	"the log fails though its disk doesn't":               "mutants of the log",
	"the snapshot is damaged though its disk isn't":       "mutants of the log",
	"entries are damaged though their disk isn't":         "mutants of the log",
	"a stranger's %v of term %d changes":                  "mutants of the strangers",
	"a stranger's %v of term %d has effects":              "mutants of the strangers",
	"isn't a member, and has the present key":             "mutants of the keys",
	"leads, though a healthy voter has a higher priority": "a mutant that ignores priorities",
	"gives up the change at index %d because a server":    "a mutant that gives up a server while bytes of its snapshot come",
	"applied %d, commit %d, stable %d, last":              "nothing: the core asserts the same, and is first",
	"the term has risen":                                  "nothing: it ends a run that would go on for ever",
	"the core has given a call the number":                "nothing: it bounds a table of the simulator",
}

// TestEachCheckIsShown demands that each call of World.fail is reached by a breach, or is shown
// elsewhere. A check that is new needs one, and a check that is dropped leaves its breach alone.
func TestEachCheckIsShown(t *testing.T) {
	t.Parallel()
	var told []string
	for name, all := range breaches {
		for _, breaks := range all {
			told = append(told, brokenBy(t, name, breaks))
		}
	}
	for piece, c := range singleChecks {
		detail := brokenBy(t, c.name, c.breaks)
		assert.Contains(t, strings.ReplaceAll(detail, "\n", " "), piece)
		told = append(told, detail)
	}
	used := map[string]bool{}
	for format, at := range formats(t) {
		pattern := regexp.MustCompile(`(?s)^` + verbs.ReplaceAllString(regexp.QuoteMeta(format), `.*`) + `$`)
		begins, listed := "", false
		for begins = range elsewhere {
			if listed = strings.HasPrefix(format, begins); listed {
				used[begins] = true
				break
			}
		}
		reached := slices.ContainsFunc(told, pattern.MatchString)
		assert.NotEqual(t, listed, reached, "%s: %q: a breach, or a line in elsewhere", at, format)
	}
	for begins := range elsewhere {
		assert.True(t, used[begins], "no check tells %q", begins)
	}
}

// verbs matches what fmt replaces in a format, after regexp.QuoteMeta.
var verbs = regexp.MustCompile(`%[#+.\\0-9]*[a-z]`)

// brokenBy returns what a breach makes the simulator tell about an invariant.
func brokenBy(t *testing.T, name string, breaks breach) string {
	t.Helper()
	w := healthy(t)
	lead := w.leading()
	breaks(w, lead, (lead+1)%3)
	if !assert.NotNil(t, w.violation, name) {
		return ""
	}
	assert.Equal(t, name, w.violation.Name, w.violation.Detail)
	return w.violation.Detail
}

// formats returns the formats of all calls of World.fail and Hosts.fail in this package, with their places. Those
// that have nothing to tell but an error don't tell one check from another, and are left out.
func formats(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found, set := map[string]string{}, token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 3 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			at := slices.IndexFunc(call.Args, func(a ast.Expr) bool { l, is := a.(*ast.BasicLit); return is && l.Kind == token.STRING })
			if !ok || at < 0 || method.Sel.Name != "fail" && method.Sel.Name != "failAtLast" {
				return true
			}
			format, err := strconv.Unquote(call.Args[at].(*ast.BasicLit).Value)
			require.NoError(t, err)
			if format != "%v" && format != "%s" {
				found[format] = set.Position(call.Pos()).String()
			}
			return true
		})
	}
	require.Greater(t, len(found), 100)
	return found
}

// healthy returns a cluster of three in which nothing was wrong.
func healthy(t *testing.T) *World {
	t.Helper()
	w := NewWorld(Options{})
	require.Nil(t, w.Replay(&Schedule{Params: Calm(1, 3), Events: []Event{
		{Op: OpFound}, {Op: OpPropose, N: 1}, {Op: OpPropose, Server: 1, N: 2}, {Op: OpQuery, Server: 2, N: 3}, {Op: OpPass, N: 2e9},
	}}).Violation)
	return w
}
