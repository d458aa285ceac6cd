package wal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/e17579a5/raft"
)

// shared is the memory that WriteGroups uses again.
type shared struct {
	out       []outgoing
	directory directory
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
	if err != nil {
		return err
	}
	files := g.snapshotFiles()
	if !stored {
		l.removeSnapshots(files) // no write has named them
		return nil
	}
	l.shared.out = l.shared.out[:0]
	l.newPart(g).change.flags = ends
	if err := l.writeParts(0); err != nil {
		return l.fail(fmt.Errorf("wal: remove group %q: %w", id, err))
	}
	l.removeSnapshots(files)
	return nil
}
