package wire

// Kinds of messages about elections.
const (
	KindPreVoteRequest  Kind = 1
	KindPreVoteResponse Kind = 2
	KindVoteRequest     Kind = 3
	KindVoteResponse    Kind = 4
	KindTimeoutNow      Kind = 9
)

var _ = register(
	infoOf[PreVoteRequest](KindPreVoteRequest),
	infoOf[PreVoteResponse](KindPreVoteResponse),
	infoOf[VoteRequest](KindVoteRequest),
	infoOf[VoteResponse](KindVoteResponse),
	infoOf[TimeoutNow](KindTimeoutNow),
)

// A PreVoteRequest asks whether a vote in the message's Term would be granted, without raising
// anybody's term (§9.6).
type PreVoteRequest struct {
	// Last is the end of the candidate's log.
	Last Place
	// FoundedFrom names the cluster with whose snapshot the candidate wants to found its own: the
	// first eight bytes of that cluster's ID. It is 0 for none.
	FoundedFrom uint64
	// Bootstrap is the whole list of servers that the candidate wants to found a cluster with,
	// sorted by ID. It is empty in a cluster that was founded.
	Bootstrap []Server
}

func (b *PreVoteRequest) pack(p *packer) {
	p.place(&b.Last)
	number(p, fieldNumber, &b.FoundedFrom)
	p.servers(&b.Bootstrap)
}

// Message returns a message of this kind, without an envelope.
func (b PreVoteRequest) Message() (m Message) { b.pack(m.begin(KindPreVoteRequest)); return m }

// PreVoteRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) PreVoteRequest() (b PreVoteRequest) { b.pack(m.open(KindPreVoteRequest)); return b }

// A PreVoteResponse answers a PreVoteRequest. The message's Term is the term asked about when the
// pre-vote is granted, and the voter's own otherwise.
type PreVoteResponse struct {
	Granted bool
	// Mismatch says that the voter refuses to found a cluster, because it has another Bootstrap
	// list. It may answer a VoteRequest, too.
	Mismatch bool
}

func (b *PreVoteResponse) pack(p *packer) {
	p.flag(fieldGranted, &b.Granted)
	p.flag(fieldMismatch, &b.Mismatch)
}

// Message returns a message of this kind, without an envelope.
func (b PreVoteResponse) Message() (m Message) { b.pack(m.begin(KindPreVoteResponse)); return m }

// PreVoteResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) PreVoteResponse() (b PreVoteResponse) {
	b.pack(m.open(KindPreVoteResponse))
	return b
}

// A VoteRequest is RequestVote (§3.4). With a Bootstrap list it asks to found a cluster of exactly
// those servers.
type VoteRequest struct {
	Last        Place  // as in a PreVoteRequest
	FoundedFrom uint64 // likewise
	// Transfer says that the candidate campaigns on a leader's behalf (§3.10): a voter grants its
	// vote even if it hears a leader.
	Transfer  bool
	Bootstrap []Server // as in a PreVoteRequest
}

func (b *VoteRequest) pack(p *packer) {
	p.place(&b.Last)
	number(p, fieldNumber, &b.FoundedFrom)
	p.flag(fieldTransfer, &b.Transfer)
	p.servers(&b.Bootstrap)
}

// Message returns a message of this kind, without an envelope.
func (b VoteRequest) Message() (m Message) { b.pack(m.begin(KindVoteRequest)); return m }

// VoteRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) VoteRequest() (b VoteRequest) { b.pack(m.open(KindVoteRequest)); return b }

// A VoteResponse answers a VoteRequest.
type VoteResponse struct {
	// Start is the start of the candidate that asked. A candidate whose disk has forgotten that it
	// asked before must not count what that one was given.
	Start   uint64
	Granted bool
	// Level is the highest level that the voter knows, if the candidate wants to found a cluster.
	// It is 0 otherwise.
	Level Level
}

func (b *VoteResponse) pack(p *packer) {
	number(p, fieldStart, &b.Start)
	p.flag(fieldGranted, &b.Granted)
	number(p, fieldLevel, &b.Level)
}

// Message returns a message of this kind, without an envelope.
func (b VoteResponse) Message() (m Message) { b.pack(m.begin(KindVoteResponse)); return m }

// VoteResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) VoteResponse() (b VoteResponse) { b.pack(m.open(KindVoteResponse)); return b }

// A TimeoutNow tells the receiver to campaign at once (§3.10).
type TimeoutNow struct{}

func (b *TimeoutNow) pack(*packer) {}

// Message returns a message of this kind, without an envelope.
func (b TimeoutNow) Message() (m Message) { b.pack(m.begin(KindTimeoutNow)); return m }

// TimeoutNow returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) TimeoutNow() (b TimeoutNow) { b.pack(m.open(KindTimeoutNow)); return b }
