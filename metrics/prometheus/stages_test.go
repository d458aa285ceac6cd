package prometheus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// turnAt is a turn that begins at a time in milliseconds.
func turnAt(ms int, last, stable, commit, applied raft.Index) *raft.TurnTrace {
	return &raft.TurnTrace{Began: raft.Instant(time.Duration(ms) * time.Millisecond),
		Log: raft.LogIndexes{Last: last, Stable: stable, Commit: commit, Applied: applied}}
}

func TestStagesOfALeader(t *testing.T) {
	var s stages
	var times [len(stageNames) - 1]histogram
	s.follow(turnAt(0, 5, 5, 5, 5), &times)
	require.Zero(t, times[0].count, "it follows")
	s.leadership.Role = "leader"
	s.follow(turnAt(10, 6, 5, 5, 5), &times) // the entry that begins the term
	s.follow(turnAt(12, 46, 6, 6, 6), &times)
	s.follow(turnAt(13, 50, 45, 6, 6), &times)
	require.Zero(t, times[0].count, "an entry of the batch isn't written yet, and the first entry isn't followed")
	s.follow(turnAt(14, 50, 46, 46, 6), &times)
	require.EqualValues(t, 40, times[0].count)
	require.InDelta(t, 40*0.002, times[0].sum, 1e-9)
	s.follow(turnAt(16, 50, 50, 50, 50), &times)
	require.EqualValues(t, 44, times[0].count)
	require.InDelta(t, 40*0.002+4*0.003, times[1].sum, 1e-9)
	require.InDelta(t, 40*0.004+4*0.003, times[2].sum, 1e-9)
	s.leadership.Role = "follower"
	s.follow(turnAt(17, 60, 50, 50, 50), &times)
	s.follow(turnAt(18, 60, 60, 60, 60), &times)
	require.EqualValues(t, 44, times[2].count, "a follower's entries aren't followed")
}

// However many turns are outstanding, no entry is left out.
func TestStagesBeyondTheirMarks(t *testing.T) {
	var s stages
	var times [len(stageNames) - 1]histogram
	s.leadership.Role = "leader"
	s.follow(turnAt(0, 0, 0, 0, 0), &times)
	for i := range 3 * maxMarks {
		last := raft.Index(i + 1)
		s.follow(turnAt(i+1, last, last, 0, 0), &times)
	}
	require.EqualValues(t, 3*maxMarks, times[0].count)
	all := raft.Index(3 * maxMarks)
	s.follow(turnAt(5*maxMarks, all, all, all-1, all-1), &times)
	require.EqualValues(t, maxMarks-1, times[1].count, "the newest mark has the rest")
	s.follow(turnAt(6*maxMarks, all, all, all, all), &times)
	require.EqualValues(t, 3*maxMarks, times[1].count)
	require.EqualValues(t, 3*maxMarks, times[2].count)
}
