package coalesce

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A list has the groups that this process leads quietly, for one other process.
type list struct {
	entries map[wire.GroupID]*entry
	// all are the entries that are on the list, in no order that matters.
	all []*entry
	// version is that of the last change (H1). told is the version that the other process has
	// answered with. begun is the version with which the list began anew: an answer with an earlier one
	// speaks of another list.
	version, told, begun uint64
	// changes are the last changes of the entries, in the order of their versions, from the version
	// told on. One whose entry has changed again since is skipped.
	changes []change
	// early is no later than since of those entries whose group was heard last before they were put on the list;
	// never if there are none.
	early Instant
}

// An entry is a group on a list, or one that has left it, as long as the other process may not know.
type entry struct {
	process *process
	group   *group
	stand   wire.Stand
	on      bool
	at      int // its place in list.all, while it is on the list
	// version is that of its last change. since is when that was made, or when the group's leader was confirmed
	// last before that.
	version uint64
	since   Instant
	// wanted is the first round to the process that the reads of the group wait for, or 0.
	wanted uint64
	// excepted says that the last answer didn't speak for it, and doubted that two in a row didn't, or
	// that none came.
	excepted, doubted bool
	// kept is when the last round left that the process has answered for the entry, if it vouches no
	// more.
	kept Instant
}

// A change is the version that an entry got.
type change struct {
	version uint64
	entry   *entry
}

func (c *change) stale() bool { return c.entry.version != c.version }

// counts says whether the process vouches for the entry (H3).
func (e *entry) counts() bool {
	p := e.process
	return p.live && e.on && !e.excepted && !e.doubted && e.version <= p.list.told
}

// keep notes what the process has vouched for, before it vouches no more. What was promised holds.
func (e *entry) keep(sent Instant) {
	if e.counts() {
		e.kept = sent
	}
}

// voucher returns what the process vouches for, or has vouched for; Sent is 0 for nothing.
func (e *entry) voucher() Voucher {
	p := e.process
	v := Voucher{ID: p.id, Sent: e.kept, Lease: e.stand.Lease > 0, Room: p.room}
	if !e.counts() {
		return v
	}
	v.Sent = p.sent
	if e.wanted != 0 && e.wanted <= p.answered {
		v.Round = e.group.awaits
	}
	return v
}

// waits says that the last answer didn't speak for the entry, and that it is still to be seen whether the
// next one does.
func (e *entry) waits() bool { return e.on && e.excepted && !e.doubted }

// spoken returns when the last round left that the process has answered for the entry, or when it was
// put on the list.
func (e *entry) spoken() Instant { return max(e.kept, e.since) }

// oldest returns the entry on the list of which the other process hasn't heard for the longest time, or
// nil.
func (l *list) oldest() *entry {
	for len(l.all) > 0 && len(l.changes) > 0 && l.changes[0].stale() {
		l.changes = l.changes[1:]
	}
	for i := 0; i < len(l.changes) && len(l.all) > 0; i++ {
		if c := &l.changes[i]; !c.stale() && c.entry.on {
			return c.entry
		}
	}
	return nil
}

// overdue returns the entries of which the other process hasn't heard, though they are no later than an instant,
// and finds out anew which is the earliest of the rest.
func (l *list) overdue(at Instant) (entries []*entry) {
	l.early = never
	for i := range l.changes {
		switch c := &l.changes[i]; {
		case c.stale() || !c.entry.on:
		case c.entry.since <= at:
			entries = append(entries, c.entry)
		default:
			l.early = min(l.early, c.entry.since)
		}
	}
	return entries
}

