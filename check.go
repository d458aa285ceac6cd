package raft

import "fmt"

// An InvariantError says which invariant of the protocol doesn't hold. It means a bug, in this package
// or in whoever drives the Core; a node that meets one stops.
type InvariantError struct {
	Name   string // as in Figure 3, or as the function that asserts it says
	Detail string
}

// Error names the invariant.
func (e *InvariantError) Error() string {
	if e.Detail == "" {
		return "raft: broken invariant: " + e.Name
	}
	return "raft: broken invariant: " + e.Name + ": " + e.Detail
}

// assert panics with an InvariantError unless the condition holds. It is for what this package itself
// guarantees, never for input.
func assert(condition bool, name string) {
	if !condition {
		panic(&InvariantError{Name: name})
	}
}

// Check verifies the invariants of the state that are too dear to assert at each change. It returns the
// first that doesn't hold, by its name.
func (c *Core) Check() error {
	for _, check := range []func() error{c.checkCursors, c.checkRuns, c.checkTail, c.checkRole, c.checkGate, c.checkConfigurations, c.checkSnapshots} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// broken returns an InvariantError.
func broken(name, format string, args ...any) error {
	return &InvariantError{Name: name, Detail: fmt.Sprintf(format, args...)}
}

// checkCursors: applied ≤ handed ≤ commit ≤ last, stable ≤ written ≤ last, base ≤ commit.
func (c *Core) checkCursors() error {
	l := &c.log
	if l.applied > l.handed || l.handed > l.commit || l.commit > l.last ||
		l.stable > l.written || l.written > l.last || l.base.index > l.commit {
		return broken("Cursors Ordered", "base %d applied %d handed %d commit %d stable %d written %d last %d",
			l.base.index, l.applied, l.handed, l.commit, l.stable, l.written, l.last)
	}
	return nil
}

// checkRuns: the term runs begin at base+1 and rise in index and in term, up to no more than the current term.
func (c *Core) checkRuns() error {
	l := &c.log
	if (len(l.runs) == 0) != (l.last == l.base.index) {
		return broken("Terms Rise", "%d runs for (%d, %d]", len(l.runs), l.base.index, l.last)
	}
	index, term := l.base.index, l.base.term
	for i, run := range l.runs {
		if i == 0 && run.First != index+1 || i > 0 && (run.First <= index || run.Term <= term) || run.Term < term {
			return broken("Terms Rise", "run %d begins at %d in term %d", i, run.First, run.Term)
		}
		index, term = run.First, run.Term
	}
	if index > l.last || term > c.state.Term {
		return broken("Terms Rise", "last run (%d, term %d), last %d, current term %d", index, term, l.last, c.state.Term)
	}
	return nil
}

// checkTail: the tail is contiguous, ends at last, holds what of the log isn't stable, and agrees with the runs.
func (c *Core) checkTail() error {
	l := &c.log
	next := l.last + 1 - l.tail.count()
	if l.tail.count() > 0 && l.tail.after()+1 != next || next > max(l.stable, l.base.index)+1 || next <= l.base.index {
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

// checkRole: a leader's and a candidate's data fit the log and the configuration.
func (c *Core) checkRole() error {
	switch r := c.role.(type) {
	case *leader:
		if c.state.Vote != c.id {
			return broken("Leader Voted For Itself", "vote %q", c.state.Vote)
		}
		for i := range r.peers {
			p := &r.peers[i]
			if p.match >= p.next || p.next > c.log.last+1 {
				return broken("Progress Ordered", "peer %s: match %d next %d last %d", p.id, p.match, p.next, c.log.last)
			}
			if t := &p.carried; t.snapshot != nil && t.bytes > t.snapshot.bytes {
				return broken("Snapshot Complete", "peer %s was brought %d bytes of %d", p.id, t.bytes, t.snapshot.bytes)
			}
			if p.windowBytes < 0 || len(p.window) == 0 && p.windowBytes != 0 {
				return broken("Window Accounted", "peer %s: %d bytes in %d messages", p.id, p.windowBytes, len(p.window))
			}
		}
		if (r.handover.to != "") != (c.deadlines[transferDeadline].state != deadlineOff) {
			return broken("Handing Over Ends", "to %q, deadline %d", r.handover.to, c.deadlines[transferDeadline].state)
		}
		if r.handover.given && c.armed(leaseDeadline) {
			return broken("Lease Void", "in a term in which another server was let campaign")
		}
		if u := &r.catchUp; u.rounds > maxCatchUpRounds || u.stalls > maxCatchUpStalls || u.goal > c.log.last {
			return broken("Catching Up Ends", "round %d, up to %d, last %d, stalls %d", u.rounds, u.goal, c.log.last, u.stalls)
		}
		if r.uncommitted < 0 || r.unapplied < 0 {
			return broken("Quota Accounted", "uncommitted %d unapplied %d", r.uncommitted, r.unapplied)
		}
	case *candidate:
		if !r.pre && c.state.Vote != c.id {
			return broken("Candidate Voted For Itself", "vote %q", c.state.Vote)
		}
	case *follower:
		if r.matched > c.log.last || r.acked > r.matched {
			return broken("Acknowledged Within Matched", "acked %d matched %d last %d", r.acked, r.matched, c.log.last)
		}
	}
	return nil
}

// checkGate: what is held waits for a write that is still to come, and claims the current term.
func (c *Core) checkGate() error {
	o := &c.out
	if len(o.held) > maxHeld {
		return broken("Gate", "%d messages wait, more than %d", len(o.held), maxHeld)
	}
	for i := range o.held {
		h := &o.held[i]
		if h.after <= o.durable || h.after > o.issued+1 {
			return broken("Gate", "%v waits for write %d of %d, durable %d", h.message.Kind, h.after, o.issued, o.durable)
		}
		if h.message.Term != c.state.Term {
			return broken("Gate", "%v of term %d held in term %d", h.message.Kind, h.message.Term, c.state.Term)
		}
	}
	return nil
}

// checkConfigurations: of two neighbouring configurations either the voters are the same, or the later one is joint and
// names the voters of the earlier one as its old ones, or the earlier one is joint and the later one is its new half
// (§4.3). A leader doesn't begin a step before the last one is committed.
func (c *Core) checkConfigurations() error {
	for i := 1; i < len(c.log.configurations); i++ {
		before, after := &c.log.configurations[i-1], &c.log.configurations[i]
		was, is := before.configuration, after.configuration
		ok := false
		switch {
		case before.index >= after.index:
		case is.Recovered != ClusterID{}:
			ok = true // not a step but another cluster
		case was.Old == nil && is.Old != nil:
			ok = sameVoters(was.Members, is.Old)
		default:
			ok = is.Old == nil && sameVoters(was.Members, is.Members)
		}
		if !ok {
			return broken("Joint Steps", "the configurations at %d and %d", before.index, after.index)
		}
		if l, leads := c.role.(*leader); leads && after.index > l.begin && before.index > c.log.commit {
			return broken("One Change At A Time", "the configurations at %d and %d, commit %d", before.index, after.index, c.log.commit)
		}
	}
	if placed := c.log.placed(); placed != nil && placed.index > c.log.last {
		return broken("Configurations In Log", "the one at %d, last %d", placed.index, c.log.last)
	}
	return nil
}

// checkSnapshots: the log goes on from the current snapshot, or from the one that takes its place with the next write.
func (c *Core) checkSnapshots() error {
	s, l := &c.snapshots, &c.log
	if covered := max(s.current.index(), s.named.index()); l.base.index > covered || covered > l.commit {
		return broken("Compacted Is Covered", "base %d, snapshot %d, commit %d", l.base.index, covered, l.commit)
	}
	if (s.restore == restoreWaiting) != (s.named != nil && s.named.installed) {
		return broken("Installed Is Restored", "restore %d", s.restore)
	}
	if s.restore == restoreNot && l.applied < l.base.index {
		return broken("Compacted Is Covered", "base %d, applied %d", l.base.index, l.applied)
	}
	if in := &c.incoming; in.held > in.name.size || in.state == incomingStored && in.held != in.name.size {
		return broken("Snapshot Complete", "%d of %d bytes", in.held, in.name.size)
	}
	founded := Index(0) // up to where another cluster committed
	for _, snapshot := range []*storedSnapshot{s.current, s.named} {
		if snapshot != nil && snapshot.meta.founding() {
			founded = snapshot.meta.Index
		}
	}
	if n := len(l.configurations); l.commit > founded && (n == 0 || l.configurations[0].index > l.commit) {
		return broken("Configurations Known", "%d of them, commit %d", n, l.commit)
	}
	return nil
}
