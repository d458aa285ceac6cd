package raft

import (
	"fmt"
	"sort"

	"github.com/e17579a5/raft/wire"
)

// entryLog is what a core knows of its log. To decide, Raft needs the term at an index, and never
// an entry's bytes. So the log is a list of term runs and a few cursors. The entries themselves are
// on the disk, and the recent ones are also in the tail.
//
//	 base            applied   handed  commit                last
//	  │                 │         │      │                     │
//	──┼─────────────────┼─────────┼──────┼─────────────────────┤
//	  │   in the log    │      stable ───┼───▶ written ───▶    │
//
// The cursors chase the log's right end and only ever move right, with one exception: a truncation,
// or a snapshot that takes the place of the log, moves stable and written back. It always holds
// that applied ≤ handed ≤ commit ≤ last and stable ≤ written ≤ last. base is at most the index of
// the current snapshot, or of the one that takes its place with the next write, and commit is at
// least that index.
type entryLog struct {
	// base is the last entry before the log: (0, 0), or an entry that a snapshot covers. compact
	// moves it.
	base wire.Place
	// runs are the terms of (base, last].
	runs []TermRun
	last Index

	// commit is moved by the answers of a leader's peers (§3.5), or it follows the leader's commit
	// index. Everything up to it is final.
	commit Index
	// handed is moved by Drain. The entries up to it were given to the state machine.
	handed Index
	// applied is moved by Core.Applied. The state machine has applied the entries up to it.
	applied Index
	// written is moved by Drain. The entries up to it were given to the storage.
	written Index
	// stable is moved by Core.Persisted. The log is durable up to it.
	stable Index

	// lost are the entries whose bytes the disk has lost. They are found when the storage is loaded
	// or read; repairs, truncations, compactions and snapshots take them away (damage.go).
	lost lostEntries

	// configurations are the configurations in the log, in order. The first one may come from the
	// snapshot. The last one is in force from the moment that it is appended (§4.1).
	configurations []placedConfiguration

	tail tail
	// weights are written by space: they decide nothing as long as room has no end.
	weights weights
}

// encode writes what the core knows of the log.
func (l *entryLog) encode(s *stateEncoder) {
	s.place(l.base)
	s.numbers(uint64(l.last), uint64(l.commit), uint64(l.handed), uint64(l.applied), uint64(l.written), uint64(l.stable))
	s.numbers(uint64(len(l.runs)))
	for _, run := range l.runs {
		s.numbers(uint64(run.First), uint64(run.Term))
	}
	l.lost.encode(s)
	encodeList(s, l.configurations, (*placedConfiguration).encode)
	l.tail.encode(s)
}

// clone returns an independent copy.
func (l *entryLog) clone() entryLog {
	n := *l
	n.runs = append([]TermRun(nil), l.runs...)
	n.lost = append(lostEntries(nil), l.lost...)
	n.configurations = append([]placedConfiguration(nil), l.configurations...)
	n.tail = l.tail.clone()
	n.weights = l.weights.clone()
	return n
}

// check verifies the log of a server that is in a term.
func (l *entryLog) check(term Term) error {
	if err := l.checkCursors(); err != nil {
		return err
	}
	if err := l.checkRuns(term); err != nil {
		return err
	}
	if err := l.checkLost(); err != nil {
		return err
	}
	if err := l.weights.check(l.last); err != nil {
		return err
	}
	return l.checkTail()
}

// checkCursors: applied ≤ handed ≤ commit ≤ last, stable ≤ written ≤ last, base ≤ commit.
func (l *entryLog) checkCursors() error {
	if l.applied > l.handed || l.handed > l.commit || l.commit > l.last ||
		l.stable > l.written || l.written > l.last || l.base.Index > l.commit {
		return broken("Cursors Ordered", "base %d applied %d handed %d commit %d stable %d written %d last %d",
			l.base.Index, l.applied, l.handed, l.commit, l.stable, l.written, l.last)
	}
	return nil
}

// checkRuns: the term runs begin at base+1. They rise in index and in term, and end at most in the
// current term.
func (l *entryLog) checkRuns(current Term) error {
	if (len(l.runs) == 0) != (l.last == l.base.Index) {
		return broken("Terms Rise", "%d runs for (%d, %d]", len(l.runs), l.base.Index, l.last)
	}
	index, term := l.base.Index, l.base.Term
	for i, run := range l.runs {
		if i == 0 && run.First != index+1 || i > 0 && (run.First <= index || run.Term <= term) || run.Term < term {
			return broken("Terms Rise", "run %d begins at %d in term %d", i, run.First, run.Term)
		}
		index, term = run.First, run.Term
	}
	if index > l.last || term > current {
		return broken("Terms Rise", "last run (%d, term %d), last %d, current term %d", index, term, l.last, current)
	}
	return nil
}

