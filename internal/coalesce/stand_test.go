package coalesce_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

const (
	heartbeat = 100 * time.Millisecond
	election  = time.Second
	lease     = 500 * time.Millisecond
)

// pair is two processes, x and y. A test says which group leads where, and what arrives.
type pair struct {
	t     *testing.T
	now   coalesce.Instant
	luck  uint32
	disks map[wire.ServerID]uint64 // the start that is on the disk of a process
	books map[wire.ServerID]*coalesce.Book
	turns map[wire.ServerID][]wire.GroupID // that were asked for and not taken
	kept  map[wire.ServerID][]wire.Message // that weren't sent yet
	busy
}

func newPair(t *testing.T) *pair {
	p := &pair{
		t: t, now: 1, disks: map[wire.ServerID]uint64{}, books: map[wire.ServerID]*coalesce.Book{},
		turns: map[wire.ServerID][]wire.GroupID{}, kept: map[wire.ServerID][]wire.Message{}, busy: busy{},
	}
	p.begin("x")
	p.begin("y")
	return p
}

// begin starts a process.
func (p *pair) begin(id wire.ServerID) {
	p.luck++
	p.disks[id] = wire.NextStart(p.disks[id], p.luck)
	p.books[id] = coalesce.NewBook(coalesce.Config{
		Self: id, Start: p.disks[id], Heartbeat: heartbeat, ElectionTimeout: election, Shards: 2, Now: p.now,
	})
	p.turns[id], p.kept[id] = nil, nil
	p.busy.begin(id)
}

// stand is what the two know of a group in a term.
func stand(group wire.GroupID, term wire.Term) wire.Stand {
	return wire.Stand{Group: group, Term: term, Leader: 1, Member: 2, LeaderStart: 3, Last: wire.Place{Index: 4, Term: 1}, Lease: lease, Fitness: 1}
}

// leads ends a turn in which x leads a group.
func (p *pair) leads(group wire.GroupID, term wire.Term) bool {
	return p.leadsWith(stand(group, term), 0)
}

func (p *pair) leadsWith(s wire.Stand, awaits uint64) bool {
	p.busy[seat{"x", s.Group}] = false
	settled, _ := p.books["x"].Settle(p.now, s.Group, 0, &coalesce.Quiet{
		Leads: true, Confirmed: p.now, Term: s.Term, Others: []coalesce.Other{{ID: "y", Level: true, Stand: s}}, Awaits: awaits,
	})
	return settled
}

// follows ends a turn in which y follows x.
func (p *pair) follows(group wire.GroupID, term wire.Term) bool {
	return p.followsWith(stand(group, term))
}

func (p *pair) followsWith(s wire.Stand) bool {
	p.busy[seat{"y", s.Group}] = false
	settled, _ := p.books["y"].Settle(p.now, s.Group, 0, &coalesce.Quiet{
		Term: s.Term, Others: []coalesce.Other{{ID: "x", Level: true, Stand: s}}, Voters: []wire.ServerID{"x", "y", "z"},
	})
	return settled
}

// beat lets a process send what is due.
func (p *pair) beat(id wire.ServerID) []wire.Message {
	p.books[id].Turned(p.now, 0)
	p.books[id].Turned(p.now, 1)
	p.books[id].Beat(p.now)
	return p.drain(id)
}

func (p *pair) drain(id wire.ServerID) []wire.Message {
	p.keep(id)
	messages := p.kept[id]
	p.kept[id] = nil
	return messages
}

// asked returns the groups of a process that are to take a turn.
func (p *pair) asked(id wire.ServerID) []wire.GroupID {
	p.drain(id)
	turns := p.turns[id]
	p.turns[id] = nil
	return turns
}

// deliver lets messages arrive. There is no process z.
func (p *pair) deliver(messages ...wire.Message) {
	for _, m := range messages {
		decoded, err := wire.DecodeMessage(wire.AppendMessage(nil, &m))
		require.NoError(p.t, err)
		if book := p.books[m.To]; book != nil {
			book.Receive(p.now, &decoded)
		}
	}
}

// interval lets an interval pass in which nothing is lost. y is last.
func (p *pair) interval() {
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...)
	p.deliver(p.beat("y")...)
}

// settled returns a pair in which x leads a group that y vouches for.
func settled(t *testing.T, group wire.GroupID) *pair {
	p := newPair(t)
	require.True(t, p.leads(group, 5))
	p.interval()
	require.Contains(t, p.asked("y"), group)
	require.Len(t, p.turn("y", group).Heartbeats, 1)
	require.True(t, p.follows(group, 5))
	p.interval()
	require.NotEmpty(t, p.vouched(group))
	return p
}

