package raft

import "encoding/binary"

// WireVersion is the version of the encoding of messages. Servers of different versions don't
// understand each other, and say so; a Transport compares it when it connects.
const WireVersion = 1

// A message is encoded as
//
//	version    1 byte, WireVersion
//	kind       1 byte
//	fields     4 bytes, little endian: a bit for every field that isn't zero
//	From, To   each a length and that many bytes
//	           and then, in the order of the bits, the fields that aren't zero
//
// Numbers and lengths are varints of base 128, the least significant group first, of the fewest bytes
// possible; what is random (cluster and incarnations) has its fixed size. Every message has exactly
// one encoding: bytes that DecodeMessage accepts are the bytes that AppendMessage makes of the result.
const (
	fieldCluster uint32 = 1 << iota
	fieldFromIncarnation
	fieldToIncarnation
	fieldTerm
	fieldIndex
	fieldLogTerm
	fieldHint
	fieldCommit
	fieldRound
	fieldStart
	fieldNumber
	fieldGranted // the bit is the value
	fieldTransfer
	fieldMismatch
	fieldEntries // a count, not 0, and as many entries
	fieldNumbers
	fieldServers
	fieldCall
	fieldRefusal // 1 byte
	fieldLease
	fieldFitness
	fieldByLease // the bit is the value
	fieldSize
	fieldOffset
	fieldLevel

	allFields = fieldLevel<<1 - 1
)

// AppendMessage appends the encoding of m to b. An empty list is encoded as no list.
func AppendMessage(b []byte, m *Message) []byte {
	fields := m.fields()
	b = append(b, WireVersion, byte(m.Kind))
	b = binary.LittleEndian.AppendUint32(b, fields)
	b = appendString(b, string(m.From))
	b = appendString(b, string(m.To))
	if fields&fieldCluster != 0 {
		b = append(b, m.Cluster[:]...)
	}
	if fields&fieldFromIncarnation != 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(m.FromIncarnation))
	}
	if fields&fieldToIncarnation != 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(m.ToIncarnation))
	}
	for _, v := range m.numbers() {
		if v != 0 {
			b = appendUvarint(b, v)
		}
	}
	if fields&fieldEntries != 0 {
		b = appendUvarint(b, uint64(len(m.Entries)))
		for i := range m.Entries {
			b = AppendEntry(b, &m.Entries[i])
		}
	}
	if fields&fieldNumbers != 0 {
		b = appendUvarint(b, uint64(len(m.Numbers)))
		for _, n := range m.Numbers {
			b = appendUvarint(b, n)
		}
	}
	if fields&fieldServers != 0 {
		b = appendUvarint(b, uint64(len(m.Servers)))
		for _, s := range m.Servers {
			b = appendString(b, string(s.ID))
			b = appendString(b, s.Address)
		}
	}
	if m.Call != nil {
		b = appendCall(b, m.Call)
	}
	if m.Refusal != 0 {
		b = append(b, byte(m.Refusal))
	}
	if fields&fieldLease != 0 {
		b = appendUvarint(b, uint64(m.Lease))
	}
	if fields&fieldFitness != 0 {
		b = appendUvarint(b, m.Fitness)
	}
	if fields&fieldSize != 0 {
		b = appendUvarint(b, m.Size)
	}
	if fields&fieldOffset != 0 {
		b = appendUvarint(b, m.Offset)
	}
	if fields&fieldLevel != 0 {
		b = appendUvarint(b, uint64(m.Level))
	}
	return b
}

// numbers lists the fields that are plain numbers, in the order of their bits from fieldTerm on.
func (m *Message) numbers() [8]uint64 {
	return [8]uint64{
		uint64(m.Term), uint64(m.Index), uint64(m.LogTerm), uint64(m.Hint), uint64(m.Commit),
		m.Round, m.Start, m.Number,
	}
}

// fields returns the bits of the fields that aren't zero.
func (m *Message) fields() uint32 {
	var fields uint32
	set := func(field uint32, present bool) {
		if present {
			fields |= field
		}
	}
	set(fieldCluster, m.Cluster != ClusterID{})
	set(fieldFromIncarnation, m.FromIncarnation != 0)
	set(fieldToIncarnation, m.ToIncarnation != 0)
	for i, v := range m.numbers() {
		set(fieldTerm<<i, v != 0)
	}
	set(fieldGranted, m.Granted)
	set(fieldTransfer, m.Transfer)
	set(fieldMismatch, m.Mismatch)
	set(fieldEntries, len(m.Entries) > 0)
	set(fieldNumbers, len(m.Numbers) > 0)
	set(fieldServers, len(m.Servers) > 0)
	set(fieldCall, m.Call != nil)
	set(fieldRefusal, m.Refusal != 0)
	set(fieldLease, m.Lease != 0)
	set(fieldFitness, m.Fitness != 0)
	set(fieldByLease, m.ByLease)
	set(fieldSize, m.Size != 0)
	set(fieldOffset, m.Offset != 0)
	set(fieldLevel, m.Level != 0)
	return fields
}

// DecodeMessage decodes the whole of b as one message, whose entries' Data alias b. An error wraps
// ErrMalformed and says what is wrong. What it allocates is bounded by 32 times the length of b.
//
// Who decodes many messages does it with a Decoder.
func DecodeMessage(b []byte) (Message, error) { return new(Decoder).DecodeMessage(b) }

