package wire

// Kinds of messages about the members and their disks.
const (
	KindIdentityRequest  Kind = 16
	KindIdentityResponse Kind = 17
	KindRemoved          Kind = 18
)

var _ = register(
	infoOf[IdentityRequest](KindIdentityRequest),
	infoOf[IdentityResponse](KindIdentityResponse),
	infoOf[Removed](KindRemoved),
)

// An IdentityRequest asks a server, at the address that it is said to have, which disk it has and
// to which cluster it belongs. It goes to a server that is about to be added or moved, and is
// outside of all terms.
type IdentityRequest struct {
	// Round numbers the changes of the members for which a leader asks.
	Round uint64
}

func (b *IdentityRequest) pack(p *packer) { number(p, fieldRound, &b.Round) }

// Message returns a message of this kind, without an envelope.
func (b IdentityRequest) Message() (m Message) { b.pack(m.begin(KindIdentityRequest)); return m }

// IdentityRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) IdentityRequest() (b IdentityRequest) {
	b.pack(m.open(KindIdentityRequest))
	return b
}

// An IdentityResponse answers an IdentityRequest. The envelope says who the sender is. With Round 0
// it answers no request: it tells a leader that knows the server with another disk that the server
// has this one.
type IdentityResponse struct {
	AskedIn Term // the Term of the request
	Round   uint64
	// Level is the highest level that the server knows. 0 stands for LevelFirst.
	Level Level
}

func (b *IdentityResponse) pack(p *packer) {
	number(p, fieldLogTerm, &b.AskedIn)
	number(p, fieldRound, &b.Round)
	number(p, fieldLevel, &b.Level)
}

// Message returns a message of this kind, without an envelope.
func (b IdentityResponse) Message() (m Message) { b.pack(m.begin(KindIdentityResponse)); return m }

// IdentityResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) IdentityResponse() (b IdentityResponse) {
	b.pack(m.open(KindIdentityResponse))
	return b
}

// A Removed tells a server that asks for pre-votes that the last configuration up to Committed
// leaves it out. It is outside of all terms.
type Removed struct {
	// Committed is the last place in the sender's log that is committed.
	Committed Place
}

func (b *Removed) pack(p *packer) { p.place(&b.Committed) }

// Message returns a message of this kind, without an envelope.
func (b Removed) Message() (m Message) { b.pack(m.begin(KindRemoved)); return m }

// Removed returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) Removed() (b Removed) { b.pack(m.open(KindRemoved)); return b }
