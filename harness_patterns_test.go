package raft_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
)

// wreckBehind runs some servers until they have applied four commands. The servers in behind are cut
// off before the last ones.
func wreckBehind(t *testing.T, servers int, behind []int, lags int) *wreckage {
	w := &wreckage{disks: map[raft.ServerID]*simfs.FS{}}
	for s := range servers {
		w.disks[serverName(s)] = simfs.New(uint64(s + 1))
	}
	c := onLogs(t, w.disks)
	for _, id := range c.ids {
		c.start(id)
	}
	connected := slices.Clone(c.ids)
	for n := range wreckCommands {
		if n == wreckCommands-lags {
			for _, s := range behind {
				c.network.Isolate(serverName(s))
			}
			connected = slices.DeleteFunc(connected, func(id raft.ServerID) bool { return slices.Contains(behind, int(id[0]-'a')) })
		}
		w.commands = append(w.commands, fmt.Sprintf("the command with the number %d", n))
		_, err := c.nodes[connected[0]].Propose(t.Context(), []byte(w.commands[n]))
		require.NoError(t, err)
		for _, id := range connected {
			require.NoError(t, c.nodes[id].Read(t.Context()))
		}
		w.indexes = append(w.indexes, c.nodes[connected[0]].Status().Applied)
		for _, id := range connected {
			for c.nodes[id].Status().Stable < w.indexes[n] { // it may have applied what its own disk hasn't got yet
				time.Sleep(time.Millisecond)
			}
		}
	}
	for _, id := range c.ids {
		require.NoError(t, c.nodes[id].Close(context.Background()))
		w.disks[id].Kill()
	}
	return w
}

// withSnapshot returns the disk of a server with a snapshot of the first commands. The log up to it
// is forgotten, unless it is to be kept.
func (w *wreckage) withSnapshot(t *testing.T, id raft.ServerID, h *holder) *simfs.FS {
	fs := w.disks[id].Clone()
	if h.snapshot == 0 {
		return fs
	}
	log := openLog(t, fs)
	saved, err := log.Load()
	require.NoError(t, err)
	entries, err := log.Entries(0, w.indexes[h.snapshot-1], 1<<20)
	require.NoError(t, err)
	last := entries[len(entries)-1]
	require.Equal(t, w.indexes[h.snapshot-1], last.Index)
	applier := raft.NewApplier(&journal{}, raft.Origin{})
	_, err = applier.Apply(entries)
	require.NoError(t, err)
	capture, err := applier.Snapshot(last.Index)
	require.NoError(t, err)
	configuration, index, err := saved.Configuration()
	require.NoError(t, err)
	require.Less(t, index, last.Index)
	meta := raft.SnapshotMeta{Index: last.Index, Term: last.Term, Configuration: *configuration, ConfigurationIndex: index}
	snapshot, err := log.CreateSnapshot(meta)
	require.NoError(t, err)
	_, err = capture.WriteTo(snapshot)
	require.NoError(t, err)
	require.NoError(t, snapshot.Commit())
	write := raft.Write{State: saved.State, Snapshot: &meta}
	if !h.kept {
		write.Compact = last.Index
	}
	require.NoError(t, log.Write(write))
	require.NoError(t, log.Close())
	fs.Kill()
	return fs
}

// spoilSnapshot flips a bit of the only snapshot on a disk.
func spoilSnapshot(t *testing.T, fs *simfs.FS) {
	names := slices.DeleteFunc(fs.Names(), func(name string) bool { return !strings.HasSuffix(name, ".snapshot") })
	require.Len(t, names, 1)
	at := bytes.Index(fs.Bytes(names[0]), []byte("the command"))
	require.Positive(t, at)
	require.True(t, fs.Rot(names[0], int64(at), 4))
}

// A patternTrial starts servers whose disks were damaged, and judges what becomes of them.
type patternTrial struct {
	*cluster
	disks map[raft.ServerID]*simfs.FS
	*wreckage
	pattern *pattern
	about   string
}

// run starts the servers, those that are down at first later than the others, and returns what has
// become of them.
func (p *patternTrial) run() string {
	var up []int
	for s := range p.pattern.holds {
		if !slices.Contains(p.pattern.down, s) {
			up = append(up, s)
			p.start(serverName(s))
		}
	}
	if len(p.pattern.missing(up)) == 0 && !p.pattern.mayWait(up) {
		p.serve(up)
	} else {
		time.Sleep(6 * electionTimeout)
	}
	for _, s := range p.pattern.down {
		p.start(serverName(s))
	}
	all := make([]int, len(p.ids))
	for s := range all {
		all[s] = s
	}
	if missing := p.pattern.missing(all); len(missing) > 0 {
		p.stayDown(missing)
		return stayedDown
	}
	if p.pattern.mayWait(all) {
		p.wait()
		return mayStay
	}
	p.serve(all)
	p.heal()
	return cameBack
}

