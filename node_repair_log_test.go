package raft_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A wreckage is what is on the disks of three servers that have closed their logs: real ones, on
// simulated file systems. The logs hold the same commands.
type wreckage struct {
	disks    map[raft.ServerID]*simfs.FS
	commands []string
	indexes  []raft.Index // of the commands
}

// openLog opens a server's log.
func openLog(t *testing.T, fs *simfs.FS) *wal.Log {
	log, err := wal.Open("log", wal.Options{FS: fs, SegmentSize: wal.MinSegmentSize, Salt: 1, Inline: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return log
}

// onLogs returns a cluster whose servers keep their logs on these disks.
func onLogs(t *testing.T, disks map[raft.ServerID]*simfs.FS) *cluster {
	c := newCluster(t, len(disks), memory.Faults{})
	c.adjust = func(config *raft.Config) {
		config.Storage = openLog(t, disks[config.ID])
		config.ReserveBytes, config.MaxCommandBytes = 1<<10, 1<<10 // many logs with little room
	}
	return c
}

// wreck runs three servers until they have applied some commands, and returns what is on their
// disks.
func wreck(t *testing.T, commands int) *wreckage {
	w := &wreckage{disks: map[raft.ServerID]*simfs.FS{"a": simfs.New(1), "b": simfs.New(2), "c": simfs.New(3)}}
	c := onLogs(t, w.disks)
	for _, id := range c.ids {
		c.start(id)
	}
	for n := range commands {
		w.commands = append(w.commands, fmt.Sprintf("the command with the number %d", n))
		_, err := c.nodes["a"].Propose(t.Context(), []byte(w.commands[n]))
		require.NoError(t, err)
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Read(t.Context()))
		}
		w.indexes = append(w.indexes, c.nodes["a"].Status().Applied)
	}
	for _, id := range c.ids {
		for c.nodes[id].Status().Stable < w.indexes[commands-1] {
			time.Sleep(time.Millisecond) // it may have applied more than its own disk has
		}
		require.NoError(t, c.nodes[id].Close(context.Background()))
		w.disks[id].Kill()
	}
	return w
}

// damage returns the disks with one flipped bit in each of some commands: bit 4s+i of lost stands
// for command i of server s.
func (w *wreckage) damage(t *testing.T, lost int) map[raft.ServerID]*simfs.FS {
	disks := map[raft.ServerID]*simfs.FS{}
	for s, id := range []raft.ServerID{"a", "b", "c"} {
		fs := w.disks[id].Clone()
		for n, command := range w.commands {
			if lost>>(s*len(w.commands)+n)&1 != 0 {
				flipBit(t, fs, command)
			}
		}
		disks[id] = fs
	}
	return disks
}

// flipBit flips a bit of some text that stands once in a log.
func flipBit(t *testing.T, fs *simfs.FS, text string) {
	found := 0
	for _, name := range fs.Names() {
		if at := bytes.Index(fs.Bytes(name), []byte(text)); at >= 0 && strings.HasSuffix(name, ".wal") {
			require.True(t, fs.Rot(name, int64(at), 1<<(at%8)))
			found++
		}
	}
	require.Equal(t, 1, found, "%q", text)
}

// Every pattern of one flipped bit in each of four commands at three servers, on the real log: if
// each command is intact somewhere, all servers recover, and nothing is lost. Otherwise the cluster
// stays down, and its servers name what is missing: it may have been acknowledged.
func TestEveryPatternOfDamageToTheLog(t *testing.T) {
	const commands = 4
	var w *wreckage
	synctest.Test(t, func(t *testing.T) { w = wreck(t, commands) })
	recovered, down := 0, 0
	for lost := range 1 << (3 * commands) {
		if raceDetector && lost%13 != 0 {
			continue // it takes long
		}
		missing := lost & (lost >> commands) & (lost >> (2 * commands)) & (1<<commands - 1)
		synctest.Test(t, func(t *testing.T) {
			disks := w.damage(t, lost)
			c := onLogs(t, disks)
			for _, id := range c.ids {
				c.start(id)
			}
			if missing == 0 {
				w.recovers(c, disks, lost)
				recovered++
			} else {
				w.staysDown(c, lost, missing)
				down++
			}
		})
	}
	if !raceDetector {
		require.Equal(t, 2401, recovered)
		require.Equal(t, 1695, down)
	}
}

// recovers demands that all servers apply all commands, and that nothing is damaged any more: not
// even when the logs are opened once more.
func (w *wreckage) recovers(c *cluster, disks map[raft.ServerID]*simfs.FS, lost int) {
	for _, id := range c.ids {
		require.NoError(c.t, c.nodes[id].Read(within(c.t, time.Minute)), "damage %012b", lost)
		require.Equal(c.t, w.commands, c.machines[id].applied(), "damage %012b", lost)
	}
	for rounds := 0; ; rounds++ {
		require.Less(c.t, rounds, 60, "damage %012b: it is still there after 60 election timeouts", lost)
		if c.nodes["a"].Status().Damage == nil && c.nodes["b"].Status().Damage == nil && c.nodes["c"].Status().Damage == nil {
			break
		}
		time.Sleep(electionTimeout)
	}
	for _, id := range c.ids {
		require.NoError(c.t, c.nodes[id].Close(context.Background()))
		log := openLog(c.t, disks[id])
		saved, err := log.Load()
		require.NoError(c.t, err)
		require.Empty(c.t, saved.Lost, "damage %012b", lost)
		require.NoError(c.t, log.Close())
	}
}

// staysDown demands that nobody leads and nobody applies what is missing, and that each server names
// it.
func (w *wreckage) staysDown(c *cluster, lost, missing int) {
	time.Sleep(8 * electionTimeout)
	for _, id := range c.ids {
		status := c.nodes[id].Status()
		require.NotEqual(c.t, "leader", status.Role, "damage %012b", lost)
		require.NotNil(c.t, status.Damage, "damage %012b: server %s: %+v", lost, id, status)
		for n, index := range w.indexes {
			if missing>>n&1 != 0 {
				require.True(c.t, names(status.Damage.Lost, index), "damage %012b: %v", lost, status.Damage.Lost)
				require.Less(c.t, status.Applied, index)
			}
		}
		require.NoError(c.t, c.nodes[id].Close(context.Background()))
	}
}

// names says whether an index is in one of some ranges.
func names(ranges []wire.Range, index raft.Index) bool {
	for _, r := range ranges {
		if r.First <= index && index <= r.Last {
			return true
		}
	}
	return false
}
