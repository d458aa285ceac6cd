package sim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A disk may lose the bytes of entries, and still know their indexes and terms. The server finds out
// when it starts, or when it reads them. What is promised as long as another disk that counts holds
// each lost entry:
//
//   - The server gets these very bytes from there (BytesKept), and in the end nothing is lost any more that anybody
//     has (Convergence).
//   - A server that runs, and reads its log for that, finds out in the second pass after the loss at the latest
//     (Convergence).
//   - It acknowledges nothing behind a lost entry that it doesn't know to be committed (SoundAcknowledged).
//   - No entry that was committed in a server's term or before is given up there (NothingGivenUp).
//   - All other invariants hold: what a server has promised, it has promised by indexes and terms.
//
// The files of a real log may be damaged (OpRot): bytes change, a file is cut short, or another one is in its
// place. The log itself says then which entries are lost, at the start or when they are read. If it can't be opened, an empty disk takes its place.
//
// A disk may also lose what no other disk holds (Params.LoseAll). Then the servers may wait for ever, unless so many
// voters lack the entry that it was never committed, and a server that is alone may not start. Nothing else is excused.

// maxLost bounds the entries that a disk loses at once.
const maxLost = 64

// lostAt packs the first lost entry, and how many there are, into the number of an event.
func lostAt(first raft.Index, count int64) int64 { return int64(first)<<8 | count }

// LostEntries returns which entries an OpLose loses, if the disk may lose them.
func (e *Event) LostEntries() (first, last raft.Index) {
	first, count := raft.Index(e.N>>8), raft.Index(min(e.N&0xff, maxLost))
	return first, first + max(count, 1) - 1
}

// loseHappens lets a disk lose some entries, and may restart its server, so that this shows at once.
func (w *World) loseHappens() {
	w.losses++
	h := w.luck.draw(luckLose, 0, 0, w.losses)
	w.queue.push(item{at: w.now + spread(mix(h+1), w.params.LoseTime), what: itemLose})
	i := int(below(mix(h+2), int64(w.n)))
	d := w.servers[i].disk
	log := int64(d.last() - d.base)
	if log == 0 {
		return
	}
	first := d.base + 1 + raft.Index(below(mix(h+3), log))
	if mix(h+4)%4 == 0 {
		first = d.last() - raft.Index(below(mix(h+3), min(log, 4))) // where it matters most
	}
	if w.trace != nil {
		w.trace.fault(w, "lose", i, 0)
	}
	lost := w.step(Event{Op: OpLose, Server: int8(i), N: lostAt(first, pick(mix(h+5), 1, 1, 2, 5, 20, maxLost))}, nil)
	if lost && mix(h+6)%2 == 0 {
		w.crashes(i)
	}
}

// lose lets a disk lose the bytes of those of some entries that it may lose. It reports whether
// there are any.
func (w *World) lose(i int, n int64) bool {
	d, any := w.servers[i].disk, false
	if d.wal != nil || d.back || w.beyond || len(w.ghost.configurations) == 0 {
		return false
	}
	first, count := raft.Index(n>>8), raft.Index(min(n&0xff, maxLost))
	for index := max(first, d.base+1); index < first+count && index <= d.last(); index++ {
		if d.gone[index] || w.params.LoseAll == 0 && !w.heldByAll(index, i) {
			continue
		}
		if d.gone == nil {
			d.gone = map[raft.Index]bool{}
		}
		d.gone[index] = true
		delete(w.servers[i].knowsLost, index) // what it was told was of an earlier time
		any = true
		w.stats.LostEntries++
	}
	w.servers[i].lostAt = w.servers[i].scrubs
	return any
}

// heldElsewhere reports whether the bytes of an entry on a server's disk are on another disk that
// counts, not that of the server without.
func (w *World) heldElsewhere(index raft.Index, i, without int) bool {
	for j := 0; j < w.n; j++ {
		if j != i && j != without && w.vouches(j, index, w.servers[i].disk.slots[index-1]) {
			return true
		}
	}
	return false
}

// heldByAll reports whether each set of members that may come to count has another disk with the
// bytes of an entry.
func (w *World) heldByAll(index raft.Index, i int) bool {
	all := w.heldElsewhere(index, i, -1)
	w.eachSet(func(members []raft.Member) {
		held := false
		for j := range members {
			if k := serverOf(members[j].ID); k != i && k < w.n && members[j].Role == raft.Voter {
				held = held || w.vouches(k, index, w.servers[i].disk.slots[index-1])
			}
		}
		all = all && held
	})
	return all
}

// anyLost reports whether any disk has lost anything. Then clients ask for no change of the members:
// it might leave out the only server that has the bytes.
func (w *World) anyLost() bool {
	for i := 0; i < w.n; i++ {
		if len(w.servers[i].disk.gone) > 0 {
			return true
		}
	}
	return false
}

