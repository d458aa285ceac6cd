package wire

// Kinds of messages about what a disk has forgotten. They are outside of all terms.
const (
	KindStarted    Kind = 23
	KindKnown      Kind = 24
	KindRolledBack Kind = 25
)

var _ = register(
	infoOf[Started](KindStarted),
	infoOf[Known](KindKnown),
	infoOf[RolledBack](KindRolledBack),
)

// A Started tells the other servers of a start, which the envelope names, and asks them what they
// know of the sender's disk (Known).
type Started struct{}

func (b *Started) pack(*packer) {}

// Message returns a message of this kind, without an envelope.
func (b Started) Message() (m Message) { b.pack(m.begin(KindStarted)); return m }

// Started returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) Started() (b Started) { b.pack(m.open(KindStarted)); return b }

// A Known tells a server what the sender knows of the receiver's disk: because it has asked
// (Started), or because a message was of another start than that.
type Known struct {
	// Promised is the most that the disk was heard to promise before the start Start: a term, and up
	// to where it holds the log of that term's leader.
	Promised Place
	// Start is the latest start of that disk that the sender has heard of; or, with Led, the start
	// that has led the term Led.
	Start uint64
	Led   Term
	// Back says that the disk is known to have forgotten what it had promised.
	Back bool
}

func (b *Known) pack(p *packer) {
	p.place(&b.Promised)
	number(p, fieldHint, &b.Led)
	number(p, fieldStart, &b.Start)
	p.flag(fieldMismatch, &b.Back)
}

// Message returns a message of this kind, without an envelope.
func (b Known) Message() (m Message) { b.pack(m.begin(KindKnown)); return m }

// Known returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) Known() (b Known) { b.pack(m.open(KindKnown)); return b }

// A RolledBack says that the sender's disk has forgotten what it had promised: the sender takes no
// part.
type RolledBack struct{}

func (b *RolledBack) pack(*packer) {}

// Message returns a message of this kind, without an envelope.
func (b RolledBack) Message() (m Message) { b.pack(m.begin(KindRolledBack)); return m }

// RolledBack returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) RolledBack() (b RolledBack) { b.pack(m.open(KindRolledBack)); return b }