// put puts a group on the list for a process. If the same is there already, nothing has changed. confirmed is when
// its leader was: it isn't to be without an answer for longer than others because it rests.
func (p *process) put(b *Book, g *group, stand *wire.Stand, confirmed Instant) *entry {
	l := &p.list
	e := l.entries[g.id]
	if e != nil && e.on && e.group == g && e.stand == *stand && !e.doubted {
		return e
	}
	if e == nil {
		e = &entry{process: p}
		l.entries[g.id] = e
	}
	if !e.on {
		e.at = len(l.all)
		l.all = append(l.all, e)
	}
	e.group, e.stand, e.on, e.wanted, e.excepted, e.doubted, e.kept = g, *stand, true, 0, false, false, 0
	p.changed(b, e)
	if confirmed < e.since {
		e.since = confirmed
		l.early = min(l.early, confirmed)
	}
	p.contact(b)
	return e
}

// take takes a group from the list.
func (p *process) take(b *Book, e *entry) {
	if !e.on {
		return
	}
	l := &p.list
	last := len(l.all) - 1
	l.all[e.at] = l.all[last]
	l.all[e.at].at = e.at
	l.all[last] = nil
	l.all = l.all[:last]
	e.on = false
	p.changed(b, e)
}

// changed gives a change the next version.
func (p *process) changed(b *Book, e *entry) {
	l := &p.list
	l.version++
	e.version, e.since = l.version, b.now
	l.changes = append(l.changes, change{l.version, e})
	if len(l.changes) > 2*len(l.entries)+16 {
		l.changes = slices.DeleteFunc(l.changes, func(c change) bool { return c.stale() })
	}
}

// answeredWith notes the version that the other process has answered with.
func (l *list) answeredWith(version uint64) {
	l.told = version
	n := 0
	for ; n < len(l.changes) && l.changes[n].version <= version; n++ {
		if c := &l.changes[n]; !c.stale() && !c.entry.on {
			delete(l.entries, c.entry.stand.Group)
		}
	}
	clear(l.changes[:n])
	l.changes = l.changes[n:]
	if len(l.changes) == 0 {
		l.changes = nil
	}
}

// begin begins the list anew, because the other process has started anew and knows nothing of it, or only
// what it has heard since. So every entry has a later version than what the later start may have answered with:
// nothing is said of what has left the list until now. What the other process had answered before, it has
// answered when it did: it isn't waited for any longer.
func (l *list) begin() {
	for i := range l.changes {
		if e := l.changes[i].entry; !e.on {
			delete(l.entries, e.stand.Group)
		}
	}
	for _, e := range l.all {
		if e.keep(e.process.sent); e.kept > 0 {
			e.since = e.kept
		}
	}
	slices.SortFunc(l.all, func(x, y *entry) int { return cmp.Compare(x.version, y.version) })
	l.version++
	l.begun, l.told, l.changes = l.version, 0, l.changes[:0]
	for i, e := range l.all {
		l.version++
		e.version, e.at = l.version, i
		l.changes = append(l.changes, change{e.version, e})
	}
	for i := len(l.all) - 2; i >= 0; i-- { // the first one is the oldest one
		l.all[i].since = min(l.all[i].since, l.all[i+1].since)
	}
}

// clear takes everything from the list, and begins it anew.
func (l *list) clear() {
	for _, e := range l.all {
		e.on = false
	}
	*l = list{entries: map[wire.GroupID]*entry{}, version: l.version + 1, begun: l.version + 1, early: never}
}

// maxMessage bounds the lists in one message, in bytes as they are encoded: 256 KiB with what else is
// in it.
const maxMessage = 240 << 10

// standBytes is more than a stand takes beside the name of its group.
const standBytes = 112

// piece fills a message with the changes after a version, as many as fit, and sets the version up to
// which they go. It returns false if more follow.
func (l *list) piece(m *wire.ProcessHeartbeat, from int) (next int, whole bool) {
	bytes := 0
	for i := from; i < len(l.changes); i++ {
		c := &l.changes[i]
		if c.stale() {
			continue
		}
		group := c.entry.stand.Group
		if bytes += standBytes + len(group); bytes > maxMessage {
			return i, false
		}
		if c.entry.on {
			m.Stands = append(m.Stands, c.entry.stand)
		} else {
			m.Gone = append(m.Gone, group)
		}
		m.Version = c.version
	}
	m.Version = l.version
	return len(l.changes), true
}