// vouches reports whether a server is a voter, and its disk holds the bytes of an entry.
func (w *World) vouches(j int, index raft.Index, entry slot) bool {
	s := &w.servers[j]
	if !w.counts(j) || s.frozen != frozenNot || s.rotten || s.disk.back || len(w.ghost.configurations) == 0 {
		return false
	}
	last := w.ghost.configurations[len(w.ghost.configurations)-1].configuration
	d := s.disk
	return last.Votes(s.id) && index > d.base && index <= d.last() && !d.gone[index] && d.slots[index-1] == entry
}

// missing reports whether a disk that counts has lost an entry which may have been committed, and
// which is nowhere else, in no log and in no snapshot.
func (w *World) missing() bool {
	if w.params.LoseAll == 0 || len(w.ghost.configurations) == 0 {
		return false
	}
	last := w.ghost.configurations[len(w.ghost.configurations)-1]
	for i := 0; i < w.n; i++ {
		d := w.servers[i].disk
		for index := range d.gone {
			if w.counts(i) && index > d.base && !w.covered(index, i) && !w.neverCommitted(&last, index, i) {
				return true
			}
		}
	}
	return false
}

// covered reports whether the snapshot of a server covers an entry, or another disk that counts has
// the entry's bytes, or a snapshot in its place.
func (w *World) covered(index raft.Index, i int) bool {
	if d := w.servers[i].disk; d.current.index() >= index && !d.spoiled {
		return true
	}
	for j := 0; j < w.n; j++ {
		f := w.servers[j].disk.current
		if j != i && (w.vouches(j, index, w.servers[i].disk.slots[index-1]) || w.healthy(j) && f.index() >= index && !w.servers[j].disk.spoiled) {
			return true
		}
	}
	return false
}

// neverCommitted reports whether so many voters that can say so lack a server's entry that it was
// never committed. It reports false while members change.
func (w *World) neverCommitted(last *placed, index raft.Index, i int) bool {
	entry := w.servers[i].disk.slots[index-1]
	for j := 0; j < w.n; j++ {
		if all := w.servers[j].disk.configurations; len(all) > 0 && all[len(all)-1].index > last.index {
			return false
		}
	}
	return last.configuration.Old == nil && !majority(last.configuration.Members, func(m *raft.Member) bool {
		j := serverOf(m.ID)
		d := w.servers[j].disk
		return !w.healthy(j) || index <= d.base || index <= d.last() && d.slots[index-1] == entry
	})
}

// bears reports whether the disk of a server is the only one that holds what another disk has lost.
func (w *World) bears(without int) bool {
	for i := 0; i < w.n; i++ {
		d := w.servers[i].disk
		for index := range d.gone {
			if i != without && index > d.base && !w.heldElsewhere(index, i, without) {
				return true
			}
		}
	}
	return false
}

// lacks reports whether the bytes of any entry are lost, after one index up to another.
func (d *disk) lacks(after, last raft.Index) bool {
	for index := range d.gone {
		if index > after && index <= last {
			return true
		}
	}
	return false
}

// forgetLost forgets what was lost of entries that aren't in the log any more.
func (d *disk) forgetLost(after raft.Index) {
	for index := range d.gone {
		if index > after || index <= d.base {
			delete(d.gone, index)
		}
	}
}

// repair makes the bytes of lost entries durable.
func (d *disk) repair(entries []raft.Entry) {
	for i := range entries {
		delete(d.gone, entries[i].Index)
	}
}

// lostRanges returns what is lost, in order.
func (d *disk) lostRanges() (ranges []wire.Range) {
	if len(d.gone) == 0 {
		return nil
	}
	for index := d.base + 1; index <= d.last(); index++ {
		switch n := len(ranges); {
		case !d.gone[index]:
		case n > 0 && ranges[n-1].Last+1 == index:
			ranges[n-1].Last = index
		default:
			ranges = append(ranges, wire.Range{First: index, Last: index})
		}
	}
	return ranges
}

// errLost is what a disk says of entries that it has lost.
var errLost = errors.New("the simulator has lost them")

// damageAt returns the error of a read that begins at an index, or nil if the entry there is sound.
func (d *disk) damageAt(index raft.Index) error {
	for _, r := range d.lostRanges() {
		if r.First <= index && r.Last >= index {
			return &raft.DamagedError{Lost: wire.Range{First: index, Last: r.Last}, Err: errLost}
		}
	}
	return nil
}

// checkRepairs checks that the repairs in a write are the entries that the log holds.
func (w *World) checkRepairs(i int, write *raft.Write) {
	d, after := w.servers[i].disk, raft.Index(0)
	for j := range write.Repairs {
		e := &write.Repairs[j]
		if e.Index <= max(after, d.base) || e.Index > d.last() || e.Term != d.term(e.Index) {
			w.fail(WritesInOrder, i, "a write repairs index %d in term %d, after index %d, of a log from %d to %d", e.Index, e.Term, after, d.base+1, d.last())
			return
		}
		if after = e.Index; chainEntry(0, e) != chainEntry(0, &d.entries[e.Index-1]) {
			w.fail(BytesKept, i, "index %d in term %d is repaired with other bytes than were lost", e.Index, e.Term)
		}
		w.stats.Repaired++
	}
}

