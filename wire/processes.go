package wire

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/e17579a5/raft/internal/codec"
)

// KindProcessHeartbeat is what processes that serve several groups say to each other. It belongs to
// no group, and is outside of all terms.
const KindProcessHeartbeat Kind = 29

var _ = register(infoOf[ProcessHeartbeat](KindProcessHeartbeat))

// A ProcessHeartbeat stands for one Heartbeat in each group of a list: those groups that the sender
// leads, of which the receiver is a member, and in which nothing happens. It also stands for one
// HeartbeatResponse in each group of the receiver's list, of which the sender is a member.
// FromStart is the start of the sender's process.
//
// Both sides hold a list by its version. A change of the list gives it the next version. A message
// brings the changes from the version Base to the version Version. A receiver whose version is
// below Base can't take it, and says so by the version that it answers with.
type ProcessHeartbeat struct {
	// Round numbers the sender's rounds to this receiver, from 1. A message without a Round isn't a
	// heartbeat. It only brings a piece of the list, or an answer.
	Round uint64
	// Base and Version are the versions of the list before and after the changes. Base 0 begins the
	// list anew.
	Base, Version uint64
	// Wait is how long the answer may wait for the receiver's own next heartbeat.
	Wait time.Duration

	// AnsweredStart is the start of the receiver's process whose heartbeat this message answers, and
	// AnsweredRound the round. It is 0 if the message answers nothing. AnsweredVersion is the version
	// of the receiver's list up to which this answer speaks.
	AnsweredStart, AnsweredRound, AnsweredVersion uint64

	// Room is one more than the bytes of entries for which the disk of the sender's process has room
	// (Entry.Size). 0 says that its room has no end.
	Room uint64

	// Stands are the groups that are new on the list, or are there with something else, and Gone are
	// those that have left it.
	Stands []Stand
	Gone   []GroupID
	// Excepted are the groups of the receiver's list for which this message answers nothing.
	Excepted []GroupID
	// Lost are the servers whose processes the sender hears no more.
	Lost []ServerID
}

// A Stand is what a leader and one member of its group know of each other while nothing happens. It
// is the same from both sides: the leader says what its next Heartbeat would tell and what it
// expects as the answer, and the member has nothing else to say.
type Stand struct {
	Group   GroupID
	Term    Term
	Cluster ClusterID
	// Leader and Member are the disks of the two. LeaderStart is the leader's start.
	Leader, Member Incarnation
	LeaderStart    uint64
	// Last is the end of both logs. It is durable, committed and applied at both.
	Last Place
	// Lease is the length that the leader asks for and the member promises. Fitness and Level are
	// those of the member's HeartbeatResponse.
	Lease   time.Duration
	Fitness uint64
	Level   Level
}

// Heartbeat returns the heartbeat that a stand of a leader stands for. It isn't to be answered: an
// answer says nothing that the stand doesn't say.
func (s *Stand) Heartbeat(from, to ServerID) Message {
	return Heartbeat{Acknowledged: s.Last, Commit: s.Last.Index, Stable: s.Last.Index}.Message().In(Envelope{
		From: from, To: to, Cluster: s.Cluster, FromIncarnation: s.Leader, ToIncarnation: s.Member,
		Term: s.Term, FromStart: s.LeaderStart, Group: s.Group,
	})
}

func (b *ProcessHeartbeat) pack(p *packer) {
	if !p.has(fieldProcess, b.zero()) {
		return
	}
	if p.mode == unpacks {
		*b = *p.body.rest.process
	} else {
		process := *b
		p.lists().process = &process
	}
}

// zero says whether the body is that of an empty message.
func (b *ProcessHeartbeat) zero() bool {
	return b.numbers() == [processNumbers]uint64{} && len(b.Stands)+len(b.Gone)+len(b.Excepted)+len(b.Lost) == 0
}

func (b *ProcessHeartbeat) equal(other *ProcessHeartbeat) bool {
	if b == nil || other == nil {
		return b == other
	}
	return b.numbers() == other.numbers() && slices.Equal(b.Stands, other.Stands) && slices.Equal(b.Gone, other.Gone) &&
		slices.Equal(b.Excepted, other.Excepted) && slices.Equal(b.Lost, other.Lost)
}

// size is what the body counts for against limits in bytes.
func (b *ProcessHeartbeat) size() (n int) {
	for i := range b.Stands {
		n += standBytes + len(b.Stands[i].Group)
	}
	return n + sizeOfNames(b.Gone) + sizeOfNames(b.Excepted) + sizeOfNames(b.Lost)
}

// standBytes is about what a stand takes in memory beside the name of its group, in bytes, and
// nameBytes what a name takes beside its letters.
const standBytes, nameBytes = 112, 16

func sizeOfNames[T ~string](names []T) (n int) {
	for _, name := range names {
		n += nameBytes + len(name)
	}
	return n
}

// Message returns a message of this kind, without an envelope.
func (b ProcessHeartbeat) Message() (m Message) { b.pack(m.begin(KindProcessHeartbeat)); return m }