// checkTail: the tail is contiguous and ends at last. It holds the part of the log that isn't
// stable, and agrees with the runs.
func (l *entryLog) checkTail() error {
	next := l.last + 1 - l.tail.count()
	if l.tail.count() > 0 && l.tail.after()+1 != next || next > max(l.stable, l.base.Index)+1 || next <= l.base.Index {
		return broken("Tail Holds Unstable", "tail begins at %d, stable %d, last %d", next, l.stable, l.last)
	}
	for _, chunk := range l.tail.chunks {
		for i := range chunk.entries {
			e := &chunk.entries[i]
			if e.Index != next || !l.matches(e.Index, e.Term) {
				return broken("Tail Matches Log", "entry (%d, term %d) at place %d", e.Index, e.Term, next)
			}
			next++
		}
	}
	return nil
}

// A placedConfiguration is a configuration and the index of its entry.
type placedConfiguration struct {
	index         Index
	configuration *Configuration
}

func (p *placedConfiguration) encode(s *stateEncoder) {
	s.numbers(uint64(p.index))
	s.configuration(p.configuration)
}

// newLog returns the log that a storage holds. The error wraps ErrCorrupt if a configuration can't
// be decoded.
func newLog(saved *Saved) (entryLog, error) {
	snapshot := saved.Snapshot.Index
	l := entryLog{
		base: wire.Place{Index: saved.Base, Term: saved.BaseTerm}, last: saved.Last,
		runs: append([]TermRun(nil), saved.Runs...), lost: append(lostEntries(nil), saved.Lost...),
		commit: snapshot, handed: snapshot, written: saved.Last, stable: saved.Last,
	}
	if snapshot > 0 && !saved.Snapshot.founding() {
		configuration := saved.Snapshot.Configuration
		l.configurations = append(l.configurations, placedConfiguration{saved.Snapshot.ConfigurationIndex, &configuration})
	}
	for i := range saved.Configurations {
		e := &saved.Configurations[i]
		configuration, err := wire.DecodeConfiguration(e.Data)
		if err != nil {
			return l, fmt.Errorf("%w: the configuration at %d: %w", ErrCorrupt, e.Index, err)
		}
		l.configurations = append(l.configurations, placedConfiguration{e.Index, &configuration})
	}
	return l, nil
}

// placed returns the latest configuration in the log with its place, or nil.
func (l *entryLog) placed() *placedConfiguration {
	if n := len(l.configurations); n > 0 {
		return &l.configurations[n-1]
	}
	return nil
}

// resume sets the cursors of a state machine that has applied entries in an earlier life: it goes
// on behind them.
func (l *entryLog) resume(applied Index) {
	l.commit = max(l.commit, applied)
	l.handed, l.applied = applied, applied
}

// configuration returns the latest configuration in the log, or nil.
func (l *entryLog) configuration() *Configuration {
	if n := len(l.configurations); n > 0 {
		return l.configurations[n-1].configuration
	}
	return nil
}

// term returns the term of the entry at an index, and whether the log knows it.
func (l *entryLog) term(index Index) (Term, bool) {
	if index == l.base.Index {
		return l.base.Term, true
	}
	if index < l.base.Index || index > l.last {
		return 0, false
	}
	// Nearly every question is about the last run.
	if run := l.runs[len(l.runs)-1]; index >= run.First {
		return run.Term, true
	}
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].First > index })
	return l.runs[i-1].Term, true
}

// matches says whether the log holds an entry of this term at this index.
func (l *entryLog) matches(index Index, term Term) bool {
	t, ok := l.term(index)
	return ok && t == term
}

// lastTerm returns the term of the last entry.
func (l *entryLog) lastTerm() Term {
	t, _ := l.term(l.last)
	return t
}

// upToDate says whether a log that ends at p is at least as up-to-date as this one (§3.6.1).
func (l *entryLog) upToDate(p wire.Place) bool {
	if t := l.lastTerm(); p.Term != t {
		return p.Term > t
	}
	return p.Index >= l.last
}

// lastWithin returns the last place at or before index whose term is at most term. Another log,
// which holds an entry of term at index, can agree with this log no further right than there,
// because terms never fall along a log. So a whole term of conflicting entries is passed over in
// one step (§3.5).
func (l *entryLog) lastWithin(index Index, term Term) wire.Place {
	index = min(index, l.last)
	for i := len(l.runs) - 1; i >= 0; i-- {
		run := l.runs[i]
		if run.First <= index {
			if run.Term <= term {
				return wire.Place{Index: index, Term: run.Term}
			}
			index = run.First - 1
		}
	}
	return l.base
}

// append adds an entry at the right end.
func (l *entryLog) append(e *Entry) {
	l.note(e)
	l.tail.append(e)
}

// note records the index and the term of an entry at the right end.
func (l *entryLog) note(e *Entry) {
	assert(e.Index == l.last+1, "Log Contiguous")
	assert(e.Term >= l.lastTerm(), "Terms Rise")
	if n := len(l.runs); n == 0 || l.runs[n-1].Term != e.Term {
		l.runs = append(l.runs, TermRun{e.Index, e.Term})
	}
	l.last = e.Index
	l.weights.add(e)
}

