package raft

import "slices"

// Intake is how a leader takes commands into its log: those of its own callers, and those that
// other servers have forwarded. It follows the slowest of what must keep up in the long run: the
// quorum, this server's own disk, and its state machine. A command that finds no room waits for
// it, in the order of its arrival, and nobody is refused for that. Whoever waits for an answer is
// thereby made to wait. What waits is bounded where it came from (CoreConfig.MaxPending and
// MaxPendingBytes); beyond that, callers are refused.
//
//	own callers    pendingFree at the leader: never offered yet
//	forwarded      in leader.waiting, once each; of one origin no more than WindowBytes, which is
//	               what an origin sends at a time; beyond that not answered, and offered again
//
// The two take turns, one command at a time. A large command that has no room holds up the smaller
// ones behind it, or else it might wait for ever.
//
// That room is made by waiting. Room on disks that are full is not: a command that doesn't fit there
// is refused (space.go), also if it has waited for the other kind of room before.

// waitingRoom are forwarded commands that have no room in the leader's log yet.
type waitingRoom struct {
	waiting []waitingForward
	turn    bool // whether it is the turn of a forwarded command
}

func (r *waitingRoom) encode(s *stateEncoder) {
	encodeList(s, r.waiting, (*waitingForward).encode)
	s.numbers(flag(r.turn))
}

func (r *waitingRoom) clone() waitingRoom {
	n := *r
	n.waiting = slices.Clone(r.waiting)
	return n
}

// A waitingForward is a command that the disk of another server waits for.
type waitingForward struct {
	incarnation Incarnation
	entry       Entry // with its origin and number
}

func (w *waitingForward) encode(s *stateEncoder) {
	s.numbers(uint64(w.incarnation))
	s.entry(&w.entry)
}

// wait lets a forwarded command wait. It reports false if its origin has too many waiting already.
func (l *leader) wait(f *originForwards, config *CoreConfig, e Entry) bool {
	if f.waiting > 0 && f.waiting+e.Size() > config.WindowBytes {
		return false
	}
	f.waiting += e.Size()
	l.waiting = append(l.waiting, waitingForward{f.incarnation, e})
	return true
}

// leave removes the first of those that wait.
func (l *leader) leave() {
	w := &l.waiting[0]
	if f := l.originOf(w.entry.Origin, w.incarnation); f != nil {
		f.waiting -= w.entry.Size()
	}
	*w = waitingForward{}
	if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
}

// takeIn takes what waits into the leader's log, as far as there is room.
func (c *Core) takeIn(l *leader) {
	p := &c.proposals
	if l.handover.to != "" || c.armed(resignDeadline) {
		return // until another server leads, or this one goes on
	}
	if len(l.waiting) == 0 && p.nextFree >= p.next {
		return
	}
	room := c.budget(l)
	if len(l.waiting) == 0 && room.now == endless {
		c.log.tail.expect(c.acceptable(l, p.nextFree))
	}
	for {
		own, forward := p.firstFree(), c.firstWaiting(l)
		switch {
		case own == nil && forward == nil:
			return
		case forward == nil || own != nil && !l.turn:
			next := own.number + 1 // an answer may move the items
			if !c.offerHere(l, own, &room) {
				return
			}
			p.nextFree = next
			l.turn = true
		default:
			switch c.admitCommand(l, forward.entry.Size(), &room) {
			case commandWaits:
				return
			case commandRefused:
				c.refuseForward(l, forward)
			case commandFits:
				c.takeForward(l, forward.incarnation, forward.entry)
			}
			l.leave()
			l.turn = false
		}
	}
}

// admitCommand says what becomes of a command of so many bytes. If it fits, it is charged as the
// next entry.
func (c *Core) admitCommand(l *leader, bytes int, room *budget) verdict {
	v := room.judge(bytes)
	if v == commandFits {
		if !c.charge(l, bytes) {
			return commandWaits
		}
		room.take(bytes)
	}
	return v
}

// firstFree returns the first command that is free to be offered, or nil.
func (p *proposals) firstFree() *pending {
	for p.nextFree < p.next {
		item := p.from(p.nextFree)
		if item == nil {
			p.nextFree = p.next
			break
		}
		if item.state == pendingFree {
			p.nextFree = item.number
			return item
		}
		p.nextFree = item.number + 1
	}
	return nil
}

// firstWaiting returns the first forwarded command that waits, or nil. It lets go of those that
// aren't wanted any more: their origin has ended them, or has started again; or it has another
// disk, or is no member any more.
func (c *Core) firstWaiting(l *leader) *waitingForward {
	for len(l.waiting) > 0 {
		w := &l.waiting[0]
		state := l.forwarded(w.entry.Origin, w.incarnation, w.entry.Number)
		named := c.log.configuration().Names(w.entry.Origin.Server, w.incarnation)
		if state != nil && *state == forwardWaits && named {
			return w
		}
		if state != nil && *state == forwardWaits {
			*state = forwardNew // it may come again, if its origin becomes a member again
		}
		l.leave()
	}
	return nil
}

// acceptable counts the commands that takeIn will append, from a number on, while no forwarded ones
// wait.
func (c *Core) acceptable(l *leader, first uint64) (count int) {
	p, sums := &c.proposals, l.sums
	for at := p.place(first); at < len(p.items); at++ {
		item := &p.items[at]
		if item.state != pendingFree || !c.inForce(item.kind) {
			continue
		}
		size := item.size()
		if c.exceeds(&sums, size) {
			break
		}
		count++
		sums.add(size)
	}
	return count
}

// offerHere appends a command to this leader's own log, or refuses it. It reports false if the
// command has to wait.
func (c *Core) offerHere(l *leader, item *pending, room *budget) bool {
	if !c.inForce(item.kind) {
		c.answer(item.number, Answer{Err: notApplied(ErrNotInForce)})
		return true
	}
	switch c.admitCommand(l, item.size(), room) {
	case commandWaits:
		return false
	case commandRefused:
		c.answer(item.number, Answer{Err: notApplied(ErrFull)})
		return true
	}
	item.state, item.term, item.index = pendingLogged, c.state.Term, c.log.last+1
	c.appendEntry(Entry{Kind: item.kind, Origin: c.Origin(), Number: item.number, Data: item.data})
	return true
}
