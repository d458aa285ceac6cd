package model

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft"
)

// A ghost holds what an observer knows that sees everything and forgets nothing, not even in
// crashes. The cluster itself never looks at it. It is a part of a state: two ways into the same
// state of the cluster are different states if something else was committed or answered on the way.
// A ghost is never changed.
type ghost struct {
	id     uint32
	hashes []sum // by naming

	// leaders are the leaders of the terms, by term.
	leaders [MaxTerms + foundingTerm + 1]leader
	// committed is the log as far as some leader has committed it.
	committed []committed
	// acknowledged is the highest index that any caller has got in an answer.
	acknowledged raft.Index
	// calls are the calls that wait for an answer. refused are the commands that were answered with
	// ErrNotApplied.
	calls   []call
	refused []call
}

// A leader is the leader of one term.
type leader struct {
	server int8 // plus 1; 0 for none
	start  uint64
}

// A committed is a committed entry, with the lowest term in which a leader has committed it, and
// with the state of the state machine after it.
type committed struct {
	slot
	entry  raft.Entry
	in     raft.Term
	result machine
}

// A call is a proposal, a read, or a change of the members. It ends with the life of its server.
type call struct {
	server int8
	kind   callKind
	start  uint64
	number uint64
	since  raft.Index // for a read, the index that was acknowledged when it was called
}

// A callKind says what a call asks for.
type callKind byte

const (
	callCommand callKind = iota
	callRead
	callChange
)

// kindOf returns the kind of the call that an event makes.
func kindOf(e event) callKind {
	switch {
	case e == eventRead:
		return callRead
	case e.kind() == eventRemove, e.kind() == eventAdd:
		return callChange
	}
	return callCommand
}

// proposed reports whether an entry comes from the call.
func (c *call) proposed(e *raft.Entry) bool {
	return e.Origin == raft.Origin{Server: idOf(int(c.server)), Start: c.start} && e.Number == c.number
}

func (g *ghost) commit() raft.Index { return raft.Index(len(g.committed)) }

// encode appends an encoding of the ghost.
func (g *ghost) encode(b []byte, naming *naming) []byte {
	for t, l := range g.leaders {
		if l.server != 0 {
			b = append(b, byte(t), naming[l.server-1])
			b = binary.AppendUvarint(b, l.start)
		}
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(g.acknowledged))
	entries := make([]raft.Entry, len(g.committed))
	for i := range g.committed {
		entries[i] = g.committed[i].entry
		b = append(b, byte(g.committed[i].in))
	}
	b = encodeLog(append(b, 0), &raft.DurableState{}, entries, naming)
	for _, calls := range [][]call{g.calls, g.refused} {
		b = append(b, byte(len(calls)))
		encoded := make([][]byte, 0, len(calls))
		for _, c := range calls {
			n := []byte{naming[c.server], byte(c.kind)}
			for _, number := range []uint64{c.start, c.number, uint64(c.since)} {
				n = binary.AppendUvarint(n, number)
			}
			encoded = append(encoded, n)
		}
		slices.SortFunc(encoded, bytes.Compare)
		b = append(b, bytes.Join(encoded, nil)...)
	}
	return b
}

// clone returns a copy whose parts may be changed.
func (g *ghost) clone() *ghost {
	n := *g
	n.committed, n.calls, n.refused = slices.Clone(g.committed), slices.Clone(g.calls), slices.Clone(g.refused)
	return &n
}
