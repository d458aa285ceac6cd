package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Entries that were handed out, to a message or a write, stay as they are when a conflict replaces them in the log.
func TestHandedOutEntriesStay(t *testing.T) {
	l, err := newLog(&Saved{})
	require.NoError(t, err)
	for index := Index(1); index <= 4; index++ {
		l.append(Entry{Index: index, Term: 1, Kind: EntryCommand, Data: []byte("first")})
	}
	handedOut := l.tail.entries(0, 4, maxInt)
	want := append([]Entry(nil), handedOut...)
	l.truncate(2)
	for index := Index(3); index <= 4; index++ {
		l.append(Entry{Index: index, Term: 2, Kind: EntryCommand, Data: []byte("second")})
	}
	require.Equal(t, want, handedOut)
	require.Equal(t, []byte("second"), l.tail.entries(2, 3, maxInt)[0].Data)
}
