package raft_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
)

// The tests of damage to whole clusters (TestPatternsOnTheLog, TestPatternsOnFiveLogs,
// TestDamagedFilesOfOneServer, TestDamagedFilesOfSeveralServers) draw each case from its number
// alone. So a failing case is repeated by its number.
var (
	damages    = flag.Int("damages", 0, "how many cases of damage each test of whole clusters tries; 0 stands for some hundred")
	damageSeed = flag.Uint64("damage-seed", 1, "the number of the first of these cases")
)

// eachDamage calls a function with the number of each case, and with luck that follows from it. Without
// the flag there are as many cases as usual.
func eachDamage(t *testing.T, usual int, try func(number uint64, luck *rand.Rand)) {
	count := usual
	if raceDetector {
		count /= 10 // it takes long
	}
	if *damages > 0 {
		count = *damages
	}
	number := *damageSeed
	end := number + uint64(count)
	t.Cleanup(func() {
		if t.Failed() && number < end {
			t.Logf("go test . -run '^%s$' -damages 1 -damage-seed %d", t.Name(), number)
		}
	})
	for ; number < end; number++ {
		try(number, rand.New(rand.NewPCG(number, 1)))
	}
}

// A pattern is what has become of the disks of some servers that were given four commands.
type pattern struct {
	behind []int    // the servers that lack the last commands
	lags   int      // how many they lack
	holds  []holder // the servers' disks
	down   []int    // the servers that come later
}

// A holder is what one disk holds of the commands.
type holder struct {
	end      int  // how many commands have reached the log
	lost     int  // bits of the commands of which the log has lost a bit
	snapshot int  // for how many commands the snapshot stands; 0 if there is none
	kept     bool // the log under the snapshot is still there
	spoiled  bool // the snapshot has lost a bit
}

func (p *pattern) String() string {
	return fmt.Sprintf("%v lack %d; %+v; %v are down", p.behind, p.lags, p.holds, p.down)
}

// named says whether the log of a disk holds the identity of a command.
func (h *holder) named(command int) bool {
	return command < h.end && (command >= h.snapshot || h.kept)
}

// has says whether a disk has the bytes of a command, in its log or under its snapshot.
func (h *holder) has(command int) bool {
	return command < h.snapshot && !h.spoiled || h.named(command) && h.lost>>command&1 == 0
}

// missing returns the commands that none of some servers has.
func (p *pattern) missing(servers []int) (missing []int) {
	for command := range wreckCommands {
		if !slices.ContainsFunc(servers, func(s int) bool { return p.holds[s].has(command) }) {
			missing = append(missing, command)
		}
	}
	return missing
}

// mayWait says whether some servers may wait for the others although they miss nothing. This is so
// where snapshots are damaged:
//
//   - A server whose own snapshot is damaged takes no older one in the place of lost entries
//     (leastPulled). So it never leads, if only older ones have them.
//   - A leader whose snapshot is damaged leads until it can hand over, or has another server's. It
//     hands over to a server which needs nothing that this leader has forgotten, and which hasn't lost
//     its own snapshot. It takes a snapshot that covers its own.
func (p *pattern) mayWait(servers []int) bool {
	var leaders []int
	for _, s := range servers {
		if p.votes(s, servers) > len(p.holds)/2 && !p.refusesOlder(s, servers) {
			leaders = append(leaders, s)
		}
	}
	heir := func(s int) bool {
		h := &p.holds[s]
		lost := h.spoiled && h.snapshot > 0 && !h.kept
		given := slices.ContainsFunc(servers, func(other int) bool { return p.holds[other].givesInstead(h) })
		return (!lost || given) && !p.refusesOlder(s, servers) && !slices.ContainsFunc(leaders, func(leader int) bool {
			l := &p.holds[leader]
			return h.end < l.snapshot && !l.kept
		})
	}
	return len(leaders) == 0 || !slices.ContainsFunc(servers, heir)
}

