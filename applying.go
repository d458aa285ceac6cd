package raft

import "slices"

// machineWork is what the state machine has to do: it is handed what is committed, in batches, and
// reports what it has applied. What has left the log's tail is read from the disk first.
type machineWork struct {
	// applying are the last indexes of the batches that the state machine works on.
	applying []Index
	// fetching says that the next batch is being read from the disk. fetched is what was read.
	fetching bool
	fetched  []Entry `clone:"shared"`
	// behind is up to where entries are to be applied before machineDeadline; 0 while all are.
	behind Index
}

func (w *machineWork) encode(s *stateEncoder) {
	s.numbers(uint64(len(w.applying)))
	for _, last := range w.applying {
		s.numbers(uint64(last))
	}
	s.numbers(flag(w.fetching), uint64(w.behind))
	s.entries(w.fetched)
}

func (w *machineWork) clone() machineWork {
	n := *w
	n.applying = slices.Clone(w.applying)
	return n
}

// maxApplying bounds the batches handed to the state machine and not yet reported. What is committed
// meanwhile goes into the next one.
const maxApplying = 4

// drainApply hands what is committed to the state machine, from the tail or by way of the disk.
func (c *Core) drainApply(e *Effects) {
	l := &c.log
	if c.snapshots.restore != restoreNot {
		return
	}
	last := l.commit
	if c.config.DurableMachine {
		last = min(last, l.stable) // it must not be ahead of its log after a crash
	}
	for l.handed < last && !c.fetching && len(c.applying) < maxApplying {
		entries := c.fetched
		c.fetched = nil
		if entries == nil {
			entries = l.tail.entries(l.handed, last, maxInt)
		}
		if entries == nil {
			c.fetching = true
			c.fetch(Fetch{After: l.handed, Last: last, MaxBytes: fetchBytes})
			return
		}
		for i := range entries {
			c.snapshots.handedBytes += uint64(entries[i].Size())
		}
		l.handed = entries[len(entries)-1].Index
		c.applying = append(c.applying, l.handed)
		e.Apply = append(e.Apply, entries)
	}
}

// Applied reports that the state machine has applied a batch, with what Applier.Apply returned. Batches
// are reported in order; several may be reported as one.
func (c *Core) Applied(now Instant, batch Batch) {
	c.advance(now)
	l := &c.log
	assert(batch.Last > l.applied && batch.Last <= l.handed, "Cursors Ordered")
	before := l.applied
	l.applied = batch.Last
	done := 0
	for done < len(c.applying) && c.applying[done] <= batch.Last {
		done++
	}
	c.applying = append(c.applying[:0], c.applying[done:]...)
	c.callsMet(before)
	c.commandsApplied(&batch)
	c.fingerprintsTaken(&batch)
	c.noticeRemoval()
	if r, leads := c.role.(*leader); leads {
		r.releaseQuota(min(l.commit, l.stable), l.applied)
	}
}

// awaitsApplied says whether it makes a difference at once what the state machine has applied: to callers and peers, to what it
// is handed next, or to whether this server is a member. Otherwise it is time enough to hear of it before the next event.
func (c *Core) awaitsApplied() bool {
	l := &c.log
	_, leads := c.role.(*leader)
	placed := l.placed()
	return leads || l.handed < l.commit || placed != nil && placed.index > l.applied ||
		c.waitingReads() > 0 || c.proposals.count() > 0 || len(c.calls.items) > 0
}
