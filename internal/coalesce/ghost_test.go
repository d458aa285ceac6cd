package coalesce_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// ghosts is a pair whose messages are lost, repeated and reordered, and whose processes start anew. x
// leads groups, and y follows or doesn't. Beside that it knows the truth: what x led when it sent each
// round, and what y has promised and done.
type ghosts struct {
	*pair
	t       *rapid.T
	network []wire.Message
	leading map[wire.GroupID]wire.Term // of x; 0 for a group that it doesn't lead
	follow  map[wire.GroupID]wire.Term // of y: the term of x in which it follows
	// truth is what x led when it sent a round of a start.
	truth map[[2]uint64]map[wire.GroupID]wire.Term
	// heard are the rounds that y has received, with the time.
	heard map[coalesce.Instant][][2]uint64
	// quiet is until when y has promised to be quiet. left is when y has left a term.
	quiet map[wire.GroupID]coalesce.Instant
	left  map[wire.GroupID]map[wire.Term]coalesce.Instant
	// leases are until when x counts on y in a term.
	leases map[wire.GroupID]map[wire.Term]coalesce.Instant
}

var ghostGroups = []wire.GroupID{"g", "h", "i"}

func newGhosts(t *rapid.T, outer *testing.T) *ghosts {
	g := &ghosts{
		pair: newPair(outer), t: t, leading: map[wire.GroupID]wire.Term{}, follow: map[wire.GroupID]wire.Term{},
		truth: map[[2]uint64]map[wire.GroupID]wire.Term{}, heard: map[coalesce.Instant][][2]uint64{},
		quiet: map[wire.GroupID]coalesce.Instant{}, left: map[wire.GroupID]map[wire.Term]coalesce.Instant{},
		leases: map[wire.GroupID]map[wire.Term]coalesce.Instant{},
	}
	for _, id := range ghostGroups {
		g.left[id], g.leases[id] = map[wire.Term]coalesce.Instant{}, map[wire.Term]coalesce.Instant{}
	}
	return g
}

// turnX lets x take a turn of a group, in which it may begin to lead it in another term, or end to.
func (g *ghosts) turnX(id wire.GroupID, term wire.Term) {
	left := g.turn("x", id)
	for _, v := range left.Vouched {
		until := v.Sent + coalesce.Instant(lease)
		g.leases[id][left.Term] = max(g.leases[id][left.Term], until)
		if at, has := g.left[id][left.Term]; has && at < until {
			g.t.Fatalf("%s: x counts on y in term %d until %d, but y has left it at %d", id, left.Term, until, at)
		}
	}
	if g.leading[id] = term; term > 0 {
		g.leads(id, term)
	}
}

// turnY lets y take a turn of a group. It does what its leader says, and what it has promised. It may
// still have something to do after that turn.
func (g *ghosts) turnY(id wire.GroupID, leave, quiet bool) {
	left := g.turn("y", id)
	for _, h := range left.Heard {
		known := false
		for _, round := range g.heard[h.At] {
			known = known || g.truth[round][id] == h.Term
		}
		if !known {
			g.t.Fatalf("%s: y has heard a leader of term %d at %d, but x didn't lead then", id, h.Term, h.At)
		}
		if h.Promise > 0 {
			g.quiet[id] = max(g.quiet[id], h.At+coalesce.Instant(h.Promise))
		}
	}
	for i := range left.Heartbeats {
		if term := left.Heartbeats[i].Term; term > g.follow[id] && g.left[id][term] == 0 {
			g.leaves(id)
			g.follow[id] = term
		}
	}
	if leave && g.now >= g.quiet[id] {
		g.leaves(id)
	}
	if term := g.follow[id]; term > 0 && quiet {
		g.follows(id, term)
	}
}

// leaves lets y leave the term in which it follows x. It may vote for anybody then.
func (g *ghosts) leaves(id wire.GroupID) {
	term := g.follow[id]
	g.follow[id] = 0
	if term == 0 {
		return
	}
	g.left[id][term] = g.now
	if until := g.leases[id][term]; g.now < until && g.leading[id] == term {
		g.t.Fatalf("%s: y leaves term %d at %d, but x counts on it until %d", id, term, g.now, until)
	}
}

// send keeps what a process sends.
func (g *ghosts) send(id wire.ServerID) {
	for _, m := range g.beat(id) {
		if body := m.ProcessHeartbeat(); id == "x" && body.Round > 0 {
			led := map[wire.GroupID]wire.Term{}
			for _, group := range ghostGroups {
				led[group] = g.leading[group]
			}
			g.truth[[2]uint64{m.FromStart, body.Round}] = led
		}
		g.network = append(g.network, m)
	}
}

