package kv

// An Items is the items of a list: a ring that grows at both ends.
type Items struct {
	ring  [][]byte // items are never changed
	first int
	len   int
}

// Len returns the number of items.
func (l *Items) Len() int { return l.len }

// At returns an item, counted from 0.
func (l *Items) At(i int) []byte { return l.ring[l.place(i)] }

// SetAt replaces an item. The new one belongs to the Items from then on, as it does for Push.
func (l *Items) SetAt(i int, item []byte) { l.ring[l.place(i)] = item }

func (l *Items) place(i int) int {
	if i += l.first; i >= len(l.ring) {
		i -= len(l.ring)
	}
	return i
}

func (l *Items) clone() *Items { return l.resized(len(l.ring)) }

// resized returns a copy with room for so many items.
func (l *Items) resized(room int) *Items {
	fresh := &Items{ring: make([][]byte, room), len: l.len}
	for i := range l.len {
		fresh.ring[i] = l.At(i)
	}
	return fresh
}

func (l *Items) grow() {
	if l.len == len(l.ring) {
		*l = *l.resized(max(4, 2*l.len))
	}
}

// PushFirst adds an item before all others.
func (l *Items) PushFirst(item []byte) {
	l.grow()
	if l.first--; l.first < 0 {
		l.first = len(l.ring) - 1
	}
	l.len++
	l.SetAt(0, item)
}

// PushLast adds an item after all others.
func (l *Items) PushLast(item []byte) {
	l.grow()
	l.len++
	l.SetAt(l.len-1, item)
}

// PopFirst removes the first item and returns it. There must be one.
func (l *Items) PopFirst() []byte {
	item := l.At(0)
	l.SetAt(0, nil)
	l.first, l.len = l.place(1), l.len-1
	l.shrink()
	return item
}

// PopLast removes the last item and returns it. There must be one.
func (l *Items) PopLast() []byte {
	item := l.At(l.len - 1)
	l.SetAt(l.len-1, nil)
	l.len--
	l.shrink()
	return item
}

func (l *Items) shrink() {
	if len(l.ring) > 16 && l.len < len(l.ring)/4 {
		*l = *l.resized(len(l.ring) / 2)
	}
}

// Insert adds an item before the one at i.
func (l *Items) Insert(i int, item []byte) {
	l.PushLast(nil)
	for at := l.len - 1; at > i; at-- {
		l.SetAt(at, l.At(at-1))
	}
	l.SetAt(i, item)
}

// Keep removes all items for which keep is false.
func (l *Items) Keep(keep func(i int, item []byte) bool) {
	kept := 0
	for i := range l.len {
		if item := l.At(i); keep(i, item) {
			l.SetAt(kept, item)
			kept++
		}
	}
	for i := kept; i < l.len; i++ {
		l.SetAt(i, nil)
	}
	l.len = kept
	l.shrink()
}