// vouched returns who vouches for a group of x, without a change of the lists.
func (p *pair) vouched(group wire.GroupID) []coalesce.Voucher {
	left := p.turn("x", group)
	require.True(p.t, p.leads(group, left.Term))
	return left.Vouched
}

// The whole way: the heartbeat that an entry stands for is handed to the member's core, the member is
// covered, its process vouches, and both cores are told of it when they take their next turns.
func TestStandsAreHeartbeats(t *testing.T) {
	p := newPair(t)
	require.True(t, p.leads("g", 5))
	require.False(t, p.follows("g", 4), "there is nothing on the list yet")
	p.interval()
	left := p.turn("y", "g")
	require.Len(t, left.Heartbeats, 1)
	s := stand("g", 5)
	require.Equal(t, s.Heartbeat("x", "y"), left.Heartbeats[0])
	require.True(t, p.follows("g", 5))
	p.interval()
	sent := p.now
	p.interval()
	heard := p.now
	require.Equal(t, []coalesce.Voucher{{ID: "y", Sent: heard, Lease: true}}, p.vouched("g"))
	p.now += 7
	require.Equal(t, []coalesce.Heard{{Leader: "x", Term: 5, At: heard, Promise: lease}}, p.turn("y", "g").Heard)
	require.Less(t, sent, heard)
}

// Nothing is said of groups in which nothing happens.
func TestSteadyMessagesAreSmall(t *testing.T) {
	p := settled(t, "g")
	for range 3 {
		p.now += coalesce.Instant(heartbeat)
		there := p.beat("x")
		require.Len(t, there, 1)
		p.deliver(there...)
		back := p.beat("y")
		require.Len(t, back, 1)
		p.deliver(back...)
		for _, m := range append(there, back...) {
			b := m.ProcessHeartbeat()
			require.Empty(t, b.Stands)
			require.Empty(t, b.Gone)
			require.Empty(t, b.Excepted)
		}
	}
	require.Empty(t, p.asked("x"))
	require.Empty(t, p.asked("y"))
}

// H1, H3: an entry that has changed isn't vouched for by an answer to the list before.
func TestAnswerSpeaksOfAVersion(t *testing.T) {
	p := settled(t, "g")
	p.turn("x", "g")
	p.leads("g", 6)
	require.Empty(t, p.vouched("g"))
	p.now += coalesce.Instant(heartbeat)
	p.beat("x") // is lost
	p.deliver(p.beat("y")...)
	require.Empty(t, p.vouched("g"))
}

// H2: changes aren't taken while those before them are missing.
func TestGapIsNotTaken(t *testing.T) {
	p := settled(t, "g")
	p.turn("x", "g") // x leads g no more
	p.now += coalesce.Instant(heartbeat)
	p.beat("x") // is lost
	p.leads("h", 1)
	p.now += coalesce.Instant(heartbeat)
	m := p.beat("x")[0]
	body := m.ProcessHeartbeat()
	body.Base, body.Gone = body.Version-1, nil // as if y had answered with the version between
	p.deliver(body.Message().In(m.Envelope))
	require.NotContains(t, p.asked("y"), wire.GroupID("h"))
	require.Less(t, p.turn("y", "g").Heard[0].At, p.now, "it isn't heard either")
}

// H2: a message with an older list is dropped.
func TestOlderListIsDropped(t *testing.T) {
	p := settled(t, "g")
	p.now += coalesce.Instant(heartbeat)
	p.turn("x", "g")
	p.leads("g", 5)
	p.turn("x", "h")
	p.leads("h", 1)
	late := p.beat("x")
	p.turn("x", "h")
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...) // h has left the list
	p.asked("y")
	p.deliver(late...)
	require.Empty(t, p.asked("y"))
	require.Empty(t, p.turn("y", "h").Heartbeats)
}

// H2: the list of an earlier start is forgotten. The member's core is told what it has promised.
func TestLaterStartForgetsTheList(t *testing.T) {
	p := settled(t, "g")
	heard := p.now
	p.begin("x")
	p.now += coalesce.Instant(heartbeat)
	p.leads("h", 1)
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...)
	require.Contains(t, p.asked("y"), wire.GroupID("g"))
	left := p.turn("y", "g")
	require.Equal(t, []coalesce.Heard{{Leader: "x", Term: 5, At: heard, Promise: lease}}, left.Heard)
	require.False(t, p.follows("g", 5), "nobody vouches for its leader")
}

