package raft

import "encoding/binary"

// An entry is encoded as
//
//	kind       1 byte
//	fields     1 byte: which of the following are there
//	place      Index and Term, unless both are zero
//	origin     the server (a length and that many bytes), Start and Number, unless all are zero
//	data       a length and that many bytes
//
// with numbers and lengths as in a message. The bytes are the same on disk and wire. A later version
// may add kinds, which are decoded here all the same and left to the core to judge, and fields, which are
// refused here, so that nothing is lost in silence.
const (
	entryPlace byte = 1 << iota
	entryOrigin

	allEntryFields = entryOrigin<<1 - 1
)

// AppendEntry appends the encoding of e to b.
func AppendEntry(b []byte, e *Entry) []byte {
	var fields byte
	if e.Index != 0 || e.Term != 0 {
		fields |= entryPlace
	}
	if e.Number != 0 || e.Origin.Start != 0 || e.Origin.Server != "" {
		fields |= entryOrigin
	}
	b = append(b, byte(e.Kind), fields)
	if fields&entryPlace != 0 {
		b = appendUvarint(b, uint64(e.Index))
		b = appendUvarint(b, uint64(e.Term))
	}
	if fields&entryOrigin != 0 {
		b = appendString(b, string(e.Origin.Server))
		b = appendUvarint(b, e.Origin.Start)
		b = appendUvarint(b, e.Number)
	}
	b = appendUvarint(b, uint64(len(e.Data)))
	return append(b, e.Data...)
}

// DecodeEntry decodes the entry at the beginning of b, and returns the bytes behind it. The entry's
// Data aliases b; it is nil when it is empty. An error wraps ErrMalformed and says what is wrong.
// An entry of an unknown kind is none.
//
// Who decodes many entries does it with a Decoder.
func DecodeEntry(b []byte) (e Entry, rest []byte, err error) { return new(Decoder).DecodeEntry(b) }

// DecodeEntry decodes like the function of that name.
func (d *Decoder) DecodeEntry(b []byte) (e Entry, rest []byte, err error) {
	r := reader{bytes: b, ids: d}
	if r.entry(&e); r.err != nil {
		return Entry{}, nil, r.err
	}
	return e, b[r.at:], nil
}

func (r *reader) entry(e *Entry) {
	e.Kind = EntryKind(r.byte("entry: kind"))
	fields := r.byte("entry: fields")
	if fields&^allEntryFields != 0 {
		r.fail("entry: unknown fields %#x", fields&^allEntryFields)
		return
	}
	if fields&entryPlace != 0 {
		e.Index = Index(r.uvarint("entry: Index"))
		e.Term = Term(r.uvarint("entry: Term"))
		r.check(e.Index != 0 || e.Term != 0, "entry: Index and Term are zero, yet present")
	}
	if fields&entryOrigin != 0 {
		e.Origin.Server = r.serverID("entry: Origin")
		e.Origin.Start = r.uvarint("entry: Origin: Start")
		e.Number = r.uvarint("entry: Number")
		r.check(e.Number != 0 || e.Origin != Origin{}, "entry: Origin and Number are zero, yet present")
	}
	size := r.uvarint("entry: length of Data")
	if size > MaxCommandSize {
		r.fail("entry: Data of %d bytes, more than %d", size, MaxCommandSize)
		return
	}
	e.Data = r.next(size, "entry: Data")
}

// configurationVersion is the version of the encoding of a Configuration.
const configurationVersion = 1

// minMemberBytes is the least that a member takes: two lengths, a role and an incarnation.
const minMemberBytes = 1 + 1 + 1 + 8

// AppendConfiguration appends the encoding of c to b: a version, the cluster's ID, and the members,
// each with its ID, address, role and incarnation.
func AppendConfiguration(b []byte, c *Configuration) []byte {
	b = append(b, configurationVersion)
	b = append(b, c.Cluster[:]...)
	b = appendUvarint(b, uint64(len(c.Members)))
	for i := range c.Members {
		m := &c.Members[i]
		b = appendString(b, string(m.ID))
		b = appendString(b, m.Address)
		b = append(b, byte(m.Role))
		b = binary.LittleEndian.AppendUint64(b, uint64(m.Incarnation))
	}
	return b
}

// DecodeConfiguration decodes the whole of b as one configuration, and aliases nothing of it. It
// checks the limits, that the members are sorted by ID, each there once, and that their roles are
// known. An error wraps ErrMalformed and says what is wrong.
func DecodeConfiguration(b []byte) (Configuration, error) {
	r := reader{bytes: b, ids: new(Decoder)}
	var c Configuration
	r.configuration(&c)
	r.end("configuration")
	if r.err != nil {
		return Configuration{}, r.err
	}
	return c, nil
}

func (r *reader) configuration(c *Configuration) {
	if version := r.byte("configuration: version"); version != configurationVersion {
		r.fail("configuration: of version %d, not %d", version, configurationVersion)
		return
	}
	copy(c.Cluster[:], r.next(uint64(len(c.Cluster)), "configuration: Cluster"))
	n := r.count(minMemberBytes, "configuration: Members")
	if n > MaxMembers {
		r.fail("configuration: %d Members, more than %d", n, MaxMembers)
	}
	if r.err != nil || n == 0 {
		return
	}
	c.Members = make([]Member, n)
	for i := range c.Members {
		m := &c.Members[i]
		m.ID = r.serverID("configuration: ID")
		m.Address = r.string(MaxAddress, "configuration: Address")
		m.Role = MemberRole(r.byte("configuration: Role"))
		m.Incarnation = Incarnation(r.uint64("configuration: Incarnation"))
		if r.err != nil {
			return
		}
		switch {
		case m.ID == "":
			r.fail("configuration: member %d has no ID", i)
		case i > 0 && m.ID <= c.Members[i-1].ID:
			r.fail("configuration: member %q after %q: not sorted", m.ID, c.Members[i-1].ID)
		case m.Role != Voter && m.Role != Learner:
			r.fail("configuration: member %q has the unknown role %d", m.ID, uint8(m.Role))
		}
	}
}