// ProcessHeartbeat returns the body of a message of this kind, and a zero one for any other kind.
// Its lists are shared, and not to be changed.
func (m *Message) ProcessHeartbeat() (b ProcessHeartbeat) {
	b.pack(m.open(KindProcessHeartbeat))
	return b
}

// processNumbers is how many numbers a ProcessHeartbeat has.
const processNumbers = 8

// numbers returns the numbers of the body in the order in which they are encoded.
func (b *ProcessHeartbeat) numbers() [processNumbers]uint64 {
	return [...]uint64{
		b.Round, b.Base, b.Version, uint64(b.Wait), b.AnsweredStart, b.AnsweredRound, b.AnsweredVersion, b.Room,
	}
}

// A ProcessHeartbeat is encoded as its numbers, and its lists: each a count, and as many stands,
// groups or servers.

func appendProcess(b []byte, process *ProcessHeartbeat) []byte {
	for _, n := range process.numbers() {
		b = codec.AppendUvarint(b, n)
	}
	b = codec.AppendUvarint(b, uint64(len(process.Stands)))
	for i := range process.Stands {
		b = appendStand(b, &process.Stands[i])
	}
	b = appendNames(b, process.Gone)
	b = appendNames(b, process.Excepted)
	return appendNames(b, process.Lost)
}

func appendNames[T ~string](b []byte, names []T) []byte {
	b = codec.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		b = codec.AppendString(b, string(name))
	}
	return b
}

// minStandBytes is the least that a stand takes.
const minStandBytes = 1 + 1 + 16 + 8 + 8 + 1 + 2 + 3

func appendStand(b []byte, s *Stand) []byte {
	b = codec.AppendString(b, string(s.Group))
	b = codec.AppendUvarint(b, uint64(s.Term))
	b = append(b, s.Cluster[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Leader))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Member))
	return appendNumbers(b, s.LeaderStart, uint64(s.Last.Index), uint64(s.Last.Term), uint64(s.Lease), s.Fitness, uint64(s.Level))
}

func (r *reader) process() *ProcessHeartbeat {
	b := &ProcessHeartbeat{
		Round: r.Uvarint("process: Round"), Base: r.Uvarint("process: Base"), Version: r.Uvarint("process: Version"),
		Wait: r.duration("process: Wait"), AnsweredStart: r.Uvarint("process: AnsweredStart"),
		AnsweredRound: r.Uvarint("process: AnsweredRound"), AnsweredVersion: r.Uvarint("process: AnsweredVersion"),
		Room: r.Uvarint("process: Room"),
	}
	if n := r.Count(minStandBytes, "process: Stands"); n > 0 && r.Err() == nil {
		b.Stands = make([]Stand, n)
		for i := range b.Stands {
			r.stand(&b.Stands[i])
		}
	}
	b.Gone = r.groupIDs("process: Gone")
	b.Excepted = r.groupIDs("process: Excepted")
	b.Lost = r.serverIDs("process: Lost")
	r.Check(r.Err() != nil || !b.zero(), "message: Process is zero, yet present")
	return b
}

func (r *reader) stand(s *Stand) {
	if r.Err() != nil {
		return
	}
	s.Group, s.Term = r.anyGroup("stand: Group"), Term(r.Uvarint("stand: Term"))
	copy(s.Cluster[:], r.Next(uint64(len(s.Cluster)), "stand: Cluster"))
	s.Leader, s.Member = Incarnation(r.Uint64("stand: Leader")), Incarnation(r.Uint64("stand: Member"))
	s.LeaderStart = r.Uvarint("stand: LeaderStart")
	s.Last = Place{Index(r.Uvarint("stand: Last")), Term(r.Uvarint("stand: Last"))}
	s.Lease, s.Fitness, s.Level = r.duration("stand: Lease"), r.Uvarint("stand: Fitness"), Level(r.Uvarint("stand: Level"))
}

// duration reads a number of nanoseconds.
func (r *reader) duration(name string) time.Duration {
	d := time.Duration(r.Uvarint(name))
	if d < 0 {
		r.Fail("%s is negative", name)
	}
	return d
}

// groupIDs reads a count, and as many groups.
func (r *reader) groupIDs(name string) []GroupID {
	n := r.Count(1, name)
	if n == 0 || r.Err() != nil {
		return nil
	}
	groups := make([]GroupID, n)
	for i := range groups {
		if groups[i] = r.anyGroup(name); r.Err() != nil {
			return nil
		}
	}
	return groups
}

// serverIDs reads a count, and as many servers' IDs.
func (r *reader) serverIDs(name string) []ServerID {
	n := r.Count(1, name)
	if n > MaxMembers {
		r.Fail("%s: %d servers, more than %d", name, n, MaxMembers)
	}
	if n == 0 || r.Err() != nil {
		return nil
	}
	servers := make([]ServerID, n)
	for i := range servers {
		if servers[i] = r.serverID(name); r.Err() != nil {
			return nil
		}
	}
	return servers
}