// H3: an answer to another start of the process says nothing.
func TestAnswerToAnotherStart(t *testing.T) {
	p := settled(t, "g")
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...)
	late := p.beat("y")
	p.begin("x")
	p.leads("g", 5)
	for range 3 { // as many rounds, and versions, as before
		p.now += coalesce.Instant(heartbeat)
		p.beat("x")
	}
	p.deliver(late...)
	require.Empty(t, p.vouched("g"))
}

// H3: an answer doesn't count for a group that it excepts. The second such answer makes the leader ask.
func TestExceptions(t *testing.T) {
	p := settled(t, "g")
	before := p.vouched("g")
	p.turn("y", "g") // y has something else to do
	p.interval()
	require.Empty(t, p.asked("x"), "it may be over soon")
	require.Equal(t, before, p.vouched("g"), "what was promised holds")
	p.interval()
	require.Equal(t, []wire.GroupID{"g"}, p.asked("x"))
	left := p.turn("x", "g")
	require.True(t, left.Doubted)
	require.Equal(t, before, left.Vouched)
}

// H3, H4: a member that can't promise as much as the leader asks for isn't covered.
func TestPromiseOfTooLittle(t *testing.T) {
	p := newPair(t)
	p.leads("g", 5)
	p.interval()
	p.turn("y", "g")
	s := stand("g", 5)
	s.Lease = lease - 1
	require.False(t, p.followsWith(s))
	s.Lease = lease + 1
	require.True(t, p.followsWith(s))
}

// H5: what was promised counts from when the round left.
func TestLeaseCountsFromTheSending(t *testing.T) {
	p := settled(t, "g")
	p.now += coalesce.Instant(heartbeat)
	there, sent := p.beat("x"), p.now
	p.now += 30
	p.deliver(there...)
	p.now += coalesce.Instant(heartbeat)
	back := p.beat("y")
	p.now += 30
	p.deliver(back...)
	require.Equal(t, sent, p.vouched("g")[0].Sent)
}

// H6: while a leader's core takes a turn, its group isn't on the list.
func TestTurnLeavesTheList(t *testing.T) {
	p := settled(t, "g")
	p.turn("x", "g")
	p.interval()
	require.Equal(t, []wire.GroupID{"g"}, p.asked("y"))
	require.False(t, p.follows("g", 5))
}

// H6: while a member's core takes a turn, its process doesn't speak for it.
func TestTurnIsExcepted(t *testing.T) {
	p := settled(t, "g")
	before := p.vouched("g")
	p.turn("y", "g")
	p.interval()
	require.Equal(t, before, p.vouched("g"))
	p.follows("g", 5)
	p.interval()
	require.Equal(t, p.now, p.vouched("g")[0].Sent)
}

// H6: a shard that stands still vouches for nothing, neither for leaders nor for members. When it goes
// on, its groups take turns.
func TestStuckShard(t *testing.T) {
	for _, id := range []wire.ServerID{"x", "y"} {
		p := settled(t, "g")
		p.asked(id)
		for range 10 {
			p.now += coalesce.Instant(heartbeat)
			for _, from := range []wire.ServerID{"x", "y"} {
				if from != id {
					p.books[from].Turned(p.now, 0)
				}
				p.books[from].Turned(p.now, 1)
				p.books[from].Beat(p.now)
				p.deliver(p.drain(from)...)
			}
		}
		if id == "x" {
			require.Contains(t, p.asked("y"), wire.GroupID("g"))
			require.False(t, p.follows("g", 5))
		} else {
			require.Contains(t, p.asked("x"), wire.GroupID("g"))
			require.True(t, p.turn("x", "g").Doubted)
		}
		p.books[id].Turned(p.now, 0)
		require.Contains(t, p.asked(id), wire.GroupID("g"))
	}
}

// H7: a member whose process isn't heard doesn't keep a group awake. When it answers again, the leader
// is told. One that is heard, and lacks something, does.
func TestAbsentMember(t *testing.T) {
	p := newPair(t)
	absent := coalesce.Quiet{Leads: true, Term: 5, Others: []coalesce.Other{{ID: "y"}}}
	quiet, _ := p.books["x"].Settle(p.now, "g", 0, &absent)
	require.True(t, quiet)
	p.now += coalesce.Instant(heartbeat)
	require.Len(t, p.beat("x"), 1) // is lost
	require.Empty(t, p.asked("x"))
	p.interval()
	require.Equal(t, []wire.GroupID{"g"}, p.asked("x"))
	require.True(t, p.turn("x", "g").Doubted)
	quiet, _ = p.books["x"].Settle(p.now, "g", 0, &absent)
	require.False(t, quiet, "the core is to look after it")
}

