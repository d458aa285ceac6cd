package prometheus

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/e17579a5/raft"
)

// The values of labels.
var (
	callKinds     = [...]string{"command", "read", "lease_read", "stale_read", "call"}
	stageNames    = [...]string{"gathered", "written", "quorum", "applied"}
	purposes      = [...]string{"peer", "machine", "repair", "scrub"}
	snapshotKinds = [...]string{"taken", "sent", "received", "restored"}
)

// The kinds of calls as raft.AnswerTrace names them, in the order of callKinds.
var tracedKinds = [...]string{"command", "read", "lease read", "stale read", "call"}

// The outcomes of a call.
const (
	outcomeOK = iota
	outcomeNotApplied
	outcomeUnknown
	numOutcomes
)

// reasons are the reasons for which calls fail. What wraps several of them counts as the first. The
// last is everything else, as what Config.Validate returns.
var reasons = [...]struct {
	name string
	err  error
}{
	{"overloaded", raft.ErrOverloaded}, {"full", raft.ErrFull}, {"too_large", raft.ErrTooLarge},
	{"not_leader", raft.ErrNotLeader}, {"not_in_force", raft.ErrNotInForce},
	{"snapshot_installed", raft.ErrSnapshotInstalled},
	{"session", raft.ErrSessionExpired}, {"session", raft.ErrSessionAnswered},
	{"members", raft.ErrConflict}, {"members", raft.ErrChangeInProgress}, {"members", raft.ErrMembers},
	{"members", raft.ErrNotMember}, {"members", raft.ErrUnreachable}, {"members", raft.ErrForeignServer},
	{"members", raft.ErrNotCaughtUp}, {"members", raft.ErrUnknownCall},
	{"transfer", raft.ErrTransferTarget}, {"transfer", raft.ErrTransferInProgress}, {"transfer", raft.ErrTransferGivenUp},
	{"removed", raft.ErrRemoved}, {"closed", raft.ErrClosed}, {"stopped", raft.ErrStopped},
	{"deadline", context.DeadlineExceeded}, {"canceled", context.Canceled},
	{"other", nil},
}

// reasonOf returns the place of the reason among reasons.
func reasonOf(err error) int {
	for i, reason := range reasons[:len(reasons)-1] {
		if errors.Is(err, reason.err) {
			return i
		}
	}
	return len(reasons) - 1
}

// kindOf returns the place of a kind of calls among callKinds.
func kindOf(traced string) int {
	for i, kind := range tracedKinds {
		if kind == traced {
			return i
		}
	}
	return 0
}

// loopCounts are what a node's loop counts.
type loopCounts struct {
	turns, received, sent    uint64
	turnTimes                histogram
	gathered                 histogram
	stages                   [len(stageNames) - 1]histogram // without the first
	answers                  [len(callKinds)]histogram
	failed                   [len(callKinds)][numOutcomes]uint64
	reasons                  [len(reasons)]uint64
	leaderChanges, campaigns uint64
}

// A run is a number of calls of one kind that were answered after the same time, one after the
// other: a batch of commands was taken in one turn, and is answered in another.
type run struct {
	kind   int
	waited time.Duration
	calls  uint64
}

// trace returns the functions that a node calls. What one loop counts adds to what others do.
func (m *Metrics) trace(before raft.Trace) *raft.Trace {
	return m.traceOf(before, &loopMeasures{to: &m.loop})
}

func (m *Metrics) traceOf(before raft.Trace, l *loopMeasures) *raft.Trace {
	t := before
	t.Turn = then(before.Turn, l.turn)
	t.Changed = then(before.Changed, l.changed)
	t.Answered = then(before.Answered, l.answered)
	t.Refused = then(before.Refused, m.refused)
	t.Wrote = then(before.Wrote, m.wrote)
	t.Fetched = then(before.Fetched, m.fetched)
	t.Applied = then(before.Applied, m.applied)
	t.Snapshot = then(before.Snapshot, m.snapshot)
	return &t
}

