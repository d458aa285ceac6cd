package raft

// handIn gives the core what happened. The clock is read once and after everything was taken.
func (n *Node) handIn() {
	n.read = n.now()
	HandIn(n.read, (*turn)(n))
}

// turn is a node as it hands in what has gathered.
type turn Node

// Reports implements Turn.
func (n *turn) Reports(now Instant) {
	c, ev := n.core, &n.events
	if ev.persisted > 0 {
		if took := n.writing.end(now, ev.writes); took >= n.slow {
			n.logger.Warn("raft: slow write", "took", took, "term", n.seen.Term)
		}
		c.Persisted(now, ev.persisted)
	}
	if batches := len(ev.batches); batches > 0 {
		if took := n.applying.end(now, batches); took >= n.slow {
			n.logger.Warn("raft: slow state machine", "took", took, "term", n.seen.Term, "index", ev.batches[batches-1].Last)
		}
	}
	for i := range ev.batches {
		c.Applied(now, ev.batches[i])
	}
	if len(ev.fetched) > 0 {
		n.reading.end(now, len(ev.fetched))
	}
	for i := range ev.fetched {
		c.Fetched(now, ev.fetched[i].fetch, ev.fetched[i].entries)
	}
	for _, tell := range ev.reports {
		tell(c, now)
	}
}

// Messages implements Turn.
func (n *turn) Messages(now Instant) {
	(*Node)(n).traceReceived()
	for i := range n.events.messages {
		n.core.Receive(now, n.events.messages[i])
	}
	for _, server := range n.events.lost {
		n.core.Lost(now, server)
	}
}

// Calls implements Turn.
func (n *turn) Calls(now Instant) {
	c, ev := n.core, &n.events
	for n.handed < len(ev.proposals) {
		p := &ev.proposals[n.handed]
		n.handed, n.proposing = n.handed+1, p.waiter
		p.waiter.since = now
		p.waiter.number = c.ProposeEntry(now, p.Proposal)
		n.proposals.put(p.waiter)
		n.proposing = nil
	}
	for i, w := range ev.reads {
		w.number, w.since = w.read(c, now), now
		n.reads.put(w)
		ev.reads[i] = nil
	}
	for i := range ev.calls {
		asked := &ev.calls[i]
		asked.waiter.number, asked.waiter.since = c.Call(now, asked.call), now
		n.calls.put(asked.waiter)
		asked.waiter = nil
	}
	for _, cancel := range ev.cancels {
		(*Node)(n).cancel(cancel)
	}
}

// Tick implements Turn.
func (n *turn) Tick(now Instant) { n.core.Tick(now) }

// cancel ends a wait that hasn't ended by now.
func (n *Node) cancel(c cancellation) {
	w := c.waiter
	switch w.kind {
	case waitsForCommand:
		if n.proposals.holds(w) {
			n.core.Cancel(w.number, c.reason)
		}
	case waitsForRead, waitsForLeaseRead, waitsForStaleRead:
		if n.reads.holds(w) {
			n.reads.take(w.number)
			n.core.CancelRead(w.number)
		}
	case waitsForCall:
		if n.calls.holds(w) {
			n.core.CancelCall(w.number, c.reason)
		}
	}
}
