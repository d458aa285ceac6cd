package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/e17579a5/raft/internal/codec"
)

// Version is the version of the encoding of messages. Servers of different versions don't
// understand each other, and say so: a Transport compares the versions when it connects.
const Version = 1

// A Message is what one server says to another. It has an Envelope, which every kind of message
// has, and a body, for which each kind has a type of its own. The method Message of a body makes a
// Message of it:
//
//	m := wire.Heartbeat{Round: 7, Commit: 42}.Message().In(wire.Envelope{From: "a", To: "b", Term: 3})
//
// The Message's method of the same name takes the body out again:
//
//	if m.Kind() == wire.KindHeartbeat {
//		heartbeat := m.Heartbeat()
//	}
//
// A Message is a value. Neither it nor what it points to ever changes once it was sent. It is
// small, and a body costs no allocation.
type Message struct {
	Envelope
	body body
}

// An Envelope says which server sent a message, and to which server it goes.
type Envelope struct {
	From, To ServerID
	// ToAddress says to the transport where To is, if that is another place than the transport was
	// told (KindIdentityRequest). It isn't encoded.
	ToAddress string

	// Cluster is the sender's cluster. It is zero while the sender has none.
	Cluster ClusterID
	// FromIncarnation is the sender's disk. ToIncarnation is, in an answer, the disk that asked. In
	// any other message it is the disk that the sender's configuration names for the receiver, or
	// zero if it names none.
	FromIncarnation, ToIncarnation Incarnation
	// Term is the sender's current term. A pre-vote, asked or granted, has the term that the
	// candidate would enter.
	Term Term
	// FromStart is the sender's start (NextStart), or zero as long as that isn't durable. Of two
	// messages of one disk, the one of the later start is the later one: so a disk that has
	// forgotten a start is known by it.
	FromStart uint64
	// Group is the group within which the message is sent. A process that serves several groups has
	// one connection for the messages of all of them.
	Group GroupID
	// Stranger says that the sender hasn't shown to the receiving transport that it belongs to the
	// receiver's cluster: SetServers doesn't name it there, and on this connection it hasn't proved
	// the key that the receiver demands (raft.Transport). It isn't encoded. A transport that knows
	// nothing of keys leaves it false.
	Stranger bool
}

// In returns the message in another envelope.
func (m Message) In(e Envelope) Message {
	m.Envelope = e
	return m
}

// A body is what a message says, in the form in which it is encoded: the bits of the fields that
// aren't zero, and those fields in the order of their bits.
type body struct {
	kind    Kind
	fields  field
	numbers [maxNumbers]uint64
	entries []Entry
	rest    *rest
}

// maxNumbers is how many numbers a body may have.
const maxNumbers = 8

// rest has the lists that few messages have.
type rest struct {
	numbers []uint64
	servers []Server
	call    *Call
	process *ProcessHeartbeat
}

// Kind says what the message asks, answers or tells.
func (m *Message) Kind() Kind { return m.body.kind }

// Size is the number of bytes that the message counts for against limits: MessageOverhead, its
// entries, its call, and what it says of groups.
func (m *Message) Size() int {
	n := MessageOverhead
	for i := range m.body.entries {
		n += m.body.entries[i].Size()
	}
	if rest := m.body.rest; rest != nil && rest.call != nil {
		n += rest.call.size()
	} else if rest != nil && rest.process != nil {
		n += rest.process.size()
	}
	return n
}

// MessageOverhead is about what a message takes in memory beside its entries, in bytes.
const MessageOverhead = 256

// LargeMessage is the Size above which an append or a forward is large. A transport may carry it,
// and the appends and forwards behind it, beside all other messages, which then overtake it.
const LargeMessage = 512 << 10

// Entries returns the entries of a message of any kind: the log's, a caller's commands, or the
// configuration of a snapshot. They are shared, and not to be changed.
func (m *Message) Entries() []Entry { return m.body.entries }

// Equal says whether two messages say the same.
func (m *Message) Equal(other *Message) bool {
	a, b := &m.body, &other.body
	if m.Envelope != other.Envelope || a.kind != b.kind || a.fields != b.fields || a.numbers != b.numbers {
		return false
	}
	sameEntry := func(x, y Entry) bool {
		return x.Index == y.Index && x.Term == y.Term && x.Kind == y.Kind && x.Origin == y.Origin && x.Number == y.Number &&
			slices.Equal(x.Data, y.Data)
	}
	return slices.EqualFunc(a.entries, b.entries, sameEntry) && a.rest.equal(b.rest)
}

