package sim

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// logFaults returns the parameters of a seed on real logs. In every other run hardly anything happens but
// to these.
func logFaults(seed uint64) Params {
	p := HostSwarm(seed).WithWAL()
	if seed%2 == 0 {
		p.HostKinds &= 1<<hostCrash | 1<<hostPower | 1<<hostTorn | 1<<hostRemove | 1<<hostFail
		kind := numFaults + fault(seed/2)%numDiskFaults
		switch p.FaultKinds = 1 << kind; kind {
		case faultRot: // between others it hardly finds a log at rest
			p.HostKinds = 1 << hostCrash
		case faultFull:
			p.FaultSpan, p.CommandSize = p.FaultSpan*2, 2000
			fallthrough
		default:
			p.Segment, p.FaultTime = 4<<10, p.FaultTime/8
		}
	}
	return p
}

// Whatever happens to the log that the groups of a process share, each group is what it must be, and a
// group that was removed stays away.
func TestHostsWAL(t *testing.T) {
	t.Parallel()
	h := NewHosts()
	var total HostStats
	var all Stats
	for seed := uint64(1); seed <= 60; seed++ {
		r, stats := h.RunParams(logFaults(seed), hostGroups(seed))
		require.Nil(t, r.Violation, "seed %d", seed)
		total.Add(&stats)
		all.Add(&r.Stats)
	}
	for what, n := range map[string]int{
		"writes that were lost": all.Lost, "that survived": all.Survived, "that were torn": all.Torn, "starts that were cut": all.CutOpening,
		"writes that failed": all.FailedWrites, "syncs that failed": all.FailedSyncs, "full disks": all.Full,
		"logs or groups that were refused": all.Corrupt, "entries found rotten": all.RottenEntries, "entries stored again": all.Repaired,
		"disks that went back": all.Backs, "groups removed": total.Removed, "groups that failed": total.Failed,
		"logs whose size was looked at": total.Cleaned, "writes of several groups": total.Shared,
	} {
		require.NotZero(t, n, what)
	}
}

// Some seeds draw real logs.
func TestHostSwarmDrawsWAL(t *testing.T) {
	t.Parallel()
	n := 0
	for seed := uint64(1); seed <= 1000; seed++ {
		n += int(HostSwarm(seed).WAL)
	}
	require.InDelta(t, 125, n, 40)
}

// A run on real logs follows from its parameters, whatever the world was used for before.
func TestHostsRepeatWAL(t *testing.T) {
	t.Parallel()
	used := NewHosts()
	for seed := uint64(1); seed <= 8; seed++ {
		a, _ := used.RunParams(logFaults(seed), hostGroups(seed))
		b, _ := NewHosts().RunParams(logFaults(seed), hostGroups(seed))
		require.Equal(t, a, b)
	}
}

// foundedLogs returns processes with real logs that have founded their groups.
func foundedLogs(t *testing.T) *Hosts {
	h := NewHosts()
	p := Calm(1, 3)
	p.WAL = 1
	h.reset(p, 3)
	h.found()
	require.False(t, h.over())
	return h
}

// Bytes that change on a disk concern the groups in whose records they are. The others don't notice it when
// the process starts again, nor when it goes on.
func TestRotSparesOthers(t *testing.T) {
	t.Parallel()
	spared, hit, lossy := 0, 0, 0
	for luck := range uint64(100) {
		h := foundedLogs(t)
		i := int(luck % 3)
		h.begin(phaseFaults)
		h.all(func(w *World) { w.beginFaults() })
		for j := range h.n {
			h.wakeAll(j, false)
		}
		begun := h.now
		h.loop(never, func() bool {
			idle := h.processes[i].batch == nil
			h.all(func(w *World) { idle = idle && len(w.servers[i].writes) == 0 })
			return idle && h.now > begun+3*h.params.Election
		})
		h.rots(i, mix(luck))
		h.crashes(i)
		h.startAll(i)
		r, stats := h.result()
		require.Nil(t, r.Violation, "luck %d", luck)
		spared += stats.Spared
		for _, w := range h.worlds {
			if s := &w.servers[i]; s.hit() {
				hit++
				lossy += len(s.disk.gone)
			}
		}
	}
	require.Greater(t, spared, 20)
	require.Greater(t, hit, 20)
	require.NotZero(t, lossy)
}

