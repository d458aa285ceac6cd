package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// maxKeptBuffer is the most memory, in bytes, that is kept between writes for their buffer.
const maxKeptBuffer = 4 << 20

// Write makes w durable, with one record, one write and one sync; where a segment begins, its head
// is one more write. If w changes nothing, nothing is written. An impossible w fails with ErrWrite.
// After an error every later Write fails. See raft.Storage. When the log needs its next file, and
// the process has no file descriptor left or the disk no room, Write waits (see Waiting).
func (l *Log) Write(w raft.Write) error {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	if err := l.usable(); err != nil {
		return err
	}
	return l.writeOf(&l.group, w)
}

// writeOf writes for one group. The caller holds busy.
func (l *Log) writeOf(g *group, w raft.Write) error {
	if g.id != "" || !l.alone() {
		refused, err := l.writeAll([]raft.GroupWrite{{Group: g.id, Write: w}})
		if err != nil {
			return err
		}
		return refused[g.id]
	}
	if g.failed != nil {
		return g.failed
	}
	err := l.write(&w)
	if errors.Is(err, ErrWrite) {
		return l.refuse(g, err)
	}
	if err != nil && !l.gaveUp(err) {
		return l.fail(fmt.Errorf("wal: write: %w", err))
	}
	return err
}

// alone says whether no other group has had a part in the last records, and none is to be moved. Then a
// write of the group "" is a batch.
func (l *Log) alone() bool {
	l.groups.window.begin(l.trail.since)
	return len(l.groups.window.groups) == 0 && !l.owed()
}

// usable returns the reason why nothing can be written any more, or nil.
func (l *Log) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	return l.failed
}

// fail makes every later Write fail, because nobody knows any more what the disk holds. It returns
// err.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = fmt.Errorf("wal: an earlier write failed: %w", err)
	return err
}

func (l *Log) write(w *raft.Write) error {
	c := &l.change
	if err := l.plan(w, c); err != nil {
		return err
	}
	given := l.wanted(w.Repairs, c)
	if c.flags == 0 {
		return nil // all of it is durable already
	}
	here := place{l.active.number, l.active.end}
	l.prelude = l.contents.appendWitness(c.append(l.prelude[:0]), &l.trail, here)
	record := appendDirectory(append(l.buf[:0], zeros[:headerSize]...), l.prelude)
	seed := preamble{salt: l.salt}.seed()
	record = c.appendRepairs(record, given, seed)
	entriesAt := len(record)
	if len(w.Entries) > 0 {
		record = c.appendFrames(record, w.Entries, seed)
	}
	if len(record) > maxRecord {
		return fmt.Errorf("%w: it takes %d bytes, more than %d", ErrWrite, len(record), maxRecord)
	}
	at, chain, err := l.append(record, header{kind: kindBatch, entries: uint32(entriesAt - headerSize)})
	if err != nil {
		return err
	}
	if err := l.publish(c, at, uint32(len(record)), chain); err != nil {
		return err
	}
	if l.disk != nil {
		l.disk.writes.Add(1)
	}
	if err := l.changed(c); err != nil {
		return err
	}
	l.wrote()
	return nil
}

// wanted returns those of the repairs that the log needs, and describes in c that there are some.
func (g *group) wanted(given []raft.Entry, c *change) []raft.Entry {
	if len(given) == 0 {
		return nil
	}
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	t := &g.contents
	var wanted []raft.Entry
	for i := range given {
		e := &given[i]
		if t.has(e.Index, e.Term) && t.stretches[t.at(e.Index)].segment == nil {
			wanted = append(wanted, *e)
		}
	}
	if c.repairs = len(wanted); c.repairs > 0 {
		c.flags |= repairs
	}
	return wanted
}

