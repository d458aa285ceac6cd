package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// originForwards is what a leader remembers, for the rest of its term, of the commands that one
// origin has forwarded.
type originForwards struct {
	origin      Origin
	incarnation Incarnation // of the disk of the origin
	// lowest is the lowest number that the origin may still offer. seen says what became of the
	// numbers from lowest on.
	lowest uint64
	seen   []forwardState
	// waiting adds up the bytes of those that wait for room.
	waiting int `state:"derived"`
}

func (f *originForwards) encode(s *stateEncoder) {
	s.origin(f.origin, f.lowest)
	s.numbers(uint64(f.incarnation), uint64(len(f.seen)))
	for _, state := range f.seen {
		s.b = append(s.b, byte(state))
	}
}

func (f *originForwards) clone() originForwards {
	n := *f
	n.seen = slices.Clone(f.seen)
	return n
}

type forwardState uint8

const (
	forwardNew forwardState = iota
	forwardTaken
	forwardRefused // its kind isn't in force
	forwardWaits   // for room in the leader's log
	forwardFull    // refused because the disks are full
)

// maxForwarded bounds how far a forwarded number may be above the origin's lowest unanswered one.
const maxForwarded = 1 << 17

// forwardsOf returns what the leader remembers of an origin, or nil if the origin's server has
// started again since.
func (l *leader) forwardsOf(origin Origin, incarnation Incarnation, lowest uint64) *originForwards {
	for i := range l.forwards {
		f := &l.forwards[i]
		if f.origin.Server != origin.Server {
			continue
		}
		if f.incarnation != incarnation { // another disk counts its starts anew
			*f = originForwards{origin: origin, incarnation: incarnation, lowest: lowest}
		}
		if origin.Start < f.origin.Start {
			return nil
		}
		if origin.Start > f.origin.Start {
			*f = originForwards{origin: origin, incarnation: incarnation, lowest: lowest}
		}
		if lowest > f.lowest {
			f.seen = append(f.seen[:0], f.seen[min(lowest-f.lowest, uint64(len(f.seen))):]...)
			f.lowest = lowest
		}
		return f
	}
	l.forwards = append(l.forwards, originForwards{origin: origin, incarnation: incarnation, lowest: lowest})
	return &l.forwards[len(l.forwards)-1]
}

// forwarded returns what became of a number that an origin has forwarded, or nil if the origin
// doesn't offer that number any more.
func (l *leader) forwarded(origin Origin, incarnation Incarnation, number uint64) *forwardState {
	f := l.originOf(origin, incarnation)
	if f == nil || number < f.lowest || number-f.lowest >= uint64(len(f.seen)) {
		return nil
	}
	return &f.seen[number-f.lowest]
}

// originOf returns what the leader remembers of an origin with its disk, or nil.
func (l *leader) originOf(origin Origin, incarnation Incarnation) *originForwards {
	for i := range l.forwards {
		if f := &l.forwards[i]; f.origin == origin && f.incarnation == incarnation {
			return f
		}
	}
	return nil
}

// takeForward appends a forwarded command that was charged.
func (c *Core) takeForward(l *leader, incarnation Incarnation, e Entry) {
	if state := l.forwarded(e.Origin, incarnation, e.Number); state != nil {
		*state = forwardTaken
	}
	c.appendEntry(e)
	if p := l.peer(e.Origin.Server); p != nil {
		p.owed = max(p.owed, c.log.last)
	}
}

// refuseForward refuses a forwarded command that has waited, because the disks are full. Its origin
// asks again if the answer is lost.
func (c *Core) refuseForward(l *leader, w *waitingForward) {
	if state := l.forwarded(w.entry.Origin, w.incarnation, w.entry.Number); state != nil {
		*state = forwardFull
	}
	c.sendTo(w.entry.Origin.Server, w.incarnation, wire.ForwardResponse{
		Start: w.entry.Origin.Start, Refused: []uint64{w.entry.Number}, Why: wire.RefusedFull,
	}.Message())
}

// takeForwards takes forwarded commands, each number once: into the log, or to wait until there is
// room. It refuses those of a kind that isn't in force, and those for which the disks have no room.
// If no more may wait, it gives no answer:
// their origin offers them again.
func (c *Core) takeForwards(m *wire.Message) {
	l, leads := c.role.(*leader)
	if !leads || !c.log.configuration().Names(m.From, m.FromIncarnation) {
		return // the disk in the place of a lost one doesn't wait for what the lost one has offered
	}
	if l.handover.to != "" {
		return // they come again, here or at the next leader
	}
	request := m.ForwardRequest()
	origin := Origin{Server: m.From, Start: request.Start}
	f := l.forwardsOf(origin, m.FromIncarnation, request.Lowest)
	if f == nil {
		return
	}
	room := c.budget(l)
	var refused, full []uint64
	busy := len(l.waiting) > 0 || c.proposals.nextFree < c.proposals.next // others come first
	for i := range request.Commands {
		e := &request.Commands[i]
		if e.Number < f.lowest || e.Number-f.lowest >= maxForwarded {
			continue
		}
		at := int(e.Number - f.lowest)
		for at >= len(f.seen) {
			f.seen = append(f.seen, forwardNew)
		}
		if f.seen[at] == forwardNew {
			entry := Entry{Kind: e.Kind, Origin: origin, Number: e.Number, Data: e.Data}
			verdict := room.judge(e.Size())
			switch {
			case !c.inForce(e.Kind):
				f.seen[at] = forwardRefused
			case verdict == commandRefused:
				f.seen[at] = forwardFull
			case !busy && verdict == commandFits && c.charge(l, e.Size()):
				room.take(e.Size())
				f.seen[at] = forwardTaken
				c.appendEntry(entry)
			case l.wait(f, c.config, entry):
				busy = true
				f.seen[at] = forwardWaits
			}
		}
		switch f.seen[at] {
		case forwardRefused:
			refused = append(refused, e.Number)
		case forwardFull:
			full = append(full, e.Number)
		}
	}
	if p := l.peer(m.From); p != nil {
		p.owed = max(p.owed, c.log.last)
	}
	if len(refused) > 0 {
		c.reply(m, wire.ForwardResponse{Start: request.Start, Refused: refused}.Message())
	}
	if len(full) > 0 {
		c.reply(m, wire.ForwardResponse{Start: request.Start, Refused: full, Why: wire.RefusedFull}.Message())
	}
}
