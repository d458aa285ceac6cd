package wal_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal/vfs"
)

var fullDisksExt4 = flag.Bool("full-disks-ext4", false, "TestFullDisks takes ext4 on loop devices, not tmpfs")

// TestFullDisks fills the disks of one, two and all three servers to the last byte, with the servers
// under load, and gives them room again. Nothing that was acknowledged is lost, no server ends, and
// commands are taken again by themselves, soon.
//
//	go test ./wal -run TestFullDisks -v -full-disks 20
func TestFullDisks(t *testing.T) {
	if os.Geteuid() != 0 || *fullDisks == 0 {
		t.Skip("it takes the right to mount a file system")
	}
	f := &brimful{segment: 4 << 20, command: 8 << 10}
	for i := range f.disks {
		f.disks[i] = mountSmall(t, 16*f.segment)
	}
	worst := f.run(t, *fullDisks)
	t.Logf("%d commands acknowledged, %d refused; servers were full in %d of %d trials; at worst %v until commands were taken again",
		len(f.done), f.refused.Load(), f.shown, fullServers**fullDisks, worst)
	require.Positive(t, f.shown)
	require.Less(t, worst, 10*time.Second)
}

// A mounted is a small file system of the kernel's, in a folder.
type mounted string

// mountSmall mounts an empty file system of so many bytes.
func mountSmall(t *testing.T, size int64) mounted {
	folder := filepath.Join(t.TempDir(), "mounted")
	require.NoError(t, os.Mkdir(folder, 0o700))
	arguments := []string{"-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "none", folder}
	if *fullDisksExt4 {
		image := folder + ".ext4"
		require.NoError(t, os.WriteFile(image, nil, 0o600))
		require.NoError(t, os.Truncate(image, size))
		run(t, "mkfs.ext4", "-q", "-m", "0", image)
		arguments = []string{"-o", "loop", image, folder}
	}
	if out, err := exec.Command("mount", arguments...).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() { run(t, "umount", "--lazy", folder) })
	return mounted(folder)
}

func (m mounted) at() (string, vfs.FS) { return filepath.Join(string(m), "log"), nil }

// filler is the file that takes the room.
func (m mounted) filler() string { return filepath.Join(string(m), "filler") }

// fill lets a file take all that is left.
func (m mounted) fill(t *testing.T) {
	file, err := os.OpenFile(m.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			size /= 2
		}
	}
	if err := file.Sync(); err != nil {
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	require.NoError(t, file.Close())
}

func (m mounted) free(t *testing.T) { require.NoError(t, os.Remove(m.filler())) }

func (m mounted) holds() string {
	files, _ := exec.Command("ls", "-lAR", "--time-style=full-iso", string(m)).Output()
	room, _ := exec.Command("df", "-k", string(m)).Output()
	return string(files) + string(room)
}
