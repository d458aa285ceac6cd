package coalesce

import (
	"cmp"
	"time"

	"github.com/e17579a5/raft/wire"
)

// An Instant is a point of monotonic time in nanoseconds, as a raft.Instant is. It isn't negative.
type Instant int64

// never is later than every instant.
const never = Instant(1<<63 - 1)

// A Config is what a Book is made of.
type Config struct {
	// Self is the server whose process this is. Start is the process's start, not 0: a later start has
	// a higher number (wire.NextStart). If others know of a later one, the Book takes one above that.
	Self  wire.ServerID
	Start uint64
	// Heartbeat and ElectionTimeout are those of all groups.
	Heartbeat, ElectionTimeout time.Duration
	// Shards is how many shards take the turns of the groups.
	Shards int
	// Foundings is for how many groups this process campaigns at a time to found them, and Elections for how
	// many others. 0 stands for Campaigns.
	Foundings, Elections int
	// Now is the time at which the Book begins.
	Now Instant
}

// A Book is what one process knows of the quiet groups of all processes. It is single-threaded and
// deterministic, as a raft.Core is: its events come with the current time, and what they want done
// comes out of Drain. An interval costs it as much as there are processes, however many groups there
// are.
type Book struct {
	config Config
	now    Instant

	// interval is the time between two heartbeats. A process that hasn't answered for patience
	// vouches for nobody. One that wasn't heard for timeout is lost.
	interval, patience, timeout Instant
	// checks is when silence begins to count: after a pause of this process, what others have said
	// meanwhile is heard first.
	checks Instant
	due    Instant // what Deadline has returned last

	byGroup   map[wire.GroupID]*group
	groups    []*group
	byProcess map[wire.ServerID]*process
	processes []*process
	shards    []shard
	foundings line
	elections line
	// away are the groups that have left the lists, or may have, since the last message.
	away []*group
	room uint64

	messages []wire.Message
	turns    []wire.GroupID
}

// A shard takes the turns of some groups.
type shard struct {
	turned Instant // when it was last at the boundary of a turn
	stuck  bool
}

// leastIntervals is how many heartbeats there are at least in an election timeout. With fewer ones, a
// single lost message would make a process silent.
const leastIntervals = 5

// NewBook returns a Book without groups.
func NewBook(config Config) *Book {
	timeout := Instant(config.ElectionTimeout)
	b := &Book{
		config: config, now: config.Now, checks: config.Now, due: never,
		interval: max(min(Instant(config.Heartbeat), timeout/leastIntervals), 1), patience: timeout - timeout/4, timeout: timeout,
		byGroup: map[wire.GroupID]*group{}, byProcess: map[wire.ServerID]*process{},
		foundings: line{places: cmp.Or(config.Foundings, Campaigns)}, elections: line{places: cmp.Or(config.Elections, Campaigns)},
	}
	for range max(config.Shards, 1) {
		b.shards = append(b.shards, shard{turned: config.Now})
	}
	return b
}

// A Quiet is a group in which nothing happens, as its core at this process sees it
// (raft.Core.Quiet).
type Quiet struct {
	// Leads says that the core leads. Term is its term.
	Leads bool
	Term  wire.Term
	// Others are the other members, if the core leads, and the leader alone if it follows.
	Others []Other
	// Voters are the group's voters. A leader doesn't say them.
	Voters []wire.ServerID
	// Awaits is the round of the core's for which reads wait, or 0. The core has sent no heartbeats
	// in it, and the Book's next round stands for it.
	Awaits uint64
	// Confirmed is when the last round of the leader's left that a quorum has answered.
	Confirmed Instant
}

// An Other is what a quiet core knows of another member.
type Other struct {
	ID wire.ServerID
	// Level says that there is a Stand. A leader has none for a member that lacks something, or
	// hasn't answered the last round.
	Level bool
	Stand wire.Stand
}

