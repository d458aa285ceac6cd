package recovery_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A survivor is a server's real log, on a file system in memory.
type survivor struct {
	fs *simfs.FS
	id raft.ServerID
}

// open opens the log.
func (s survivor) open(t *testing.T) *wal.Log {
	log, err := wal.Open("log", wal.Options{FS: s.fs, SegmentSize: wal.MinSegmentSize, Salt: 1, Inline: true})
	require.NoError(t, err)
	t.Cleanup(func() { _ = log.Close() })
	return log
}

// survive writes the log of a server: a configuration of a and b, and commands of the given terms.
func survive(t *testing.T, id raft.ServerID, terms ...raft.Term) survivor {
	s := survivor{simfs.New(1), id}
	log := s.open(t)
	data := wire.AppendConfiguration(nil, &raft.Configuration{Cluster: raft.ClusterID{1}, Members: []raft.Member{
		{Server: reached("a"), Role: raft.Voter, Incarnation: 1}, {Server: reached("b"), Role: raft.Voter, Incarnation: 2},
	}})
	incarnation := map[raft.ServerID]raft.Incarnation{"a": 1, "b": 2}[id]
	state := raft.DurableState{HardState: raft.HardState{Term: 5}, Server: id, Incarnation: incarnation, Cluster: raft.ClusterID{1}, Start: wire.NextStart(0, 1)}
	require.NoError(t, log.Write(raft.Write{State: state, Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: data}}}))
	for i, term := range terms {
		require.NoError(t, log.Write(raft.Write{State: state, Entries: []raft.Entry{command(raft.Index(2+i), term)}}))
	}
	require.NoError(t, log.Close())
	return s
}

func command(index raft.Index, term raft.Term) raft.Entry {
	return raft.Entry{Index: index, Term: term, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "b", Start: 1 << 32}, Number: uint64(index),
		Data: fmt.Appendf(nil, "<command %d of term %d>", index, term)}
}

// lose flips a byte of commands.
func (s survivor) lose(t *testing.T, entries ...raft.Entry) {
	for _, e := range entries {
		found := 0
		for _, name := range s.fs.Names() {
			if at := bytes.Index(s.fs.Bytes(name), e.Data); at >= 0 {
				require.True(t, s.fs.Rot(name, int64(at), 1))
				found++
			}
		}
		require.Equal(t, 1, found, "%s", e.Data)
	}
}

// saved returns what is in the log.
func (s survivor) saved(t *testing.T) raft.Saved {
	report, err := wal.Inspect("log", wal.Options{FS: s.fs}, nil)
	require.NoError(t, err)
	require.NoError(t, report.Err)
	return report.Saved
}

// goesOn starts the recovered server, and returns the commands that it has then.
func (s survivor) goesOn(t *testing.T) (commands []string) {
	synctest.Test(t, func(t *testing.T) {
		node, machine, err := start(memory.NewNetwork(memory.Options{}), s.id, s.open(t))
		require.NoError(t, err)
		_, err = node.Propose(t.Context(), []byte("after"))
		require.NoError(t, err)
		commands = machine.applied()
		require.NoError(t, node.Close(context.Background()))
	})
	return commands
}

