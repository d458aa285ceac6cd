package raft_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

// A filesTrial starts three servers on disks of which files were damaged.
type filesTrial struct {
	*cluster
	history *filesHistory
	striker *striker
	about   string
	looks   map[raft.ServerID]*look
	running []raft.ServerID
	refused map[raft.ServerID]error
	// lately is how long before the end acknowledgements may have vanished without anybody's notice.
	lately time.Duration
	// back says that a log looks as it once was.
	back bool
}

func newFilesTrial(t *testing.T, s *striker, about string) *filesTrial {
	return &filesTrial{
		cluster: newCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond}), history: s.history, striker: s, about: about,
		looks: map[raft.ServerID]*look{}, refused: map[raft.ServerID]error{},
	}
}

// look looks at the damaged logs. It demands that no damage is silent, but for what can't be noticed.
func (f *filesTrial) look() {
	for _, id := range f.ids {
		l := &look{verdict: unhurt, saved: f.history.base[id].Saved}
		if len(f.striker.struck[id]) > 0 {
			l = f.history.lookAt(f.t, id, f.striker.disks[id])
		}
		f.looks[id] = l
		f.about += fmt.Sprintf("\n%s %v", id, l)
		if l.verdict != silent {
			continue
		}
		lately, busy := hidden[f.history.ended]
		f.lately = lately
		struck := f.striker.struck[id]
		require.True(f.t, busy || len(struck) > 1 && struck["ANCHOR"], "%s: %s: %s", f.about, id, l.differs)
		f.back = f.back || len(struck) > 1 && struck["ANCHOR"]
	}
}

// startAll starts the servers. One that doesn't start must say why.
func (f *filesTrial) startAll() {
	for _, id := range f.ids {
		err := f.startOn(id)
		if err == nil {
			f.running = append(f.running, id)
			require.NotEqual(f.t, refuses, f.looks[id].verdict, "%s: %s has started", f.about, id)
			continue
		}
		f.refused[id] = err
		require.True(f.t, byName(err), "%s: %s doesn't start, and doesn't name the damage: %v", f.about, id, err)
		require.NotEmpty(f.t, f.striker.struck[id], "%s: %s doesn't start: %v", f.about, id, err)
	}
}

// startOn starts a server on its disk.
func (f *filesTrial) startOn(id raft.ServerID) error {
	log, err := wal.Open(logDir, f.history.options(id, f.striker.disks[id]))
	if err != nil {
		require.Equal(f.t, refuses, f.looks[id].verdict, "%s: %s: %v", f.about, id, err)
		return err
	}
	f.machines[id] = &journal{}
	f.adjust = func(config *raft.Config) {
		f.history.configure(config)
		config.Storage = log
	}
	f.nodes[id], err = startNode(f.t, f.config(id))
	return err
}

// judgeOne judges what has become of a cluster after the files of one server were damaged.
func (f *filesTrial) judgeOne() string {
	f.look()
	if f.back && !f.history.whole {
		return wentBack
	}
	f.startAll()
	require.GreaterOrEqual(f.t, len(f.running), 2, f.about)
	if f.lately > 0 {
		return f.vanished()
	}
	f.serve()
	f.untilWhole(f.running, lostUnderneath, f.about)
	f.goOn()
	for id := range f.striker.struck {
		return string(f.looks[id].verdict)
	}
	return ""
}

// serve demands that each server that runs answers, and has applied what was acknowledged.
func (f *filesTrial) serve() {
	for _, id := range f.running {
		err := f.nodes[id].Read(within(f.t, time.Minute))
		require.NoError(f.t, err, "%s: server %s: %+v", f.about, id, f.nodes[id].Status())
		require.Empty(f.t, f.history.disagreement(f.machines[id].applied(), answers, f.lately), "%s: server %s", f.about, id)
	}
}

