package coalesce

import (
	"time"

	"github.com/e17579a5/raft/wire"
)

// An Instant is a point of monotonic time in nanoseconds, as a raft.Instant is.
type Instant int64

// A Config is what a Book is made of.
type Config struct {
	// Self is the server whose process this is. Start is the process's start: a later start has a
	// higher number.
	Self  wire.ServerID
	Start uint64
	// Heartbeat and ElectionTimeout are those of all groups.
	Heartbeat, ElectionTimeout time.Duration
	// Shards is how many shards take the turns of the groups.
	Shards int
	// Now is the time at which the Book begins.
	Now Instant
}

// A Book is what one process knows of the quiet groups of all processes. It is single-threaded and
// deterministic, as a raft.Core is: its events come with the current time, and what they want done
// comes out of Drain.
type Book struct {
	config Config
	now    Instant
}

// NewBook returns a Book without groups.
func NewBook(config Config) *Book { return &Book{config: config, now: config.Now} }

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
	// Heard says when the leader of a term was last heard, if Heard.Leader isn't "".
	Heard Heard
	// Vouched are the members that have answered for a leader, in Term.
	Term    wire.Term
	Vouched []Voucher
	// Doubted says that a member has something to tell that a quiet leader doesn't know, or that its
	// process has come back, or doesn't answer. The leader is to begin a round.
	Doubted bool
	// Heartbeats are the heartbeats that new entries of others' lists stand for.
	Heartbeats []wire.Message
	// Lost is the leader whose process is gone, or "". First says that most voters agree, and that this
	// server is the one to campaign at once.
	Lost  wire.ServerID
	First bool
}

// A Heard is when a leader was last heard.
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

// Leave takes a group from all lists before its core is handed anything (H6), and fills left with
// what the core is to be told first.
func (b *Book) Leave(now Instant, group wire.GroupID, left *Left) {
	b.advance(now)
	*left = Left{Vouched: left.Vouched[:0], Heartbeats: left.Heartbeats[:0]}
}

// Settle puts a quiet group on the lists after its turn. settled is false if the group's core must
// look after itself: a member's process is heard that lacks something, or the leader's list doesn't
// have the same stand. sooner says that Deadline may be earlier than before.
func (b *Book) Settle(now Instant, group wire.GroupID, shard int, quiet *Quiet) (settled, sooner bool) {
	b.advance(now)
	return false, false
}

// End forgets a group that doesn't run here any more.
func (b *Book) End(now Instant, group wire.GroupID) { b.advance(now) }

// Turned notes that a shard is at the boundary of a turn.
func (b *Book) Turned(now Instant, shard int) { b.advance(now) }

// Room notes the room of this process's disk, as raft.Core.Room does: math.MaxUint64 for one
// without end.
func (b *Book) Room(bytes uint64) {}

// Receive takes a process heartbeat of another process.
func (b *Book) Receive(now Instant, m *wire.Message) { b.advance(now) }

// Lost notes that the transport has lost the process of a server.
func (b *Book) Lost(now Instant, server wire.ServerID) { b.advance(now) }

// Deadline returns when Beat is due next.
func (b *Book) Deadline() Instant { return b.now + Instant(b.config.Heartbeat) }

// Beat tells the time. It is due at Deadline at the latest, and what has arrived is handed in before.
func (b *Book) Beat(now Instant) { b.advance(now) }

// Drain fills out with what is to be done. The next call uses its slices again.
func (b *Book) Drain(out *Out) { *out = Out{Messages: out.Messages[:0], Turns: out.Turns[:0]} }

// advance takes the time of an event.
func (b *Book) advance(now Instant) { b.now = max(b.now, now) }