// givesInstead says whether the snapshot of one disk can take the place of that of another one.
func (h *holder) givesInstead(other *holder) bool { return !h.spoiled && h.snapshot >= other.snapshot }

// votes returns how many of some servers would vote for one of them.
func (p *pattern) votes(s int, servers []int) (votes int) {
	for _, voter := range servers {
		if p.holds[voter].end <= p.holds[s].end {
			votes++
		}
	}
	return votes
}

// refusesOlder says whether a server, whose own snapshot is damaged, has lost a command that only
// older snapshots have.
func (p *pattern) refusesOlder(s int, servers []int) bool {
	own := &p.holds[s]
	for command := range own.end {
		given := slices.ContainsFunc(servers, func(other int) bool {
			h := &p.holds[other]
			return h.named(command) && h.lost>>command&1 == 0 || !h.spoiled && h.snapshot > command && h.snapshot >= own.snapshot
		})
		if own.spoiled && own.named(command) && !own.has(command) && !given {
			return true
		}
	}
	return false
}

// some draws up to a number of different servers.
func some(luck *rand.Rand, servers, most int) []int {
	drawn := luck.Perm(servers)[:luck.IntN(most+1)]
	slices.Sort(drawn)
	return drawn
}

// drawPattern draws a pattern for three servers or five. A minority lags behind, and a minority is
// down. Often one command is lost nearly everywhere.
func drawPattern(luck *rand.Rand, servers int) *pattern {
	p := &pattern{holds: make([]holder, servers), down: some(luck, servers, servers/2)}
	if p.lags = luck.IntN(3); p.lags > 0 {
		p.behind = some(luck, servers, servers/2)
	}
	rare := luck.IntN(2 * wreckCommands)
	for s := range p.holds {
		h := &p.holds[s]
		h.end = wreckCommands
		if slices.Contains(p.behind, s) {
			h.end -= p.lags
		}
		if luck.IntN(2) > 0 {
			h.snapshot = min(luck.IntN(wreckCommands+1), h.end)
			h.kept, h.spoiled = luck.IntN(3) == 0, luck.IntN(4) == 0
		}
		if h.lost = luck.IntN(1<<wreckCommands) & luck.IntN(1<<wreckCommands); luck.IntN(8) > 0 {
			h.lost |= 1 << rare & (1<<wreckCommands - 1)
		}
	}
	return p
}

// The four commands on the real logs of three servers, with a flipped bit in any of them, and more
// beside that: snapshots in the place of the log up to any command, some of which are damaged too; a
// server that lags behind; one that is down at first and comes later. What is nowhere any more,
// neither in a log nor under a snapshot, keeps the cluster down and is named. Everything else comes
// back at all servers; but see mayWait.
//
//	go test . -run TestPatternsOnTheLog -damages 50000 -v
func TestPatternsOnTheLog(t *testing.T) {
	tryPatterns(t, 3, 500)
}

// The same with five servers, of which two may lag behind, and two may be down at first.
//
//	go test . -run TestPatternsOnFiveLogs -damages 50000 -v
func TestPatternsOnFiveLogs(t *testing.T) {
	tryPatterns(t, 5, 300)
}

// A leader whose own snapshot is damaged has none to send, and can't hand over while the others lack
// bytes. What one of them has lost lies under the snapshot of another one, which is asked for it
// beside the leader.
//
//	A        1 1 1             snapshot of 2; its log is shorter
//	B  leads     …  1          the snapshot of 4 is damaged
//	C        1 !1 1 1 1
func TestSnapshotIsPulledBesideALeader(t *testing.T) {
	p := &pattern{behind: []int{0}, lags: 2, holds: []holder{
		{end: 2, snapshot: 1}, {end: 4, snapshot: 3, spoiled: true}, {end: 4, lost: 1},
	}}
	require.Equal(t, cameBack, newWrecks(3).try(t, p, 202271))
}

