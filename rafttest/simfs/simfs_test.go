package simfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
)

var errFault = errors.New("the disk says no")

// file creates a file and makes its name durable.
func file(t require.TestingT, f *simfs.FS, name string) vfs.File {
	require.NoError(t, f.MkdirAll("/"))
	file, err := f.Create(name)
	require.NoError(t, err)
	require.NoError(t, f.SyncDir("/"))
	return file
}

func write(t require.TestingT, f vfs.File, offset int64, data string) {
	n, err := f.WriteAt([]byte(data), offset)
	require.NoError(t, err)
	require.Equal(t, len(data), n)
}

// sectors returns n sectors full of one letter.
func sectors(letter string, n int) string { return strings.Repeat(letter, n*simfs.SectorSize) }

// letters returns the first letter of each sector; "." stands for zero.
func letters(b []byte) string {
	var s strings.Builder
	for i := 0; i < len(b); i += simfs.SectorSize {
		if b[i] == 0 {
			s.WriteByte('.')
		} else {
			s.WriteByte(b[i])
		}
	}
	return s.String()
}

func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(200) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		write(t, a, 0, sectors("s", 4))
		require.NoError(t, a.Sync())
		write(t, a, 2*simfs.SectorSize, sectors("w", 4))
		f.Cut()
		got := letters(f.Bytes("/a"))
		require.True(t, strings.HasPrefix(got, "ss"), got)
		for _, b := range f.Bytes("/a") {
			require.Contains(t, "sw\x00", string(b))
		}
		seen[got] = true
	}
	for _, want := range []string{"ssss", "sswwww", "ssws", "sssw.w", "ssssww"} {
		ok := seen[want] || slices.ContainsFunc(keys(seen), func(s string) bool { return strings.HasPrefix(s, want) })
		require.True(t, ok, "%s is never left, only %v", want, keys(seen))
	}
}

func keys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// TestSectorsGoThroughTheirHistory demands that a sector on the disk is one that the page cache
// held at some time: it has a later write only together with the earlier ones.
func TestSectorsGoThroughTheirHistory(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(100) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		write(t, a, 0, "1---")
		write(t, a, 1, "2")
		write(t, a, 2, "3")
		f.Cut()
		seen[string(f.Bytes("/a"))] = true
	}
	require.Equal(t, []string{"", "1---", "12--", "123-"}, keys(seen))
}

func TestPowerCutAndDirectories(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(100) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		write(t, a, 0, "a")
		require.NoError(t, a.Sync())
		require.NoError(t, a.Close())
		_, err := f.Create("/b")
		require.NoError(t, err)
		require.NoError(t, f.Rename("/a", "/c"))
		f.Cut()
		seen[fmt.Sprint(f.Names())] = true
		for _, name := range f.Names() {
			if name != "/b" {
				require.Equal(t, "a", string(f.Bytes(name)))
			}
		}
	}
	require.Equal(t, []string{"[/a /b]", "[/a]", "[/b /c]", "[/c]"}, keys(seen))
	f := simfs.New(1)
	a := file(t, f, "/a")
	require.ErrorContains(t, f.Rename("/a", "/b"), "open")
	require.NoError(t, a.Close())
	require.NoError(t, f.Rename("/a", "/b"))
	require.NoError(t, f.SyncDir("/"))
	require.NoError(t, f.Remove("/b"))
	require.NoError(t, f.SyncDir("/"))
	f.Cut()
	require.Empty(t, f.Names())
}

func TestFailedSyncForgets(t *testing.T) {
	lost := 0
	for seed := range uint64(40) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		write(t, a, 0, sectors("x", 3))
		f.FailAt(f.Calls()+1, errFault)
		require.ErrorIs(t, a.Sync(), errFault)
		require.NoError(t, a.Sync(), "the next sync reports nothing of what was forgotten")
		require.Equal(t, "xxx", letters(f.Bytes("/a")), "the page cache shows it")
		f.Cut()
		if letters(f.Bytes("/a")) != "xxx" {
			lost++
		}
	}
	require.Greater(t, lost, 10)
	require.Less(t, lost, 40)
}

