package raft

import (
	"cmp"
	"errors"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A storage may lose the bytes of entries and still know their identities, that is, their indexes
// and terms (Saved.Lost, DamagedError). What a server has promised, it has promised by identities:
//
//	by identity   votes, log matching, truncation, what a heartbeat says was acknowledged
//	by bytes      a new acknowledgement, the leader's own copy, applying, sending
//
// So a lost entry stays in the log. The server asks the other members for its bytes (repair.go).
// Until it has them, the server acknowledges nothing behind a lost entry that it doesn't know to be
// committed: else "committed" would stand for a single copy.
//
//	leader     1 1 2 2          B has acknowledged index 2 in term 1, and lost its bytes since. It
//	B          1 !1             knows of no commit. If it acknowledged index 4, that would be
//	C          1                committed, and the only bytes of index 2 would be the leader's.
//
// What is known to be committed is acknowledged by its identity all the same. Otherwise nothing would
// be acknowledged any more where the bytes come with a snapshot only.

// lostEntries are ranges of entries, in order, with at least one other entry between two of them.
type lostEntries []wire.Range

func (l lostEntries) encode(s *stateEncoder) {
	s.numbers(uint64(len(l)))
	for _, r := range l {
		s.numbers(uint64(r.First), uint64(r.Last))
	}
}

// has says whether the entry at an index is among them.
func (l lostEntries) has(index Index) bool { return l.around(index).Last != 0 }

// around returns the range to which the entry at an index belongs, or a zero one if it isn't among
// them.
func (l lostEntries) around(index Index) (r wire.Range) {
	if at := l.behind(index); at < len(l) && index != 0 && l[at].First <= index {
		return l[at]
	}
	return r
}

// after returns the first of them after an index, or 0.
func (l lostEntries) after(index Index) Index {
	if at := l.behind(index + 1); at < len(l) {
		return max(l[at].First, index+1)
	}
	return 0
}

// behind returns the place of the first range that doesn't end before an index.
func (l lostEntries) behind(index Index) int {
	at, _ := slices.BinarySearchFunc(l, index, func(r wire.Range, index Index) int { return cmp.Compare(r.Last, index) })
	return at
}

// upTo returns the last of them up to an index, or 0.
func (l lostEntries) upTo(index Index) Index {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].First <= index {
			return min(l[i].Last, index)
		}
	}
	return 0
}

// count returns how many there are.
func (l lostEntries) count() (entries uint64) {
	for _, r := range l {
		entries += uint64(r.Last - r.First + 1)
	}
	return entries
}

// with returns them and those of another range.
func (l lostEntries) with(added wire.Range) lostEntries {
	var joined lostEntries
	for _, r := range l {
		if r.Last+1 < added.First || r.First > added.Last+1 {
			joined = append(joined, r)
			continue
		}
		added = wire.Range{First: min(r.First, added.First), Last: max(r.Last, added.Last)}
	}
	joined = append(joined, added)
	slices.SortFunc(joined, func(a, b wire.Range) int { return cmp.Compare(a.First, b.First) })
	return joined
}

// without returns them but for those of a range.
func (l lostEntries) without(gone wire.Range) lostEntries {
	var left lostEntries
	for _, r := range l {
		if r.First < gone.First {
			left = append(left, wire.Range{First: r.First, Last: min(r.Last, gone.First-1)})
		}
		if r.Last > gone.Last {
			left = append(left, wire.Range{First: max(r.First, gone.Last+1), Last: r.Last})
		}
	}
	return left
}

// checkLost: the lost entries are in the log, and were stable.
func (l *entryLog) checkLost() error {
	after := l.base.Index
	for i, r := range l.lost {
		if r.First <= after || r.First > r.Last || r.Last > l.stable || i > 0 && r.First == after+1 {
			return broken("Lost Within Log", "entries %d to %d are lost, base %d, stable %d", r.First, r.Last, l.base.Index, l.stable)
		}
		after = r.Last
	}
	return nil
}

// sound returns the index up to which this server's disk holds the log, as far as that counts for
// an acknowledgement.
func (l *entryLog) sound() Index {
	if first := l.lost.after(l.commit); first != 0 {
		return min(l.stable, first-1)
	}
	return l.stable
}

// obstacle returns the first lost entry that the state machine hasn't been handed, or 0.
func (l *entryLog) obstacle() Index { return l.lost.after(l.handed) }

// applicable returns the index up to which entries can be handed to the state machine, at most
// last.
func (l *entryLog) applicable(last Index) Index {
	if first := l.obstacle(); first != 0 {
		return min(last, first-1)
	}
	return last
}

// servable returns the index after which all entries up to another one can be sent to a peer.
func (l *entryLog) servable(upTo Index) Index { return max(l.base.Index, l.lost.upTo(upTo)) }