// serve demands that some servers have applied all commands.
func (p *patternTrial) serve(servers []int) {
	for _, s := range servers {
		id := serverName(s)
		require.NoError(p.t, p.nodes[id].Read(within(p.t, time.Minute)), "%s: server %s: %+v", p.about, id, p.nodes[id].Status())
		require.Equal(p.t, p.commands, p.machines[id].applied(), "%s: server %s", p.about, id)
	}
}

// heal demands that the damage goes away, that the cluster takes another command, and that all of it
// is on the disks: also when the logs are opened once more.
func (p *patternTrial) heal() {
	p.untilWhole(p.ids, lostUnderneath, p.about)
	all := append(slices.Clone(p.commands), "one more")
	_, err := p.nodes[p.ids[len(p.ids)-1]].Propose(within(p.t, time.Minute), []byte("one more"))
	require.NoError(p.t, err, p.about)
	for _, id := range p.ids {
		require.NoError(p.t, p.nodes[id].Read(within(p.t, time.Minute)), p.about)
		require.Equal(p.t, all, p.machines[id].applied(), p.about)
		if p.nodes[id].Status().Damage != nil {
			_, err := p.nodes[id].Snapshot(within(p.t, time.Minute)) // the log is forgotten up to the one before
			require.NoError(p.t, err, p.about)
		}
	}
	p.untilWhole(p.ids, lostNothing, p.about)
	for _, id := range p.ids {
		require.NoError(p.t, p.nodes[id].Close(context.Background()))
		log := openLog(p.t, p.disks[id])
		saved, err := log.Load()
		require.NoError(p.t, err)
		require.Empty(p.t, saved.Lost, p.about)
		require.NoError(p.t, saved.SnapshotDamage, p.about)
		require.NoError(p.t, log.Close())
	}
}

// untilWhole waits until some servers have lost nothing any more. If beneath is set, they may have
// lost entries that lie under their own snapshots: nobody may have these in a log any more, nobody
// needs them, and they go with the log.
func (c *cluster) untilWhole(ids []raft.ServerID, beneath allowance, about string) {
	for rounds := 0; ; rounds++ {
		damaged := slices.IndexFunc(ids, func(id raft.ServerID) bool {
			status := c.nodes[id].Status()
			if status.SnapshotTrouble != nil || status.Damage == nil {
				return status.SnapshotTrouble != nil
			}
			lost := status.Damage.Lost
			return beneath == lostNothing || lost[len(lost)-1].Last > status.Snapshot
		})
		if damaged < 0 {
			return
		}
		require.Less(c.t, rounds, 60, "%s: after 60 election timeouts, server %s: %+v", about, ids[damaged], c.nodes[ids[damaged]].Status())
		time.Sleep(electionTimeout)
	}
}

// An allowance is what servers may have lost in the end.
type allowance bool

const (
	lostNothing    allowance = false
	lostUnderneath allowance = true // entries under their own snapshots
)

// wait demands that one of the servers says why they wait, if they do, and that nobody answers without
// all commands.
func (p *patternTrial) wait() {
	time.Sleep(8 * electionTimeout)
	waits, told := false, false
	for _, id := range p.ids {
		status := p.nodes[id].Status()
		told = told || status.Damage != nil || status.SnapshotTrouble != nil
		if p.nodes[id].Read(within(p.t, electionTimeout)) == nil {
			require.Equal(p.t, p.commands, p.machines[id].applied(), "%s: server %s", p.about, id)
			continue
		}
		waits = true
		applied := p.machines[id].applied()
		require.True(p.t, slices.Equal(p.commands[:len(applied)], applied), "%s: server %s: %q", p.about, id, applied)
	}
	require.True(p.t, told || !waits, "%s: they wait, and nobody says why", p.about)
}

// stayDown demands that nobody answers and nobody applies what is missing, and that whoever should
// have it names it.
func (p *patternTrial) stayDown(missing []int) {
	time.Sleep(8 * electionTimeout)
	spoiled := slices.ContainsFunc(p.pattern.holds, func(h holder) bool { return h.spoiled && h.snapshot > 0 })
	for s := range p.pattern.holds {
		h, id := &p.pattern.holds[s], serverName(s)
		status := p.nodes[id].Status()
		if !spoiled { // a server whose log is sound may lead until it has a snapshot
			require.NotEqual(p.t, "leader", status.Role, p.about)
		}
		require.Less(p.t, status.Applied, p.indexes[missing[0]], p.about)
		for _, command := range missing {
			switch {
			case h.named(command):
				require.NotNil(p.t, status.Damage, "%s: server %s: %+v", p.about, id, status)
				require.True(p.t, names(status.Damage.Lost, p.indexes[command]), "%s: server %s: %v", p.about, id, status.Damage.Lost)
			case command < h.snapshot:
				require.ErrorIs(p.t, status.SnapshotTrouble, raft.ErrCorrupt, "%s: server %s", p.about, id)
			}
		}
	}
	for _, id := range p.ids {
		_, err := p.nodes[id].Propose(within(p.t, electionTimeout), []byte("one more"))
		require.Error(p.t, err, p.about)
		require.Error(p.t, p.nodes[id].Read(within(p.t, electionTimeout)), p.about)
		require.NoError(p.t, p.nodes[id].Err(), p.about)
	}
}
