package wal

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
)

// unclosable is a file that can't be closed in good order.
type unclosable struct{ vfs.File }

var errUnclosable = errors.New("can't be closed")

func (f unclosable) Close() error { return errUnclosable }

// A spare whose file couldn't be closed has none, and the next one is created when it is needed.
func TestSpareThatCannotBeClosed(t *testing.T) {
	l, err := Open("log", Options{FS: simfs.New(1), SegmentSize: MinSegmentSize, Salt: 1, Inline: true})
	require.NoError(t, err)
	require.NoError(t, l.Write(raft.Write{Entries: []raft.Entry{{Index: 1, Term: 1, Data: make([]byte, 3000)}}}))
	sp := <-l.spare
	for sp.file == nil || sp.size < sp.target {
		require.NoError(t, l.prepare(sp))
	}
	sp.file = unclosable{sp.file}
	require.ErrorIs(t, l.exchange(sp, 1<<20, func(string) error { return nil }), errUnclosable)
	l.spare <- sp
	for index := raft.Index(2); index <= 10; index++ {
		require.NoError(t, l.Write(raft.Write{Entries: []raft.Entry{{Index: index, Term: 1, Data: make([]byte, 3000)}}}))
	}
	require.NoError(t, l.Close())
}