// DecodeMessage decodes like the function of that name.
func (d *Decoder) DecodeMessage(b []byte) (Message, error) {
	r := reader{bytes: b, ids: d}
	var m Message
	r.message(&m)
	r.end("message")
	if r.err != nil {
		return Message{}, r.err
	}
	return m, nil
}

func (r *reader) message(m *Message) {
	if version := r.byte("message: version"); version != WireVersion {
		r.fail("message: of wire version %d, not %d", version, WireVersion)
		return
	}
	m.Kind = MessageKind(r.byte("message: kind"))
	if m.Kind == 0 || m.Kind > lastMessageKind {
		r.fail("message: unknown kind %d", uint8(m.Kind))
		return
	}
	fields := r.uint32("message: fields")
	if fields&^allFields != 0 {
		r.fail("message: unknown fields %#x", fields&^allFields)
		return
	}
	m.From = r.serverID("message: From")
	m.To = r.serverID("message: To")
	if fields&fieldCluster != 0 {
		copy(m.Cluster[:], r.next(uint64(len(m.Cluster)), "message: Cluster"))
		r.check(m.Cluster != ClusterID{}, "message: Cluster is zero, yet present")
	}
	if fields&fieldFromIncarnation != 0 {
		m.FromIncarnation = Incarnation(r.present(r.uint64("message: FromIncarnation"), "message: FromIncarnation"))
	}
	if fields&fieldToIncarnation != 0 {
		m.ToIncarnation = Incarnation(r.present(r.uint64("message: ToIncarnation"), "message: ToIncarnation"))
	}
	r.messageNumbers(m, fields)
	m.Granted = fields&fieldGranted != 0
	m.Transfer = fields&fieldTransfer != 0
	m.Mismatch = fields&fieldMismatch != 0
	m.ByLease = fields&fieldByLease != 0
	if fields&fieldEntries != 0 {
		m.Entries = r.entries()
	}
	if fields&fieldNumbers != 0 {
		m.Numbers = r.numbers()
	}
	if fields&fieldServers != 0 {
		m.Servers = r.servers()
	}
	if fields&fieldCall != 0 {
		m.Call = r.call()
	}
	if fields&fieldRefusal != 0 {
		m.Refusal = Refusal(r.present(uint64(r.byte("message: Refusal")), "message: Refusal"))
	}
	if fields&fieldLease != 0 {
		m.Lease = Duration(r.present(r.uvarint("message: Lease"), "message: Lease"))
		r.check(m.Lease >= 0, "message: Lease is negative")
	}
	if fields&fieldFitness != 0 {
		m.Fitness = r.present(r.uvarint("message: Fitness"), "message: Fitness")
	}
	if fields&fieldSize != 0 {
		m.Size = r.present(r.uvarint("message: Size"), "message: Size")
	}
	if fields&fieldOffset != 0 {
		m.Offset = r.present(r.uvarint("message: Offset"), "message: Offset")
	}
	if fields&fieldLevel != 0 {
		m.Level = Level(r.present(r.uvarint("message: Level"), "message: Level"))
	}
}

// messageNumbers reads the fields that Message.numbers lists.
func (r *reader) messageNumbers(m *Message, fields uint32) {
	next := func(field uint32, name string) uint64 {
		if fields&field == 0 {
			return 0
		}
		return r.present(r.uvarint(name), name)
	}
	m.Term = Term(next(fieldTerm, "message: Term"))
	m.Index = Index(next(fieldIndex, "message: Index"))
	m.LogTerm = Term(next(fieldLogTerm, "message: LogTerm"))
	m.Hint = Index(next(fieldHint, "message: Hint"))
	m.Commit = Index(next(fieldCommit, "message: Commit"))
	m.Round = next(fieldRound, "message: Round")
	m.Start = next(fieldStart, "message: Start")
	m.Number = next(fieldNumber, "message: Number")
}

// The counts of a message's lists are checked against the bytes that are left before a list is
// allocated: each element takes at least so many bytes.
const (
	minEntryBytes  = 3 // kind, fields, length of the data
	minServerBytes = 2 // two lengths
)

func (r *reader) entries() []Entry {
	n := r.count(minEntryBytes, "message: Entries")
	r.check(n > 0, "message: Entries are none, yet present")
	if r.err != nil {
		return nil
	}
	entries := r.ids.entries(n)
	for i := range entries {
		if r.entry(&entries[i]); r.err != nil {
			return nil
		}
	}
	return entries
}

func (r *reader) numbers() []uint64 {
	n := r.count(1, "message: Numbers")
	r.check(n > 0, "message: Numbers are none, yet present")
	if r.err != nil {
		return nil
	}
	numbers := make([]uint64, n)
	for i := range numbers {
		if numbers[i] = r.uvarint("message: Numbers"); r.err != nil {
			return nil
		}
	}
	return numbers
}

func (r *reader) servers() []Server {
	n := r.count(minServerBytes, "message: Servers")
	r.check(n > 0, "message: Servers are none, yet present")
	if n > MaxMembers {
		r.fail("message: %d Servers, more than %d", n, MaxMembers)
	}
	if r.err != nil {
		return nil
	}
	servers := make([]Server, n)
	for i := range servers {
		servers[i].ID = r.serverID("message: Servers: ID")
		servers[i].Address = r.string(MaxAddress, "message: Servers: Address")
	}
	return servers
}