// plan describes in c what w changes, and refuses a w that is impossible.
func (g *group) plan(w *raft.Write, c *change) error {
	t := &g.contents
	c.reset()
	if w.State != t.durable {
		c.flags |= changesState
		c.durable = w.State
	}
	snapshot, last := t.snapshot.meta.Index, t.last
	if w.Snapshot != nil {
		ref, err := g.storedSnapshot(w.Snapshot)
		if err != nil {
			return err
		}
		c.flags |= changesSnapshot
		c.snapshot = ref
		snapshot = w.Snapshot.Index
		if snapshot < t.snapshot.meta.Index {
			return fmt.Errorf("%w: a snapshot at %d after one at %d", ErrWrite, snapshot, t.snapshot.meta.Index)
		}
		if !t.agrees(w.Snapshot) {
			c.flags |= dropsLog
			last = snapshot
		}
	}
	if len(w.Entries) > 0 {
		// What a snapshot covers was committed: nothing takes its place.
		if err := checkEntries(w.Entries, snapshot+1, last); err != nil {
			return err
		}
		c.setEntries(w.Entries)
	}
	if err := checkRepairs(w.Repairs); err != nil {
		return err
	}
	if w.Compact > snapshot {
		return fmt.Errorf("%w: compact up to %d, past the snapshot at %d", ErrWrite, w.Compact, snapshot)
	}
	if w.Compact > t.compacted {
		c.flags |= changesCompacted
		c.compacted = w.Compact
	}
	return nil
}

// checkEntries refuses entries that aren't contiguous, that don't fit to a log of the entries from
// first to last, or that are too large for one record.
func checkEntries(entries []raft.Entry, first, last raft.Index) error {
	from := entries[0].Index
	if from < first || from > last+1 {
		return fmt.Errorf("%w: the first entry is %d, and the log takes entries from %d to %d", ErrWrite, from, first, last+1)
	}
	size := int64(0)
	for i := range entries {
		if entries[i].Index != from+raft.Index(i) {
			return fmt.Errorf("%w: entry %d after entry %d", ErrWrite, entries[i].Index, from+raft.Index(i)-1)
		}
		if n := len(entries[i].Data); n > wire.MaxCommandSize {
			return fmt.Errorf("%w: entry %d has %d bytes, more than %d",
				ErrWrite, entries[i].Index, n, wire.MaxCommandSize)
		}
		size += int64(len(entries[i].Data)) + maxEntryOverhead
		if entries[i].Kind == wire.EntryConfiguration { // it stands in the prelude, too
			size += int64(len(entries[i].Data)) + maxEntryOverhead
		}
	}
	if size > maxRecord-maxPrelude {
		return fmt.Errorf("%w: %d bytes of entries, more than %d", ErrWrite, size, maxRecord-maxPrelude)
	}
	return nil
}

// checkRepairs refuses repairs that aren't in order, or that are too large.
func checkRepairs(entries []raft.Entry) error {
	size := int64(0)
	for i := range entries {
		if i > 0 && entries[i].Index <= entries[i-1].Index {
			return fmt.Errorf("%w: repair of entry %d after that of %d", ErrWrite, entries[i].Index, entries[i-1].Index)
		}
		if n := len(entries[i].Data); n > wire.MaxCommandSize {
			return fmt.Errorf("%w: repair of entry %d has %d bytes, more than %d", ErrWrite, entries[i].Index, n, wire.MaxCommandSize)
		}
		size += int64(len(entries[i].Data)) + maxEntryOverhead
	}
	if size > maxRecord-maxPrelude {
		return fmt.Errorf("%w: %d bytes of repairs, more than %d", ErrWrite, size, maxRecord-maxPrelude)
	}
	return nil
}

// Bounds of the parts of a record besides the data of its entries. An entry has a frame, its origin
// and its numbers, and its index and term once more in a run and in the list of configurations. The
// rest is a snapshot with a configuration, and the state.
const (
	maxEntryOverhead = frameSize + 2 + wire.MaxServerID + 6*10 + 3*10
	maxPrelude       = 4 << 20
)

// MaxWrite is the most bytes that the entries and the repairs of one Write may take. See
// raft.Storage.
func (l *Log) MaxWrite() int { return maxRecord - maxPrelude }

// append writes a record to the active segment, or to the next one if it doesn't fit, and syncs it.
// It returns its offset, and the chain with it. The first bytes of record are room for the header.
func (l *Log) append(record []byte, h header) (at, chain uint32, err error) {
	if !l.active.fits(len(record)) {
		if err := l.begin(len(record)); err != nil {
			return 0, 0, err
		}
	}
	s := l.active
	at = s.end
	h.synced, h.prior, h.before = s.synced, s.last, s.chain
	chain = seal(record, h, s.key, at)
	padded := pad(record, at, s.size)
	if cap(padded) <= maxKeptBuffer {
		l.buf = padded
	}
	if _, err := s.file.WriteAt(padded, int64(at)); err != nil {
		return 0, 0, err
	}
	if err := l.sync(s); err != nil {
		return 0, 0, err
	}
	l.begun.Store(s.number)
	return at, chain, nil
}