// Both servers with the longer log have lost their snapshots. One of them leads, and has none to send;
// neither is B to whom it could hand over. C takes that of B, which covers its own.
//
//	A        …       the snapshot of 4 is damaged
//	B        …       snapshot of 3; its log is shorter
//	C        … 1     the snapshot of 3 is damaged
func TestLostSnapshotIsPulledFromAnyMember(t *testing.T) {
	short, three, four := holder{end: 3, snapshot: 3}, holder{end: 4, snapshot: 3, spoiled: true}, holder{end: 4, snapshot: 4, spoiled: true}
	for number := range uint64(8) {
		require.Equal(t, cameBack, newWrecks(3).try(t, &pattern{behind: []int{1}, lags: 1, holds: []holder{four, short, three}}, number))
		require.Equal(t, cameBack, newWrecks(3).try(t, &pattern{behind: []int{1}, lags: 1, holds: []holder{three, short, four}}, number))
	}
}

func tryPatterns(t *testing.T, servers, usual int) {
	takeTurns(t)
	wrecks, outcomes := newWrecks(servers), map[string]int{}
	eachDamage(t, usual, func(number uint64, luck *rand.Rand) {
		p := drawPattern(luck, servers)
		outcomes[wrecks.try(t, p, number)]++
	})
	t.Logf("%v", outcomes)
	if *damages == 0 && !raceDetector {
		require.Greater(t, outcomes[cameBack], usual/2)
		require.Greater(t, outcomes[stayedDown], usual/20)
	}
}

// What becomes of a cluster whose disks were damaged
const (
	cameBack   = "came back"
	stayedDown = "stayed down"
	mayStay    = "nothing is missing, but it may wait"
)

// wrecks are the disks from which patterns are made.
type wrecks struct {
	servers   int
	made      map[string]*wreckage // by the servers that lag behind
	snapshots map[string]*simfs.FS // by wreckage, server and snapshot
}

func newWrecks(servers int) *wrecks {
	return &wrecks{servers: servers, made: map[string]*wreckage{}, snapshots: map[string]*simfs.FS{}}
}

// try starts servers on the disks of the pattern of a case, and says what has become of them.
func (w *wrecks) try(t *testing.T, p *pattern, number uint64) (outcome string) {
	from := w.of(t, p)
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, number)
		disks := w.disks(t, p, from)
		trial := &patternTrial{cluster: onLogs(t, disks), disks: disks, wreckage: from, pattern: p, about: fmt.Sprintf("case %d: %v", number, p)}
		outcome = trial.run()
	})
	return outcome
}

// of returns the disks of servers of which some lag behind.
func (w *wrecks) of(t *testing.T, p *pattern) *wreckage {
	key := fmt.Sprint(p.behind, p.lags)
	if w.made[key] == nil {
		synctest.Test(t, func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, 1)
			w.made[key] = wreckBehind(t, w.servers, p.behind, p.lags)
		})
	}
	return w.made[key]
}

// disks returns the disks of a pattern.
func (w *wrecks) disks(t *testing.T, p *pattern, from *wreckage) map[raft.ServerID]*simfs.FS {
	disks := map[raft.ServerID]*simfs.FS{}
	for s := range p.holds {
		h, id := &p.holds[s], serverName(s)
		key := fmt.Sprint(p.behind, p.lags, id, h.snapshot, h.kept)
		if w.snapshots[key] == nil {
			w.snapshots[key] = from.withSnapshot(t, id, h)
		}
		fs := w.snapshots[key].Clone()
		for command, text := range from.commands {
			if h.lost>>command&1 != 0 && command < h.end {
				flipBit(t, fs, text)
			}
		}
		if h.spoiled && h.snapshot > 0 {
			spoilSnapshot(t, fs)
		}
		disks[id] = fs
	}
	return disks
}

func serverName(s int) raft.ServerID { return raft.ServerID(rune('a' + s)) }
