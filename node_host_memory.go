package raft

import (
	"sync"
	"sync/atomic"
)

// A hostMemory bounds what the groups of a host have in memory of one kind: commands that callers wait for,
// messages that wait, or entries for servers that lag behind. Commands wait for messages, and so they
// must not have the room of these. Half of it belongs to the groups, each of which has a sure
// share of that. The other half is lent to whoever needs more. So a group that is flooded takes what
// nobody else needs, and no group is refused because of another one as long as its share is enough:
//
//	max   ├── shares: max/2/groups each ──┼── lent ──────────┤
//
// When groups start, shares become smaller. What a group has of its share by then, it keeps until it gives
// it back.
type hostMemory struct {
	max, groups atomic.Int64
	lent        atomic.Int64
}

// join opens the account of one more group.
func (m *hostMemory) join(a *account) {
	m.groups.Add(1)
	a.of = m
}

// share returns how much each group is sure to have.
func (m *hostMemory) share() int { return int(m.max.Load() / 2 / max(m.groups.Load(), 1)) }

// lend lends so many bytes, if there are as many. Something that is larger than all that can be lent is
// lent while nothing else is: it would never get through otherwise.
func (m *hostMemory) lend(bytes int) bool {
	for {
		lent := m.lent.Load()
		if lent > 0 && lent+int64(bytes) > m.max.Load()/2 {
			return false
		}
		if m.lent.CompareAndSwap(lent, lent+int64(bytes)) {
			return true
		}
	}
}

// An account is what one group has of a hostMemory. The account of a node that stands alone is of none, and
// takes everything.
type account struct {
	of *hostMemory

	mu         sync.Mutex
	sure, lent int // what it has of its share, and beyond
	closed     bool
}

// take counts so many bytes more, and says whether there is room for them. Of the sure share it takes a
// part only: half of it is kept for messages that keep the group together, if kept is 2.
func (a *account) take(bytes, kept int) bool {
	if a.of == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	sure := min(bytes, max(a.of.share()/kept-a.sure, 0))
	if lent := bytes - sure; a.closed || lent > 0 && !a.of.lend(lent) {
		return a.closed
	}
	a.sure, a.lent = a.sure+sure, a.lent+bytes-sure
	return true
}

// give gives bytes back, first of those that were lent.
func (a *account) give(bytes int) {
	if a == nil || a.of == nil || bytes == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	lent := min(bytes, a.lent)
	a.lent, a.sure = a.lent-lent, a.sure-(bytes-lent)
	a.of.lent.Add(-int64(lent))
}

// keep says how many of so many bytes the account may have at most, and counts them.
func (a *account) keep(bytes int) int {
	if a.of == nil {
		return bytes
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return bytes
	}
	sure := min(bytes, a.of.share())
	lent := bytes - sure
	if more := lent - a.lent; more <= 0 || a.of.lend(more) {
		if more <= 0 {
			a.of.lent.Add(int64(more))
		}
	} else {
		lent = a.lent
	}
	a.sure, a.lent = sure, lent
	return sure + lent
}

// close gives back all that is left, when the group has ended.
func (a *account) close() {
	if a.of == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		a.of.lent.Add(-int64(a.lent))
		a.of.groups.Add(-1)
		a.sure, a.lent = 0, 0
	}
}
