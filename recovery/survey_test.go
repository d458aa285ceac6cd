package recovery_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wire"
)

// held returns what a server holds: a log of (base, last] with an entry of term 1 up to 10, and of a
// later term behind it, of which some ranges are lost.
func held(id raft.ServerID, base, last raft.Index, later raft.Term, lost ...wire.Range) raft.Saved {
	data := wire.AppendConfiguration(nil, &raft.Configuration{
		Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: reached("a"), Role: raft.Voter, Incarnation: 1}},
	})
	s := raft.Saved{
		State: raft.DurableState{HardState: raft.HardState{Term: 9}, Server: id, Cluster: raft.ClusterID{1}},
		Base:  base, Last: last, Lost: lost,
		Configurations: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: data}},
	}
	if base > 0 {
		s.BaseTerm, s.Snapshot = 1, raft.SnapshotMeta{Index: base, Term: 1}
	}
	if base < 10 {
		s.Runs = append(s.Runs, raft.TermRun{First: base + 1, Term: 1})
	}
	if last > 10 {
		s.Runs = append(s.Runs, raft.TermRun{First: max(base+1, 11), Term: later})
	}
	return s
}

// A range is split where others hold it differently: by bytes, by identity alone, by a snapshot, or
// not at all.
func TestSurvey(t *testing.T) {
	a := held("a", 0, 20, 2, wire.Range{First: 3, Last: 14}, wire.Range{First: 18, Last: 18})
	b := held("b", 4, 16, 2, wire.Range{First: 7, Last: 7})
	c := held("c", 0, 15, 3, wire.Range{First: 9, Last: 9})
	losses, err := recovery.Survey(a, b, c)
	require.NoError(t, err)
	say := func(losses []recovery.Loss) (lines []string) {
		for i := range losses {
			line := losses[i].String()
			if losses[i].Nowhere() {
				line += " !"
			}
			lines = append(lines, line)
		}
		return lines
	}
	require.Equal(t, []string{
		"server a has lost what was in entries 3 to 4 of term 1: c can give it; b can give a snapshot instead",
		"server a has lost what was in entries 5 to 6 of term 1: b, c can give it",
		"server a has lost what was in entries 7 to 7 of term 1: c can give it",
		"server a has lost what was in entries 8 to 8 of term 1: b, c can give it",
		"server a has lost what was in entries 9 to 9 of term 1: b can give it",
		"server a has lost what was in entries 10 to 10 of term 1: b, c can give it",
		"server a has lost what was in entries 11 to 14 of term 2: b can give it",
		"server a has lost what was in entries 18 to 18 of term 2: nobody here can give it !",
		"server b has lost what was in entries 7 to 7 of term 1: c can give it",
		"server c has lost what was in entries 9 to 9 of term 1: b can give it",
	}, say(losses))

	// A server doesn't need what its own snapshot covers. A damaged snapshot gives nothing, and is
	// lost itself, unless somebody can come to its state.
	a.Snapshot = raft.SnapshotMeta{Index: 18, Term: 2}
	b.SnapshotDamage = raft.ErrCorrupt
	losses, err = recovery.Survey(a, b)
	require.NoError(t, err)
	require.Equal(t, []string{
		"server a has lost what was in entries 3 to 4 of term 1, which its snapshot covers: nobody here can give it",
		"server a has lost what was in entries 5 to 6 of term 1, which its snapshot covers: b can give it",
		"server a has lost what was in entries 7 to 7 of term 1, which its snapshot covers: nobody here can give it",
		"server a has lost what was in entries 8 to 10 of term 1, which its snapshot covers: b can give it",
		"server a has lost what was in entries 11 to 14 of term 2, which its snapshot covers: b can give it",
		"server a has lost what was in entries 18 to 18 of term 2, which its snapshot covers: nobody here can give it",
		"server b has lost the snapshot of index 4: a can give a snapshot instead",
		"server b has lost what was in entries 7 to 7 of term 1: a can give a snapshot instead",
	}, say(losses))
	losses, err = recovery.Survey(b)
	require.NoError(t, err)
	require.Equal(t, "server b has lost the snapshot of index 4: nobody here can give it !", say(losses)[0])
	losses, err = recovery.Survey(b, c)
	require.NoError(t, err)
	require.Equal(t, "server b has lost the snapshot of index 4: c can give a snapshot instead", say(losses)[0], "it holds the log up to there")
	c.Snapshot, c.SnapshotDamage = raft.SnapshotMeta{Index: 8, Term: 1}, raft.ErrCorrupt
	losses, err = recovery.Survey(c)
	require.NoError(t, err)
	require.True(t, losses[0].Snapshot && losses[0].Covered && !losses[0].Nowhere(), "its whole log is there")
}

func TestSurveyRefusesWhatIsNoCluster(t *testing.T) {
	a, b := held("a", 0, 20, 2), held("b", 0, 20, 2)
	_, err := recovery.Survey(a, b, a)
	require.ErrorIs(t, err, raft.ErrConfig)
	require.ErrorContains(t, err, `two of the logs are server "a"'s`)
	b.State.Cluster = raft.ClusterID{2}
	_, err = recovery.Survey(a, b)
	require.ErrorIs(t, err, raft.ErrConfig)
	require.ErrorContains(t, err, `server "b" to cluster 02`)
	b.Runs = nil
	_, err = recovery.Survey(b)
	require.ErrorIs(t, err, raft.ErrCorrupt)
}
