package main

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
)

// mounted returns a disk with a file of 100 bytes, as a process has it open.
func mounted(t *testing.T) (*disk, *mount, vfs.File) {
	t.Helper()
	d := &disk{files: simfs.New(1)}
	m := d.mount()
	require.NoError(t, m.MkdirAll("/log"))
	file, err := m.Create("/log/a")
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 100), 0)
	require.NoError(t, err)
	return d, m, file
}

// On a slow disk syncs take longer, and nothing else does.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, m, file := mounted(t)
		d.slow.Store(true)
		start := time.Now()
		_, err := file.WriteAt([]byte{1}, 0)
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		require.NoError(t, file.Sync())
		require.NoError(t, m.SyncDir("/log"))
		require.Equal(t, 2*slowSync, time.Since(start))
		d.heal()
		require.NoError(t, file.Sync())
		require.Equal(t, 2*slowSync, time.Since(start))
	})
}

// On a stuck disk no call returns, until it is no longer stuck; or until the process is killed, and
// then the call has no effect.
func TestStuckDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, m, file := mounted(t)
		write := func(b byte) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := file.WriteAt([]byte{b}, 0)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		first := func() byte { return d.files.(*simfs.FS).Bytes("/log/a")[0] }

		d.stuck.set(true)
		waits := write(1)
		require.Empty(t, waits)
		d.stuck.set(false)
		require.NoError(t, <-waits)
		require.Equal(t, byte(1), first())

		d.paused.set(true)
		waits = write(2)
		require.Empty(t, waits)
		m.kill()
		require.ErrorIs(t, <-waits, errDead)
		require.Equal(t, byte(1), first())
	})
}

// A full disk takes what is written over what is there, and nothing more.
func TestFullDisk(t *testing.T) {
	d, m, file := mounted(t)
	d.full.Store(true)
	n, err := file.WriteAt([]byte("over what is there"), 80)
	require.NoError(t, err)
	require.Equal(t, 18, n)
	n, err = file.WriteAt([]byte("partly beyond the end"), 90)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 10, n)
	n, err = file.WriteAt([]byte("beyond the end"), 100)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Zero(t, n)
	size, err := file.Size()
	require.NoError(t, err)
	require.Equal(t, int64(100), size)
	require.NoError(t, file.Sync())

	other, err := m.Create("/log/b") // a name takes no room
	require.NoError(t, err)
	_, err = other.WriteAt([]byte{1}, 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	d.heal()
	_, err = other.WriteAt([]byte{1}, 0)
	require.NoError(t, err)
}

// A failing disk fails one sync.
func TestFailingDisk(t *testing.T) {
	d, _, file := mounted(t)
	d.failing.Store(true)
	require.Equal(t, []string{"failing"}, d.faults())
	require.ErrorIs(t, file.Sync(), syscall.EIO)
	require.Empty(t, d.faults())
	require.NoError(t, file.Sync())
}

// A killed process loses what it has open, and its locks; what it has written stays.
func TestKilledMount(t *testing.T) {
	d, m, file := mounted(t)
	lock, err := m.Lock("/log/LOCK")
	require.NoError(t, err)
	_, err = d.mount().Lock("/log/LOCK")
	require.ErrorIs(t, err, vfs.ErrLocked)
	m.kill()
	m.kill() // a second time changes nothing
	for _, err := range []error{file.Sync(), file.Close(), lock.Close(), m.Remove("/log/a"), m.SyncDir("/log")} {
		require.ErrorIs(t, err, errDead)
	}
	next := d.mount()
	lock, err = next.Lock("/log/LOCK")
	require.NoError(t, err)
	again, err := next.Open("/log/a")
	require.NoError(t, err)
	size, err := again.Size()
	require.NoError(t, err)
	require.Equal(t, int64(100), size)
	require.NoError(t, again.Close())
	require.NoError(t, lock.Close())
}

// What rots is in commands, and only there.
func TestRot(t *testing.T) {
	d, _, file := mounted(t)
	changed, err := d.rot(damages)
	require.NoError(t, err)
	require.Zero(t, changed, "there is no command")
	const commands = 20
	var written []byte
	for i := range commands {
		command := write{i % slots, 7, "some value"}.encode()
		_, err := file.WriteAt(command, int64(len(written)))
		require.NoError(t, err)
		written = append(written, command...)
	}
	changed, err = d.rot(damages)
	require.NoError(t, err)
	require.Equal(t, damages, changed)
	content := d.files.(*simfs.FS).Bytes("/log/a")
	var differ []int
	for i := range content {
		if content[i] != written[i] {
			require.Equal(t, len(commandMark), i%commandBytes, "behind a command's mark")
			differ = append(differ, i)
		}
	}
	require.Len(t, differ, damages)
	require.GreaterOrEqual(t, differ[0], len(content)/2, "of the newer half")
}
