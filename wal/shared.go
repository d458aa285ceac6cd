package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/e17579a5/raft"
)

// shared is the memory that WriteGroups uses again.
type shared struct {
	out       []outgoing
	spare     []change // those of parts before, whose slices are used again
	directory directory
	marks     []mark
	buf       []byte
}

// An outgoing is a part of the record that is being made.
type outgoing struct {
	group            *group
	change           change
	repairs, entries []raft.Entry
	head             int64 // bytes of the head; 0 if there is none
	// Where in the buffer the part and what it is made of begin, and where it ends.
	start, repairsAt, entriesAt, end int
}

// A joined is the writes of one group that become one part of a record.
type joined struct {
	group *group
	write raft.Write
	count int // how many writes it was made of
}

// WriteGroups makes the writes of several groups durable, with one record, one write and one sync,
// and one more of each where the writes of a group can't be made one: a second snapshot, a repair behind
// another write, or entries that replace those of another write. See raft.SharedStorage. It waits where Write does.
func (l *Log) WriteGroups(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	if err := l.usable(); err != nil {
		return nil, err
	}
	return l.writeAll(writes)
}

// writeAll is WriteGroups for who holds busy.
func (l *Log) writeAll(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	refused := make(map[raft.GroupID]error)
	for len(writes) > 0 {
		rest, err := l.writeSome(writes, refused)
		if l.gaveUp(err) {
			return refused, err
		}
		if err != nil {
			return refused, l.fail(fmt.Errorf("wal: write groups: %w", err))
		}
		writes = rest
	}
	return refused, nil
}

// gaveUp says whether an error is that of a write that waited until its group was closed. Nothing of it
// is there, and the log goes on.
func (l *Log) gaveUp(err error) bool {
	if err == nil || !errors.Is(err, errClosed) {
		return false
	}
	select {
	case <-l.closing:
		return false
	default:
		return true
	}
}

// writeSome writes what goes into one record, and returns the writes that are left.
func (l *Log) writeSome(writes []raft.GroupWrite, refused map[raft.GroupID]error) (rest []raft.GroupWrite, err error) {
	all, rest := l.join(writes, refused)
	l.shared.out = l.shared.out[:0]
	data := 0
	for i := range all {
		j := &all[i]
		o := l.newPart(j.group)
		err := j.group.plan(&j.write, &o.change)
		if err != nil && j.count > 1 {
			// The first of them may be right. The others come after it.
			rest = oneByOne(writes, j, rest)
			first := slices.IndexFunc(writes, func(w raft.GroupWrite) bool { return w.Group == j.group.id })
			j.write = writes[first].Write
			err = j.group.plan(&j.write, &o.change)
		}
		if err != nil {
			refused[j.group.id] = l.refuse(j.group, err)
			l.dropPart()
			continue
		}
		o.repairs, o.entries = j.group.wanted(j.write.Repairs, &o.change), j.write.Entries
		if o.change.flags == 0 {
			l.dropPart() // all of it is durable already
			continue
		}
		for _, e := range o.entries {
			data += len(e.Data) + frameSize
		}
	}
	if len(l.shared.out) == 0 {
		return rest, nil
	}
	return rest, l.writeParts(data)
}

// oneByOne puts the writes of a group but the first before the others that are left.
func oneByOne(writes []raft.GroupWrite, j *joined, rest []raft.GroupWrite) []raft.GroupWrite {
	var own []raft.GroupWrite
	for _, w := range writes {
		if w.Group == j.group.id {
			own = append(own, w)
		}
	}
	rest = slices.DeleteFunc(slices.Clone(rest), func(w raft.GroupWrite) bool { return w.Group == j.group.id })
	return append(slices.Clone(own[1:]), rest...)
}

// refuse makes every further write of a group fail, and returns err.
func (l *Log) refuse(g *group, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.failed = fmt.Errorf("wal: an earlier write of the group failed: %w", err)
	return fmt.Errorf("wal: write: %w", err)
}

