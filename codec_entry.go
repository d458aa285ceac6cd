package raft

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

// configurationVersion is the version of the encoding of a Configuration that says no more than its cluster and its
// members; changeVersion of one that does.
const (
	configurationVersion = 1
	changeVersion        = 2
)

// What a configuration of changeVersion says.
const (
	configurationOld byte = 1 << iota
	configurationNext
	configurationAsked
	configurationRefused
	configurationBegun // the bit is the value
	configurationLevel
	configurationRecovered

	allConfigurationFields = configurationRecovered<<1 - 1
)

// minMemberBytes is the least that a member takes: two lengths, a role and an incarnation.
const minMemberBytes = 1 + 1 + 1 + 8

// AppendConfiguration appends the encoding of c to b: a version, the cluster's ID, and the members,
// each with its ID, address, role and incarnation. If there is more to be said, there follow a byte with a bit for each
// of these, and in this order those that are there: Old and Next, as the members are; Origin and Number; Refusal and
// About; Level; Recovered.
func AppendConfiguration(b []byte, c *Configuration) []byte {
	fields := c.fields()
	if fields == 0 {
		b = append(b, configurationVersion)
	} else {
		b = append(b, changeVersion)
	}
	b = append(b, c.Cluster[:]...)
	b = appendMembers(b, c.Members)
	if fields == 0 {
		return b
	}
	b = append(b, fields)
	if fields&configurationOld != 0 {
		b = appendMembers(b, c.Old)
	}
	if fields&configurationNext != 0 {
		b = appendMembers(b, c.Next)
	}
	if fields&configurationAsked != 0 {
		b = appendString(b, string(c.Origin.Server))
		b = appendUvarint(b, c.Origin.Start)
		b = appendUvarint(b, c.Number)
	}
	if fields&configurationRefused != 0 {
		b = append(b, byte(c.Refusal))
		b = appendString(b, string(c.About))
	}
	if fields&configurationLevel != 0 {
		b = appendUvarint(b, uint64(c.Level))
	}
	if fields&configurationRecovered != 0 {
		b = append(b, c.Recovered[:]...)
	}
	return b
}

// fields returns the bits of what a configuration says beside its cluster and its members.
func (c *Configuration) fields() byte {
	var fields byte
	if len(c.Old) > 0 {
		fields |= configurationOld
	}
	if len(c.Next) > 0 {
		fields |= configurationNext
	}
	if c.Origin != (Origin{}) || c.Number != 0 {
		fields |= configurationAsked
	}
	if c.Refusal != 0 || c.About != "" {
		fields |= configurationRefused
	}
	if c.Begun {
		fields |= configurationBegun
	}
	if c.level() > LevelFirst {
		fields |= configurationLevel
	}
	if c.Recovered != (ClusterID{}) {
		fields |= configurationRecovered
	}
	return fields
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
	version := r.byte("configuration: version")
	if version != configurationVersion && version != changeVersion {
		r.fail("configuration: of version %d, not %d or %d", version, configurationVersion, changeVersion)
		return
	}
	copy(c.Cluster[:], r.next(uint64(len(c.Cluster)), "configuration: Cluster"))
	c.Members = r.sortedMembers("configuration")
	if version == configurationVersion || r.err != nil {
		return
	}
	fields := r.byte("configuration: fields")
	if fields == 0 || fields&^allConfigurationFields != 0 {
		r.fail("configuration: unknown fields %#x", fields)
		return
	}
	if fields&configurationOld != 0 {
		c.Old = r.sortedMembers("configuration: Old")
		r.check(len(c.Old) > 0, "configuration: Old is empty, yet present")
	}
	if fields&configurationNext != 0 {
		c.Next = r.sortedMembers("configuration: Next")
		r.check(len(c.Next) > 0, "configuration: Next is empty, yet present")
	}
	if fields&configurationAsked != 0 {
		c.Origin.Server = r.serverID("configuration: Origin")
		c.Origin.Start = r.uvarint("configuration: Origin: Start")
		c.Number = r.uvarint("configuration: Number")
		r.check(c.Number != 0 || c.Origin != Origin{}, "configuration: Origin and Number are zero, yet present")
	}
	if fields&configurationRefused != 0 {
		c.Refusal = Refusal(r.byte("configuration: Refusal"))
		c.About = r.serverID("configuration: About")
		r.check(c.Refusal != 0 || c.About != "", "configuration: Refusal and About are zero, yet present")
	}
	c.Begun = fields&configurationBegun != 0
	if fields&configurationLevel != 0 {
		c.Level = Level(r.uvarint("configuration: Level"))
		r.check(c.level() > LevelFirst, "configuration: Level is the first, yet present")
	}
	if fields&configurationRecovered != 0 {
		copy(c.Recovered[:], r.next(uint64(len(c.Recovered)), "configuration: Recovered"))
		r.check(c.Recovered != ClusterID{}, "configuration: Recovered is zero, yet present")
	}
}

// sortedMembers reads a list of members that is sorted, with roles that are known.
func (r *reader) sortedMembers(name string) []Member {
	members := r.members(name + ": Members")
	for i := range members {
		m := &members[i]
		switch {
		case m.ID == "":
			r.fail("%s: member %d has no ID", name, i)
		case i > 0 && m.ID <= members[i-1].ID:
			r.fail("%s: member %q after %q: not sorted", name, m.ID, members[i-1].ID)
		case m.Role != Voter && m.Role != Learner && m.Role != Joining:
			r.fail("%s: member %q has the unknown role %d", name, m.ID, uint8(m.Role))
		}
		if r.err != nil {
			return nil
		}
	}
	return members
}
