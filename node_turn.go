package raft

import (
	"fmt"

	"github.com/e17579a5/raft/wire"
)

// A turn is a loop while it hands in what has gathered.
type turn loop

// Reports implements Turn.
func (l *turn) Reports(now Instant) {
	c, got := l.core, l.intake
	if got.persisted > 0 {
		if took := l.busy.disk.end(now, got.writes); took >= l.config.patience() {
			l.logger.Warn("raft: slow write", "took", took, "term", l.shown.standing.Term)
		}
		c.Persisted(now, got.persisted)
	}
	(*loop)(l).tellRoom(now)
	if batches := len(got.batches); batches > 0 {
		if took := l.busy.machine.end(now, batches); took >= l.config.patience() {
			l.logger.Warn("raft: slow state machine", "took", took, "term", l.shown.standing.Term, "index", got.batches[batches-1].Last)
		}
	}
	for i := range got.batches {
		c.Applied(now, got.batches[i])
	}
	if len(got.fetched) > 0 {
		l.busy.catchUp.end(now, len(got.fetched))
	}
	for i := range got.fetched {
		if f := &got.fetched[i]; f.damage != nil {
			if err := c.Damaged(now, f.fetch, f.damage); err != nil {
				l.inbox.stop(because(fmt.Errorf("raft: read entries after %d", f.fetch.After), err))
			}
		} else {
			c.Fetched(now, f.fetch, f.entries)
		}
	}
	for _, tell := range got.reports {
		tell((*loop)(l), now)
	}
}

// Messages implements Turn.
func (l *turn) Messages(now Instant) {
	(*loop)(l).traceReceived()
	for i := range l.intake.messages {
		(*loop)(l).receive(now, &l.intake.messages[i])
	}
	for _, server := range l.intake.lost {
		l.core.Lost(now, server)
	}
}

// receive hands in a message. A snapshot that is offered to a group in a host waits for a place.
func (l *loop) receive(now Instant, m *wire.Message) {
	if l.host != nil && l.core.TakesOffer(m) && !l.host.snapshots.receives.ask(l.group, m.From, now) {
		l.core.ReceiveBusy(now, *m)
	} else {
		l.core.Receive(now, *m)
	}
}

// Calls implements Turn.
func (l *turn) Calls(now Instant) {
	c, got := l.core, l.intake
	for l.handed < len(got.proposals) {
		p := &got.proposals[l.handed]
		l.handed, l.proposing = l.handed+1, p.waiter
		p.waiter.since = now
		p.waiter.number = c.ProposeEntry(now, p.Proposal)
		l.waiting.commands.put(p.waiter)
		l.proposing = nil
	}
	for i, w := range got.reads {
		w.number, w.since = w.read(c, now), now
		l.waiting.reads.put(w)
		got.reads[i] = nil
	}
	for i := range got.calls {
		asked := &got.calls[i]
		asked.waiter.number, asked.waiter.since = c.Call(now, asked.call), now
		l.waiting.calls.put(asked.waiter)
		asked.waiter = nil
	}
	for _, cancel := range got.cancels {
		(*loop)(l).cancel(cancel)
	}
}

// Tick implements Turn. While messages that came before wait for the next turn, the time doesn't pass.
func (l *turn) Tick(now Instant) {
	if !l.intake.unfinished {
		l.core.Tick(now)
	}
}

// why adds to the reason for which a caller gives up what it has waited for: the trouble that this
// server is in, or what the oldest call of its kind waits for. It is found out once for all callers
// that give up in one turn.
func (l *loop) why(c *canceled) error {
	reason := c.reason
	if trouble := l.shown.standing.Trouble; trouble != nil {
		reason = because(reason, trouble)
	}
	if l.explained == nil {
		l.explained = new(Status)
		l.explain(l.explained)
	}
	wait := l.explained.Command
	switch c.waiter.kind {
	case waitsForRead, waitsForLeaseRead, waitsForStaleRead:
		wait = l.explained.Read
	case waitsForCall:
		wait = l.explained.Call
	}
	return &unserved{reason, wait, l.explained.NoLeader}
}

// cancel ends a wait, if it hasn't ended by now.
func (l *loop) cancel(c canceled) {
	w := c.waiter
	switch w.kind {
	case waitsForCommand:
		if l.waiting.commands.holds(w) {
			l.core.Cancel(w.number, l.why(&c))
		}
	case waitsForRead, waitsForLeaseRead, waitsForStaleRead:
		if l.waiting.reads.holds(w) {
			answer, number, kind, since := &Answer{Err: l.why(&c)}, w.number, w.kind, w.since
			l.waiting.reads.take(number).answer(answer)
			l.core.CancelRead(number)
			l.tell(func() { l.traceAnswer(answer, kind, since) })
		}
	case waitsForCall:
		if l.waiting.calls.holds(w) {
			l.core.CancelCall(w.number, l.why(&c))
		}
	}
}