// A Left is what a core is to be told before it is handed anything else.
type Left struct {
	// Heard says when leaders were last heard.
	Heard []Heard
	// Term isn't 0 if the Book's rounds have stood for those of the leader of that term. Vouched are
	// the members that have answered them.
	Term    wire.Term
	Vouched []Voucher
	// Doubted says that a member has something to tell that a quiet leader doesn't know, or that its
	// process has come back, or doesn't answer. The leader is to begin a round.
	Doubted bool
	// Heartbeats are the heartbeats that new entries of others' lists stand for.
	Heartbeats []wire.Message
	// Lost is the leader whose process is gone, or the server to which this leader hands over, or "".
	// First says that it was the leader, that most voters agree, and that this server is the one to
	// campaign at once.
	Lost  wire.ServerID
	First bool
	// Campaign says that the core may campaign now (Book.WaitToCampaign).
	Campaign bool
}

// Clear empties what the core is to be told.
func (l *Left) Clear() {
	*l = Left{Heard: l.Heard[:0], Vouched: l.Vouched[:0], Heartbeats: l.Heartbeats[:0]}
}

// At returns when one of the heartbeats was heard last.
func (l *Left) At(heartbeat *wire.Message) (at Instant) {
	for i := range l.Heard {
		if h := &l.Heard[i]; h.Leader == heartbeat.From && h.Term == heartbeat.Term {
			at = max(at, h.At)
		}
	}
	return at
}

// A Heard is when the leader of a term was last heard.
type Heard struct {
	Leader wire.ServerID
	Term   wire.Term
	At     Instant
	// Promise is the length of the lease that was promised to it, counted from At, or 0.
	Promise time.Duration
}

// A Voucher is a member that has answered a round for exactly one leader and term.
type Voucher struct {
	ID wire.ServerID
	// Sent is when the round left. Lease says that the member has promised its lease.
	Sent  Instant
	Lease bool
	// Round is the core's round that this answers (Quiet.Awaits), or 0.
	Round uint64
	// Room is what the member's process says of its disk, as in wire.ProcessHeartbeat.
	Room uint64
}

// Out is what a Book wants done.
type Out struct {
	// Messages are to be sent.
	Messages []wire.Message
	// Turns are the groups that are to take a turn.
	Turns []wire.GroupID
}

// Turned notes that a shard is at the boundary of a turn.
func (b *Book) Turned(now Instant, shard int) {
	b.advance(now)
	s := &b.shards[shard]
	if s.turned = b.now; !s.stuck {
		return
	}
	s.stuck = false
	for _, g := range b.groups {
		if g.shard == shard {
			b.turn(g)
		}
	}
}

// Room notes the room of this process's disk, as raft.Core.Room does: math.MaxUint64 for one
// without end.
func (b *Book) Room(bytes uint64) { b.room = bytes + 1 }

// Deadline returns when Beat is due next. That is now if groups wait for turns that Drain hasn't returned.
func (b *Book) Deadline() Instant {
	due := min(b.foundings.until(), b.elections.until())
	if len(b.turns) > 0 {
		due = b.now
	}
	for _, p := range b.processes {
		due = min(due, p.due(b))
	}
	if len(b.groups) > 0 {
		for i := range b.shards {
			if s := &b.shards[i]; !s.stuck {
				due = min(due, max(s.turned+b.patience, b.checks))
			}
		}
	}
	b.due = due
	return due
}

// Beat tells the time. It is due at Deadline at the latest, and what has arrived is handed in before.
func (b *Book) Beat(now Instant) {
	if b.due != never && now > b.due+b.interval {
		b.checks = now + b.interval
	}
	b.advance(now)
	if b.now >= b.checks {
		b.lookAround()
	}
	b.callIn(&b.foundings)
	b.callIn(&b.elections)
	for _, p := range b.processes {
		if p.wantsMessage(b) {
			b.send(p)
		}
	}
	b.Deadline()
}

// Drain fills out with what is to be done. The next call uses its slices again.
func (b *Book) Drain(out *Out) {
	out.Messages, b.messages = b.messages, out.Messages[:0]
	out.Turns, b.turns = b.turns, out.Turns[:0]
}

// advance takes the time of an event.
func (b *Book) advance(now Instant) { b.now = max(b.now, now) }

// turn asks for a turn of a group.
func (b *Book) turn(g *group) {
	if !g.turning {
		g.turning = true
		b.turns = append(b.turns, g.id)
	}
}