// What one survivor has lost, the others give. Nothing is cut.
func TestRecoverTogether(t *testing.T) {
	a, b := survive(t, "a", 1, 1, 2, 2), survive(t, "b", 1, 1, 2)
	a.lose(t, command(2, 1), command(4, 2))
	b.lose(t, command(3, 1))
	plan, err := recovery.NewPlan(b.saved(t), a.saved(t))
	require.NoError(t, err)
	require.Equal(t, raft.ServerID("a"), plan.Best)
	require.Zero(t, plan.Cut)
	require.Contains(t, plan.String(), "server a is the one to recover")
	require.NotContains(t, plan.String(), "cut")
	_, err = recovery.Recover(a.open(t), "at a")
	require.ErrorIs(t, err, raft.ErrCorrupt, "alone it doesn't start")
	a.fs.Kill()

	_, err = recovery.RecoverTogether(b.open(t), "at b", 0, a.open(t))
	require.ErrorIs(t, err, raft.ErrConfig)
	require.ErrorContains(t, err, "server a is to be recovered, not server b")
	a.fs.Kill()
	b.fs.Kill()
	_, err = recovery.RecoverTogether(a.open(t), "at a", 3, b.open(t))
	require.ErrorIs(t, err, recovery.ErrCut)
	a.fs.Kill()
	b.fs.Kill()
	report, err := recovery.RecoverTogether(a.open(t), "at a", 0, b.open(t))
	require.NoError(t, err)
	require.EqualValues(t, 6, report.Record)
	require.NotContains(t, report.String(), "lost, so that")
	a.fs.Kill()
	require.Equal(t, []string{"<command 2 of term 1>", "<command 3 of term 1>", "<command 4 of term 2>", "<command 5 of term 2>", "after"}, a.goesOn(t))
}

// What is lost everywhere is cut off, and all behind it, at the index that a person names and at no
// other. Nothing is written otherwise.
func TestRecoverTogetherCuts(t *testing.T) {
	a, b := survive(t, "a", 1, 1, 2, 2), survive(t, "b", 1, 1, 2, 2)
	a.lose(t, command(2, 1), command(4, 2))
	b.lose(t, command(4, 2))
	plan, err := recovery.NewPlan(a.saved(t), b.saved(t))
	require.NoError(t, err)
	require.Equal(t, raft.ServerID("b"), plan.Best, "of equal logs the one that has lost less")
	require.EqualValues(t, 3, plan.Cut)
	require.Equal(t, wire.Range{First: 4, Last: 4}, plan.Nowhere)
	require.Contains(t, plan.String(), "what was in entries 4 to 4 is nowhere, so its log must be cut after index 3\n"+
		"entries 4 to 5 are lost by that, and so are all commands in them, even if they were acknowledged\n")
	for _, cut := range []raft.Index{0, 2, 4, 5} {
		_, err = recovery.RecoverTogether(b.open(t), "at b", cut, a.open(t))
		require.ErrorIs(t, err, recovery.ErrCut)
		require.ErrorContains(t, err, fmt.Sprintf("must be cut after index 3, by which entries 4 to 5 are lost; the cut is named as %d", cut))
		a.fs.Kill()
		b.fs.Kill()
		require.Equal(t, raft.ClusterID{1}, b.saved(t).State.Cluster)
		require.EqualValues(t, 5, b.saved(t).Last)
	}
	report, err := recovery.RecoverTogether(b.open(t), "at b", 3, a.open(t))
	require.NoError(t, err)
	require.EqualValues(t, 4, report.Record)
	require.Contains(t, report.String(), "the log was cut after index 3: entries 4 to 5 are gone")
	a.fs.Kill()
	b.fs.Kill()
	_, err = recovery.RecoverTogether(b.open(t), "at b", 3, a.open(t))
	require.ErrorIs(t, err, raft.ErrConfig, "it is another cluster already")
	a.fs.Kill()
	b.fs.Kill()
	require.Equal(t, []string{"<command 2 of term 1>", "<command 3 of term 1>", "after"}, b.goesOn(t))
}