// then calls two functions, one after the other. The first may be nil.
func then[T any](first, second func(T)) func(T) {
	if first == nil {
		return second
	}
	return func(t T) { first(t); second(t) }
}

// answered counts a call. The loop calls it.
func (l *loopMeasures) answered(a raft.AnswerTrace) {
	if r := &l.run; a.Err == nil && a.Waited == r.waited && a.Kind == tracedKinds[r.kind] {
		r.calls++
		return
	}
	kind := kindOf(a.Kind)
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	if a.Err == nil {
		l.endRun()
		l.run = run{kind, a.Waited, 1}
		return
	}
	outcome := outcomeNotApplied
	if errors.Is(a.Err, raft.ErrOutcomeUnknown) {
		outcome = outcomeUnknown
	}
	l.to.shown.failed[kind][outcome]++
	l.to.shown.reasons[reasonOf(a.Err)]++
}

// endRun counts the answers of a run. The caller holds the mutex of the totals.
func (l *loopMeasures) endRun() {
	l.to.shown.answers[l.run.kind].observe(l.run.waited, l.run.calls)
	l.run.calls = 0
}

// changed counts what has changed. The loop calls it.
func (l *loopMeasures) changed(event raft.Event) {
	is, ok := event.(raft.Leadership)
	if !ok {
		return
	}
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	was := l.stages.leadership
	if is.Leader != "" && (is.Leader != was.Leader || is.Term != was.Term) {
		l.to.shown.leaderChanges++
	}
	if campaigns(is.Role) && (!campaigns(was.Role) || is.Term != was.Term) {
		l.to.shown.campaigns++
	}
	l.stages.leadership = is
}

func campaigns(role string) bool { return role == "candidate" || role == "pre-candidate" }

// turn counts a turn. The loop calls it.
func (l *loopMeasures) turn(t raft.TurnTrace) {
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	s := &l.to.shown
	s.turns++
	s.received += uint64(t.Messages)
	s.sent += uint64(t.Sent)
	s.turnTimes.observe(t.Took, 1)
	s.gathered.observe(t.Gathering, uint64(t.Proposals+t.Reads))
	l.stages.follow(&t, &s.stages)
	l.endRun()
}

// refused counts a call that the loop doesn't get. Any goroutine calls it.
func (m *Metrics) refused(r raft.RefusalTrace) {
	m.callers.refused[kindOf(r.Kind)].Add(1)
	m.callers.reasons[reasonOf(r.Err)].Add(1)
}

// wrote, fetched, applied and snapshot count what the lanes have done. They call them.

func (m *Metrics) wrote(w raft.WriteTrace) {
	l := &m.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes.observe(w.Took, 1)
	if w.Err == nil {
		l.writtenEntries += uint64(w.Entries)
		l.writtenBytes += uint64(w.Bytes)
		l.repaired += uint64(w.Repairs)
	}
}

func (m *Metrics) fetched(f raft.FetchTrace) {
	purpose := 0
	switch {
	case f.Scrub:
		purpose = 3
	case f.Repair:
		purpose = 2
	case f.For == "":
		purpose = 1
	}
	m.lanes.mu.Lock()
	defer m.lanes.mu.Unlock()
	m.lanes.fetches[purpose].observe(f.Took, 1)
}

func (m *Metrics) applied(a raft.ApplyTrace) {
	m.lanes.mu.Lock()
	defer m.lanes.mu.Unlock()
	m.lanes.applies.observe(a.Took, 1)
	m.lanes.applied += uint64(a.Entries)
}

func (m *Metrics) snapshot(s raft.SnapshotTrace) {
	kind := slices.Index(snapshotKinds[:], s.Kind)
	if kind < 0 {
		return
	}
	l := &m.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snapshotsBytes[kind] += s.Bytes
	if s.Err != nil {
		l.snapshotsFailed[kind]++
		return
	}
	l.snapshots[kind].observe(s.Took, 1)
}
