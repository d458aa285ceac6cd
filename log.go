package raft

import (
	"sort"

	"github.com/e17579a5/raft/wire"
)

// entryLog is what a core knows of its log. To decide, Raft needs the term at an index, never an entry's
// bytes: so the log is a list of term runs and a few cursors. The entries themselves are on
// the disk; the recent ones are also in the tail.
//
//	 base            applied   handed  commit                last
//	  │                 │         │      │                     │
//	──┼─────────────────┼─────────┼──────┼─────────────────────┤
//	  │   in the log    │      stable ───┼───▶ written ───▶    │
//
// The cursors chase the log's right end and only ever move right, except that a truncation, or a snapshot
// that takes the place of the log, takes stable and written back with it. applied ≤ handed ≤ commit ≤ last
// and stable ≤ written ≤ last. base is at most the current snapshot, and commit at least that.
type entryLog struct {
	// base is the last entry before the log: (0, 0), or one that a snapshot covers. compact moves it.
	base place
	// runs are the terms of (base, last].
	runs []TermRun
	last Index

	// commit is moved by the leader's peers (§3.5), or follows the leader's. Everything up to it is final.
	commit Index
	// handed is moved by Drain: up to here entries were given to the state machine.
	handed Index
	// applied is moved by Core.Applied.
	applied Index
	// written is moved by Drain: up to here entries were given to the storage.
	written Index
	// stable is moved by Core.Persisted: up to here the log is durable.
	stable Index

	// configurations are the configurations in the log, in order; the first may come from the snapshot.
	// The last one counts from the moment it is appended (§4.1).
	configurations []placedConfiguration

	tail tail
}

// A place is a position in a log with the term of the entry there.
type place struct {
	index Index
	term  Term
}

func placeOf(p wire.Place) place { return place{p.Index, p.Term} }

// A placedConfiguration is a configuration and the index of its entry.
type placedConfiguration struct {
	index         Index
	configuration *Configuration
}