// sync makes durable what was written to a segment, and tells how long that took.
func (l *Log) sync(s *segment) error {
	if l.synced == nil {
		return s.file.Sync()
	}
	start := time.Now()
	err := s.file.Sync()
	l.synced(time.Since(start), err)
	return err
}

// begin makes the next segment the active one, with room for need bytes. It writes the head and
// doesn't sync it.
func (l *Log) begin(need int) error {
	old := l.active
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	b, s := l.appendHead(nil, sp.number, old, 0)
	need += int(s.end)
	if err := l.makeRoom(sp, int64(need)); err != nil {
		return err
	}
	if l.anchor.named.Load() < sp.number {
		if err := l.writeAnchor(anchoring{sync: true}); err != nil {
			return err
		}
	}
	b, s = l.appendHead(b[:0], sp.number, old, sp.size)
	s.file = sp.file
	if _, err := s.file.WriteAt(pad(b, 0, sp.size), 0); err != nil {
		return err
	}
	s.size = max(sp.size, int64(need))
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	l.active = s
	l.trail.add(place{s.number, s.end}, s.end, touch{})
	*sp = *l.newSpare(s)
	l.goal.Store(0)
	l.wakeAt = 0
	return nil
}

// appendHead appends the preamble and the head of the segment after old, whose file is filled up to
// size, and returns the segment with this head. old is nil when there is no segment before it.
func (l *Log) appendHead(b []byte, number uint64, old *segment, size int64) ([]byte, *segment) {
	p := preamble{salt: l.salt, number: number}
	s := &segment{number: number, name: l.path(fileName(number, segmentSuffix)), key: p.key()}
	state := l.checkpoint()
	state.touched = []mark{}
	if old != nil {
		state.touched = append(state.touched, old.touched...)
	}
	state.size = uint32(size)
	if old != nil {
		state.priorEnd, state.priorChain = old.end, old.chain
	}
	b, chain := appendPreamble(b, p)
	b = appendDirectory(append(b, zeros[:headerSize]...), state.append(nil))
	h := header{kind: kindHead, entries: uint32(len(b) - preambleSize - headerSize), before: chain}
	s.chain = seal(b[preambleSize:], h, s.key, preambleSize)
	s.last, s.end = preambleSize, next(uint32(len(b)))
	return b, s
}

// publish makes a durable change visible to readers. Its record stands at the offset at, takes size
// bytes, and makes the chain what it says.
func (l *Log) publish(c *change, at, size, chain uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.extend(at, size, chain, c.touches())
	grows := c.appends(&l.contents)
	if err := l.contents.apply(c, l.active, at); err != nil {
		return err
	}
	l.count(c, grows)
	if c.flags&(changesCompacted|changesSnapshot) != 0 {
		l.dropUnneeded()
		l.forgetDamage(c)
		l.snapshots.unswept, l.untidy = true, true
	}
	return nil
}

// extend moves the end of the log behind a record that is synced.
func (l *Log) extend(at, size, chain uint32, own touch) {
	s := l.active
	s.last, s.end, s.chain = at, next(at+size), chain
	s.synced = s.end
	if n := len(l.segments); n > 1 && l.tip.place.segment != s.number {
		l.segments[n-2].touched = nil // the head of s says it
	}
	l.tip = tip{place{s.number, s.end}, chain}
	l.trail.add(l.tip.place, size, own)
}

// dropUnneeded moves the segments that nothing is read from any more, and that have the newest head of
// no group, to the garbage.
func (l *Log) dropUnneeded() {
	oldest := l.contents.oldest(l.active.number)
	n := 0
	for l.segments[n].number < oldest && len(l.segments[n].holders) == 0 {
		n++
	}
	l.garbage = append(l.garbage, l.segments[:n]...)
	l.segments = append([]*segment(nil), l.segments[n:]...)
	l.untidy = l.untidy || n > 0
}