// join makes the writes of each group one, as far as that can be done, and as far as all of them fit
// into one record. The others are left.
func (l *Log) join(writes []raft.GroupWrite, refused map[raft.GroupID]error) (all []joined, rest []raft.GroupWrite) {
	at := make(map[raft.GroupID]int, len(writes))
	size, full := 0, false
	for i := range writes {
		w := &writes[i]
		if refused[w.Group] != nil {
			continue
		}
		g, err := l.writable(w.Group)
		if err != nil {
			refused[w.Group] = err
			continue
		}
		more := sizeOf(&w.Write) + int(g.headSize)
		before, known := at[w.Group]
		if full = full || len(all) > 0 && size+more > maxRecord-maxPrelude; full {
			rest = append(rest, *w)
			continue
		}
		if !known {
			at[w.Group] = len(all)
			all = append(all, joined{group: g, write: w.Write, count: 1})
			size += more
			continue
		}
		if before < 0 || !all[before].add(&w.Write) {
			at[w.Group] = -1 // so that those behind it stay behind it
			rest = append(rest, *w)
			continue
		}
		size += more
	}
	return all, rest
}

// writable returns a group, if it can be written.
func (l *Log) writable(id raft.GroupID) (*group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, err := l.groupNamed(id)
	if err != nil {
		return nil, err
	}
	if g.refused != nil {
		return nil, g.refused
	}
	return g, g.failed
}

// sizeOf returns about how many bytes a write takes.
func sizeOf(w *raft.Write) (size int) {
	for _, list := range [][]raft.Entry{w.Entries, w.Repairs} {
		for i := range list {
			size += len(list[i].Data) + maxEntryOverhead
		}
	}
	return size + 1<<10
}

// add makes a write and the one behind it one, if that comes to the same.
func (j *joined) add(w *raft.Write) bool {
	if w.Snapshot != nil || len(w.Repairs) > 0 {
		return false
	}
	a := &j.write
	if len(a.Entries) > 0 && len(w.Entries) > 0 {
		if w.Entries[0].Index != a.Entries[0].Index+raft.Index(len(a.Entries)) {
			return false
		}
		a.Entries = slices.Concat(a.Entries, w.Entries)
	} else if len(w.Entries) > 0 {
		a.Entries = w.Entries
	}
	a.State, a.Compact = w.State, max(a.Compact, w.Compact)
	j.count++
	return true
}

// newPart adds an empty part of a group to the record that is being made.
func (l *Log) newPart(g *group) *outgoing {
	out := l.shared.out
	if n := len(out); n < cap(out) {
		out = out[:n+1]
		c := out[n].change
		out[n] = outgoing{group: g, change: c}
	} else {
		out = append(out, outgoing{group: g})
	}
	l.shared.out = out
	o := &out[len(out)-1]
	o.change.reset()
	return o
}

// dropPart takes back the last part.
func (l *Log) dropPart() { l.shared.out = l.shared.out[:len(l.shared.out)-1] }

// writeParts writes the parts in one record, and the cleaner's behind them: no more bytes than data.
func (l *Log) writeParts(data int) error {
	l.mu.Lock()
	for i := range l.shared.out {
		l.shared.out[i].group.setNumber()
	}
	l.mu.Unlock()
	l.cleanBeside(data)
	record := l.encode(false)
	if !l.active.fits(len(record)) {
		record = l.encode(true)
		if err := l.begin(len(record)); err != nil {
			return err
		}
	}
	if len(record) > maxRecord {
		return fmt.Errorf("%w: the parts take %d bytes, more than %d", ErrWrite, len(record), maxRecord)
	}
	at, chain, err := l.append(record, header{kind: kindShared, entries: uint32(len(record) - headerSize)})
	if err != nil {
		return err
	}
	if err := l.publishParts(at, uint32(len(record)), chain); err != nil {
		return err
	}
	return l.changedParts()
}

