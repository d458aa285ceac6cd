package wire

// Kinds of messages about the results of state machines.
const (
	KindFingerprints Kind = 22
)

var _ = register(
	infoOf[Fingerprints](KindFingerprints),
)

// A Fingerprint stands for the results of all commands up to an index.
type Fingerprint struct {
	Index Index
	Sum   uint32
}

// A Fingerprints tells the fingerprints of the sender's results.
type Fingerprints struct {
	Index Index // of the last of them
	Sums  []uint64
}

func (b *Fingerprints) pack(p *packer) {
	number(p, fieldIndex, &b.Index)
	p.numbers(&b.Sums)
}

// Message returns a message of this kind, without an envelope.
func (b Fingerprints) Message() (m Message) { b.pack(m.begin(KindFingerprints)); return m }

// Fingerprints returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) Fingerprints() (b Fingerprints) { b.pack(m.open(KindFingerprints)); return b }