func TestKillKeepsThePageCache(t *testing.T) {
	f := simfs.New(1)
	a := file(t, f, "/a")
	write(t, a, 0, "cached")
	_, err := f.Lock("/lock")
	require.NoError(t, err)
	f.Kill()
	require.Equal(t, "cached", string(f.Bytes("/a")))
	_, err = a.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, simfs.ErrPower)
	_, err = a.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, simfs.ErrPower)
	require.ErrorIs(t, a.Sync(), simfs.ErrPower)
	_, err = f.Lock("/lock")
	require.NoError(t, err, "locks end with their process")
}

// TestDeferredSyncs demands that a power cut leaves only what a process that waits for each sync
// can have written.
func TestDeferredSyncs(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		f := simfs.New(seed)
		a := file(t, f, "/a")
		f.Defer()
		for i := range 4 {
			write(t, a, int64(i)*simfs.SectorSize, sectors(string(rune('a'+i)), 1))
			require.NoError(t, a.Sync())
			require.EqualValues(t, i+1, f.Issued())
		}
		require.Equal(t, "abcd", letters(f.Bytes("/a")), "reads see it at once")
		f.Settle(1)
		f.Cut()
		seen[letters(f.Bytes("/a"))] = true
	}
	require.Equal(t, []string{"a", "ab", "abc", "abcd"}, keys(seen))
	f := simfs.New(1)
	a := file(t, f, "/a")
	f.Defer()
	write(t, a, 0, "all")
	require.NoError(t, a.Sync())
	f.Settle(100)
	f.Cut()
	require.Equal(t, "all", string(f.Bytes("/a")))
}

func TestFullDisk(t *testing.T) {
	f := simfs.New(1)
	f.SetCapacity(100)
	a, b := file(t, f, "/a"), file(t, f, "/b")
	write(t, a, 0, strings.Repeat("a", 60))
	n, err := b.WriteAt(make([]byte, 60), 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, err, simfs.ErrFull)
	require.Equal(t, 40, n)
	require.EqualValues(t, 100, f.Used())
	write(t, a, 0, strings.Repeat("b", 60)) // a full disk still takes writes over old bytes
	require.NoError(t, f.Remove("/b"))
	write(t, a, 60, strings.Repeat("a", 40))
}

func TestRot(t *testing.T) {
	f := simfs.New(1)
	a := file(t, f, "/a")
	write(t, a, 0, "abc")
	require.NoError(t, a.Sync())
	require.True(t, f.Rot("/a", 1, 0x20))
	require.False(t, f.Rot("/a", 3, 0x20))
	require.False(t, f.Rot("/b", 0, 0x20))
	require.Equal(t, "aBc", string(f.Bytes("/a")))
	require.True(t, f.Overwrite("/a", 1, []byte("xy")))
	require.False(t, f.Overwrite("/a", 2, []byte("xy")))
	f.Cut()
	require.Equal(t, "axy", string(f.Bytes("/a")))
}