// encode makes a record of the parts, with room for its header. If it is the first one of its segment,
// all of them carry a head.
func (l *Log) encode(first bool) []byte {
	k := &l.shared
	d := &k.directory
	d.since = l.trail.since
	l.groups.window.begin(d.since)
	d.touched = l.groups.window.marks(d.touched[:0])
	if l.trail.touched().flags != 0 {
		d.touched = append(d.touched, markOf(&l.group))
	}
	before := headerSize + maxDirectory + len(d.touched)*maxMark + len(k.out)*maxInPart
	b := slices.Grow(k.buf[:0], before)[:before]
	seed := preamble{salt: l.salt}.seed()
	for i := range k.out {
		o := &k.out[i]
		o.start = len(b)
		b = l.appendPrelude(b, o, first)
		o.repairsAt = len(b)
		o.change.pieces = o.change.pieces[:0]
		b = o.change.appendRepairs(b, o.repairs, seed)
		o.change.endPieces(len(b))
		o.entriesAt = len(b)
		o.change.points = o.change.points[:0]
		if len(o.entries) > 0 {
			b = o.change.appendFrames(b, o.entries, seed)
		}
		o.end = len(b)
	}
	if cap(b) <= maxKeptBuffer {
		k.buf = b
	}
	d.parts = d.parts[:0]
	for i := range k.out {
		o := &k.out[i]
		prelude := b[o.start:o.repairsAt]
		d.parts = append(d.parts, part{
			group: o.group.number, prelude: prelude, crc: crc32.Checksum(prelude, castagnoli),
			repairs: o.repairsAt, entries: o.entriesAt, end: o.end,
		})
	}
	encoded := d.append(nil)
	start := before - headerSize - len(encoded)
	copy(b[start+headerSize:], encoded)
	for i := range k.out {
		k.out[i].change.shift(start)
	}
	return b[start:]
}

// appendPrelude appends the prelude of a part.
func (l *Log) appendPrelude(b []byte, o *outgoing, first bool) []byte {
	g, c := o.group, &o.change
	c.inPart = true
	o.head = 0
	headed := c.flags&ends == 0 && (g.needsHead() || first && !g.root())
	if headed {
		start := len(b)
		b = g.appendGroupHead(b)
		o.head = int64(len(b) - start)
	}
	b = c.append(b)
	if headed || c.flags&ends != 0 {
		return b
	}
	touched := l.groups.window.touched(g)
	if g.root() {
		touched = l.trail.touched()
	}
	return g.contents.appendPartWitness(b, touched)
}

// publishParts makes the parts visible, which are durable. See publish.
func (l *Log) publishParts(at, size, chain uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := touch{}
	for i := range l.shared.out {
		if o := &l.shared.out[i]; o.group.root() {
			own = own.with(o.change.touches())
		}
	}
	l.extend(at, size, chain, own)
	for i := range l.shared.out {
		o := &l.shared.out[i]
		if err := o.group.take(&o.change, l.active, at, l.tip.place, o.head); err != nil {
			return err
		}
	}
	l.dropUnneeded()
	return nil
}

// take makes a part of a record take effect in its group. The record stands at an offset of a segment,
// and ends at end. head is how many bytes of the part are the head of the group; 0 if it has none.
func (g *group) take(c *change, s *segment, at uint32, end place, head int64) error {
	l := g.log
	if !g.root() {
		l.groups.numbered[g.number] = g
		if head > 0 {
			l.groups.heads += head - g.headSize
			g.headSize, g.head, g.headEnd = head, s, end
		}
		g.list(s)
		l.groups.window.add(end, g, c.touches())
	}
	if c.flags&ends != 0 {
		g.end(s)
		return nil
	}
	grows := head == 0 && c.appends(&g.contents)
	if err := g.contents.apply(c, s, at); err != nil {
		return err
	}
	if c.flags&(changesCompacted|changesSnapshot) != 0 {
		g.forgetDamage(c)
		g.snapshots.unswept, l.untidy = true, true
		if !g.root() {
			l.files.unswept = append(l.files.unswept, g)
		}
	}
	g.count(c, grows)
	return nil
}