// extend adds entries at the right end. The log may keep the slice, so nobody may change it any
// more.
func (l *entryLog) extend(entries []Entry) {
	if len(entries) < maxChunk {
		l.tail.expect(len(entries))
		for i := range entries {
			l.append(&entries[i])
		}
		return
	}
	for i := range entries {
		l.note(&entries[i])
	}
	l.tail.adopt(entries)
}

// truncate drops everything after an index: entries that a leader's log contradicts. No committed
// entry is ever among them (Leader Completeness, §3.6.3). If one were, dropping it would lose it.
func (l *entryLog) truncate(after Index) {
	assert(after >= l.commit, "Leader Completeness: a leader contradicts what is committed")
	l.last = after
	l.written = min(l.written, after)
	l.stable = min(l.stable, after)
	for n := len(l.runs); n > 0 && l.runs[n-1].First > after; n-- {
		l.runs = l.runs[:n-1]
	}
	for n := len(l.configurations); n > 0 && l.configurations[n-1].index > after; n-- {
		l.configurations = l.configurations[:n-1]
	}
	l.lost = l.lost.without(wire.Range{First: after + 1, Last: ^Index(0)})
	l.tail.truncate(after)
	l.weights.truncate(after)
}

// compact forgets the entries up to an index, which a snapshot covers. It keeps the configuration
// that was in force at that index, and the later ones.
func (l *entryLog) compact(to Index) {
	if to <= l.base.Index {
		return
	}
	term, ok := l.term(to)
	assert(ok && to <= l.handed, "Compacted Is Covered")
	l.base = wire.Place{Index: to, Term: term}
	dead := 0
	for dead < len(l.runs) && (dead+1 < len(l.runs) && l.runs[dead+1].First <= to+1 || l.last == to) {
		dead++
	}
	l.runs = append([]TermRun(nil), l.runs[dead:]...)
	if len(l.runs) > 0 {
		l.runs[0].First = max(l.runs[0].First, to+1)
	}
	gone := 0
	for gone+1 < len(l.configurations) && l.configurations[gone+1].index <= to {
		gone++
	}
	l.configurations = append([]placedConfiguration(nil), l.configurations[gone:]...)
	l.lost = l.lost.without(wire.Range{First: 0, Last: to})
	l.tail.compact(to)
	l.weights.compact(to)
}

// install puts a snapshot in the place of everything up to its index. The log goes on behind it if
// the log agrees with the snapshot there. Otherwise nothing of the log is left. install reports
// whether the log goes on.
//
//	log        1 1 1 2 2 2│2 2      agrees at the index: what follows stays
//	           1 1 1│               ends before it, or
//	           1 1 1 2 2 3│3 3      holds another entry there: it isn't committed from some place on, and goes
//	snapshot   ───────────┤ (6, 2)
//
// If the log goes on, stable stays. If it doesn't, stable keeps the committed part only. That the
// rest is durable is known when the snapshot's write is durable.
func (l *entryLog) install(s wire.Place, configuration placedConfiguration) (goesOn bool) {
	goesOn = l.matches(s.Index, s.Term)
	assert(goesOn || s.Index > l.commit, "Leader Completeness: a snapshot contradicts what is committed")
	if !goesOn {
		l.stable = min(l.stable, l.commit)
		l.base, l.runs, l.last, l.written = s, nil, s.Index, s.Index
		l.configurations, l.lost = nil, nil
		l.tail = tail{}
		l.weights.restart(s.Index)
	}
	l.written = max(l.written, s.Index)
	l.commit = max(l.commit, s.Index)
	l.handed = max(l.handed, s.Index)
	l.compact(s.Index)
	founding := len(configuration.configuration.Members) == 0 // the first configuration follows
	if n := len(l.configurations); !founding && (n == 0 || l.configurations[0].index > configuration.index) {
		l.configurations = append([]placedConfiguration{configuration}, l.configurations...)
	}
	return goesOn
}

// configurationAt returns the configuration that was in force at an index, which isn't before base.
func (l *entryLog) configurationAt(index Index) placedConfiguration {
	n := len(l.configurations) - 1
	for n > 0 && l.configurations[n].index > index {
		n--
	}
	assert(n >= 0 && l.configurations[n].index <= index, "Configurations Known")
	return l.configurations[n]
}

// configurationBefore returns the configuration that is in force at an index, as far as the log
// holds one at or before it, and nil otherwise.
func (l *entryLog) configurationBefore(index Index) *Configuration {
	for n := len(l.configurations); n > 0; n-- {
		if placed := &l.configurations[n-1]; placed.index <= index {
			return placed.configuration
		}
	}
	return nil
}

// commitTo moves commit to the right.
func (l *entryLog) commitTo(index Index) {
	assert(index <= l.last, "Commit Within Log")
	l.commit = max(l.commit, index)
}

const maxInt = int(^uint(0) >> 1)
