package memory

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// When the log has forgotten a chunk, the chunk is used again, unless a part of it was handed out
// and somebody may still read it.
func TestStorageUsesChunksAgain(t *testing.T) {
	s := NewStorage()
	last := raft.Index(0)
	write := func(entries int) {
		t.Helper()
		w := raft.Write{Entries: make([]raft.Entry, entries)}
		for i := range w.Entries {
			last++
			w.Entries[i] = raft.Entry{Index: last, Term: 1, Kind: wire.EntryCommand, Data: bytes.Repeat([]byte{byte(last)}, maxChunk/4)}
		}
		require.NoError(t, s.Write(w))
	}
	compact := func() {
		t.Helper()
		meta := raft.SnapshotMeta{Index: last - 16, Term: 1}
		w, err := s.CreateSnapshot(meta)
		require.NoError(t, err)
		require.NoError(t, w.Commit())
		require.NoError(t, s.Write(raft.Write{Snapshot: &meta, Compact: meta.Index}))
	}
	write(40)
	inUse := make(map[*chunk]bool)
	for _, chunk := range s.data.chunks {
		inUse[chunk] = true
	}
	read, err := s.Entries(last-25, last-24, math.MaxInt)
	require.NoError(t, err)
	lent := s.data.chunks[s.data.chunk(last-24)]
	require.Equal(t, maxChunk, cap(lent.bytes))
	compact()
	require.NotContains(t, s.data.chunks, lent)
	require.NotContains(t, s.data.spare, lent)
	require.NotEmpty(t, s.data.spare)
	require.LessOrEqual(t, len(s.data.spare), len(s.data.chunks), "no more than as much again is kept")
	spare := len(s.data.spare)
	write(4 * spare)
	require.Empty(t, s.data.spare)
	for _, chunk := range s.data.chunks[len(s.data.chunks)-spare:] {
		require.True(t, inUse[chunk], "it was there before")
	}
	require.Equal(t, bytes.Repeat([]byte{byte(read[0].Index)}, maxChunk/4), read[0].Data, "what was handed out stays")
	compact()
	rest, err := s.Entries(last-16, last, math.MaxInt)
	require.NoError(t, err)
	require.Len(t, rest, 16)
	for i := range rest {
		require.Equal(t, bytes.Repeat([]byte{byte(rest[i].Index)}, maxChunk/4), rest[i].Data)
	}
}