// forgetDamage forgets the damage to a snapshot when another one takes its place.
func (g *group) forgetDamage(c *change) {
	if c.flags&changesSnapshot != 0 {
		g.snapshots.damage = nil
	}
}

// appends says whether the change does nothing but to add entries behind those of a group, and to set
// its state.
func (c *change) appends(t *contents) bool {
	return c.flags&^(changesState|changesEntries) == 0 && (c.flags&changesEntries == 0 || c.first == t.last+1)
}

// count counts what a group needs after a change, and which segments. The change appends, or not.
func (g *group) count(c *change, appends bool) {
	if appends {
		bytes := c.bytes()
		g.live += bytes
		g.log.groups.live += bytes
		return
	}
	g.weigh()
	g.hold()
}

// end ends the group: nothing of it is needed any more, and its name may be used for a new one.
func (g *group) end(s *segment) {
	l := g.log
	g.ended, g.refused = true, nil
	s.touched = append(s.touched, markOf(g))
	delete(l.groups.numbered, g.number)
	if l.groups.named[g.id] == g {
		delete(l.groups.named, g.id)
	}
	l.groups.heads -= g.headSize
	g.headSize = 0
	g.contents = contents{}
	g.weigh()
	g.hold()
}

// bytes returns how many bytes the entries of a part take.
func (c *change) bytes() uint64 {
	if len(c.points) == 0 {
		return 0
	}
	return uint64(c.points[len(c.points)-1].end - c.points[0].offset)
}

// endPieces says where each piece ends. The last one ends at end.
func (c *change) endPieces(end int) {
	for i := len(c.pieces) - 1; i >= 0; i-- {
		p := &c.pieces[i]
		p.moved = c.flags&moves != 0
		for j := range p.points {
			p.points[j].end = uint32(end)
		}
		end = int(p.points[0].offset)
	}
}

// shift moves the places in the change, which counted from the beginning of a buffer, so that they
// count from the offset start of it.
func (c *change) shift(start int) {
	move := func(points []point) {
		for i := range points {
			points[i].offset -= uint32(start)
			points[i].end -= uint32(start)
		}
	}
	move(c.points)
	for i := range c.pieces {
		move(c.pieces[i].points)
	}
}

// changedParts looks at the room after parts that are durable, and does the work that follows.
func (l *Log) changedParts() error {
	if l.disk != nil {
		l.disk.writes.Add(1)
	}
	for i := range l.shared.out {
		if o := &l.shared.out[i]; o.group.root() {
			if err := l.changed(&o.change); err != nil {
				return err
			}
		}
	}
	l.wrote()
	return nil
}

// RemoveGroup forgets a group: a record says so, after which the names and the files of the group count
// for nothing. See raft.SharedStorage. The group "" can't be removed, since the log is its own.
func (l *Log) RemoveGroup(id raft.GroupID) error {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	if err := l.usable(); err != nil {
		return err
	}
	if id == "" {
		return errRootStays
	}
	l.mu.Lock()
	g, err := l.groupNamed(id)
	if err == nil && g.open != nil {
		err = fmt.Errorf("wal: remove group %q: its storage is open", id)
	}
	stored := err == nil && l.groups.numbered[g.number] == g
	if err == nil && !stored {
		delete(l.groups.named, id)
	}
	l.mu.Unlock()
	if err != nil || !stored {
		return err
	}
	files := g.snapshotFiles()
	l.shared.out = l.shared.out[:0]
	l.newPart(g).change.flags = ends
	if err := l.writeParts(0); err != nil {
		return l.fail(fmt.Errorf("wal: remove group %q: %w", id, err))
	}
	l.removeSnapshots(files)
	return nil
}
