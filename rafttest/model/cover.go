package model

import (
	"slices"
	"sync"
	"sync/atomic"
)

// One state may cover another. Take two states that differ only in the messages on their way, and
// let one have all messages of the other, and perhaps more. Then it can do everything that the
// other can. It takes the same steps, leaves its additional messages undelivered, and afterwards it
// still has all of the other's messages. This holds if a message costs nothing by being there: if
// there are no links on which it could stand in the way (Bounds.Soup), or if it may be lost at any
// time (Bounds.Losses below 0). The same holds for a message that may still be duplicated. Without
// links it also holds for a message that waits for a disk, and that will leave unless it is
// forgotten. So a state that is covered by a known one needs no look: whatever could break after it
// also breaks after the other.
//
// A cover holds the known states that no other covers. In a breadth-first search, a state that
// covers another is never deeper than it. So the shortest run to a violation is always among those
// that are looked at.
type cover struct {
	parts [setParts]coverPart
	size  atomic.Uint64 // number of states that were added
	// overtaken are the numbers of states that were covered later, by another state of the same
	// depth.
	overtaken      bitmap
	overtakenCount atomic.Uint64
}

// A coverPart is a table with open addressing. Its keys are what states have besides their
// messages; its values are the states that have it.
type coverPart struct {
	mu       sync.Mutex
	slots    []coverSlot // a slot with first 0 is empty
	count    int
	elements []element // place 0 isn't used
	ids      []uint32
}

type coverSlot struct {
	key   sum
	first uint32
}

// An element is one of the states that differ only in their messages.
type element struct {
	next   uint32 // the next of these states
	number uint32
	at     uint64 // the place of its messages in ids
	sign   uint64 // a bit for a hash of each of its messages
	size   uint16
	depth  uint16
	// duplicates is how many messages may still be duplicated.
	duplicates uint8
}

// A soup is a set of messages under one naming. One worker uses it again and again.
type soup struct {
	list    []uint32
	members []uint64
	sign    uint64
}

// fill makes the soup hold the given parcels, under naming k. No two parcels may be equal, and
// writes must be less than stride.
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

// compareApart fills soups with the messages of a state. It fills one for each naming under which
// the rest of the state has the least hash. It returns that hash.
func (w *worker) compareApart(sums []sum, s *state) sum {
	w.parcels = w.parcels[:0]
	stride := maxInFlight
	for i, id := range s.messages {
		p := parcel{w.tables.message(id), 0}
		if i > 0 && s.messages[i-1] == id {
			p.writes = w.parcels[i-1].writes + 1 // a link may hold several copies: a number tells them apart
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

// echo lets some messages arrive at once: those that change nothing at their receiver but are
// answered, now or when its disk has done its work. The state with the answers on their way covers
// the state without them, and nothing else needs to happen for it. list are the messages after a
// step of server i.
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
			continue // the message is dead
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

// add notes a state, unless a known state covers it, and reports whether it did. key is what the
// state has besides its messages. soups are its messages, under every naming under which the rest
// looks the same. add calls number for a state that it notes.
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

// compare reports whether an element covers a state, and whether the state covers the element.
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

// find returns the slot of a key, or the empty slot where the key would be.
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

// A bitmap holds a set of numbers.
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