// noteLost notes that entries of a range are lost, as far as they are in the log and were stable. It
// takes those that this server still has in memory from there.
func (c *Core) noteLost(r wire.Range) {
	l := &c.log
	r = wire.Range{First: max(r.First, l.base.Index+1), Last: min(r.Last, l.stable)}
	if r.First > r.Last {
		return
	}
	if len(l.lost) == 0 {
		c.repairs.since, c.serversChanged = c.now, true
	}
	if added := l.lost.with(r); !slices.Equal(l.lost, added) {
		l.lost = added
		c.damageChanged()
	}
	c.hurryRepair()
	for at := l.lost.after(r.First - 1); at != 0 && at <= r.Last; at = l.lost.after(at) {
		if e := c.remembered(at); e != nil && !c.repairs.hand.has(at) {
			c.repairs.take(e)
		}
	}
	c.restoreInstead()
}

// restoreInstead lets the state machine be restored from this server's own snapshot, if that covers
// lost entries which the state machine was to be handed. A durable state machine may be behind the
// snapshot after a start, and would go on with the log.
func (c *Core) restoreInstead() {
	s, l := &c.snapshots, &c.log
	if first := l.obstacle(); first == 0 || first > s.current.index() || s.damaged || s.restore != restoreNot {
		return
	}
	l.handed = s.current.index()
	c.fetched = nil
	s.restore = restoreDue
}

// remembered returns an entry that this server has in memory, or nil.
func (c *Core) remembered(index Index) *Entry {
	if entries := c.log.tail.entries(index-1, index, maxInt); entries != nil {
		return &entries[0]
	}
	for i := range c.log.configurations {
		if placed := &c.log.configurations[i]; placed.index == index {
			term, _ := c.log.term(index)
			data := wire.AppendConfiguration(nil, placed.configuration)
			return &Entry{Index: index, Term: term, Kind: wire.EntryConfiguration, Data: data}
		}
	}
	return nil
}

// Damaged reports that a fetch has failed with a DamagedError. The core gets the bytes of the lost
// entries from other servers, and stores them (Write.Repairs). A damaged snapshot (Fetch.Snapshot) is
// reported likewise; the core has another one taken. It returns an error that wraps
// ErrCorrupt if the state machine needs them and there is no other server: the node can't go on.
func (c *Core) Damaged(now Instant, f Fetch, damage *DamagedError) error {
	c.advance(now)
	changed := c.fetchDone(f)
	if f.Snapshot != nil {
		c.snapshotScrubbed(f)
		return nil
	}
	lost := wire.Range{First: f.After + 1, Last: f.After + 1}
	if damage.Lost.First <= lost.First && damage.Lost.Last >= lost.First {
		lost = damage.Lost
	}
	c.repairs.damage = damage.Err
	c.noteLost(lost)
	switch {
	case f.Scrub:
		c.scrubbed(f, lost.Last, 0)
	case f.Repair && f.For == c.id:
		c.readBehind(lost.Last, f.Last)
	case f.Repair:
		c.repairRead(f, nil, changed)
	}
	if changed {
		c.readAgain(lost)
		return nil
	}
	return c.hopeless()
}

// damageChanged notes that something was found to be lost, or was repaired. That matters to the reads
// that have begun.
func (c *Core) damageChanged() {
	if c.reading > 0 || c.scrubbing.reads {
		c.repairs.changes++
	}
}

// coverLost has a snapshot taken that covers the lost entries which the state machine was handed,
// since nobody gives their bytes. The state is still there: a start would need these entries to come
// to it.
func (c *Core) coverLost() {
	if last := c.log.lost.upTo(c.log.handed); last > c.snapshots.current.index() {
		c.snapshots.wanted = max(c.snapshots.wanted, last)
	}
}

// readAgain reads entries that a fetch has found lost. They may have been repaired since it began.
// Until it is known that the disk has them, they are lost.
func (c *Core) readAgain(lost wire.Range) {
	c.fetch(Fetch{For: c.id, Repair: true, After: lost.First - 1, Last: lost.Last, MaxBytes: c.config.MaxAppendBytes})
}

// notLost takes entries from the disk that were held for lost. changed says whether any may have been
// lost since they were read.
func (c *Core) notLost(f Fetch, entries []Entry, changed bool) {
	switch {
	case len(entries) == 0:
		return
	case changed:
		c.readAgain(wire.Range{First: f.After + 1, Last: f.Last})
		return
	}
	last := entries[len(entries)-1].Index
	c.repaired(lostEntries{{First: entries[0].Index, Last: last}})
	c.repairs.keep(c.log.lost)
	c.readBehind(last, f.Last)
}

// readBehind goes on with reading again, behind one entry and up to another.
func (c *Core) readBehind(after, last Index) {
	if next := c.log.lost.after(after); next != 0 && next <= last {
		c.readAgain(wire.Range{First: next, Last: last})
	}
}

// errNobodyElse says why lost entries stay lost.
var errNobodyElse = errors.New("there is no other server to get their bytes from")

// hopeless returns an error if the state machine needs lost entries, and there is no other server
// that might have them.
func (c *Core) hopeless() error {
	first := c.log.obstacle()
	if first == 0 || len(c.otherServers()) > 0 || c.repairs.hand.has(first) {
		return nil
	}
	damage := &DamagedError{Lost: wire.Range{First: first, Last: c.log.lost.upTo(c.log.last)}, Err: errNobodyElse}
	if c.repairs.damage != nil {
		damage.Err = because(errNobodyElse, c.repairs.damage)
	}
	return damage
}
