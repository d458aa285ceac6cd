package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A backlog is what waits in the inbox of a group for a later turn. In a host, a turn hands in a bounded
// part of what has gathered, so that a group for which much comes doesn't hold up the others of its shard:
//
//	gathered ──▶ backlog ──▶ at most maxTurn messages, proposals and reads each ──▶ one turn
//	                └──────▶ the next turn, which comes after one of each other group
//
// Commands and calls that other servers forward have a line of their own, behind the other messages:
// what callers elsewhere want doesn't stand before the answers by which a leader lives.
type backlog struct {
	messages  line[wire.Message]
	forwards  line[wire.Message]
	proposals line[proposed]
	reads     line[*waiter]
	// owed is how many of the messages had come when the time should have passed. The time passes when
	// they are handed in (HandIn): otherwise a leader would be deposed whose answers wait here.
	owed int
}

const (
	// maxTurn bounds how many messages, how many proposals, and how many reads a turn of a group in a
	// host hands in.
	maxTurn = 128
	// maxTurnBytes bounds the entries of those messages, and the commands of those proposals, in bytes.
	// The first of each may be larger.
	maxTurnBytes = 256 << 10
	// minForwards is how many forwards a turn hands in at least, however many other messages there are.
	minForwards = maxTurn / 4
)

// empty says whether nothing is left for a later turn.
func (b *backlog) empty() bool {
	return b.messages.len()+b.forwards.len()+b.proposals.len()+b.reads.len() == 0
}

// fits says whether one turn may hand in all that has gathered.
func (got *intake) fits() bool {
	return len(got.messages)+len(got.forwards) <= maxTurn && len(got.proposals) <= maxTurn && len(got.reads) <= maxTurn &&
		got.bulkBytes <= maxTurnBytes && got.commandBytes <= maxTurnBytes
}

// share leaves in what has gathered what one turn hands in. The rest waits in the backlog, and keeps the
// loop awake. The caller holds mu, and has just exchanged the intakes.
func (in *inbox) share(got *intake) {
	b := &in.backlog
	if b.empty() && got.fits() {
		got.messages = append(got.messages, got.forwards...)
		got.forwards = emptied(got.forwards)
		return
	}
	all := got.load
	got.load = load{}
	got.messages, got.forwards = b.messages.put(got.messages), b.forwards.put(got.forwards)
	got.proposals, got.reads = b.proposals.put(got.proposals), b.reads.put(got.reads)
	if b.owed == 0 {
		b.owed = b.messages.len()
	}
	room := maxTurnBytes
	got.takeMessages(&b.messages, maxTurn, &room)
	b.owed = max(b.owed-len(got.messages), 0)
	got.unfinished = b.owed > 0
	got.takeMessages(&b.forwards, max(maxTurn, len(got.messages)+minForwards), &room)
	got.takeCallers(b)

	in.intake.load = all.without(&got.load)
	in.intake.some = !b.empty()
	if b.proposals.len()+b.reads.len() > 0 {
		in.intake.since = got.since
	}
}

// takeMessages takes messages from a line, until there are so many, or there is no room for more.
func (got *intake) takeMessages(from *line[wire.Message], most int, room *int) {
	for from.len() > 0 && len(got.messages) < most {
		m := from.first()
		bulk, size := bulkOf(m)
		if bulk {
			if size > *room && len(got.messages) > 0 {
				return
			}
			*room -= size
		}
		got.count(m, bulk, size)
		got.messages = append(got.messages, from.take())
	}
}

// takeCallers takes proposals and reads. Those whose callers have given up are taken in any case,
// together with the news of that.
func (got *intake) takeCallers(b *backlog) {
	for b.proposals.len() > 0 && len(got.proposals) < maxTurn {
		size := len(b.proposals.first().Data)
		if len(got.proposals) > 0 && got.commandBytes+size > maxTurnBytes {
			break
		}
		got.commandBytes += size
		got.proposals = append(got.proposals, b.proposals.take())
	}
	for b.reads.len() > 0 && len(got.reads) < maxTurn {
		got.reads = append(got.reads, b.reads.take())
	}
	if len(got.cancels) == 0 || b.proposals.len()+b.reads.len() == 0 {
		return
	}
	gone := make(map[*waiter]bool, len(got.cancels))
	for i := range got.cancels {
		gone[got.cancels[i].waiter] = true
	}
	b.proposals.remove(func(p proposed) bool {
		if gone[p.waiter] {
			got.commandBytes += len(p.Data)
			got.proposals = append(got.proposals, p)
		}
		return gone[p.waiter]
	})
	b.reads.remove(func(w *waiter) bool {
		if gone[w] {
			got.reads = append(got.reads, w)
		}
		return gone[w]
	})
}

// A line holds what waits in the order in which it came.
type line[T any] struct {
	items []T
	taken int // how many of the items are gone
}

func (l *line[T]) len() int  { return len(l.items) - l.taken }
func (l *line[T]) first() *T { return &l.items[l.taken] }

// put moves items to the end of the line. It returns their slice to be used again.
func (l *line[T]) put(items []T) []T {
	if len(items) > 0 {
		if l.taken > len(l.items)/2 { // the rest moves neither often nor far
			l.items = slices.Delete(l.items, 0, l.taken)
			l.taken = 0
		}
		l.items = append(l.items, items...)
	}
	return emptied(items)
}

// take takes the first item.
func (l *line[T]) take() (item T) {
	first := l.first()
	item, *first = *first, item
	if l.taken++; l.taken == len(l.items) {
		l.items, l.taken = nil, 0
	}
	return item
}

// remove takes out the items for which gone returns true.
func (l *line[T]) remove(gone func(T) bool) {
	kept := slices.DeleteFunc(l.items[l.taken:], gone)
	l.items = l.items[:l.taken+len(kept)]
	if len(kept) == 0 {
		l.items, l.taken = nil, 0
	}
}

// rest returns what is in the line.
func (l *line[T]) rest() []T { return l.items[l.taken:] }
