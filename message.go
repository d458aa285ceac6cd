package raft

import "strconv"

// A MessageKind says what a Message asks or answers.
type MessageKind uint8

// Kinds of messages. Requests are answered by a server in any role; responses are consumed by the
// role that asked.
const (
	// PreVoteRequest asks whether a vote in Term would be granted, without raising anybody's term (§9.6).
	PreVoteRequest MessageKind = 1 + iota
	// PreVoteResponse answers it. Term is the term that was asked about when Granted, the voter's own
	// otherwise.
	PreVoteResponse
	// VoteRequest is RequestVote (§3.4). With Servers it asks to found a cluster of exactly these.
	VoteRequest
	// VoteResponse answers it.
	VoteResponse
	// AppendRequest is AppendEntries (§3.5) with the previous entry at (Index, LogTerm). Without entries it
	// is a probe.
	AppendRequest
	// AppendResponse answers it: "my log matches yours up to Index, durably", or, when not Granted,
	// "it doesn't hold the previous entry at Index; look at or before (Hint, LogTerm)". To a leader of an earlier
	// term it says nothing but the term.
	AppendResponse
	// Heartbeat asserts leadership in Term, and nothing about the log but a commit index that the
	// receiver is known to have. With a Round it is to be answered; without, it only tells the commit.
	Heartbeat
	// HeartbeatResponse answers the heartbeat of the same Round. Index is what is durable and known to
	// match; Hint is what has been received and matches, durable or not.
	HeartbeatResponse
	// TimeoutNow tells the receiver to campaign at once (§3.10).
	TimeoutNow
	// ForwardRequest offers commands (§6.2) to the leader of exactly this Term. Number is the origin's lowest
	// unanswered number: below it, nothing will ever be offered again.
	ForwardRequest
	// ForwardResponse lists in Numbers the forwarded commands that the leader of Term refused for all of Term.
	ForwardResponse
	// ReadRequest asks the leader for a read index (§6.4) for all reads of this origin up to Number that a lease may
	// confirm, or that it may not.
	ReadRequest
	// ReadResponse answers it: after applying up to Index, the reads up to Number may be served.
	ReadResponse
	// CallRequest asks the leader of exactly this Term for what Call says. Number is the origin's lowest
	// unanswered call, Numbers the one that this is.
	CallRequest
	// CallResponse answers the call Number: done when Granted, with the Index of the configuration that it led to
	// or 0; or else refused for all of Term, as Refusal says, on account of the one of Servers if there is one.
	CallResponse
	// IdentityRequest asks a server that is about to be added or moved, at the address that it is said to have, which disk it
	// has, and to which cluster it belongs. It is outside of all terms.
	IdentityRequest
	// IdentityResponse answers it, with its Round, and its Term in LogTerm. With Round 0 it says to a leader that knows
	// the server with another disk that it has this one.
	IdentityResponse
	// Removed tells a server that asks for pre-votes that it doesn't belong to the last configuration up to (Index, LogTerm),
	// where the log is committed. It is outside of all terms.
	Removed
	// SnapshotRequest offers a snapshot to a peer that needs entries which the log doesn't hold any more (§5.3). Index
	// and LogTerm are what it covers, Size its bytes; Start and Number name it among the sender's. Round
	// counts the leader's attempts to send.
	SnapshotRequest
	// SnapshotResponse answers it: send it from Offset on, since so much of this very snapshot is here already.
	// Who doesn't need it sends an AppendResponse instead.
	SnapshotResponse
	// SnapshotStream isn't sent as a message: it is the head of a stream that brings the bytes of a snapshot from
	// Offset on. Its one entry is the configuration that the snapshot holds.
	SnapshotStream
	// Fingerprints tells the fingerprints of the sender's results: Numbers, the last of them at Index.
	Fingerprints

	lastMessageKind = Fingerprints
)

var messageKindNames = [...]string{
	PreVoteRequest: "PreVoteRequest", PreVoteResponse: "PreVoteResponse",
	VoteRequest: "VoteRequest", VoteResponse: "VoteResponse",
	AppendRequest: "AppendRequest", AppendResponse: "AppendResponse",
	Heartbeat: "Heartbeat", HeartbeatResponse: "HeartbeatResponse",
	TimeoutNow:     "TimeoutNow",
	ForwardRequest: "ForwardRequest", ForwardResponse: "ForwardResponse",
	ReadRequest: "ReadRequest", ReadResponse: "ReadResponse",
	CallRequest: "CallRequest", CallResponse: "CallResponse",
	IdentityRequest: "IdentityRequest", IdentityResponse: "IdentityResponse", Removed: "Removed",
	SnapshotRequest: "SnapshotRequest", SnapshotResponse: "SnapshotResponse", SnapshotStream: "SnapshotStream",
	Fingerprints: "Fingerprints",
}