// A log that holds what was removed, or lacks what is durable, or is too large, is found out.
func TestHostLogsCanBreak(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		name   string
		breaks func(h *Hosts, i int)
	}{
		"holds something of group 1": {RemovedStaysAway, func(h *Hosts, i int) {
			before := h.processes[i].real.fs.Clone()
			h.removes(h.worlds[1], i, h.params.Election)
			h.endsRemoval(i, 1)
			h.crashes(i)
			h.processes[i].real.fs = before
			h.processes[i].real.fs.Kill()
			h.startAll(i)
		}},
		"group 1 begins with entries": {RemovedStaysAway, func(h *Hosts, i int) {
			w := h.worlds[1]
			w.step(Event{Op: OpCrash, Server: int8(i)}, nil)
			w.servers[i].giveDisk()
			w.step(Event{Op: OpStart, Server: int8(i)}, nil)
		}},
		"holds nothing of group 1": {Recovery, func(h *Hosts, i int) {
			w := h.worlds[1]
			w.step(Event{Op: OpCrash, Server: int8(i)}, nil)
			_ = h.processes[i].real.log.RemoveGroup(groupID(1)) // shows when the process starts
			h.processes[i].real.fs.Settle(h.processes[i].real.fs.Issued())
			h.crashes(i)
			h.startAll(i)
		}},
		"of the process, durable is": {Recovery, func(h *Hosts, i int) {
			h.crashes(i)
			h.processes[i].durable++
			h.startAll(i)
		}},
		"none of the 1 states that are possible": {Recovery, func(h *Hosts, i int) {
			w := h.worlds[1]
			w.step(Event{Op: OpCrash, Server: int8(i)}, nil)
			w.servers[i].disk.state.Term++
			w.step(Event{Op: OpStart, Server: int8(i)}, nil)
		}},
		"are written in the log": {LogCleaned, func(h *Hosts, i int) {
			writesUnseen(t, h.processes[i].real.log)
			h.cleansUp(i)
		}},
		"the log can't be looked at": {LogCleaned, func(h *Hosts, i int) {
			removeAll(t, h.processes[i].real.fs)
			h.checkSize(i)
		}},
		"is corrupt": {Recovery, func(h *Hosts, i int) { // in silence
			p := &h.processes[i]
			p.real.fs.Flush()
			h.crashes(i)
			name := walDir + "/0000000000000001.wal"
			require.True(t, p.real.fs.Overwrite(name, int64(bytes.LastIndex(p.real.fs.Bytes(name), []byte{'g', '0' + 1})), make([]byte, 8)))
			h.startAll(i)
		}},
		"the log fails though its disk doesn't": {Recovery, func(h *Hosts, i int) {
			h.diskFails(i, errBroken)
		}},
	} {
		h := foundedLogs(t)
		breaks := (h.worlds[1].leading() + 1) % 3
		c.breaks(h, breaks)
		r, _ := h.result()
		require.NotNil(t, r.Violation, what)
		require.Equal(t, c.name, r.Violation.Name, r.Violation.Detail)
		require.Contains(t, r.Violation.Detail, what)
	}
}

// writesUnseen writes to a group that the simulator doesn't know.
func writesUnseen(t *testing.T, log *wal.Log) {
	group, err := log.Group("unseen")
	require.NoError(t, err)
	for n := range raft.Index(80) {
		entries := []raft.Entry{{Index: n + 1, Term: 1, Data: make([]byte, 1000)}}
		require.NoError(t, group.Write(raft.Write{State: raft.DurableState{HardState: raft.HardState{Term: 1}}, Entries: entries}))
	}
}

// removeAll removes all files.
func removeAll(t *testing.T, files *simfs.FS) {
	for _, name := range files.Names() {
		require.NoError(t, files.Remove(name))
	}
}
