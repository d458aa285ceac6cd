package raft

import "sync"

// A slabPool keeps slabs that have room.
type slabPool struct{ pool sync.Pool }

// copy copies a command, after a head, into a piece of memory that it shares with its neighbours in
// time, since they live and die together in the log.
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

// A slab is memory for commands: what lies past its length was never written.
type slab struct{ free []byte }

const slabBytes = 16 << 10
