package raft

import "sync"

// A slabPool keeps slabs that have room left.
type slabPool struct{ pool sync.Pool }

// copy copies head and command, one behind the other, into a slab. Commands that were proposed at
// about the same time share a slab: they live and die together in the log. A command that would
// fill an eighth of a slab gets memory of its own.
func (p *slabPool) copy(head, command []byte) []byte {
	size := len(head) + len(command)
	if size > slabBytes/8 {
		return append(append(make([]byte, 0, size), head...), command...)
	}
	s, ok := p.pool.Get().(*slab)
	if !ok {
		s = new(slab)
	}
	if size > cap(s.free)-len(s.free) {
		s.free = make([]byte, 0, slabBytes)
	}
	from := len(s.free)
	s.free = append(append(s.free, head...), command...)
	data := s.free[from:len(s.free):len(s.free)]
	p.pool.Put(s)
	return data
}

// A slab is memory for commands. Nothing was ever written past its length.
type slab struct{ free []byte }

// slabBytes is the size of a slab.
const slabBytes = 16 << 10
