package raft_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A listing is a state machine that keeps all commands, one in a line.
type listing struct{ lines []string }

func (m *listing) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		m.lines = append(m.lines, string(entries[i].Data))
		results[i] = entries[i].Data
	}
}

func (m *listing) Snapshot() (io.WriterTo, error) {
	return bytes.NewBufferString(strings.Join(m.lines, "\n")), nil
}

func (m *listing) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	m.lines = strings.Split(string(b), "\n")
	return err
}

func applied(t *testing.T, machine raft.StateMachine, commands ...string) *raft.Applier {
	t.Helper()
	a := raft.NewApplier(machine, raft.Origin{Server: "a", Start: 1})
	for i, command := range commands {
		_, err := a.Apply([]raft.Entry{{Index: raft.Index(i + 1), Term: 1, Kind: wire.EntryCommand, Data: []byte(command)}})
		require.NoError(t, err)
	}
	return a
}

func TestSnapshotHoldsTheStateAtItsIndex(t *testing.T) {
	a := applied(t, &listing{}, "one", "two")
	_, err := a.Snapshot(1)
	require.ErrorContains(t, err, "snapshot of index 1: the state is at index 2")
	captured, err := a.Snapshot(2)
	require.NoError(t, err)
	_, err = a.Apply([]raft.Entry{{Index: 3, Term: 1, Kind: wire.EntryCommand, Data: []byte("three")}})
	require.NoError(t, err)
	var written bytes.Buffer
	n, err := captured.WriteTo(&written)
	require.NoError(t, err)
	require.EqualValues(t, written.Len(), n)
	require.NoError(t, captured.Close())
	require.NoError(t, captured.Close(), "it does nothing")
	_, err = captured.WriteTo(&written)
	require.ErrorContains(t, err, "the capture is closed")

	other := &listing{}
	b := applied(t, other, "something", "else", "before")
	require.ErrorIs(t, b.Restore(3, 1, bytes.NewReader(written.Bytes())), wire.ErrMalformed, "it is of another index")
	require.NoError(t, b.Restore(2, 1, iotest.OneByteReader(bytes.NewReader(written.Bytes()))))
	require.Equal(t, []string{"one", "two"}, other.lines, "what was applied meanwhile isn't in it")
	again, err := b.Snapshot(2)
	require.NoError(t, err)
	var rewritten bytes.Buffer
	_, err = again.WriteTo(&rewritten)
	require.NoError(t, err)
	require.Equal(t, written.Bytes(), rewritten.Bytes())
}

func TestRestoreRefusesOtherBytes(t *testing.T) {
	a := applied(t, &listing{}, "one")
	captured, err := a.Snapshot(1)
	require.NoError(t, err)
	var written bytes.Buffer
	_, err = captured.WriteTo(&written)
	require.NoError(t, err)
	head := written.Len() - len("one")
	for cut := range head {
		err := applied(t, &listing{}).Restore(1, 1, bytes.NewReader(written.Bytes()[:cut]))
		require.ErrorIs(t, err, wire.ErrMalformed, "cut after %d bytes", cut)
	}
	for at := range len("raft-state") + 1 {
		b := bytes.Clone(written.Bytes())
		b[at] ^= 0x40
		require.ErrorIs(t, applied(t, &listing{}).Restore(1, 1, bytes.NewReader(b)), wire.ErrMalformed, "byte %d changed", at)
	}
	section := append([]byte("raft-state\x01\x01\x04"), "what"...)
	require.ErrorContains(t, applied(t, &listing{}).Restore(1, 1, bytes.NewReader(section)), "state: of version 119, not 1")
	long := []byte("raft-state\x01\x01\xff\xff\xff\xff\xff\x01")
	require.ErrorContains(t, applied(t, &listing{}).Restore(1, 1, bytes.NewReader(long)), "more than 1073741824")

	broken := errors.New("the disk is gone")
	require.ErrorIs(t, applied(t, &listing{}).Restore(1, 1, iotest.ErrReader(broken)), broken)
}

// A picky machine reads less than its snapshot holds.
type picky struct{ echo }

func (*picky) Snapshot() (io.WriterTo, error) { return bytes.NewBufferString("state"), nil }
func (*picky) Restore(r io.Reader) error      { _, err := r.Read(make([]byte, 1)); return err }

// A storage reports damage at the end of a snapshot at the latest. So the snapshot is read to its
// end.
func TestRestoreReadsToTheEnd(t *testing.T) {
	a := applied(t, &picky{}, "one")
	captured, err := a.Snapshot(1)
	require.NoError(t, err)
	var written bytes.Buffer
	_, err = captured.WriteTo(&written)
	require.NoError(t, err)
	damaged := io.MultiReader(&written, iotest.ErrReader(raft.ErrCorrupt))
	require.ErrorIs(t, applied(t, &picky{}).Restore(1, 1, damaged), raft.ErrCorrupt)
}

func TestSnapshotOfAMachineThatFails(t *testing.T) {
	a := applied(t, &echo{}, "one")
	_, err := a.Snapshot(1)
	require.ErrorContains(t, err, "the state machine returned no io.WriterTo")
}
