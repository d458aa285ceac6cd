package model

import (
	"sync"
	"sync/atomic"
)

// A set holds the hashes of the known states. Each takes 16 bytes: 14 for the hash and two for the
// least depth at which the state was found.
type set struct {
	parts [setParts]setPart
	size  atomic.Uint64
}

const setParts = 256

// A setPart is a table with open addressing. The value 0 marks an empty slot.
type setPart struct {
	mu    sync.Mutex
	slots []sum
	count int
	_     [24]byte // padding to the end of a cache line
}

const maxDepth = 1<<16 - 1

// add notes that a state was found at a depth. It reports whether the state is new, and whether it
// was never found at such a small depth before.
func (s *set) add(h sum, depth uint32) (added, sooner bool) {
	p := &s.parts[h.high%setParts]
	key := sum{h.high | 1, h.low &^ maxDepth}
	depth = min(depth, maxDepth)
	p.mu.Lock()
	defer p.mu.Unlock()
	if 4*p.count >= 3*len(p.slots) {
		p.grow()
	}
	slot := p.find(key)
	if slot.high == 0 {
		*slot = sum{key.high, key.low | uint64(depth)}
		p.count++
		s.size.Add(1)
		return true, true
	}
	if uint64(depth) < slot.low&maxDepth {
		slot.low = key.low | uint64(depth)
		return false, true
	}
	return false, false
}

// find returns the slot of a key, or the empty slot where the key would be.
func (p *setPart) find(key sum) *sum {
	mask := uint64(len(p.slots) - 1)
	for at := key.low >> 16 & mask; ; at = (at + 1) & mask {
		if s := &p.slots[at]; s.high == 0 || s.high == key.high && s.low&^maxDepth == key.low {
			return s
		}
	}
}

func (p *setPart) grow() {
	old := p.slots
	p.slots = make([]sum, max(64, 2*len(old)))
	for _, s := range old {
		if s.high != 0 {
			*p.find(sum{s.high, s.low &^ maxDepth}) = s
		}
	}
}

// A parents remembers how each state was first found: after which state, and by which of that
// state's steps.
type parents struct {
	mu    sync.Mutex
	count uint32
	pages [1 << 16]atomic.Pointer[[parentPage]parent]
}

const parentPage = 1 << 16

type parent struct{ state, step uint32 }

// add gives a state the next number and remembers its parent.
func (p *parents) add(of parent) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.count
	p.count++
	page := p.pages[n/parentPage].Load()
	if page == nil {
		page = new([parentPage]parent)
		p.pages[n/parentPage].Store(page)
	}
	page[n%parentPage] = of
	return n
}

func (p *parents) get(n uint32) parent { return p.pages[n/parentPage].Load()[n%parentPage] }
