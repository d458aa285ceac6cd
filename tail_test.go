package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

// Entries that were handed out, to a message or a write, stay as they are when a conflict replaces
// them in the log.
func TestHandedOutEntriesStay(t *testing.T) {
	l, err := newLog(&Saved{})
	require.NoError(t, err)
	for index := Index(1); index <= 4; index++ {
		l.append(&Entry{Index: index, Term: 1, Kind: wire.EntryCommand, Data: []byte("first")})
	}
	handedOut := l.tail.entries(0, 4, maxInt)
	want := append([]Entry(nil), handedOut...)
	l.truncate(2)
	for index := Index(3); index <= 4; index++ {
		l.append(&Entry{Index: index, Term: 2, Kind: wire.EntryCommand, Data: []byte("second")})
	}
	require.Equal(t, want, handedOut)
	require.Equal(t, []byte("second"), l.tail.entries(2, 3, maxInt)[0].Data)
}

// A batch that was announced is handed out without a copy. The slots that this leaves empty are
// fewer than the full ones.
func TestBatchesStandSideBySide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := newLog(&Saved{})
		require.NoError(t, err)
		for range maxChunk { // so that chunks are large
			l.append(&Entry{Index: l.last + 1, Term: 1})
		}
		for _, size := range rapid.SliceOfN(rapid.IntRange(1, 2*maxChunk), 1, 20).Draw(t, "sizes") {
			before := l.last
			if rapid.Bool().Draw(t, "at once") {
				batch := make([]Entry, size, size+maxChunk)
				for i := range batch {
					batch[i] = Entry{Index: before + Index(i) + 1, Term: 1}
				}
				l.extend(batch)
			} else {
				l.tail.expect(size)
				for range size {
					l.append(&Entry{Index: l.last + 1, Term: 1})
				}
			}
			batch := l.tail.entries(before, l.last, maxInt)
			require.Len(t, batch, size)
			held := l.tail.chunks[l.tail.find(l.last)].entries
			require.Same(t, &held[len(held)-size], &batch[0])
			l.append(&Entry{Index: l.last + 1, Term: 1}) // nothing is expected after it
		}
		bytes := 0
		for i, e := range l.tail.entries(0, l.last, maxInt) {
			require.Equal(t, Index(i+1), e.Index)
			bytes += e.Size()
		}
		require.Equal(t, bytes, l.tail.bytes)
		full, room := 0, 0
		for _, c := range l.tail.chunks[:len(l.tail.chunks)-1] {
			full, room = full+len(c.entries), room+cap(c.entries)
		}
		require.Equal(t, int(l.last), full+len(l.tail.chunks[len(l.tail.chunks)-1].entries))
		require.LessOrEqual(t, room, 2*full)
	})
}

// A large batch is kept as it came. The entries that follow don't touch the memory behind it.
func TestLargeBatchesAreAdopted(t *testing.T) {
	l, err := newLog(&Saved{})
	require.NoError(t, err)
	room := make([]Entry, maxChunk+1)
	for i := range room {
		room[i] = Entry{Index: Index(i + 1), Term: 1}
	}
	l.extend(room[:maxChunk])
	require.Same(t, &room[0], &l.tail.entries(0, l.last, maxInt)[0])
	l.append(&Entry{Index: l.last + 1, Term: 2})
	require.Equal(t, Term(1), room[maxChunk].Term, "it belongs to somebody else")
	l.truncate(maxChunk / 2)
	l.append(&Entry{Index: l.last + 1, Term: 3})
	require.Equal(t, Term(1), room[maxChunk/2].Term)
}

// The tail keeps what its limit allows. One byte less of a limit, and the oldest chunk goes, if
// its entries are durable.
func TestTailIsFilledToItsLimit(t *testing.T) {
	l, err := newLog(&Saved{})
	require.NoError(t, err)
	for range 4 * minChunk {
		l.append(&Entry{Index: l.last + 1, Term: 1, Data: make([]byte, 100)})
	}
	all, first := l.tail.bytes, l.tail.chunks[0]
	l.tail.shrink(all, l.last)
	require.Equal(t, all, l.tail.bytes)
	l.tail.shrink(all-1, 0)
	require.Equal(t, all, l.tail.bytes, "nothing of it is durable")
	l.tail.shrink(all-1, first.entries[len(first.entries)-1].Index-1)
	require.Equal(t, all, l.tail.bytes, "one entry of the chunk isn't durable")
	l.tail.shrink(all-1, first.entries[len(first.entries)-1].Index)
	require.Equal(t, all-first.bytes, l.tail.bytes)
	l.tail.shrink(0, l.last)
	require.Len(t, l.tail.chunks, 1, "the last chunk stays")

	size, last := l.tail.chunks[0].entries[0].Size(), l.last
	l.tail.trim(3*size, last-4)
	require.Equal(t, 4*size, l.tail.bytes, "four entries aren't durable")
	kept := l.tail.entries(last-4, last, maxInt)
	l.tail.trim(3*size, last)
	require.Equal(t, 3*size, l.tail.bytes)
	require.Nil(t, l.tail.entries(last-4, last, maxInt))
	require.Len(t, l.tail.entries(last-3, last, maxInt), 3)
	require.Equal(t, last-3, kept[0].Index, "messages that have the entries keep them")
	l.tail.trim(0, last)
	require.Equal(t, size, l.tail.bytes, "one entry stays")
}
