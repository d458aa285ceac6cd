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
)

// withLock returns the program with -acquire, and what it will print.
func (p *processes) withLock(args ...string) (s *process, out *bytes.Buffer) {
	out = &bytes.Buffer{}
	s = &process{id: "command", command: exec.Command(os.Args[0], append([]string{"-servers", strings.Join(p.web(), ","), "-acquire", "x"}, args...)...)}
	s.command.Env = append(os.Environ(), asProgram+"=1")
	s.command.Stdout, s.command.Stderr = out, out
	return s, out
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
		p.run(s)
		p.awaitExit(s)
		require.Equal(t, code, s.command.ProcessState.ExitCode(), out)
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
	p.run(s)
	p.awaitExit(s)
	require.Equal(t, 1, s.command.ProcessState.ExitCode())
	require.Contains(t, out.String(), errTooLong.Error())
	require.NotContains(t, out.String(), "never")
	is, err := c.Look(t.Context(), "x")
	require.NoError(t, err)
	require.Empty(t, is.Waiters, "who gives up leaves the queue")
	require.NoError(t, held.Release(t.Context()))
}

// awaitFile waits until a command has made a file.
func awaitFile(t *testing.T, name string) {
	require.Eventually(t, func() bool {
		_, err := os.Stat(name)
		return err == nil
	}, patience, pollEach, "the command doesn't run")
}

// TestCommandEndsWithTheLease: when the lease may be over, the command is told to end, and killed if
// it doesn't.
func TestCommandEndsWithTheLease(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	for name, stubborn := range map[string]string{"obeys": "", "stubborn": "trap '' TERM; "} {
		runs := filepath.Join(t.TempDir(), name)
		s, out := p.withLock("-lease", "500ms", "-grace", "200ms", "--", "sh", "-c", stubborn+"touch "+runs+"; exec sleep 60")
		p.run(s)
		awaitFile(t, runs)
		p.pause(s)
		next, err := p.client().Acquire(t.Context(), "x", client.Terms{})
		require.NoError(t, err)
		p.resume(s)
		p.awaitExit(s)
		require.Equal(t, 1, s.command.ProcessState.ExitCode())
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
	p.run(s)
	awaitFile(t, runs)
	c := p.client()
	require.NoError(t, s.command.Process.Signal(syscall.SIGTERM))
	p.awaitExit(s)
	require.NotZero(t, s.command.ProcessState.ExitCode(), out)
	require.Eventually(t, func() bool {
		is, err := c.Look(t.Context(), "x")
		return err == nil && is.Holder == ""
	}, 10*time.Second, pollEach, "the lock is still held")
}
