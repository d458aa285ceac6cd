package raft

import "slices"

// machineWork is the work of the state machine. It is handed what is committed, in batches, and
// reports what it has applied. Entries that have left the log's tail are read from the disk first.
type machineWork struct {
	// applying are the last indexes of the batches that the state machine works on.
	applying []Index
	// applyingBytes are the bytes of these batches.
	applyingBytes []int `state:"luck"`
	// fetching says that the next batch is being read from the disk. fetched is what was read.
	fetching bool
	fetched  []Entry `clone:"shared"`
	// behind is the index up to which entries are to be applied before machineDeadline passes. It
	// is 0 while nothing is to be applied.
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
	n.applyingBytes = slices.Clone(w.applyingBytes)
	return n
}

// sum adds up.
func sum(values []int) (total int) {
	for _, v := range values {
		total += v
	}
	return total
}

// maxApplying bounds the batches that the state machine was handed and has not reported yet. What
// is committed meanwhile goes into the next batch.
const maxApplying = 4

// drainApply hands what is committed to the state machine, from the tail or by way of the disk.
func (c *Core) drainApply(e *Effects) {
	l := &c.log
	if c.snapshots.restore != restoreNot {
		return
	}
	last := l.commit
	if c.config.DurableMachine || c.crowded() {
		// It must not be ahead of its log after a crash. And a snapshot of what the disk has no room
		// for would have to wait for the very room that it is to make (nameSnapshot).
		last = min(last, l.stable)
	}
	last = l.applicable(last)
	for l.handed < last && !c.fetching && len(c.applying) < maxApplying {
		entries := c.fetched
		c.fetched = nil
		if entries == nil {
			entries = l.tail.entries(l.handed, last, c.machine.room)
		}
		if entries == nil {
			c.fetching = true
			c.fetch(Fetch{After: l.handed, Last: last, MaxBytes: fetchBytes})
			return
		}
		bytes := 0
		for i := range entries {
			bytes += entries[i].Size()
		}
		if len(c.applying) == 0 {
			c.machine.begin(c.now)
		}
		c.snapshots.handedBytes += uint64(bytes)
		l.handed = entries[len(entries)-1].Index
		c.applying, c.applyingBytes = append(c.applying, l.handed), append(c.applyingBytes, bytes)
		e.Apply = append(e.Apply, entries)
	}
}

// Applied reports that the state machine has applied a batch, together with what Applier.Apply has
// returned. Batches are reported in order. Several may be reported as one.
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
	c.machine.done(c.now, sum(c.applyingBytes[:done]), done, c.config.goal(), 1)
	c.applying = append(c.applying[:0], c.applying[done:]...)
	c.applyingBytes = append(c.applyingBytes[:0], c.applyingBytes[done:]...)
	c.callsMet(before)
	c.commandsApplied(&batch)
	c.fingerprintsTaken(&batch)
	c.noticeRemoval()
	if r, leads := c.role.(*leader); leads {
		r.releaseQuota(l)
	}
}

// awaitsApplied says whether the core needs to know at once what the state machine has applied: for
// callers and peers, for what the state machine is handed next, or to see whether this server is a
// member. Otherwise the core may hear of it just before the next event.
func (c *Core) awaitsApplied() bool {
	l := &c.log
	_, leads := c.role.(*leader)
	placed := l.placed()
	return leads || l.handed < l.commit || placed != nil && placed.index > l.applied ||
		c.waitingReads() > 0 || c.proposals.count() > 0 || len(c.calls.items) > 0
}
