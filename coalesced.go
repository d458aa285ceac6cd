package raft

import "github.com/e17579a5/raft/internal/coalesce"

// A Coalesced is one group's core at a process that serves many groups. It joins the core and the
// process's Book, and knows in which order they are to be asked. Package coalesce says what a driver
// does with it.
type Coalesced struct {
	core  *Core
	book  *coalesce.Book
	lock  Locker
	group GroupID
	shard int

	left    coalesce.Left
	quiet   coalesce.Quiet
	settled bool // whether the Book looks after the core
	heir    ServerID
}

// A Locker guards the Book of a process, in which several goroutines may take turns of groups.
type Locker interface {
	Lock()
	Unlock()
}

// NewCoalesced joins the core of a group, whose turns a shard takes, and a Book. The core is one whose
// CoreConfig.Coalesced is true.
func NewCoalesced(core *Core, group GroupID, shard int, book *coalesce.Book, lock Locker) *Coalesced {
	return &Coalesced{core: core, book: book, lock: lock, group: group, shard: shard}
}

// Found makes the core campaign at once if it may found a cluster and is the first one to do so. It
// returns the server that is the first one, or "" if the core may not found a cluster.
func (q *Coalesced) Found(now Instant) (first ServerID) {
	if !q.core.mayFound() {
		return ""
	}
	servers := q.core.config.Bootstrap
	ids := make([]ServerID, 0, len(servers))
	for i := range servers {
		ids = append(ids, servers[i].ID)
	}
	if first = coalesce.First(q.group, ids); first == q.core.id {
		q.core.FoundSoon(now)
	}
	return first
}

// Before begins a turn: the core leaves the lists, and is told what it has missed. It comes before
// anything else is handed to the core.
func (q *Coalesced) Before(now Instant) {
	q.lock.Lock()
	q.book.Leave(coalesce.Instant(now), q.group, &q.left)
	q.lock.Unlock()
	q.settled = false

	c, left := q.core, &q.left
	for i := range left.Heard {
		c.Heard(now, &left.Heard[i])
	}
	if left.Term > 0 {
		c.Vouched(now, left.Term, left.Vouched)
	}
	if left.Doubted {
		c.Doubted(now)
	}
	for i := range left.Heartbeats {
		c.Receive(now, left.Heartbeats[i])
	}
	if left.Lost != "" {
		c.Orphaned(now, left.Lost, left.First)
	}
}

// After ends a turn: if the group is quiet, the core goes onto the lists. It comes after Drain. It
// returns true if the Book's Deadline may be earlier than before.
func (q *Coalesced) After(now Instant) (sooner bool) {
	q.noteHeir()
	if !q.core.Quiet(&q.quiet) {
		q.core.Unvouched(now)
		return false
	}
	for i := range q.quiet.Others {
		q.quiet.Others[i].Stand.Group = q.group
	}
	q.lock.Lock()
	q.settled, sooner = q.book.Settle(coalesce.Instant(now), q.group, q.shard, &q.quiet)
	q.lock.Unlock()
	if !q.settled {
		q.core.Unvouched(now)
	}
	return sooner
}

// noteHeir tells the Book to whom the core hands over.
func (q *Coalesced) noteHeir() {
	heir := q.core.handsTo()
	if heir == q.heir {
		return
	}
	q.heir = heir
	q.lock.Lock()
	q.book.Heir(q.group, heir)
	q.lock.Unlock()
}

// Deadline returns when the group's next turn is due, whatever happens.
func (q *Coalesced) Deadline() Instant {
	if q.settled {
		return never
	}
	return q.core.Deadline()
}

// End takes the group from the Book, because it ends here or its core has failed.
func (q *Coalesced) End(now Instant) {
	q.lock.Lock()
	q.book.End(coalesce.Instant(now), q.group)
	q.lock.Unlock()
}
