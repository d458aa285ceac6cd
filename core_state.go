package raft

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// The state of a core can be copied (Core.Clone), written down (Core.AppendState) and checked
// (Core.Check). Each type that a core is made of does its own part of that. It does so beside its
// fields, by three methods:
//
//	encode   writes everything of it that decides what the core does
//	clone    returns a copy that shares nothing with it but what is never changed
//	check    returns the first of its invariants that doesn't hold
//
// So a new field concerns one file. A field that isn't encoded has a tag that says why:
//
//	state:"luck"       it decides nothing but when something happens, or is only shown
//	state:"derived"    it follows from what is encoded
//	state:"transient"  it is empty once the core has been drained
//	state:"fixed"      it never changes
//
// A field that a clone shares with its original has the tag clone:"shared", or its type is one
// whose values are never changed. The tests in core_state_internal_test.go find a field that was
// forgotten.

// AppendState appends an encoding of everything that decides the core's further behaviour, except
// the luck of its timeouts. Deadlines show only as off, armed or passed. The numbers of writes show
// only relative to the last durable write.
//
// Two cores with equal encodings behave alike, with two exceptions. Messages that wait for the same
// write may leave in another order. And the tails may let go of other entries when they are full,
// which only decides what is read from the disk.
//
// name gives each server's name in the encoding, so that servers can be permuted. "" has the name
// 0.
func (c *Core) AppendState(b []byte, name wire.Naming) []byte {
	c.wake()
	s := &stateEncoder{b: b, name: name, durable: c.out.durable}
	c.encode(s)
	encodeSet(s, c.out.held, (*heldMessage).encode)
	return s.b
}

// AppendStateButHeld appends what AppendState appends, without the messages that wait for the disk.
// Those messages decide nothing but what leaves.
func (c *Core) AppendStateButHeld(b []byte, name wire.Naming) []byte {
	c.wake()
	s := &stateEncoder{b: b, name: name, durable: c.out.durable}
	c.encode(s)
	return s.b
}

// stateEncoder writes a core's state. Each value can be told from the one that follows it.
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

// bytes writes the number of bytes, and then the bytes.
func (s *stateEncoder) bytes(b []byte) {
	s.numbers(uint64(len(b)))
	s.b = append(s.b, b...)
}

// write writes the number of a write as the number of writes that must become durable before it is.
func (s *stateEncoder) write(n WriteNumber) { s.numbers(uint64(max(n, s.durable) - s.durable)) }

// place writes a place in a log.
func (s *stateEncoder) place(p wire.Place) { s.numbers(uint64(p.Index), uint64(p.Term)) }

// origin writes an origin, and the number of something that this origin has asked for.
func (s *stateEncoder) origin(o Origin, number uint64) {
	s.server(o.Server)
	s.numbers(o.Start, number)
}

// meta writes what a snapshot stands for. Its configuration is left out: it is the one that the log
// held at ConfigurationIndex.
func (s *stateEncoder) meta(m *SnapshotMeta) {
	s.numbers(uint64(m.Index), uint64(m.Term), uint64(m.ConfigurationIndex))
}

// durableState writes what a server keeps across restarts.
func (s *stateEncoder) durableState(d *DurableState) {
	s.b = append(s.b, s.name(d.Server), s.name(d.Vote))
	s.b = append(s.b, d.Cluster[:]...)
	s.numbers(uint64(d.Term), uint64(d.Incarnation), d.Start, uint64(d.MaxLease), flag(d.RolledBack))
}

// These methods write the types of package wire. Servers appear by the names that name gives them.

func (s *stateEncoder) message(m *wire.Message)        { s.b = s.name.AppendMessage(s.b, m) }
func (s *stateEncoder) entry(e *Entry)                 { s.b = s.name.AppendEntry(s.b, e) }
func (s *stateEncoder) entries(entries []Entry)        { s.b = s.name.AppendEntries(s.b, entries) }
func (s *stateEncoder) configuration(c *Configuration) { s.b = s.name.AppendConfiguration(s.b, c) }
func (s *stateEncoder) members(members []Member)       { s.b = s.name.AppendMembers(s.b, members) }
func (s *stateEncoder) call(call *wire.Call)           { s.b = s.name.AppendCall(s.b, call) }

// encodeList writes the length of a list, and then its items in their order.
func encodeList[T any](s *stateEncoder, items []T, encode func(*T, *stateEncoder)) {
	s.numbers(uint64(len(items)))
	for i := range items {
		encode(&items[i], s)
	}
}

// encodeSet writes the length of a list whose order decides nothing, and then its items. They stand
// in the order of their encodings.
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

// cloneList copies a list whose items need more than an assignment to be copied.
func cloneList[T any](items []T, clone func(*T) T) []T {
	items = slices.Clone(items)
	for i := range items {
		items[i] = clone(&items[i])
	}
	return items
}