// checkReplaced checks that a write replaces no entry which was committed in its term or before. A
// leader of an earlier term, one that hasn't heard of the later ones, may replace what they commit:
// the server has no part in that.
func (w *World) checkReplaced(i int, write *raft.Write) {
	s := &w.servers[i]
	for j := range write.Entries {
		index := write.Entries[j].Index
		if index > raft.Index(len(s.view)) || index > w.ghost.commit() || w.ghost.committedIn(index) > write.State.Term {
			return
		}
		if s.view[index-1] == w.ghost.committed[index-1] && write.Entries[j].Term != s.view[index-1].term {
			w.fail(NothingGivenUp, i, "index %d in term %d is committed, and given up for one of term %d", index, s.view[index-1].term, write.Entries[j].Term)
			return
		}
	}
}

// checkSound checks that a server acknowledges nothing behind an entry that it knows to be lost, and
// doesn't know to be committed.
func (w *World) checkSound(i int, to raft.Index) {
	s := &w.servers[i]
	if len(s.disk.gone) == 0 || s.mixed || s.unsure {
		return
	}
	for index := s.status.commit + 1; index <= to; index++ {
		if s.knowsLost[index] && s.disk.gone[index] {
			w.fail(SoundAcknowledged, i, "acknowledges index %d, knows to be committed %d, and has lost index %d", to, s.status.commit, index)
			return
		}
	}
}

// learnsLost notes what a server has been told to be lost.
func (s *server) learnsLost(ranges ...wire.Range) {
	if s.knowsLost == nil {
		s.knowsLost = map[raft.Index]bool{}
	}
	for _, r := range ranges {
		for index := r.First; index <= r.Last; index++ {
			s.knowsLost[index] = true
		}
	}
}

// unrepaired says what a server lacks that another one has, or "" if it lacks nothing.
func (w *World) unrepaired(i int) string {
	s := &w.servers[i]
	if len(s.disk.gone) == 0 {
		return ""
	}
	if index := w.unfound(i); index != 0 {
		return fmt.Sprintf("server %s hasn't found out that its disk has lost index %d", s.id, index)
	}
	for _, r := range s.core.Status().Lost {
		for index := r.First; index <= r.Last; index++ {
			if s.disk.gone[index] && w.heldElsewhere(index, i, -1) {
				return "server " + string(s.id) + " hasn't got the bytes that it has lost"
			}
		}
		if len(w.ghost.settled.Members) == 1 {
			return "server " + string(s.id) + " is alone, and has taken no snapshot that covers what it has lost"
		}
	}
	return ""
}

// unfound returns the first entry that a disk has lost, and of which its server doesn't know that,
// though it reads its log to find out. It returns 0 if there is none.
func (w *World) unfound(i int) (first raft.Index) {
	s := &w.servers[i]
	if w.params.Scrub == 0 || len(s.disk.gone) == 0 {
		return 0
	}
	known := s.core.Status().Lost
	for index := range s.disk.gone {
		found := slices.ContainsFunc(known, func(r wire.Range) bool { return r.First <= index && r.Last >= index })
		if !found && index > s.disk.base && (first == 0 || index < first) {
			first = index
		}
	}
	return first
}

// scrubReads notes a read by which a server looks whether bytes are lost. A new pass begins no later
// than where the last one has come to.
func (s *server) scrubReads(f raft.Fetch) {
	s.scrubReading++
	if f.Snapshot != nil {
		return
	}
	if f.After <= s.scrubbed {
		s.scrubs++
	}
	s.scrubbed = f.After
}

// searches reports whether a server hasn't found out what its disk has lost, and is in one of the
// passes in which it has to.
func (w *World) searches(i int) bool {
	s := &w.servers[i]
	return s.up && s.scrubs < s.lostAt+3 && (w.unfound(i) != 0 || w.params.Scrub != 0 && s.disk.spoiled)
}

// scrubSnapshot reads a piece of the current snapshot, to see whether it is sound. A real log is
// read as a whole with the first piece.
func (w *World) scrubSnapshot(s *server, f raft.Fetch) {
	report := fetchedEntries{fetch: f}
	if s.disk.wal == nil || f.Offset == 0 {
		if _, err := w.readSnapshot(s, f.Snapshot); errors.Is(err, raft.ErrCorrupt) {
			report.damage = &raft.DamagedError{Err: err}
		}
	}
	s.fetched = append(s.fetched, report)
}

// lacksBytes reports whether a server knows that it has lost what its state machine needs.
func (s *server) lacksBytes() bool {
	lost := s.core.Status().Lost
	return len(lost) > 0 && lost[len(lost)-1].Last > s.status.applied
}
