package model

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Of two states that differ in nothing but the messages on their way, the one that has all those of the other, and
// perhaps more, can do everything that the other can: whatever the other does, it does too, leaves the rest
// undelivered, and afterwards it still has all of the other's messages. That is so when a message costs nothing by
// being there: when there are no links that it could stand in the way on (Bounds.Soup), or when it may be lost at any
// time (Bounds.Losses below 0). The same goes for a message that may still be duplicated, and without links for one
// that waits for a disk, and will leave unless it is forgotten. So a state that is covered
// by one that is known needs no look: everything that it could break is broken by what comes after the other.
//
// A cover holds the known states that no other covers. Breadth-first, what covers a state is never deeper than it, so
// that the shortest run to a violation stays among those that are looked at.
type cover struct {
	parts [setParts]coverPart
	size  atomic.Uint64 // states that were added
	// overtaken are those that were covered later by another of their own depth, by their numbers.
	overtaken      bitmap
	overtakenCount atomic.Uint64
}

// A coverPart is a table with open addressing, from what states have beside their messages to those that do.
type coverPart struct {
	mu       sync.Mutex
	slots    []coverSlot // with first 0: empty
	count    int
	elements []element // from place 1 on
	ids      []uint32
}

type coverSlot struct {
	key   sum
	first uint32
}

// An element is a state: one of those that are equal but for their messages.
type element struct {
	next   uint32 // of these
	number uint32
	at     uint64 // of its messages in ids
	sign   uint64 // of its messages
	size   uint16
	depth  uint16
	// duplicates is how often a message may still be duplicated.
	duplicates uint8
}

// A soup is a set of messages under one naming. It is used by one worker, again and again.
type soup struct {
	list    []uint32
	members []uint64
	sign    uint64
}

// fill makes the soup hold some parcels under naming k. No two of them are equal; writes are less than stride.
func (s *soup) fill(parcels []parcel, k, stride int) {
	for _, id := range s.list {
		s.members[id/64] = 0
	}
	s.list, s.sign = s.list[:0], 0
	for _, p := range parcels {
		id := p.message.canon[k]*uint32(stride) + uint32(p.writes)
		for int(id/64) >= len(s.members) {
			s.members = append(s.members, 0)
		}
		s.list = append(s.list, id)
		s.members[id/64] |= 1 << (id % 64)
		s.sign |= 1 << (mix(uint64(id)) % 64)
	}
}

// compareApart fills soups with the messages of a state, under each naming under which the rest of it looks least, and
// returns the hash of that.
func (w *worker) compareApart(sums []sum, s *state) sum {
	w.parcels = w.parcels[:0]
	stride := maxInFlight
	for i, id := range s.messages {
		p := parcel{w.tables.message(id), 0}
		if i > 0 && s.messages[i-1] == id {
			p.writes = w.parcels[i-1].writes + 1 // on links there may be several: they are told apart by a number
		}
		w.parcels = append(w.parcels, p)
	}
	if w.bounds.Soup {
		for _, id := range s.nodes[:w.bounds.Servers] {
			for _, p := range w.tables.nodes.get(id).held {
				if _, sent := slices.BinarySearch(s.messages, p.message.id); !sent {
					w.parcels = append(w.parcels, p)
				}
			}
		}
	}
	key := least(sums)
	n := 0
	for k := range sums {
		if sums[k] != key {
			continue
		}
		if n == cap(w.soups) {
			w.soups = append(w.soups[:n], soup{})
		}
		w.soups = w.soups[:n+1]
		w.soups[n].fill(w.parcels, k, stride)
		n++
	}
	w.soups = w.soups[:n]
	return key
}

// echo lets messages arrive at once that change nothing where they arrive but are answered, now or when the disk has
// done its work: the state in which the answers are on their way covers the one in which they are not, and nothing
// else needs to happen for it. list are the messages after a step of server i.
func (w *worker) echo(list []uint32, i int, st *step) []uint32 {
	todo := w.echoing[:0]
	for _, id := range list {
		if w.tables.message(id).to == i {
			todo = append(todo, id)
		}
	}
	for _, m := range st.sent {
		todo = append(todo, m.id)
	}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, there := slices.BinarySearch(list, id); !there {
			continue // it is dead
		}
		at := &w.next.nodes[w.tables.message(id).to]
		to := w.tables.nodes.get(*at)
		answer := w.tables.step(&w.stepper, to, event(id))
		if answer.broken != nil || !answer.plain || answer.after.bare[0] != to.bare[0] {
			continue
		}
		if answer.after != to {
			*at = answer.after.id
			w.move.echoes = append(w.move.echoes, id)
		}
		for _, m := range answer.sent {
			place, there := slices.BinarySearch(list, m.id)
			if there || !w.keep && w.dead(m, to, w.tables.nodes.get(w.next.nodes[m.to])) {
				continue
			}
			list = slices.Insert(list, place, m.id)
			todo = append(todo, m.id)
			if n := len(w.move.echoes); n == 0 || w.move.echoes[n-1] != id {
				w.move.echoes = append(w.move.echoes, id)
			}
		}
	}
	w.echoing = todo
	return list
}

