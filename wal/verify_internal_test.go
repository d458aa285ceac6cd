package wal

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal/vfs"
)

// A readOnly is a file that can be read only.
type readOnly struct {
	vfs.File
	content []byte
}

func (f readOnly) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(f.content).ReadAt(b, at)
}

// TestVerifyInParallel demands that several goroutines find in a damaged snapshot what one finds.
func TestVerifyInParallel(t *testing.T) {
	t.Parallel()
	l, err := Open(t.TempDir(), Options{SegmentSize: 1 << 20})
	require.NoError(t, err)
	w, err := l.CreateSnapshot(raft.SnapshotMeta{Index: 1, Term: 1})
	require.NoError(t, err)
	luck := rand.New(rand.NewPCG(1, 2))
	state := make([]byte, 3*sectionSize+100_000)
	for i := range state {
		state[i] = byte(luck.Uint32())
	}
	_, err = w.Write(state)
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	name := l.snapshots.stored[0].file
	sound, err := os.ReadFile(l.path(fileName(name, snapshotSuffix)))
	require.NoError(t, err)
	require.NoError(t, l.Close())

	verify := func(content []byte, readers int) (uint64, error) {
		r := &blockReader{name: "it", file: readOnly{content: content}, buf: make([]byte, blockHeaderSize+maxBlock)}
		require.NoError(t, r.readHeader())
		return r.verify(readers)
	}
	for _, readers := range []int{1, 2, 7} {
		size, err := verify(sound, readers)
		require.NoError(t, err)
		require.EqualValues(t, len(state), size)
	}
	head := &blockReader{file: readOnly{content: sound}}
	require.NoError(t, head.readHeader())
	first, block := int(head.at), blockHeaderSize+maxBlock
	for trial := range 200 {
		content := bytes.Clone(sound)
		for range 1 + luck.IntN(3) {
			at := first + luck.IntN(len(content)-first)
			if luck.IntN(2) == 0 { // what a block says of itself
				at = first + luck.IntN((len(content)-first)/block)*block + luck.IntN(blockHeaderSize)
			}
			content[at] ^= 1 << luck.IntN(8)
		}
		if luck.IntN(4) == 0 {
			content = content[:first+luck.IntN(len(content)-first)]
		}
		_, want := verify(content, 1)
		require.ErrorIs(t, want, raft.ErrCorrupt)
		_, got := verify(content, 4)
		require.Equal(t, want, got, "trial %d", trial)
	}
}
