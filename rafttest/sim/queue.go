package sim

import "github.com/e17579a5/raft/wire"

// An item is something that happens by itself at an instant of a timed run.
type item struct {
	at    int64
	order uint64 // orders items of the same instant: the first planned comes first, and wake-ups come last
	what  itemKind
	a, b  int8   // servers
	life  uint32 // of server a: in another life the item is void. 0 means any life
	n     int64
}

type itemKind uint8

const (
	itemDeliver itemKind = iota
	itemTick
	itemWrite
	itemApply
	itemRead
	itemFetched
	itemStore
	itemVerify
	itemSent
	itemStream
	itemTurn
	itemDrain
	itemClient
	itemCancel
	itemLost
	itemFault
	itemMend
	itemRejoin
	itemRestart
	itemCrash
	itemForget
	itemProbe
	itemFree
	itemResigned
	itemWake
	itemChange
	itemLose
	itemScrub
	itemRemoved
	itemBack
)

// A queue is a heap of items. The next item comes first.
type queue struct {
	items []item
	count uint64
}

func (q *queue) reset() { q.items, q.count = q.items[:0], 0 }

func (a *item) before(b *item) bool { return a.at < b.at || a.at == b.at && a.order < b.order }

// push adds an item.
func (q *queue) push(it item) {
	q.count++
	it.order = q.count
	if it.what == itemTick {
		it.order |= 1 << 62 // what happens at the instant of a deadline is handed in before the deadline
	}
	q.items = append(q.items, it)
	i := len(q.items) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !it.before(&q.items[parent]) {
			break
		}
		q.items[i] = q.items[parent]
		i = parent
	}
	q.items[i] = it
}

// pop removes and returns the first item of a queue that isn't empty.
func (q *queue) pop() item {
	first := q.items[0]
	n := len(q.items) - 1
	it := q.items[n]
	q.items = q.items[:n]
	i := 0
	for {
		least := 4*i + 1
		if least >= n {
			break
		}
		for c, end := least+1, min(least+4, n); c < end; c++ {
			if q.items[c].before(&q.items[least]) {
				least = c
			}
		}
		if !q.items[least].before(&it) {
			break
		}
		q.items[i] = q.items[least]
		i = least
	}
	if n > 0 {
		q.items[i] = it
	}
	return first
}

// A slab holds the messages that are on their way in a timed run.
type slab struct {
	cells []cell
	free  []int32
}

type cell struct {
	message wire.Message
	number  uint64 // on its link
	copies  int8   // copies that have still to arrive
}

func (s *slab) reset() {
	clear(s.cells)
	s.cells, s.free = s.cells[:0], s.free[:0]
}

// put stores a message and returns its place.
func (s *slab) put(m *wire.Message, number uint64, copies int8) int32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		s.cells[i] = cell{*m, number, copies}
		return i
	}
	s.cells = append(s.cells, cell{*m, number, copies})
	return int32(len(s.cells) - 1)
}

// release notes that one copy of a message has arrived. After the last copy, the place is free.
func (s *slab) release(i int32) {
	if s.cells[i].copies--; s.cells[i].copies == 0 {
		s.free = append(s.free, i)
	}
}