func (r *rest) equal(other *rest) bool {
	if r == nil || other == nil {
		return r == other
	}
	sameCall := (r.call == nil) == (other.call == nil)
	if sameCall && r.call != nil {
		sameCall = r.call.Kind == other.call.Kind && r.call.Expected == other.call.Expected &&
			slices.Equal(r.call.Members, other.call.Members)
	}
	return sameCall && r.process.equal(other.process) && slices.Equal(r.numbers, other.numbers) && slices.Equal(r.servers, other.servers)
}

// String tells what the message says, for people.
func (m Message) String() string {
	return fmt.Sprintf("%v from %s to %s in term %d: %+v", m.Kind(), m.From, m.To, m.Term, m.Body())
}

// AppendMessage appends the encoding of m to b. The package documentation describes it. An empty
// list is encoded as no list.
func AppendMessage(b []byte, m *Message) []byte {
	fields := m.Envelope.fields() | m.body.fields
	b = append(b, Version, byte(m.body.kind))
	b = binary.LittleEndian.AppendUint32(b, uint32(fields))
	b = codec.AppendString(b, string(m.From))
	b = codec.AppendString(b, string(m.To))
	if fields&fieldCluster != 0 {
		b = append(b, m.Cluster[:]...)
	}
	if fields&fieldFromIncarnation != 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(m.FromIncarnation))
	}
	if fields&fieldToIncarnation != 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(m.ToIncarnation))
	}
	if fields&fieldTerm != 0 {
		b = codec.AppendUvarint(b, uint64(m.Term))
	}
	b = m.body.append(b)
	if fields&fieldFromStart != 0 {
		b = codec.AppendUvarint(b, m.FromStart)
	}
	if fields&fieldGroup != 0 {
		b = codec.AppendString(b, string(m.Group))
	}
	return b
}

// fields returns the bits of the fields of the envelope that aren't zero.
func (e *Envelope) fields() (fields field) {
	if e.Cluster != (ClusterID{}) {
		fields |= fieldCluster
	}
	if e.FromIncarnation != 0 {
		fields |= fieldFromIncarnation
	}
	if e.ToIncarnation != 0 {
		fields |= fieldToIncarnation
	}
	if e.Term != 0 {
		fields |= fieldTerm
	}
	if e.FromStart != 0 {
		fields |= fieldFromStart
	}
	if e.Group != "" {
		fields |= fieldGroup
	}
	return fields
}

// append appends the fields of a body, in the order of their bits.
func (o *body) append(b []byte) []byte {
	next := 0
	for left := o.fields &^ flagFields; left != 0; left &= left - 1 {
		switch left & -left {
		case fieldEntries:
			b = codec.AppendUvarint(b, uint64(len(o.entries)))
			for i := range o.entries {
				b = AppendEntry(b, &o.entries[i])
			}
		case fieldNumbers:
			b = codec.AppendUvarint(b, uint64(len(o.rest.numbers)))
			for _, n := range o.rest.numbers {
				b = codec.AppendUvarint(b, n)
			}
		case fieldServers:
			b = appendServers(b, o.rest.servers)
		case fieldCall:
			b = appendCall(b, o.rest.call)
		case fieldProcess:
			b = appendProcess(b, o.rest.process)
		case fieldRefusal:
			b = append(b, byte(o.numbers[next]))
			next++
		default:
			b = codec.AppendUvarint(b, o.numbers[next])
			next++
		}
	}
	return b
}

func appendServers(b []byte, servers []Server) []byte {
	b = codec.AppendUvarint(b, uint64(len(servers)))
	for _, s := range servers {
		b = codec.AppendString(b, string(s.ID))
		b = codec.AppendString(b, s.Address)
	}
	return b
}

// DecodeMessage decodes the whole of b as one message. The Data of its entries aliases b. An error
// wraps ErrMalformed and says what is wrong. What DecodeMessage allocates is bounded by 32 times
// the length of b.
//
// To decode many messages, use a Decoder.
func DecodeMessage(b []byte) (Message, error) { return new(Decoder).DecodeMessage(b) }

// DecodeMessage decodes like the function of that name.
func (d *Decoder) DecodeMessage(b []byte) (Message, error) {
	r := newReader(b, d)
	var m Message
	r.message(&m)
	r.End("message")
	if r.Err() != nil {
		return Message{}, r.Err()
	}
	return m, nil
}

