package wal_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal"
)

// descriptorsPart is a variable of the environment. It makes TestServerWithoutDescriptors a server
// with its log in this folder.
const descriptorsPart = "RAFT_WAL_TEST_DESCRIPTORS"

// A process really runs out of file descriptors. Its server waits, says so, and goes on when the
// process has closed some.
func TestNoDescriptorLeft(t *testing.T) {
	command := exec.Command(os.Args[0], "-test.run=^TestServerWithoutDescriptors$", "-test.v")
	command.Env = append(os.Environ(), descriptorsPart+"="+t.TempDir())
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestServerWithoutDescriptors is the process of TestNoDescriptorLeft.
func TestServerWithoutDescriptors(t *testing.T) {
	folder := os.Getenv(descriptorsPart)
	if folder == "" {
		t.Skip("it is a part of another test")
	}
	l, err := wal.Open(folder, wal.Options{SegmentSize: 64 << 10})
	require.NoError(t, err)
	node, err := alone(l)
	require.NoError(t, err)
	require.NoError(t, node.Read(t.Context()))

	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}))
	var taken []*os.File
	for {
		file, err := os.Open(os.DevNull)
		if err != nil {
			require.ErrorIs(t, err, syscall.EMFILE)
			break
		}
		taken = append(taken, file)
	}
	ends := proposeMany(t, node)
	late := time.After(time.Minute)
	for node.Status().Disk.Waits == nil {
		select {
		case <-late:
			require.Fail(t, "it doesn't say that it waits")
		case <-time.After(time.Millisecond):
		}
	}
	require.ErrorIs(t, node.Status().Disk.Waits, syscall.EMFILE)
	require.Less(t, len(ends), cap(ends))
	for _, file := range taken {
		require.NoError(t, file.Close())
	}
	for range cap(ends) {
		require.NoError(t, <-ends)
	}
	require.NoError(t, node.Status().Disk.Waits)
	require.NoError(t, node.Close(t.Context()))
}