// common returns how many of some messages are in the soup.
func (s *soup) common(ids []uint32) int {
	n := 0
	for _, id := range ids {
		if int(id/64) < len(s.members) && s.members[id/64]>>(id%64)&1 != 0 {
			n++
		}
	}
	return n
}

// add notes a state, given what it has beside its messages, and these under every naming under which the rest looks
// the same, unless it is covered. number is called for one that is new.
func (c *cover) add(key sum, soups []soup, depth uint32, duplicates uint8, number func() uint32) bool {
	p := &c.parts[key.high%setParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	if 4*p.count >= 3*len(p.slots) {
		p.grow()
	}
	slot := p.find(key)
	before := &slot.first
	for at := slot.first; at != 0; at = *before {
		e := &p.elements[at]
		covered, covers := p.compare(e, soups, duplicates)
		if covered {
			return false
		}
		if covers {
			if uint32(e.depth) == depth {
				c.overtaken.set(e.number)
				c.overtakenCount.Add(1)
			}
			*before = e.next
			continue
		}
		before = &e.next
	}
	if slot.first == 0 && slot.key == (sum{}) {
		slot.key = key
		p.count++
	}
	if len(p.elements) == 0 {
		p.elements = append(p.elements, element{})
	}
	added := element{next: slot.first, number: number(), at: uint64(len(p.ids)), sign: soups[0].sign,
		size: uint16(len(soups[0].list)), depth: uint16(depth), duplicates: duplicates}
	slot.first = uint32(len(p.elements))
	p.elements = append(p.elements, added)
	p.ids = append(p.ids, soups[0].list...)
	c.size.Add(1)
	return true
}

// compare says whether an element covers a state, and whether the state covers the element.
func (p *coverPart) compare(e *element, soups []soup, duplicates uint8) (covered, covers bool) {
	ids := p.ids[e.at : e.at+uint64(e.size)]
	for i := range soups {
		s := &soups[i]
		may := s.sign&^e.sign == 0 && duplicates <= e.duplicates && len(s.list) <= len(ids)
		mayCover := e.sign&^s.sign == 0 && e.duplicates <= duplicates && len(ids) <= len(s.list)
		if !may && !mayCover {
			continue
		}
		switch common := s.common(ids); {
		case may && common == len(s.list):
			return true, false
		case mayCover && common == len(ids):
			covers = true
		}
	}
	return false, covers
}

// find returns the slot of a key, or the empty one where it would be.
func (p *coverPart) find(key sum) *coverSlot {
	mask := uint64(len(p.slots) - 1)
	for at := key.low >> 16 & mask; ; at = (at + 1) & mask {
		if s := &p.slots[at]; s.key == key || s.key == (sum{}) {
			return s
		}
	}
}

func (p *coverPart) grow() {
	old := p.slots
	p.slots = make([]coverSlot, max(16, 2*len(old)))
	for _, s := range old {
		if s.key != (sum{}) {
			*p.find(s.key) = s
		}
	}
}

// A bitmap holds numbers.
type bitmap struct {
	mu    sync.Mutex
	pages [1 << 16]atomic.Pointer[[bitmapPage / 64]atomic.Uint64]
}

const bitmapPage = 1 << 16

func (b *bitmap) set(n uint32) {
	page := b.pages[n/bitmapPage].Load()
	if page == nil {
		b.mu.Lock()
		if page = b.pages[n/bitmapPage].Load(); page == nil {
			page = new([bitmapPage / 64]atomic.Uint64)
			b.pages[n/bitmapPage].Store(page)
		}
		b.mu.Unlock()
	}
	page[n%bitmapPage/64].Or(1 << (n % 64))
}

func (b *bitmap) has(n uint32) bool {
	page := b.pages[n/bitmapPage].Load()
	return page != nil && page[n%bitmapPage/64].Load()>>(n%64)&1 != 0
}