// A file whose content was replaced has the new one in the page cache and on the disk, and is known by
// it: under another name, in a clone, and until it is removed.
func TestReplace(t *testing.T) {
	f := simfs.New(1)
	for _, name := range []string{"/a", "/b"} {
		file := file(t, f, name)
		write(t, file, 0, "abc")
		require.NoError(t, file.Sync())
	}
	require.False(t, f.Replace("/c", []byte("x")))
	require.False(t, f.Replaced())
	content := []byte("longer than it was")
	require.True(t, f.Replace("/a", content))
	content[0] = 'X'
	require.Equal(t, "longer than it was", string(f.Bytes("/a")))
	require.Equal(t, "abc", string(f.Bytes("/b")))
	require.True(t, f.Replaced())
	f.Lose()
	require.Equal(t, "longer than it was", string(f.Bytes("/a")))
	require.True(t, f.Replaced())

	require.True(t, f.Replace("/a", nil))
	require.Empty(t, f.Bytes("/a"))
	f.Cut()
	require.Equal(t, []string{"/a", "/b"}, f.Names())
	require.Empty(t, f.Bytes("/a"))
	a, err := f.Open("/a")
	require.NoError(t, err)
	write(t, a, 1, "z") // it is a file like any other
	require.NoError(t, a.Sync())
	require.NoError(t, a.Close())
	require.Equal(t, "\x00z", string(f.Bytes("/a")))

	require.NoError(t, f.Rename("/a", "/c"))
	require.NoError(t, f.SyncDir("/"))
	require.True(t, f.Replaced())
	require.True(t, f.Clone().Replaced())
	require.NoError(t, f.Remove("/c"))
	require.False(t, f.Replaced())
	require.True(t, f.Clone().Replace("/b", nil))
	require.False(t, f.Replaced(), "a clone is apart")
	require.Equal(t, "abc", string(f.Bytes("/b")))
}

func TestCallsAreSeenAndCounted(t *testing.T) {
	f := simfs.New(1)
	var calls []string
	f.OnCall(func(c simfs.Call) error {
		require.Equal(t, len(calls)+1, c.Number)
		calls = append(calls, c.String())
		return nil
	})
	a := file(t, f, "/a")
	write(t, a, 5, "data")
	require.NoError(t, a.Sync())
	require.NoError(t, a.Close())
	require.NoError(t, f.Rename("/a", "/b"))
	require.Equal(t, []string{"mkdir /", "create a", "syncdir /", "write a 5+4", "sync a", "close a", "rename a b"}, calls)
	require.Equal(t, 7, f.Calls())
	f.PowerOffAfter(8)
	require.NoError(t, f.Remove("/b"))
	require.ErrorIs(t, f.SyncDir("/"), simfs.ErrPower)
	_, err := f.Create("/c")
	require.ErrorIs(t, err, simfs.ErrPower)
	f.Cut()
	_, err = f.Create("/c")
	require.NoError(t, err, "the power is back")
}

// TestSameLuckSameFiles demands that the same calls with the same seed leave the same files, in the
// file system itself and in a clone.
func TestSameLuckSameFiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		one, other := simfs.New(seed), simfs.New(seed)
		calls := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 60).Draw(t, "calls")
		at := rapid.IntRange(0, len(calls)).Draw(t, "clone at")
		play(one, calls[:at])
		clone := one.Clone()
		clone.Kill()
		play(one, calls[at:]) // the clone must not see these calls
		play(other, calls[:at])
		other.Kill()
		require.Equal(t, dump(other), dump(clone))
		clone.Cut()
		other.Cut()
		require.Equal(t, dump(other), dump(clone))
		clone.Reseed(seed + 1)
		require.Equal(t, dump(other), dump(clone))
	})
}

// play makes calls that depend only on the given numbers.
func play(f *simfs.FS, calls []int) {
	for _, c := range calls {
		name := fmt.Sprint("/", c/7%3)
		file, err := f.Open(name)
		if err != nil {
			if file, err = f.Create(name); err != nil {
				continue
			}
		}
		switch c % 7 {
		case 0, 1, 2:
			_, _ = file.WriteAt(bytes.Repeat([]byte{byte(c)}, c%3000), int64(c/11%5000))
		case 3:
			_ = file.Sync()
		case 4:
			_ = f.SyncDir("/")
		}
		_ = file.Close()
		switch c % 7 {
		case 5:
			_ = f.Remove(name)
		case 6:
			_ = f.Rename(name, fmt.Sprint("/", c/77%3))
		}
	}
}

func dump(f *simfs.FS) map[string]string {
	all := map[string]string{}
	for _, name := range f.Names() {
		all[name] = string(f.Bytes(name))
	}
	return all
}
