package raft_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// perHistory is how many cases begin with the same disks.
const perHistory = 40

// filesHistories are the disks from which cases are made.
type filesHistories struct {
	last, foreign *filesHistory
}

// of returns the history of a case.
func (f *filesHistories) of(t *testing.T, number uint64) *filesHistory {
	if f.foreign == nil {
		f.foreign = makeHistory(t, 1<<40)
	}
	if seed := number / perHistory; f.last == nil || f.last.seed != seed {
		f.last = makeHistory(t, seed)
	}
	return f.last
}

func makeHistory(t *testing.T, seed uint64) (h *filesHistory) {
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		h = newFilesHistory(t, seed)
	})
	return h
}

// takeTurns makes goroutines take turns in the same way each time, as far as that can be had.
func takeTurns(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// tryFiles damages the files of some servers, and lets judge say what has become of the cluster.
func tryFiles(t *testing.T, usual int, strike func(s *striker), judge func(f *filesTrial) string) map[string]int {
	takeTurns(t)
	histories, outcomes := &filesHistories{}, map[string]int{}
	eachDamage(t, usual, func(number uint64, luck *rand.Rand) {
		h := histories.of(t, number)
		synctest.Test(t, func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, number)
			s := newStriker(t, luck, h, histories.foreign)
			strike(s)
			f := newFilesTrial(t, s, fmt.Sprintf("case %d, %s: %v", number, h.ended, s))
			outcomes[judge(f)]++
		})
	})
	for _, outcome := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%7d %s", outcomes[outcome], outcome)
	}
	return outcomes
}

// Whatever happens to files of one server's disk: its server repairs itself, or refuses to start and
// names what is damaged. The other two serve, and so does it if it has started. Whatever was
// acknowledged is at each server, once, in the order in which it was acknowledged.
//
//	go test . -run TestDamagedFilesOfOneServer -damages 100000 -v
//
// What README and the documentation of wal say can't be noticed is left out, and nothing else:
//
//   - After a kill or a power cut in the middle of the work, what was acknowledged in the last 10 ms,
//     or in about a second, may be missing, or be applied at some servers alone; and only if a log
//     looks as if that had never been written.
//   - Several files of one log were damaged, the anchor among them, and what is left looks like an
//     older state of the log. The promise is for a fault in one file. But if the others hold
//     everything that was acknowledged, nothing may be missing even so.
func TestDamagedFilesOfOneServer(t *testing.T) {
	outcomes := tryFiles(t, 400, func(s *striker) {
		s.strike(serverName(s.luck.IntN(3)), []int{1, 1, 1, 1, 2, 3}[s.luck.IntN(6)], ownFiles)
	}, (*filesTrial).judgeOne)
	if *damages == 0 && !raceDetector {
		require.Greater(t, outcomes[string(refuses)], 40)
		require.Greater(t, outcomes[string(tells)], 40)
		require.Greater(t, outcomes[string(unhurt)], 40)
	}
}

// Whatever happens to files of two servers or all three: what was acknowledged is applied in the end,
// or the cluster stays down and says why. No server answers without it. If the logs that can be
// opened are those of a majority, and have together what any of them lacks, the cluster comes back.
//
//	go test . -run TestDamagedFilesOfSeveralServers -damages 100000 -v
//
// Left out is the same as with one server. And a cluster may wait where pattern.mayWait says so.
func TestDamagedFilesOfSeveralServers(t *testing.T) {
	outcomes := tryFiles(t, 300, func(s *striker) {
		var ids []raft.ServerID
		for _, server := range s.luck.Perm(3)[:2+s.luck.IntN(2)] {
			ids = append(ids, serverName(server))
		}
		for range s.luck.IntN(3) {
			s.hunt(ids, s.history.acked[s.luck.IntN(len(s.history.acked))].command)
		}
		for _, id := range ids {
			s.strike(id, []int{0, 1, 1, 2}[s.luck.IntN(4)], othersFiles)
		}
	}, (*filesTrial).judgeSeveral)
	if *damages == 0 && !raceDetector {
		require.Greater(t, outcomes[cameBack], 100)
		require.Greater(t, outcomes[tooFew], 20)
	}
}
