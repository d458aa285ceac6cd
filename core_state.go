package raft

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// The state of a core can be copied (Core.Clone), written down (Core.AppendState) and checked
// (Core.Check). Each type that a core is made of does its own part of that beside its fields, by
// methods that are called
//
//	encode   writes everything of it that decides what the core does
//	clone    returns a copy that shares nothing with it but what is never changed
//	check    returns the first of its invariants that doesn't hold
//
// so that whoever adds a field looks at one file. A field that isn't encoded has a tag that says
// why:
//
//	state:"luck"       it decides nothing but when something happens, or is only shown
//	state:"derived"    it follows from what is encoded
//	state:"transient"  it is empty once the core has been drained
//	state:"fixed"      it never changes
//
// What a clone shares with its original has the tag clone:"shared", or is of a type whose values
// are never changed. The tests in core_state_internal_test.go find what was forgotten.

// AppendState appends an encoding of everything that decides the core's further behaviour, except the luck
// of its timeouts: deadlines show only as off, armed or passed, and the numbers of writes only relative to
// the last durable one. Two cores with equal encodings behave alike, but for the order in which messages leave
// that waited for the same write, and for what their tails let go of when they are full, which only decides what
// is read from the disk. name gives each server's name in the encoding, so that servers can be permuted; "" has
// the name 0.
func (c *Core) AppendState(b []byte, name wire.Naming) []byte {
	s := &stateEncoder{b: b, name: name, durable: c.out.durable}
	c.encode(s)
	encodeSet(s, c.out.held, (*heldMessage).encode)
	return s.b
}

// AppendStateButHeld appends what AppendState does, without the messages that wait for the disk. They decide
// nothing but what leaves.
func (c *Core) AppendStateButHeld(b []byte, name wire.Naming) []byte {
	s := &stateEncoder{b: b, name: name, durable: c.out.durable}
	c.encode(s)
	return s.b
}

// stateEncoder writes a core's state. Whatever is written can be told from what follows it.
type stateEncoder struct {
	b       []byte
	name    wire.Naming
	durable WriteNumber // the last write that is known to be durable
}

// numbers writes numbers.
func (s *stateEncoder) numbers(values ...uint64) {
	for _, v := range values {
		s.b = binary.AppendUvarint(s.b, v)
	}
}

// flag is a truth value as a number.
func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// server writes a server by its name.
func (s *stateEncoder) server(id ServerID) { s.b = append(s.b, s.name(id)) }

// bytes writes bytes, and how many.
func (s *stateEncoder) bytes(b []byte) {
	s.numbers(uint64(len(b)))
	s.b = append(s.b, b...)
}

// write writes the number of a write: how many are to become durable until that one is.
func (s *stateEncoder) write(n WriteNumber) { s.numbers(uint64(max(n, s.durable) - s.durable)) }

// place writes a place in a log.
func (s *stateEncoder) place(p wire.Place) { s.numbers(uint64(p.Index), uint64(p.Term)) }

// origin writes an origin, and the number of something that it has asked for.
func (s *stateEncoder) origin(o Origin, number uint64) {
	s.server(o.Server)
	s.numbers(o.Start, number)
}

// meta writes what a snapshot stands for. Its configuration is the one that the log held at that
// place.
func (s *stateEncoder) meta(m *SnapshotMeta) {
	s.numbers(uint64(m.Index), uint64(m.Term), uint64(m.ConfigurationIndex))
}

// durableState writes what a server keeps across restarts.
func (s *stateEncoder) durableState(d *DurableState) {
	s.b = append(s.b, s.name(d.Server), s.name(d.Vote))
	s.b = append(s.b, d.Cluster[:]...)
	s.numbers(uint64(d.Term), uint64(d.Incarnation), d.Start, uint64(d.MaxLease))
}

// These write what package wire has, with the servers by their names.

func (s *stateEncoder) message(m *wire.Message)        { s.b = s.name.AppendMessage(s.b, m) }
func (s *stateEncoder) entry(e *Entry)                 { s.b = s.name.AppendEntry(s.b, e) }
func (s *stateEncoder) entries(entries []Entry)        { s.b = s.name.AppendEntries(s.b, entries) }
func (s *stateEncoder) configuration(c *Configuration) { s.b = s.name.AppendConfiguration(s.b, c) }
func (s *stateEncoder) members(members []Member)       { s.b = s.name.AppendMembers(s.b, members) }
func (s *stateEncoder) call(call *wire.Call)           { s.b = s.name.AppendCall(s.b, call) }

// encodeList writes a list in its order, and how long it is.
func encodeList[T any](s *stateEncoder, items []T, encode func(*T, *stateEncoder)) {
	s.numbers(uint64(len(items)))
	for i := range items {
		encode(&items[i], s)
	}
}

// encodeSet writes a list whose order decides nothing, and how long it is. Its items stand in the
// order of their encodings: so it is the same list under other names.
func encodeSet[T any](s *stateEncoder, items []T, encode func(*T, *stateEncoder)) {
	s.numbers(uint64(len(items)))
	start := len(s.b)
	encodings := make([][]byte, 0, len(items))
	for i := range items {
		before := len(s.b)
		encode(&items[i], s)
		encodings = append(encodings, s.b[before:])
	}
	slices.SortFunc(encodings, bytes.Compare)
	s.b = append(s.b[:start], bytes.Join(encodings, nil)...)
}

// cloneList copies a list of what needs more than an assignment to be copied.
func cloneList[T any](items []T, clone func(*T) T) []T {
	items = slices.Clone(items)
	for i := range items {
		items[i] = clone(&items[i])
	}
	return items
}