// H8: when a leader's process is silent, its followers' cores are told when they heard it last, and
// what they have promised.
func TestSilentLeader(t *testing.T) {
	p := settled(t, "g")
	heard := p.now
	for p.now < heard+coalesce.Instant(election) {
		require.Empty(t, p.asked("y"))
		p.now += coalesce.Instant(heartbeat)
		p.beat("y")
	}
	require.Equal(t, []wire.GroupID{"g"}, p.asked("y"))
	left := p.turn("y", "g")
	require.Equal(t, []coalesce.Heard{{Leader: "x", Term: 5, At: heard, Promise: lease}}, left.Heard[:1])
	require.Equal(t, wire.ServerID("x"), left.Lost)
	require.False(t, p.follows("g", 5))
}

// H8: when members' processes are silent, their leaders' cores are told before an election timeout has
// passed.
func TestSilentMembers(t *testing.T) {
	p := settled(t, "g")
	sent, last := p.now, p.vouched("g")
	for len(p.asked("x")) == 0 {
		require.Less(t, p.now, sent+coalesce.Instant(election), "it is told too late")
		p.now += coalesce.Instant(heartbeat)
		p.beat("x")
	}
	left := p.turn("x", "g")
	require.True(t, left.Doubted)
	require.Equal(t, last, left.Vouched)
}

// H8: so are those of groups that never got onto the list at the other process.
func TestEntryThatNeverArrives(t *testing.T) {
	p := settled(t, "g")
	p.leads("h", 1)
	begun := p.now
	for {
		turns := p.asked("x")
		if len(turns) > 0 {
			require.Equal(t, []wire.GroupID{"h"}, turns)
			break
		}
		require.Less(t, p.now, begun+coalesce.Instant(election))
		p.now += coalesce.Instant(heartbeat)
		for _, m := range p.beat("x") {
			body := m.ProcessHeartbeat()
			body.Version, body.Stands = body.Base, nil // y never hears of h
			p.deliver(body.Message().In(m.Envelope))
		}
		p.deliver(p.beat("y")...)
	}
}

// A pause of the process isn't a silence of the others: they are heard first.
func TestPauseIsNoSilence(t *testing.T) {
	p := settled(t, "g")
	p.now += coalesce.Instant(5 * election)
	p.beat("y")
	require.Empty(t, p.asked("y"))
	p.deliver(p.beat("x")...)
	require.Empty(t, p.asked("y"))
	p.now += coalesce.Instant(2 * heartbeat)
	p.beat("y")
	require.Empty(t, p.asked("y"))
}

// A list that has begun anew, since its process didn't answer, isn't mixed up with the one before.
func TestListBegunAnew(t *testing.T) {
	for _, late := range []bool{false, true} {
		p := settled(t, "g")
		var answers []wire.Message // which speak of the list that has g
		for begun := p.now; ; {
			require.Less(t, p.now, begun+coalesce.Instant(election))
			p.now += coalesce.Instant(heartbeat)
			there := p.beat("x")
			if len(p.asked("x")) > 0 {
				break
			}
			p.deliver(there...)
			answers = append(answers, p.beat("y")...) // are lost, or late
		}
		p.turn("x", "g") // and x leads g no more
		p.leads("h", 1)
		p.now += coalesce.Instant(heartbeat)
		if late {
			p.deliver(answers...)
		}
		p.deliver(p.beat("x")...)
		require.Contains(t, p.asked("y"), wire.GroupID("g"))
		require.False(t, p.follows("g", 5))
	}
}

// A read is confirmed by a round that leaves after it came, at once.
func TestReadsWaitForALaterRound(t *testing.T) {
	p := settled(t, "g")
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...)
	early := p.beat("y")
	p.turn("x", "g")
	require.True(t, p.leadsWith(stand("g", 5), 9))
	require.LessOrEqual(t, p.books["x"].Deadline(), p.now)
	p.deliver(early...)
	require.Empty(t, p.asked("x"))
	left := p.turn("x", "g")
	require.Zero(t, left.Vouched[0].Round)
	require.True(t, p.leadsWith(stand("g", 5), 9))
	p.deliver(p.beat("x")...)
	p.deliver(p.beat("y")...)
	require.Equal(t, []wire.GroupID{"g"}, p.asked("x"))
	left = p.turn("x", "g")
	require.Equal(t, uint64(9), left.Vouched[0].Round)
}

// When a core has failed in a process that goes on, the members hear of it at once.
func TestEndIsToldAtOnce(t *testing.T) {
	p := settled(t, "g")
	p.books["x"].End(p.now, "g")
	require.LessOrEqual(t, p.books["x"].Deadline(), p.now)
	p.deliver(p.beat("x")...)
	require.Equal(t, []wire.GroupID{"g"}, p.asked("y"))
}