// String returns the name of the kind.
func (k MessageKind) String() string {
	if k > 0 && k <= lastMessageKind {
		return messageKindNames[k]
	}
	return "message kind " + strconv.Itoa(int(k))
}

// A Message is what one server says to another. The envelope is in every message; of the other
// fields each kind uses those that its own comment and theirs name, and leaves the rest zero.
// A message is a value: it and what it points to are never changed once sent.
type Message struct {
	Kind     MessageKind
	From, To ServerID
	// At is where To is said to be by who asks for its identity, if that is another place than the servers have been told
	// (IdentityRequest). It says to the transport where to go, and isn't sent.
	At string

	// Cluster is the sender's cluster; zero while it has none.
	Cluster ClusterID
	// FromIncarnation is that of the sender's disk. ToIncarnation is, in an answer, that of the disk which asked;
	// otherwise the one that the sender's configuration names for the receiver, or zero when it names none.
	FromIncarnation, ToIncarnation Incarnation
	// Term is the sender's current term, except in a pre-vote.
	Term Term

	// Index and LogTerm are a place in a log: the candidate's last entry (votes), the entry before
	// Entries (AppendRequest), what was matched or refused (AppendResponse, HeartbeatResponse), the
	// read index (ReadResponse), a configuration (CallResponse), the last that is committed (Removed).
	Index   Index
	LogTerm Term
	// Hint accompanies Index in AppendResponse and HeartbeatResponse.
	Hint Index
	// Commit is the leader's commit index (AppendRequest, Heartbeat, ReadResponse).
	Commit Index
	// Round numbers the leader's rounds of heartbeats within its term, the attempts of a candidate, the changes of
	// the members of which a leader asks for identities, and a leader's attempts to send a snapshot.
	Round uint64
	// Start is the start counter of the origin of a request, repeated in its answer.
	Start uint64
	// Number belongs to forwards, reads, calls and snapshots; in a HeartbeatResponse it is the index of the snapshot that this
	// server has lost, and needs another one for.
	Number uint64
	// Lease is the length of the lease that the leader asks for (Heartbeat), or that is promised
	// (HeartbeatResponse). 0 is none.
	Lease Duration
	// Fitness says how glad the leader may be to hand over to this server (HeartbeatResponse): its priority plus
	// one, or 0 when it shouldn't lead.
	Fitness uint64
	// Size and Offset count the bytes of a snapshot.
	Size, Offset uint64

	// Granted is the answer to a vote, a pre-vote, an append or a call.
	Granted bool
	// Transfer marks a vote asked on a leader's behalf (§3.10): stickiness doesn't apply to it.
	Transfer bool
	// ByLease marks a read that a lease may confirm (ReadRequest, ReadResponse).
	ByLease bool
	// Mismatch marks a refusal to found a cluster, because the server was given another list.
	Mismatch bool

	// Entries are the entries after Index (AppendRequest; contiguous, terms never falling) or
	// commands without index and term (ForwardRequest), or a configuration (SnapshotStream).
	Entries []Entry
	// Numbers are the refused commands (ForwardResponse), the number of Call, or sums (Fingerprints).
	Numbers []uint64
	// Servers is the whole Bootstrap list, sorted by ID, of a candidate that wants to found a cluster, or the
	// server on whose account a call was refused.
	Servers []Server

	// Call is what is asked for (CallRequest), Refusal why it wasn't done (CallResponse).
	Call    *Call
	Refusal Refusal

	// Level is the highest one that the sender knows (HeartbeatResponse, IdentityResponse, and VoteResponse to who wants to
	// found a cluster). 0 stands for LevelFirst.
	Level Level
}

// sameAnswer says whether two messages of one server, neither with any of the lists, are equal.
func (m *Message) sameAnswer(other *Message) bool {
	return m.Kind == other.Kind && m.To == other.To && m.Cluster == other.Cluster && m.ToIncarnation == other.ToIncarnation &&
		m.Term == other.Term && m.Index == other.Index && m.LogTerm == other.LogTerm && m.Hint == other.Hint &&
		m.Round == other.Round && m.Lease == other.Lease && m.Fitness == other.Fitness &&
		m.Granted == other.Granted && m.Mismatch == other.Mismatch
}

// size is what a message counts for against limits in bytes.
func (m *Message) size() int {
	n := messageOverhead
	for i := range m.Entries {
		n += m.Entries[i].size()
	}
	if m.Call != nil {
		n += m.Call.size()
	}
	return n
}

// messageOverhead is about what a message takes in memory beside its entries.
const messageOverhead = 256
