package wal_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/internal/strace"
)

// When a Write or a Commit returns, nothing of it is in the page cache alone, as the kernel sees
// it. What was written to a file is synced, after it was written. Names that were made, changed or
// taken away are synced with their folder, and a file is synced before it gets its name.
func TestSyncsReachTheKernel(t *testing.T) {
	folder := t.TempDir()
	calls, err := strace.Run("TestWritesUnderStrace", folder)
	if errors.Is(err, strace.ErrNot) {
		t.Skip(err)
	}
	require.NoError(t, err)
	dirty := map[string]int{} // files and folders with something unsynced, and the call that did it
	counts := map[string]int{}
	for i, c := range calls {
		counts[c.Name]++
		in := filepath.Dir(c.Path)
		switch {
		case c.New && strings.HasSuffix(c.Path, "LOCK"): // a lock need not survive
		case c.Name == "unlinkat" && strings.HasSuffix(c.Path, ".snapshot"): // it may come back: the log names another
		case c.New, c.Name == "unlinkat", c.Name == "mkdirat":
			dirty[in] = i
		case c.Name == "renameat", c.Name == "renameat2":
			require.NotContains(t, dirty, c.Path, "call %d: it gets its name before it is durable", i)
			dirty[in] = i
		case c.Name == "pwrite64":
			dirty[c.Path] = i
		case c.Name == "fdatasync", c.Name == "fsync":
			if since, ok := dirty[c.Path]; ok && since < c.Begun {
				delete(dirty, c.Path)
			}
		case c.Name == "step":
			require.Empty(t, dirty, "call %d, %s: what isn't durable, with the call that wrote it", i, c.Path)
		}
	}
	require.Greater(t, counts["step"], 100)
	require.Greater(t, counts["fdatasync"], 100, "one for each Write at the least")
	require.Greater(t, counts["renameat"]+counts["renameat2"], 20, "snapshots, and segments that are used again")
	require.Positive(t, counts["unlinkat"])
}

// TestWritesUnderStrace writes what TestSyncsReachTheKernel looks at.
func TestWritesUnderStrace(t *testing.T) {
	if strace.Folder() == "" {
		t.Skip("it is a part of another test")
	}
	// It works without a goroutine, so that nothing is being prepared when a Write returns.
	l, err := wal.Open(filepath.Join(strace.Folder(), "log"), wal.Options{SegmentSize: wal.MinSegmentSize, Inline: true})
	require.NoError(t, err)
	strace.Step("opened")
	for index := raft.Index(1); index <= 100; index++ {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 500)}))
		strace.Step("written")
		if index%10 == 0 {
			adopt(t, l, raft.SnapshotMeta{Index: index, Term: 1}, make([]byte, 100_000))
			strace.Step("a snapshot")
			require.NoError(t, l.Write(raft.Write{Compact: index - 5}))
			strace.Step("compacted")
		}
	}
	require.NoError(t, l.Close())
}