// newLog returns the log that a storage holds.
func newLog(saved *Saved) (entryLog, error) {
	snapshot := saved.Snapshot.Index
	l := entryLog{
		base: place{saved.Base, saved.BaseTerm}, last: saved.Last, runs: append([]TermRun(nil), saved.Runs...),
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
			return l, err
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

// resume begins behind what the state machine has applied in an earlier life.
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
	if index == l.base.index {
		return l.base.term, true
	}
	if index < l.base.index || index > l.last {
		return 0, false
	}
	// The last run is the one that is asked for nearly always.
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
func (l *entryLog) upToDate(p place) bool {
	if t := l.lastTerm(); p.term != t {
		return p.term > t
	}
	return p.index >= l.last
}

// lastWithin returns the last place at or before index whose term is at most term. Two logs that disagree at
// index can agree no further right than there, since terms never fall along a log: with it
// a whole term of conflicting entries is passed over in one step (§3.5).
func (l *entryLog) lastWithin(index Index, term Term) place {
	index = min(index, l.last)
	for i := len(l.runs) - 1; i >= 0; i-- {
		run := l.runs[i]
		if run.First <= index {
			if run.Term <= term {
				return place{index, run.Term}
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

// note takes down the index and the term of an entry at the right end.
func (l *entryLog) note(e *Entry) {
	assert(e.Index == l.last+1, "Log Contiguous")
	assert(e.Term >= l.lastTerm(), "Terms Rise")
	if n := len(l.runs); n == 0 || l.runs[n-1].Term != e.Term {
		l.runs = append(l.runs, TermRun{e.Index, e.Term})
	}
	l.last = e.Index
}

// extend adds entries at the right end. They may be kept as they are, and must not be changed.
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

// truncate drops everything after an index: entries that a leader's log contradicts. What is committed is
// never among them (Leader Completeness, §3.6.3); if it were, obeying would lose it.
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
	l.tail.truncate(after)
}

// compact forgets the entries up to an index, which a snapshot covers. Of the configurations the one that
// counted there stays.
func (l *entryLog) compact(to Index) {
	if to <= l.base.index {
		return
	}
	term, ok := l.term(to)
	assert(ok && to <= l.handed, "Compacted Is Covered")
	l.base = place{to, term}
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
	l.tail.compact(to)
}

// install puts a snapshot in the place of everything up to its index. The log goes on behind it if it agrees
// there; otherwise nothing of it is left. It reports whether the log goes on.
//
//	log        1 1 1 2 2 2│2 2      agrees at the index: what follows stays
//	           1 1 1│               ends before it, or
//	           1 1 1 2 2 3│3 3      holds another entry there: it isn't committed from some place on, and goes
//	snapshot   ───────────┤ (6, 2)
//
// stable stays what it was of what is committed: that the rest is durable is known when the snapshot's write is.
func (l *entryLog) install(s place, configuration placedConfiguration) (goesOn bool) {
	goesOn = l.matches(s.index, s.term)
	assert(goesOn || s.index > l.commit, "Leader Completeness: a snapshot contradicts what is committed")
	if !goesOn {
		l.stable = min(l.stable, l.commit)
		l.base, l.runs, l.last, l.written = s, nil, s.index, s.index
		l.configurations = nil
		l.tail = tail{}
	}
	l.written = max(l.written, s.index)
	l.commit = max(l.commit, s.index)
	l.handed = max(l.handed, s.index)
	l.compact(s.index)
	founding := len(configuration.configuration.Members) == 0 // the first configuration follows
	if n := len(l.configurations); !founding && (n == 0 || l.configurations[0].index > configuration.index) {
		l.configurations = append([]placedConfiguration{configuration}, l.configurations...)
	}
	return goesOn
}

// configurationAt returns the configuration that counted at an index that isn't before base.
func (l *entryLog) configurationAt(index Index) placedConfiguration {
	n := len(l.configurations) - 1
	for n > 0 && l.configurations[n].index > index {
		n--
	}
	assert(n >= 0 && l.configurations[n].index <= index, "Configurations Known")
	return l.configurations[n]
}

// commitTo moves commit to the right.
func (l *entryLog) commitTo(index Index) {
	assert(index <= l.last, "Commit Within Log")
	l.commit = max(l.commit, index)
}

// clone returns an independent copy.
func (l *entryLog) clone() entryLog {
	n := *l
	n.runs = append([]TermRun(nil), l.runs...)
	n.configurations = append([]placedConfiguration(nil), l.configurations...)
	n.tail = l.tail.clone()
	return n
}

// tail holds the recent entries of a log: always those that are neither stable nor before base, and as many
// more as its bound allows. A slot is written once: a truncation closes the chunk, and what follows goes into a new one. So
// messages, writes and the state machine may share the slots without copying, and clones all but the last chunk's.
type tail struct {
	chunks   []chunk
	bytes    int
	expected int // how many entries come next; 0 when that isn't known
}

// A chunk is a run of entries. What lies between its length and its capacity belongs to one tail alone.
type chunk struct {
	entries []Entry
	bytes   int
}

// Sizes of chunks in entries: the first ones are small, so that a short log costs little.
const minChunk, maxChunk = 8, 512

// count returns the number of entries.
func (t *tail) count() Index {
	if len(t.chunks) == 0 {
		return 0
	}
	last := t.chunks[len(t.chunks)-1].entries
	return last[len(last)-1].Index - t.after()
}

// after returns the index before the first entry of a tail that isn't empty.
func (t *tail) after() Index { return t.chunks[0].entries[0].Index - 1 }

// expect says how many entries come next. They will be asked for together: so they get a chunk where they stand side by side. What
// that leaves empty of the last one is less than they are, provided that they come.
func (t *tail) expect(count int) { t.expected = count }

// append adds an entry.
func (t *tail) append(e *Entry) {
	n := len(t.chunks)
	if n == 0 || t.chunks[n-1].room() < max(t.expected, 1) {
		size := minChunk
		if n > 0 {
			size = min(max(2*len(t.chunks[n-1].entries), minChunk), maxChunk)
		}
		t.chunks = append(t.chunks, chunk{entries: make([]Entry, 0, max(size, t.expected))})
		n++
	}
	t.expected = 0
	last := &t.chunks[n-1]
	last.entries = append(last.entries, *e)
	last.bytes += e.Size()
	t.bytes += e.Size()
}

// adopt makes a chunk of entries as they are. It is for so many that they would fill one.
func (t *tail) adopt(entries []Entry) {
	bytes := 0
	for i := range entries {
		bytes += entries[i].Size()
	}
	t.chunks = append(t.chunks, chunk{entries[:len(entries):len(entries)], bytes})
	t.bytes += bytes
	t.expected = 0
}

// room returns for how many more entries there is room.
func (c *chunk) room() int { return cap(c.entries) - len(c.entries) }

// truncate drops the entries after an index.
func (t *tail) truncate(after Index) {
	for n := len(t.chunks); n > 0; n-- {
		last := &t.chunks[n-1]
		first := last.entries[0].Index
		if first <= after {
			keep := min(int(after-first)+1, len(last.entries))
			for i := keep; i < len(last.entries); i++ {
				last.bytes -= last.entries[i].Size()
				t.bytes -= last.entries[i].Size()
			}
			last.entries = last.entries[:keep:keep]
			return
		}
		t.bytes -= last.bytes
		t.chunks = t.chunks[:n-1]
	}
}

// shrink drops whole chunks from the left while the tail holds more than limit bytes, but none with an
// entry after keep.
func (t *tail) shrink(limit int, keep Index) {
	drop := 0
	for drop < len(t.chunks)-1 && t.bytes > limit && t.chunks[drop+1].entries[0].Index-1 <= keep {
		t.bytes -= t.chunks[drop].bytes
		drop++
	}
	if drop > 0 {
		n := copy(t.chunks, t.chunks[drop:])
		clear(t.chunks[n:])
		t.chunks = t.chunks[:n]
	}
}

// compact drops the entries up to an index.
func (t *tail) compact(to Index) {
	gone := 0
	for gone < len(t.chunks) && t.chunks[gone].entries[0].Index+Index(len(t.chunks[gone].entries)) <= to+1 {
		t.bytes -= t.chunks[gone].bytes
		gone++
	}
	t.chunks = append([]chunk(nil), t.chunks[gone:]...)
	if len(t.chunks) == 0 || t.chunks[0].entries[0].Index > to {
		return
	}
	first := &t.chunks[0]
	n := int(to + 1 - first.entries[0].Index)
	for i := range first.entries[:n] {
		first.bytes -= first.entries[i].Size()
		t.bytes -= first.entries[i].Size()
	}
	first.entries = first.entries[n:]
}

// entries returns entries of (after, last], beginning with after+1: one at least, and more while all of them
// fit into maxBytes. It returns nil when after+1 isn't in the tail. Where chunks meet shows in nothing but a
// copy.
func (t *tail) entries(after, last Index, maxBytes int) []Entry {
	if after >= last {
		return nil
	}
	i := t.find(after + 1)
	if i < 0 {
		return nil
	}
	var joined []Entry
	for budget := maxBytes; ; i++ {
		all := t.chunks[i].entries
		from := int(after + 1 - all[0].Index)
		to := min(int(last+1-all[0].Index), len(all))
		n := from
		for ; n < to; n++ {
			if budget -= all[n].Size(); budget < 0 && (n > from || joined != nil) {
				break
			}
		}
		run := all[from:n:n]
		after += Index(len(run))
		if after == last || n < to || i+1 == len(t.chunks) {
			if joined == nil {
				return run
			}
			return append(joined, run...)
		}
		if joined == nil {
			joined = make([]Entry, 0, len(run)+min(int(last-after), maxChunk))
		}
		joined = append(joined, run...)
	}
}

// find returns the chunk that holds an index, or -1. It is one of the last ones nearly always.
func (t *tail) find(index Index) int {
	for i := len(t.chunks) - 1; i >= 0; i-- {
		entries := t.chunks[i].entries
		if first := entries[0].Index; index >= first {
			if int(index-first) >= len(entries) {
				return -1
			}
			return i
		}
	}
	return -1
}

// clone returns a copy that never writes a slot of the original. It shares the chunks but for the last one, of
// which it takes as much room as the original has: so both go on alike, down to what they let go of when they
// are full.
func (t *tail) clone() tail {
	n := tail{chunks: append([]chunk(nil), t.chunks...), bytes: t.bytes, expected: t.expected}
	if last := len(n.chunks) - 1; last >= 0 {
		if entries := n.chunks[last].entries; len(entries) < cap(entries) {
			n.chunks[last].entries = append(make([]Entry, 0, cap(entries)), entries...)
		}
	}
	return n
}

const maxInt = int(^uint(0) >> 1)