// arrive lets one of the messages arrive, and keeps it if it is to arrive again.
func (g *ghosts) arrive(at int, again bool) {
	m := g.network[at]
	if !again {
		g.network = append(g.network[:at], g.network[at+1:]...)
	}
	if m.To == "y" {
		g.heard[g.now] = append(g.heard[g.now], [2]uint64{m.FromStart, m.ProcessHeartbeat().Round})
	}
	g.deliver(m)
}

// restart starts a process anew. x leads nothing then; y knows what it has followed, and is quiet for
// as long as a promise may hold.
func (g *ghosts) restart(id wire.ServerID) {
	g.begin(id)
	for _, group := range ghostGroups {
		if id == "x" {
			g.leading[group] = 0
		} else {
			g.quiet[group] = g.now + coalesce.Instant(lease)
		}
	}
}

// goBack starts a process anew whose disk was put back: it has forgotten some of its starts.
func (g *ghosts) goBack(t *rapid.T, id wire.ServerID) {
	if rapid.IntRange(0, 3).Draw(t, "does it?") == 0 {
		count := wire.StartCount(g.disks[id])
		g.disks[id] -= rapid.Uint64Range(0, count).Draw(t, "starts") << 32
		g.restart(id)
	}
}

// Whatever is lost, repeated or reordered, whoever starts anew: what y is told to have heard x has said
// then, and while x counts on y, y keeps its promise. When messages arrive again, the two agree after
// a few exchanges, and then y vouches for exactly what x leads.
func TestListsAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGhosts(rt, t)
		next := wire.Term(1)
		group := rapid.SampledFrom(ghostGroups)
		rt.Repeat(map[string]func(*rapid.T){
			"lead": func(t *rapid.T) {
				g.turnX(group.Draw(t, "group"), next)
				next++
			},
			"lead on":     func(t *rapid.T) { id := group.Draw(t, "group"); g.turnX(id, g.leading[id]) },
			"end to lead": func(t *rapid.T) { g.turnX(group.Draw(t, "group"), 0) },
			"turn of y": func(t *rapid.T) {
				g.turnY(group.Draw(t, "group"), rapid.Bool().Draw(t, "leave"), rapid.IntRange(0, 3).Draw(t, "works") > 0)
			},
			"asked turns": func(*rapid.T) { g.takeTurns() },
			"x sends":     func(*rapid.T) { g.send("x") },
			"y sends":     func(*rapid.T) { g.send("y") },
			"arrives": func(t *rapid.T) {
				if len(g.network) > 0 {
					g.arrive(rapid.IntRange(0, len(g.network)-1).Draw(t, "which"), rapid.IntRange(0, 3).Draw(t, "again") == 0)
				}
			},
			"is lost": func(t *rapid.T) {
				if n := len(g.network); n > 0 {
					at := rapid.IntRange(0, n-1).Draw(t, "which")
					g.network = append(g.network[:at], g.network[at+1:]...)
				}
			},
			"time": func(t *rapid.T) {
				g.now += coalesce.Instant(rapid.Int64Range(1, int64(2*heartbeat)).Draw(t, "d"))
			},
			"long time": func(t *rapid.T) { g.now += coalesce.Instant(rapid.Int64Range(1, int64(2*time.Second)).Draw(t, "d")) },
			"x restarts": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "does it?") == 0 {
					g.restart("x")
				}
			},
			"x goes back": func(t *rapid.T) { g.goBack(t, "x") },
			"y goes back": func(t *rapid.T) { g.goBack(t, "y") },
			"y restarts": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "does it?") == 0 {
					g.restart("y")
				}
			},
		})
		g.converge()
	})
}

// takeTurns takes the turns that were asked for.
func (g *ghosts) takeTurns() {
	for _, id := range g.asked("x") {
		g.turnX(id, g.leading[id])
	}
	for _, id := range g.asked("y") {
		g.turnY(id, false, true)
	}
}

// converge lets everything arrive, and demands that the two agree.
func (g *ghosts) converge() {
	for range 12 { // the silent have to be noticed first
		g.exchange()
	}
	for _, id := range ghostGroups {
		if g.leading[id] == 0 && g.follow[id] != 0 && g.followsWith(stand(id, g.follow[id])) {
			g.t.Fatalf("%s: y is covered by a leader that there isn't", id)
		}
	}
	g.exchange()
	for _, id := range ghostGroups {
		term := g.leading[id]
		if term == 0 || g.left[id][term] != 0 {
			continue
		}
		require.Equal(g.t, term, g.follow[id])
		left := g.turn("x", id)
		require.Len(g.t, left.Vouched, 1, "group %s in term %d", id, term)
		require.Less(g.t, g.now-left.Vouched[0].Sent, coalesce.Instant(2*heartbeat))
		g.leads(id, term)
	}
}

func (g *ghosts) exchange() {
	g.now += coalesce.Instant(heartbeat)
	for _, id := range []wire.ServerID{"x", "y"} {
		g.send(id)
		for len(g.network) > 0 {
			g.arrive(0, false)
		}
		g.takeTurns()
	}
}
