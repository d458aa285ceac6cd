package raft_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// An echo is a state machine whose results are the commands, in one buffer that it uses again.
type echo struct {
	calls  [][]raft.Entry
	buffer []byte
}

func (m *echo) Apply(entries []raft.Entry, results [][]byte) {
	m.calls = append(m.calls, append([]raft.Entry(nil), entries...))
	m.buffer = m.buffer[:0]
	for _, e := range entries {
		m.buffer = append(m.buffer, e.Data...)
	}
	at := 0
	for i, e := range entries {
		if e.Data != nil {
			results[i] = m.buffer[at : at+len(e.Data)]
		}
		at += len(e.Data)
	}
}

func (m *echo) Snapshot() (io.WriterTo, error) { return nil, nil }
func (m *echo) Restore(io.Reader) error        { return nil }

func TestApplierKeepsTheResultsOfItsOwnOrigin(t *testing.T) {
	own, other := raft.Origin{Server: "a", Start: 3}, raft.Origin{Server: "a", Start: 2}
	command := func(index raft.Index, origin raft.Origin, number uint64, data []byte) raft.Entry {
		return raft.Entry{Index: index, Term: 2, Kind: wire.EntryCommand, Origin: origin, Number: number, Data: data}
	}
	entries := []raft.Entry{
		{Index: 5, Term: 2, Kind: wire.EntryNoOp},
		command(6, own, 1, []byte("one")),
		command(7, other, 1, []byte("not ours")),
		command(8, own, 2, nil),
		{Index: 9, Term: 2, Kind: wire.EntryConfiguration, Data: []byte("configuration")},
		{Index: 10, Term: 2, Kind: wire.EntryNoOp},
		command(11, own, 3, []byte{}),
		command(12, own, 4, []byte("four")),
		{Index: 13, Term: 4, Kind: wire.EntryNoOp},
	}
	machine := &echo{}
	applier := raft.NewApplier(machine, own)
	batch, err := applier.Apply(entries)
	require.NoError(t, err)
	require.Equal(t, [][]raft.Entry{entries[1:4], entries[6:8]}, machine.calls, "the state machine sees the commands alone")
	want := raft.Batch{Last: 13, Term: 4, Commands: []raft.AppliedCommand{
		{Number: 1, Place: 6, Index: 6, Result: []byte("one")},
		{Number: 2, Place: 8, Index: 8, Result: nil},
		{Number: 3, Place: 11, Index: 11, Result: []byte{}},
		{Number: 4, Place: 12, Index: 12, Result: []byte("four")},
	}}
	require.Equal(t, want, batch)
	_, err = applier.Apply([]raft.Entry{command(14, own, 5, []byte("overwrites the machine's buffer"))})
	require.NoError(t, err)
	require.Equal(t, want, batch, "results are copies")
	for _, c := range batch.Commands {
		require.Equal(t, len(c.Result), cap(c.Result), "nobody appends into a neighbour")
	}

	batch, err = applier.Apply([]raft.Entry{command(15, own, 6, nil)})
	require.NoError(t, err)
	require.Equal(t, []raft.AppliedCommand{{Number: 6, Place: 15, Index: 15}}, batch.Commands, "not the result of an earlier one")

	batch, err = applier.Apply(nil)
	require.NoError(t, err)
	require.Zero(t, batch)
}

func TestApplierRefusesWhatItDoesNotKnowBeforeAnythingIsApplied(t *testing.T) {
	machine := &echo{}
	_, err := raft.NewApplier(machine, raft.Origin{}).Apply([]raft.Entry{
		{Index: 1, Kind: wire.EntryCommand, Data: []byte("x")}, {Index: 2, Kind: 77},
	})
	require.ErrorContains(t, err, "apply entry 2: kind 77")
	require.Empty(t, machine.calls)
}

// A mute is a state machine that keeps nothing, and whose results are the commands. What is left to
// count is the Applier's own.
type mute struct{ echo }

func (*mute) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		results[i] = entries[i].Data
	}
}

func TestApplierAllocatesTwiceABatch(t *testing.T) {
	origin := raft.Origin{Server: "a", Start: 1}
	entries := make([]raft.Entry, 256)
	for i := range entries {
		entries[i] = raft.Entry{Index: raft.Index(i) + 1, Term: 1, Kind: wire.EntryCommand, Origin: origin, Data: []byte("some result")}
	}
	applier := raft.NewApplier(&mute{}, origin)
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := applier.Apply(entries); err != nil {
			t.Error(err)
		}
	})
	require.LessOrEqual(t, allocations, 2.0)
}
