package wire

// Kinds of messages about entries whose bytes a server has lost. They are outside of all terms.
const (
	KindRepairRequest  Kind = 26
	KindRepairResponse Kind = 27
	KindSnapshotPull   Kind = 28
)

var _ = register(
	infoOf[RepairRequest](KindRepairRequest),
	infoOf[RepairResponse](KindRepairResponse),
	infoOf[SnapshotPull](KindSnapshotPull),
)

// A RepairRequest asks for the bytes of the entries from First to Last, all of which have the term
// Term. The sender's log holds them by their identity, and has lost their bytes.
type RepairRequest struct {
	First Index
	Term  Term
	Last  Index
}

func (b *RepairRequest) pack(p *packer) {
	number(p, fieldIndex, &b.First)
	number(p, fieldLogTerm, &b.Term)
	number(p, fieldHint, &b.Last)
}

// Message returns a message of this kind, without an envelope.
func (b RepairRequest) Message() (m Message) { b.pack(m.begin(KindRepairRequest)); return m }

// RepairRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) RepairRequest() (b RepairRequest) { b.pack(m.open(KindRepairRequest)); return b }

// A RepairResponse answers a RepairRequest. It says nothing of an entry that the sender has lost
// too, or has forgotten behind a snapshot.
type RepairResponse struct {
	// Lacks, if it isn't zero, is the first of the entries that the sender's log doesn't hold. It
	// counts in the message's term alone, in which the sender was asked.
	Lacks Place
	// First is that of the request.
	First Index
	// Snapshot is the index of the sender's snapshot, if that covers First; otherwise it is 0.
	Snapshot Index
	// Entries are some of those that were asked for, in order and without a gap.
	Entries []Entry
}

func (b *RepairResponse) pack(p *packer) {
	p.place(&b.Lacks)
	number(p, fieldHint, &b.First)
	number(p, fieldCommit, &b.Snapshot)
	p.entries(&b.Entries)
}

// Message returns a message of this kind, without an envelope.
func (b RepairResponse) Message() (m Message) { b.pack(m.begin(KindRepairResponse)); return m }

// RepairResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) RepairResponse() (b RepairResponse) { b.pack(m.open(KindRepairResponse)); return b }

// A SnapshotPull asks any server for its snapshot, which is to take the place of lost entries. A
// stream answers it (SnapshotStream.Pulled).
type SnapshotPull struct {
	// Least is the index that the snapshot must cover.
	Least Index
	// Start and Serial name the snapshot of the receiver (SnapshotRequest) of which the sender holds
	// Offset bytes.
	Start, Serial uint64
	Offset        uint64
}

func (b *SnapshotPull) pack(p *packer) {
	number(p, fieldIndex, &b.Least)
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Serial)
	number(p, fieldOffset, &b.Offset)
}

// Message returns a message of this kind, without an envelope.
func (b SnapshotPull) Message() (m Message) { b.pack(m.begin(KindSnapshotPull)); return m }

// SnapshotPull returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) SnapshotPull() (b SnapshotPull) { b.pack(m.open(KindSnapshotPull)); return b }
