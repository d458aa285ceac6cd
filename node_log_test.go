package raft_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A notebook is a slog.Handler that keeps the level and the message of each record.
type notebook struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (b *notebook) Enabled(context.Context, slog.Level) bool { return true }
func (b *notebook) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *notebook) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, r.Level.String()+" "+r.Message)
	return nil
}

// What fails again and again in the same way gets one line a minute.
func TestLogIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notebook{}
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Logger = slog.New(book) }
		node := c.start("a")
		c.machines["a"].whileApplying(func(string) { time.Sleep(electionTimeout / 2) })
		c.machines["a"].whileSaving(func() error { return errors.New(time.Now().String()) })
		for range 100 {
			_, err := node.Propose(t.Context(), []byte("x"))
			require.NoError(t, err)
			_, err = node.Snapshot(t.Context())
			require.Error(t, err)
			time.Sleep(electionTimeout / 2)
		}
		require.NoError(t, node.Close(t.Context()))
		slow, failed := 0, 0
		for _, line := range book.lines {
			switch line {
			case "WARN raft: slow state machine":
				slow++
			case "ERROR raft: snapshot not taken":
				failed++
			}
		}
		require.Equal(t, []int{2, 2}, []int{slow, failed}, "in 100 s")
	})
}

func TestLogTellsRolesSlowLanesAndFailuresAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &notebook{}
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Logger = slog.New(book) }
		node := c.start("a")
		for range 100 {
			_, err := node.Propose(t.Context(), []byte("x"))
			require.NoError(t, err)
			time.Sleep(electionTimeout / 2)
		}
		c.machines["a"].whileApplying(func(string) { time.Sleep(electionTimeout / 3) })
		_, err := node.Propose(t.Context(), []byte("slow to apply"))
		require.NoError(t, err)
		c.machines["a"].whileApplying(nil)
		release := make(chan struct{})
		time.AfterFunc(electionTimeout/3, func() { close(release) })
		c.disks["a"].set(nil, release)
		_, err = node.Propose(t.Context(), []byte("slow to write"))
		require.NoError(t, err)
		c.disks["a"].set(errors.New("broken"), nil)
		_, err = node.Propose(t.Context(), []byte("lost"))
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		require.NoError(t, node.Close(t.Context()))
		require.Equal(t, []string{
			"INFO raft: candidate", "INFO raft: leader", "WARN raft: slow state machine", "WARN raft: slow write", "ERROR raft: stopped",
		}, book.lines)
	})
}
