package simfs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/rafttest/simfs"
)

// TestDeferredKill demands that a process that is killed while it waits for a sync has written
// nothing of what follows that sync.
func TestDeferredKill(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		f.Defer()
		for i := range 3 {
			write(t, a, int64(i)*simfs.SectorSize, sectors(string(rune('a'+i)), 1))
			require.NoError(t, a.Sync())
		}
		f.Settle(1)
		f.Kill()
		shown := letters(f.Bytes("/a"))
		seen[shown] = true
		f.Lose()
		require.LessOrEqual(t, len(f.Bytes("/a")), len(shown)*simfs.SectorSize)
		require.Contains(t, shown, letters(f.Bytes("/a")), "the page cache shows what is durable, and more")
	}
	require.Equal(t, []string{"ab", "abc"}, keys(seen))
}

// TestDeferredFailedSync demands that a deferred sync that fails forgets what was written before
// it, and nothing else. It does so when it is settled, not before.
func TestDeferredFailedSync(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(100) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		f.Defer()
		write(t, a, 0, sectors("a", 1))
		require.NoError(t, a.Sync())
		write(t, a, simfs.SectorSize, sectors("b", 1))
		f.FailAt(f.Calls()+1, errFault)
		require.ErrorIs(t, a.Sync(), errFault)
		require.EqualValues(t, 2, f.Issued())
		f.Settle(2)
		require.NoError(t, a.Sync(), "the next sync reports nothing of the failure")
		f.Settle(3)
		require.Equal(t, "ab", letters(f.Bytes("/a")), "the page cache shows it")
		f.Lose()
		seen[letters(f.Bytes("/a"))] = true
	}
	require.Equal(t, []string{"a", "ab"}, keys(seen))
}

func TestLoseAndFlush(t *testing.T) {
	f := simfs.New(1)
	a := file(t, f, "/a")
	f.Defer()
	write(t, a, 0, "kept")
	f.Flush()
	write(t, a, 4, "gone")
	b, err := f.Create("/b")
	require.NoError(t, err)
	write(t, b, 0, "gone")
	require.NoError(t, b.Sync())
	f.Lose()
	require.Equal(t, "kept", string(f.Bytes("/a")))
	require.Equal(t, []string{"/a"}, f.Names())
	require.Equal(t, simfs.Losses{Lost: 2}, f.Losses())
}

func TestLosses(t *testing.T) {
	var all simfs.Losses
	for seed := range uint64(100) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		write(t, a, 0, sectors("a", 4))
		f.Cut()
		n := f.Losses()
		require.Equal(t, 1, n.Kept+n.Lost+n.Torn)
		torn := 0
		for _, c := range letters(f.Bytes("/a")) {
			if c == 'a' {
				torn++
			}
		}
		require.Equal(t, n.Torn == 1, torn > 0 && torn < 4)
		require.Equal(t, n.Kept == 1, torn == 4)
		all.Kept, all.Lost, all.Torn = all.Kept+n.Kept, all.Lost+n.Lost, all.Torn+n.Torn
	}
	require.Positive(t, min(all.Kept, all.Lost, all.Torn))
}
