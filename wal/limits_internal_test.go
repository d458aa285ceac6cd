package wal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A write that takes MaxWrite bytes, as raft.Storage counts them, is possible.
func TestMaxWriteIsPossible(t *testing.T) {
	most := (*Log)(nil).MaxWrite()
	data := make([]byte, most/2-512) // which nobody touches
	entries := []raft.Entry{{Index: 1, Data: data}, {Index: 2, Data: data}}
	require.NoError(t, checkEntries(entries, 1, 0))
	many := make([]raft.Entry, most/512)
	for i := range many {
		many[i].Index = raft.Index(i + 1)
	}
	require.NoError(t, checkEntries(many, 1, 0))
	entries = append(entries, raft.Entry{Index: 3, Data: data[:1<<20]})
	require.ErrorIs(t, checkEntries(entries, 1, 0), ErrWrite)
}
