package raft

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// A chunk of which nothing was handed out is used again once the log has forgotten it; one that somebody may still read isn't.
func TestMemoryStorageUsesChunksAgain(t *testing.T) {
	s := NewMemoryStorage()
	last := Index(0)
	write := func(entries int) {
		t.Helper()
		w := Write{Entries: make([]Entry, entries)}
		for i := range w.Entries {
			last++
			w.Entries[i] = Entry{Index: last, Term: 1, Kind: EntryCommand, Data: bytes.Repeat([]byte{byte(last)}, maxMemoryChunk/4)}
		}
		require.NoError(t, s.Write(w))
	}
	compact := func() {
		t.Helper()
		meta := SnapshotMeta{Index: last - 16, Term: 1}
		w, err := s.CreateSnapshot(meta)
		require.NoError(t, err)
		require.NoError(t, w.Commit())
		require.NoError(t, s.Write(Write{Snapshot: &meta, Compact: meta.Index}))
	}
	write(40)
	inUse := make(map[*memoryChunk]bool)
	for _, chunk := range s.data.chunks {
		inUse[chunk] = true
	}
	read, err := s.Entries(last-25, last-24, maxInt)
	require.NoError(t, err)
	lent := s.data.chunks[s.data.chunk(last-24)]
	require.Equal(t, maxMemoryChunk, cap(lent.bytes))
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
	require.Equal(t, bytes.Repeat([]byte{byte(read[0].Index)}, maxMemoryChunk/4), read[0].Data, "what was handed out stays")
	compact()
	rest, err := s.Entries(last-16, last, maxInt)
	require.NoError(t, err)
	require.Len(t, rest, 16)
	for i := range rest {
		require.Equal(t, bytes.Repeat([]byte{byte(rest[i].Index)}, maxMemoryChunk/4), rest[i].Data)
	}
}
