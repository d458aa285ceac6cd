package wal

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func TestLimitsOfARecord(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("two such entries don't fit into memory")
	}
	large := make([]raft.Entry, 2)
	data := make([]byte, wire.MaxCommandSize+1) // never touched
	for i := range large {
		large[i] = raft.Entry{Index: raft.Index(i + 1), Term: 1, Kind: wire.EntryCommand, Data: data[:wire.MaxCommandSize]}
	}
	require.NoError(t, checkEntries(large[:1], 1, 0))
	require.ErrorIs(t, checkEntries(large, 1, 0), ErrWrite)
	large[0].Data = data
	require.ErrorIs(t, checkEntries(large[:1], 1, 0), ErrWrite)
}

// An entry is never longer than the limit of a record assumes.
func TestOverheadOfAnEntry(t *testing.T) {
	const most = 1<<64 - 1
	id := raft.ServerID(fmt.Sprintf("%0*d", wire.MaxServerID, 1))
	e := raft.Entry{Index: most, Term: most, Kind: wire.EntryCommand, Origin: raft.Origin{Server: id, Start: most}, Number: most}
	for _, kind := range []wire.EntryKind{wire.EntryCommand, wire.EntryConfiguration} {
		e.Kind = kind
		var c change
		c.setEntries([]raft.Entry{e, e})
		b := c.appendFrames(c.append(nil), []raft.Entry{e, e}, 1)
		most := 2 * maxEntryOverhead
		if kind == wire.EntryConfiguration {
			most *= 2
		}
		require.LessOrEqual(t, len(b), most+100)
	}
}
