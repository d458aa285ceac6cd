package wire

import "time"

// Kinds of messages about replication.
const (
	KindAppendRequest     Kind = 5
	KindAppendResponse    Kind = 6
	KindHeartbeat         Kind = 7
	KindHeartbeatResponse Kind = 8
)

var _ = register(
	infoOf[AppendRequest](KindAppendRequest),
	infoOf[AppendResponse](KindAppendResponse),
	infoOf[Heartbeat](KindHeartbeat),
	infoOf[HeartbeatResponse](KindHeartbeatResponse),
)

// An AppendRequest is AppendEntries (§3.5). Without entries it is a probe.
type AppendRequest struct {
	// Previous is the entry before Entries.
	Previous Place
	// Commit is the leader's commit index.
	Commit Index
	// Entries follow Previous. They are contiguous, and their terms never fall.
	Entries []Entry
}

func (b *AppendRequest) pack(p *packer) {
	p.place(&b.Previous)
	number(p, fieldCommit, &b.Commit)
	p.entries(&b.Entries)
}

// Message returns a message of this kind, without an envelope.
func (b AppendRequest) Message() (m Message) { b.pack(m.begin(KindAppendRequest)); return m }

// AppendRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) AppendRequest() (b AppendRequest) { b.pack(m.open(KindAppendRequest)); return b }

// An AppendResponse answers an AppendRequest. To a leader of an earlier term it tells the term, and
// nothing else.
type AppendResponse struct {
	// Accepted says: "My log matches yours up to Index, durably." Otherwise the answer says: "My
	// log doesn't hold the previous entry, at Index. Look at Agree or before it."
	Accepted bool
	Index    Index
	// Agree is the last place at or before Index at which the two logs can agree. It is zero in an
	// accepting answer.
	Agree Place
}

func (b *AppendResponse) pack(p *packer) {
	number(p, fieldIndex, &b.Index)
	number(p, fieldLogTerm, &b.Agree.Term)
	number(p, fieldHint, &b.Agree.Index)
	p.flag(fieldGranted, &b.Accepted)
}

// Message returns a message of this kind, without an envelope.
func (b AppendResponse) Message() (m Message) { b.pack(m.begin(KindAppendResponse)); return m }

// AppendResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) AppendResponse() (b AppendResponse) { b.pack(m.open(KindAppendResponse)); return b }

// A Heartbeat asserts the sender's leadership in the message's Term, and nothing about the log but
// Acknowledged and Commit. A Heartbeat with a Round is to be answered. Without a Round it only
// tells these two.
type Heartbeat struct {
	// Acknowledged is the last entry of the sender's log that the receiver's disk has said, in this
	// Term, to hold. A disk that holds less, or something else, has forgotten that. It is zero if
	// the sender doesn't know.
	Acknowledged Place
	// Commit is the leader's commit index, up to which the receiver need not have the log. Up to
	// the lower one of the two, what the receiver's log holds is committed.
	Commit Index
	// Stable is the index up to which the leader's own disk holds the log. It has promised that as if
	// it had acknowledged it.
	Stable Index
	// Round numbers the leader's rounds of heartbeats within its term, from 1.
	Round uint64
	// Lease is the length of the lease that the leader asks for, or 0 for none.
	Lease time.Duration
}

func (b *Heartbeat) pack(p *packer) {
	p.place(&b.Acknowledged)
	number(p, fieldHint, &b.Stable)
	number(p, fieldCommit, &b.Commit)
	number(p, fieldRound, &b.Round)
	number(p, fieldLease, &b.Lease)
}

// Message returns a message of this kind, without an envelope.
func (b Heartbeat) Message() (m Message) { b.pack(m.begin(KindHeartbeat)); return m }

// Heartbeat returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) Heartbeat() (b Heartbeat) { b.pack(m.open(KindHeartbeat)); return b }

// A HeartbeatResponse answers the heartbeat of the same Round.
type HeartbeatResponse struct {
	// Durable is the index up to which the follower's log matches the leader's on disk. Received is
	// the index up to which it matches, on disk or not.
	Durable, Received Index
	Round             uint64
	// Lost is the index of a snapshot that this server has lost. It needs another snapshot that
	// covers at least as much. 0 is none.
	Lost Index
	// Lease is the length of the lease that the follower promises, or 0 for none.
	Lease time.Duration
	// Fitness says how gladly the follower would lead: its priority plus one, or 0 when it
	// shouldn't lead.
	Fitness uint64
	// Full says that the follower's disk is full. Room doesn't tell: it is little too while much of the
	// log is on its way to a disk that has room.
	Full bool
	// Room is one more than the bytes of entries behind Received for which the follower's disk has
	// room (Entry.Size). 0 says that its room has no end.
	Room uint64
	// Level is the highest level that the follower knows. 0 stands for LevelFirst.
	Level Level
}

func (b *HeartbeatResponse) pack(p *packer) {
	number(p, fieldIndex, &b.Durable)
	number(p, fieldHint, &b.Received)
	number(p, fieldRound, &b.Round)
	number(p, fieldNumber, &b.Lost)
	p.flag(fieldGranted, &b.Full)
	number(p, fieldLease, &b.Lease)
	number(p, fieldFitness, &b.Fitness)
	number(p, fieldSize, &b.Room)
	number(p, fieldLevel, &b.Level)
}

// Message returns a message of this kind, without an envelope.
func (b HeartbeatResponse) Message() (m Message) { b.pack(m.begin(KindHeartbeatResponse)); return m }

// HeartbeatResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) HeartbeatResponse() (b HeartbeatResponse) {
	b.pack(m.open(KindHeartbeatResponse))
	return b
}