func (r *reader) message(m *Message) {
	if version := r.Byte("message: version"); version != Version {
		r.Fail("message: of wire version %d, not %d", version, Version)
		return
	}
	kind := Kind(r.Byte("message: kind"))
	if !kind.known() {
		r.Fail("message: unknown kind %d", uint8(kind))
		return
	}
	fields := field(r.Uint32("message: fields"))
	if unknown := fields &^ allFields; unknown != 0 {
		r.Fail("message: unknown fields %#x", uint32(unknown))
		return
	}
	if extra := fields &^ envelopeFields &^ kinds[kind].fields; extra != 0 {
		r.Fail("message: %v has no %s", kind, fieldNames[bits.TrailingZeros32(uint32(extra))])
		return
	}
	m.From = r.serverID("message: From")
	m.To = r.serverID("message: To")
	if fields&fieldCluster != 0 {
		copy(m.Cluster[:], r.Next(uint64(len(m.Cluster)), "message: Cluster"))
		r.Check(m.Cluster != ClusterID{}, "message: Cluster is zero, yet present")
	}
	if fields&fieldFromIncarnation != 0 {
		m.FromIncarnation = Incarnation(r.Present(r.Uint64("message: FromIncarnation"), "message: FromIncarnation"))
	}
	if fields&fieldToIncarnation != 0 {
		m.ToIncarnation = Incarnation(r.Present(r.Uint64("message: ToIncarnation"), "message: ToIncarnation"))
	}
	if fields&fieldTerm != 0 {
		m.Term = Term(r.Present(r.Uvarint("message: Term"), "message: Term"))
	}
	m.body.kind, m.body.fields = kind, fields&^envelopeFields
	r.body(&m.body)
	if fields&fieldFromStart != 0 && r.Err() == nil {
		m.FromStart = r.Present(r.Uvarint("message: FromStart"), "message: FromStart")
	}
	if fields&fieldGroup != 0 && r.Err() == nil {
		m.Group = r.groupID("message: Group")
	}
}

// body reads the fields of a body, in the order of their bits.
func (r *reader) body(o *body) {
	if o.fields&listFields != 0 {
		o.rest = new(rest)
	}
	next := 0
	for left := o.fields &^ flagFields; left != 0 && r.Err() == nil; left &= left - 1 {
		f := left & -left
		name := readNames[bits.TrailingZeros32(uint32(f))]
		switch f {
		case fieldEntries:
			o.entries = r.entries(name)
		case fieldNumbers:
			o.rest.numbers = r.numbers(name)
		case fieldServers:
			o.rest.servers = r.servers(name)
		case fieldCall:
			o.rest.call = r.call()
		case fieldProcess:
			o.rest.process = r.process()
		case fieldRefusal:
			o.numbers[next] = r.Present(uint64(r.Byte(name)), name)
			next++
		default:
			o.numbers[next] = r.Present(r.Uvarint(name), name)
			if f == fieldLease && int64(o.numbers[next]) < 0 {
				r.Fail("%s is negative", name)
			}
			next++
		}
	}
}

// numbers reads a count, not 0, and as many numbers.
func (r *reader) numbers(name string) []uint64 {
	n := r.Count(1, name)
	if n == 0 {
		r.Fail("%s is empty, yet present", name)
	}
	if r.Err() != nil {
		return nil
	}
	numbers := make([]uint64, n)
	for i := range numbers {
		if numbers[i] = r.Uvarint(name); r.Err() != nil {
			return nil
		}
	}
	return numbers
}

// minServerBytes is the least that a server takes: two lengths.
const minServerBytes = 2

// servers reads a count, not 0, and as many servers.
func (r *reader) servers(name string) []Server {
	n := r.Count(minServerBytes, name)
	if n == 0 {
		r.Fail("%s is empty, yet present", name)
	}
	if n > MaxMembers {
		r.Fail("message: %d Servers, more than %d", n, MaxMembers)
	}
	if r.Err() != nil {
		return nil
	}
	servers := make([]Server, n)
	for i := range servers {
		servers[i].ID = r.serverID("message: Servers: ID")
		servers[i].Address = r.String(MaxAddress, "message: Servers: Address")
	}
	return servers
}

// Value returns the value of a field of the body, by the number of the field's bit in the encoding.
// It is a number, 1 for a flag that is set, a call or a process, or the length of a list. It is 0 for a field
// that the message doesn't have. Value is for tools that look at messages of all kinds in the same
// way.
func (m *Message) Value(bit uint) uint64 {
	o, f := &m.body, field(1)<<bit
	switch {
	case o.fields&f == 0:
		return 0
	case f&flagFields != 0:
		return 1
	case f == fieldEntries:
		return uint64(len(o.entries))
	case f == fieldNumbers:
		return uint64(len(o.rest.numbers))
	case f == fieldServers:
		return uint64(len(o.rest.servers))
	case f == fieldCall, f == fieldProcess:
		return 1
	}
	return o.numbers[(o.fields & (f - 1)).numbers()]
}