// Without an entry from which the log could go on there is nothing to recover.
func TestRecoverTogetherNeedsTheBeginning(t *testing.T) {
	a := held("a", 0, 20, 2, wire.Range{First: 1, Last: 1})
	_, err := recovery.NewPlan(a)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "server a has lost the first entry, and nobody has it")
	a = held("a", 4, 20, 2)
	a.SnapshotDamage = raft.ErrCorrupt
	_, err = recovery.NewPlan(a)
	require.ErrorContains(t, err, "server a has a damaged snapshot, and nobody has one in its place")

	// Another one is chosen then, if there is one.
	plan, err := recovery.NewPlan(a, held("b", 3, 19, 2))
	require.NoError(t, err)
	require.Equal(t, raft.ServerID("b"), plan.Best)
	other := held("b", 8, 19, 2)
	other.BaseTerm, other.Snapshot.Term, other.Runs[0].Term = 0, 0, 1
	plan, err = recovery.NewPlan(a, other)
	require.NoError(t, err)
	require.Equal(t, raft.ServerID("b"), plan.Best, "its snapshot contradicts the log of a")
}

// snapshotted stores a snapshot of a journal's commands in a log.
func (s survivor) snapshotted(t *testing.T, index raft.Index, term raft.Term, compact raft.Index) {
	log := s.open(t)
	saved, err := log.Load()
	require.NoError(t, err)
	configuration, at, err := saved.Configuration()
	require.NoError(t, err)
	meta := raft.SnapshotMeta{Index: index, Term: term, Configuration: *configuration, ConfigurationIndex: at}
	writer, err := log.CreateSnapshot(meta)
	require.NoError(t, err)
	_, err = fmt.Fprintf(writer, "the state of %d", index)
	require.NoError(t, err)
	require.NoError(t, writer.Commit())
	require.NoError(t, log.Write(raft.Write{State: saved.State, Snapshot: &meta, Compact: compact}))
	require.NoError(t, log.Close())
}

// A snapshot of another survivor takes the place of lost entries, and of a damaged snapshot.
func TestRecoverTogetherTakesASnapshot(t *testing.T) {
	a, b := survive(t, "a", 1, 1, 2, 2, 2), survive(t, "b", 1, 1, 2)
	a.lose(t, command(3, 1))
	b.snapshotted(t, 4, 2, 4)
	plan, err := recovery.NewPlan(a.saved(t), b.saved(t))
	require.NoError(t, err)
	require.Equal(t, raft.ServerID("a"), plan.Best)
	require.Equal(t, raft.ServerID("b"), plan.SnapshotOf)
	require.Zero(t, plan.Cut)
	require.Contains(t, plan.String(), "the snapshot of server b takes the place of its own\n")
	report, err := recovery.RecoverTogether(a.open(t), "at a", 0, b.open(t))
	require.NoError(t, err)
	require.EqualValues(t, 7, report.Record)
	a.fs.Kill()
	saved := a.saved(t)
	require.EqualValues(t, 4, saved.Snapshot.Index)
	require.EqualValues(t, 7, saved.Last)
	log := a.open(t)
	_, reader, err := log.OpenSnapshot()
	require.NoError(t, err)
	content, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, "the state of 4", string(content))
	require.NoError(t, reader.Close())
	entries, err := log.Entries(4, 6, 1<<20)
	require.NoError(t, err)
	require.Equal(t, []raft.Entry{command(5, 2), command(6, 2)}, entries)
}

// After an error in the middle, the same call ends the work.
func TestRecoverTogetherOnceMore(t *testing.T) {
	for call := 1; ; call++ {
		a, b := survive(t, "a", 1, 1, 2, 2), survive(t, "b", 1, 1, 2)
		a.lose(t, command(2, 1), command(4, 2))
		to, from := a.open(t), b.open(t)
		a.fs.FailAt(a.fs.Calls()+call, io.ErrUnexpectedEOF)
		_, err := recovery.RecoverTogether(to, "at a", 0, from)
		if err == nil {
			require.Greater(t, call, 3)
			return
		}
		a.fs.Kill()
		b.fs.Kill()
		if a.saved(t).State.Cluster == (raft.ClusterID{1}) {
			_, err = recovery.RecoverTogether(a.open(t), "at a", 0, b.open(t))
			require.NoError(t, err)
			a.fs.Kill()
		}
		require.Len(t, a.goesOn(t), 5)
	}
}
