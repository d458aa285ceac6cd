package wire

// Kinds of messages about snapshots.
const (
	KindSnapshotRequest  Kind = 19
	KindSnapshotResponse Kind = 20
	KindSnapshotStream   Kind = 21
)

var _ = register(
	infoOf[SnapshotRequest](KindSnapshotRequest),
	infoOf[SnapshotResponse](KindSnapshotResponse),
	infoOf[SnapshotStream](KindSnapshotStream),
)

// A SnapshotRequest offers a snapshot to a peer that needs entries which the log doesn't hold any
// more (§5.3).
type SnapshotRequest struct {
	Snapshot Place // the last entry that the snapshot covers
	// Attempt counts the leader's attempts to send a snapshot within its term.
	Attempt uint64
	// Start and Serial name the snapshot among the sender's: two snapshots of one place need not
	// have the same bytes. Start is the sender's start counter.
	Start, Serial uint64
	Bytes         uint64 // how many bytes the snapshot has
}

func (b *SnapshotRequest) pack(p *packer) {
	p.place(&b.Snapshot)
	number(p, fieldRound, &b.Attempt)
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Serial)
	number(p, fieldSize, &b.Bytes)
}

// Message returns a message of this kind, without an envelope.
func (b SnapshotRequest) Message() (m Message) { b.pack(m.begin(KindSnapshotRequest)); return m }

// SnapshotRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) SnapshotRequest() (b SnapshotRequest) {
	b.pack(m.open(KindSnapshotRequest))
	return b
}

// A SnapshotResponse answers a SnapshotRequest. The sender has that many bytes of this very
// snapshot already, so the stream is to begin at Offset; or it doesn't take the snapshot now. A server
// that doesn't need the snapshot sends an AppendResponse instead.
type SnapshotResponse struct {
	Snapshot      Place // as in the SnapshotRequest, like the next three
	Attempt       uint64
	Start, Serial uint64
	// Refused is RefusedFull if the sender's disk has no room for the snapshot, RefusedBusy if it
	// receives too many others, and 0 otherwise.
	// Held is then how many bytes of one it could store last.
	Refused Refusal
	Held    uint64
	Offset  uint64 // in bytes
}

func (b *SnapshotResponse) pack(p *packer) {
	p.place(&b.Snapshot)
	number(p, fieldRound, &b.Attempt)
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Serial)
	number(p, fieldRefusal, &b.Refused)
	number(p, fieldSize, &b.Held)
	number(p, fieldOffset, &b.Offset)
}

// Message returns a message of this kind, without an envelope.
func (b SnapshotResponse) Message() (m Message) { b.pack(m.begin(KindSnapshotResponse)); return m }

// SnapshotResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) SnapshotResponse() (b SnapshotResponse) {
	b.pack(m.open(KindSnapshotResponse))
	return b
}

// A SnapshotStream isn't sent as a message. It is the head of a stream that brings the bytes of a
// snapshot from Offset on.
type SnapshotStream struct {
	SnapshotRequest
	// Pulled says that the receiver has asked for the snapshot (SnapshotPull). The sender need not
	// be a leader. The snapshot covers what is committed as of the message's term.
	Pulled bool
	Offset uint64 // in bytes
	// Configuration is the entry of the configuration that is in force at the snapshot's place. It
	// has no term.
	Configuration Entry
}

func (b *SnapshotStream) pack(p *packer) {
	p.place(&b.Snapshot)
	number(p, fieldRound, &b.Attempt)
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Serial)
	p.flag(fieldGranted, &b.Pulled)
	one(p.entries, b.Configuration.Kind == 0, &b.Configuration)
	number(p, fieldSize, &b.Bytes)
	number(p, fieldOffset, &b.Offset)
}

// Message returns a message of this kind, without an envelope.
func (b SnapshotStream) Message() (m Message) { b.pack(m.begin(KindSnapshotStream)); return m }

// Pulled says whether the message is a SnapshotStream that was asked for.
func (m *Message) Pulled() bool {
	return m.body.kind == KindSnapshotStream && m.body.fields&fieldGranted != 0
}

// SnapshotStream returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) SnapshotStream() (b SnapshotStream) { b.pack(m.open(KindSnapshotStream)); return b }
