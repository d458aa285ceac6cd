package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/lock/client"
	"github.com/e17579a5/raft/internal/process"
)

// withLock returns the program with -acquire, and what it will print.
func (p *processes) withLock(args ...string) (s *process.Process, out *bytes.Buffer) {
	out = &bytes.Buffer{}
	return p.Add("command", func() *exec.Cmd {
		command := process.Command(p.t, asProgram, append([]string{"-servers", strings.Join(p.Addresses(), ","), "-acquire", "x"}, args...)...)
		command.Stdout, command.Stderr = out, out
		return command
	}), out
}

// TestCommandHoldsTheLock: a command runs while the lock is held, knows the token, and hands on its
// exit code. Then the lock is free.
func TestCommandHoldsTheLock(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	c := p.client()
	last := uint64(0)
	for _, code := range []int{0, 7} {
		s, out := p.withLock("-owner", "me", "--", "sh", "-c", "echo $LOCK_TOKEN $LOCK_NAME $LOCK_OWNER; exit "+strconv.Itoa(code))
		s.Start()
		require.Equal(t, code, s.AwaitExit(), out)
		printed := strings.Fields(out.String())
		require.Len(t, printed, 3)
		token, err := strconv.ParseUint(printed[0], 10, 64)
		require.NoError(t, err)
		require.Greater(t, token, last)
		last = token
		require.Equal(t, "x", printed[1])
		require.True(t, strings.HasPrefix(printed[2], "me/"), printed[2])
		is, err := c.Look(t.Context(), "x")
		require.NoError(t, err)
		require.Empty(t, is.Holder)
	}
	held, err := c.Acquire(t.Context(), "x", client.Terms{})
	require.NoError(t, err)
	s, out := p.withLock("-wait", "200ms", "--", "echo", "never")
	s.Start()
	require.Equal(t, 1, s.AwaitExit())
	require.Contains(t, out.String(), errTooLong.Error())
	require.NotContains(t, out.String(), "never")
	is, err := c.Look(t.Context(), "x")
	require.NoError(t, err)
	require.Empty(t, is.Waiters, "who gives up leaves the queue")
	require.NoError(t, held.Release(t.Context()))
}

// awaitFile waits until a command has made a file.
func awaitFile(t *testing.T, name string) {
	process.Await(t, func() bool {
		_, err := os.Stat(name)
		return err == nil
	}, "the command doesn't run")
}

// TestCommandEndsWithTheLease: when the lease may be over, the command is told to end, and killed if
// it doesn't.
func TestCommandEndsWithTheLease(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	for name, stubborn := range map[string]string{"obeys": "", "stubborn": "trap '' TERM; "} {
		runs := filepath.Join(t.TempDir(), name)
		s, out := p.withLock("-lease", "500ms", "-grace", "200ms", "--", "sh", "-c", stubborn+"touch "+runs+"; exec sleep 60")
		s.Start()
		awaitFile(t, runs)
		s.Pause()
		next, err := p.client().Acquire(t.Context(), "x", client.Terms{})
		require.NoError(t, err)
		s.Resume()
		require.Equal(t, 1, s.AwaitExit())
		require.Contains(t, out.String(), client.ErrLeaseOver.Error())
		require.True(t, next.Held())
		require.NoError(t, next.Release(t.Context()))
	}
}

// TestCommandIsInterrupted: a signal ends the command, and the lock is free at once.
func TestCommandIsInterrupted(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	runs := filepath.Join(t.TempDir(), "runs")
	s, out := p.withLock("-lease", "1h", "--", "sh", "-c", "touch "+runs+"; exec sleep 60")
	s.Start()
	awaitFile(t, runs)
	c := p.client()
	s.Signal(syscall.SIGTERM)
	require.NotZero(t, s.AwaitExit(), out)
	require.Eventually(t, func() bool {
		is, err := c.Look(t.Context(), "x")
		return err == nil && is.Holder == ""
	}, 10*time.Second, process.PollEach, "the lock is still held")
}