// goOn demands that the servers that run take another command, apply the same, and have it on their
// disks.
func (f *filesTrial) goOn() {
	first := f.running[0]
	_, err := f.nodes[first].Propose(within(f.t, time.Minute), []byte(afterwards))
	require.NoError(f.t, err, f.about)
	for _, id := range f.running {
		require.NoError(f.t, f.nodes[id].Read(within(f.t, time.Minute)), f.about)
		applied := f.machines[id].applied()
		require.Equal(f.t, afterwards, applied[len(applied)-1], f.about)
		require.Equal(f.t, f.machines[first].applied(), applied, "%s: servers %s and %s", f.about, first, id)
		require.Empty(f.t, f.history.disagreement(applied, answers, f.lately), "%s: server %s", f.about, id)
	}
	for _, id := range f.running {
		require.NoError(f.t, f.nodes[id].Close(context.Background()), f.about)
		if len(f.striker.struck[id]) == 0 {
			continue
		}
		f.striker.disks[id].Kill()
		report, err := wal.Inspect(logDir, f.history.options(id, f.striker.disks[id]), nil)
		require.NoError(f.t, err, f.about)
		require.NoError(f.t, report.Err, f.about)
		require.NoError(f.t, report.Saved.SnapshotDamage, f.about)
		if n := len(report.Saved.Lost); n > 0 {
			require.LessOrEqual(f.t, report.Saved.Lost[n-1].Last, report.Saved.Snapshot.Index, f.about)
		}
	}
}

// Outcomes of damage to several servers.
const (
	tooFew   = "too few servers start"
	waits    = "stays down and names what is missing"
	partly   = "some servers answer"
	lastGone = "what was acknowledged last may be gone"
	wentBack = "a log looks as it once was: left out"
)

// judgeSeveral judges what has become of a cluster after the files of several servers were damaged.
func (f *filesTrial) judgeSeveral() string {
	f.look()
	if f.back {
		return wentBack
	}
	f.startAll()
	if len(f.running) < 2 {
		time.Sleep(4 * electionTimeout)
		for _, id := range f.running {
			require.Error(f.t, f.nodes[id].Read(within(f.t, electionTimeout)), f.about)
		}
		return tooFew
	}
	running := map[raft.ServerID]*look{}
	for _, id := range f.running {
		running[id] = f.looks[id]
	}
	if f.lately > 0 {
		return f.vanished()
	}
	whole, nowhere := complement(running)
	if whole {
		f.serve()
		f.untilWhole(f.running, lostUnderneath, f.about)
		f.goOn()
		return cameBack
	}
	return f.mayStay(nowhere)
}

// vanished judges a cluster of which a log has lost, in silence, what was acknowledged last. Others
// may have applied that, and go on from there in another way than those that never hear of it. But
// whoever answers has applied what was acknowledged earlier.
func (f *filesTrial) vanished() string {
	time.Sleep(12 * electionTimeout)
	for _, id := range f.running {
		err := f.nodes[id].Read(within(f.t, 2*electionTimeout))
		wrong := f.history.disagreement(f.machines[id].applied(), answering(err == nil), f.lately)
		require.Empty(f.t, wrong, "%s: server %s, which answers %v", f.about, id, err)
	}
	return lastGone
}

// mayStay judges a cluster that lacks something: it may have been committed, or not. Whoever answers
// has applied what was acknowledged. Whoever doesn't has applied a part of it.
func (f *filesTrial) mayStay(nowhere string) string {
	time.Sleep(12 * electionTimeout)
	serving, told := 0, len(f.refused) > 0
	for _, id := range f.running {
		_, err := f.nodes[id].Propose(within(f.t, 2*electionTimeout), []byte(afterwards+string(id)))
		err = errors.Join(err, f.nodes[id].Read(within(f.t, 2*electionTimeout)))
		if err == nil {
			serving++
		}
		wrong := f.history.disagreement(f.machines[id].applied(), answering(err == nil), f.lately)
		require.Empty(f.t, wrong, "%s: server %s, which answers %v; nowhere is %s", f.about, id, err, nowhere)
		status := f.nodes[id].Status()
		told = told || status.Damage != nil || status.SnapshotTrouble != nil || status.Trouble != nil
		require.NoError(f.t, f.nodes[id].Err(), f.about)
	}
	switch serving {
	case len(f.running):
		f.goOn()
		return cameBack
	case 0:
		require.True(f.t, told, "%s: it stays down, and nobody says why; nowhere is %s", f.about, nowhere)
		return waits
	}
	return partly
}
