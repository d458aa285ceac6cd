package wire

import (
	"encoding/binary"
	"strconv"

	"github.com/e17579a5/raft/internal/codec"
)

// A MemberRole says what a member may do.
type MemberRole uint8

// Roles of members.
const (
	// Voter counts in elections and for commitment.
	Voter MemberRole = 1 + iota
	// Learner receives the log, but doesn't count (§4.2.1).
	Learner
	// Joining is a server that catches up, on its way into the cluster. It receives the log like a
	// learner, and leaves again if it doesn't catch up.
	Joining
)

// String returns "voter", "learner" or "joining".
func (r MemberRole) String() string {
	switch r {
	case Voter:
		return "voter"
	case Learner:
		return "learner"
	case Joining:
		return "joining"
	}
	return "role " + strconv.Itoa(int(r))
}

// A Member is a server in a Configuration.
type Member struct {
	Server
	Role        MemberRole
	Incarnation Incarnation // of the disk that counts for this member
}

// FindMember returns the place of a server in a list of members, or -1.
func FindMember(members []Member, id ServerID) int {
	for i := range members {
		if members[i].ID == id {
			return i
		}
	}
	return -1
}

// A Level is a set of kinds of entries and of behaviours that servers know. Each level includes the
// one before it.
type Level uint64

// Levels.
const (
	// LevelFirst is the level that every version knows.
	LevelFirst Level = 1 + iota
	// LevelSessions adds EntryOpenSession, EntryCloseSession and EntrySessionCommand.
	LevelSessions
	// LevelKeys adds the keys of the cluster to configurations.
	LevelKeys

	// LatestLevel is the level that this version knows.
	LatestLevel = LevelKeys
)

// A Configuration is the set of servers that make up the cluster (§4.1). The first entry of every
// log is a configuration; it founds the cluster. Each list is sorted by ID and names each server
// once. No list is ever changed in place.
type Configuration struct {
	Cluster ClusterID
	// Members are the servers of the cluster.
	Members []Member

	// Old makes the configuration joint (§4.3). Old are the members before the change. As long as
	// they are named here, an election or a commitment needs a majority of their voters too. Next
	// are the members to which the change leads, while servers catch up before it. Both are nil in
	// a settled configuration.
	Old, Next []Member

	// Origin and Number name the call that asked for the change to which the configuration belongs,
	// settled or not. They are zero in the first configuration.
	Origin Origin
	Number uint64
	// Begun says that a part of that change stays even if the rest is given up: the present disk of
	// a server has taken the place of a lost one.
	Begun bool
	// Refusal says why that change was given up, on account of the server About. It is zero
	// otherwise.
	Refusal Refusal
	About   ServerID

	// Level is the level in force; 0 stands for LevelFirst (LevelInForce).
	Level Level

	// Recovered names the cluster that this one continues, after that one lost its majority
	// (package recovery).
	Recovered ClusterID

	// Keys are the keys of the cluster, the newest first: the current one, and those that it has
	// replaced. There are at most MaxClusterKeys, and none before the cluster has drawn its first.
	Keys []ClusterKey
	// KeyOutworn says that a server that belongs to the cluster no longer knows the current key. A
	// leader will draw another one. It is false without Keys.
	KeyOutworn bool
}

// Member returns the entry of a server in the configuration, or nil. When a joint configuration
// names two disks of one server, Member returns the one that stays.
func (c *Configuration) Member(id ServerID) *Member {
	if i := FindMember(c.Members, id); i >= 0 {
		return &c.Members[i]
	}
	if i := FindMember(c.Old, id); i >= 0 {
		return &c.Old[i]
	}
	return nil
}

// Names says whether the configuration knows the server with this disk.
func (c *Configuration) Names(id ServerID, incarnation Incarnation) bool {
	m := c.Member(id)
	return m != nil && m.Incarnation == incarnation
}

// Votes says whether the server is a voter, in either half of a joint configuration.
func (c *Configuration) Votes(id ServerID) bool { return IsVoter(c.Members, id) || IsVoter(c.Old, id) }

// IsVoter says whether a server is a voter among some members.
func IsVoter(members []Member, id ServerID) bool {
	i := FindMember(members, id)
	return i >= 0 && members[i].Role == Voter
}

// Counts says whether the vote of this disk counts, in either half of a joint configuration.
func (c *Configuration) Counts(id ServerID, incarnation Incarnation) bool {
	for _, half := range [2][]Member{c.Members, c.Old} {
		if i := FindMember(half, id); i >= 0 && half[i].Role == Voter && half[i].Incarnation == incarnation {
			return true
		}
	}
	return false
}

// SoleVoter says whether the server is the only voter.
func (c *Configuration) SoleVoter(id ServerID) bool {
	for _, half := range [2][]Member{c.Members, c.Old} {
		for i := range half {
			if m := &half[i]; m.Role == Voter && m.ID != id {
				return false
			}
		}
	}
	return c.Votes(id)
}

// Settled says that no change is under way.
func (c *Configuration) Settled() bool { return c.Old == nil && c.Next == nil }

// LevelInForce returns the level in force, LevelFirst at least.
func (c *Configuration) LevelInForce() Level { return max(c.Level, LevelFirst) }

// configurationVersion is the version of an encoding that says no more than the cluster and its
// members. changeVersion is the version of an encoding that says more.
const (
	configurationVersion = 1
	changeVersion        = 2
)

// The bits that say which other parts an encoding of changeVersion has.
const (
	configurationOld byte = 1 << iota
	configurationNext
	configurationAsked
	configurationRefused
	configurationBegun // the bit is the value
	configurationLevel
	configurationRecovered
	configurationKeys
)

// AppendConfiguration appends the encoding of c to b. The package documentation describes it.
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
		b = codec.AppendString(b, string(c.Origin.Server))
		b = codec.AppendUvarint(b, c.Origin.Start)
		b = codec.AppendUvarint(b, c.Number)
	}
	if fields&configurationRefused != 0 {
		b = append(b, byte(c.Refusal))
		b = codec.AppendString(b, string(c.About))
	}
	if fields&configurationLevel != 0 {
		b = codec.AppendUvarint(b, uint64(c.Level))
	}
	if fields&configurationRecovered != 0 {
		b = append(b, c.Recovered[:]...)
	}
	if fields&configurationKeys != 0 {
		b = append(b, flag(c.KeyOutworn))
		b = codec.AppendUvarint(b, uint64(len(c.Keys)))
		for i := range c.Keys {
			b = append(b, c.Keys[i][:]...)
		}
	}
	return b
}

// fields returns the bits of the parts that a configuration has beside its cluster and its members.
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
	if c.LevelInForce() > LevelFirst {
		fields |= configurationLevel
	}
	if c.Recovered != (ClusterID{}) {
		fields |= configurationRecovered
	}
	if len(c.Keys) > 0 {
		fields |= configurationKeys
	}
	return fields
}

// DecodeConfiguration decodes the whole of b as one configuration, and aliases nothing of it. It
// checks the limits, that the members are sorted by ID, that each is named once, and that their
// roles are known. An error wraps ErrMalformed and says what is wrong.
func DecodeConfiguration(b []byte) (Configuration, error) {
	r := newReader(b, new(Decoder))
	var c Configuration
	r.configuration(&c)
	r.End("configuration")
	if r.Err() != nil {
		return Configuration{}, r.Err()
	}
	return c, nil
}

func (r *reader) configuration(c *Configuration) {
	version := r.Byte("configuration: version")
	if version != configurationVersion && version != changeVersion {
		r.Fail("configuration: of version %d, not %d or %d", version, configurationVersion, changeVersion)
		return
	}
	copy(c.Cluster[:], r.Next(uint64(len(c.Cluster)), "configuration: Cluster"))
	c.Members = r.sortedMembers("configuration")
	if version == configurationVersion || r.Err() != nil {
		return
	}
	fields := r.Byte("configuration: fields")
	r.Check(fields != 0, "configuration: of version 2, yet without fields")
	if fields&configurationOld != 0 {
		c.Old = r.sortedMembers("configuration: Old")
		r.Check(len(c.Old) > 0, "configuration: Old is empty, yet present")
	}
	if fields&configurationNext != 0 {
		c.Next = r.sortedMembers("configuration: Next")
		r.Check(len(c.Next) > 0, "configuration: Next is empty, yet present")
	}
	if fields&configurationAsked != 0 {
		c.Origin.Server = r.serverID("configuration: Origin")
		c.Origin.Start = r.Uvarint("configuration: Origin: Start")
		c.Number = r.Uvarint("configuration: Number")
		r.Check(c.Number != 0 || c.Origin != Origin{}, "configuration: Origin and Number are zero, yet present")
	}
	if fields&configurationRefused != 0 {
		c.Refusal = Refusal(r.Byte("configuration: Refusal"))
		c.About = r.serverID("configuration: About")
		r.Check(c.Refusal != 0 || c.About != "", "configuration: Refusal and About are zero, yet present")
	}
	c.Begun = fields&configurationBegun != 0
	if fields&configurationLevel != 0 {
		c.Level = Level(r.Uvarint("configuration: Level"))
		r.Check(c.LevelInForce() > LevelFirst, "configuration: Level is the first, yet present")
	}
	if fields&configurationRecovered != 0 {
		copy(c.Recovered[:], r.Next(uint64(len(c.Recovered)), "configuration: Recovered"))
		r.Check(c.Recovered != ClusterID{}, "configuration: Recovered is zero, yet present")
	}
	if fields&configurationKeys != 0 {
		outworn := r.Byte("configuration: KeyOutworn")
		r.Check(outworn <= 1, "configuration: KeyOutworn is neither 0 nor 1")
		c.KeyOutworn, c.Keys = outworn == 1, r.keys()
	}
}

// keys reads the keys of a configuration: a count, not 0, and as many keys, none of which is zero.
func (r *reader) keys() []ClusterKey {
	n := r.Count(len(ClusterKey{}), "configuration: Keys")
	if n == 0 || n > MaxClusterKeys {
		r.Fail("configuration: %d Keys, not 1 to %d", n, MaxClusterKeys)
	}
	if r.Err() != nil {
		return nil
	}
	keys := make([]ClusterKey, n)
	for i := range keys {
		copy(keys[i][:], r.Next(uint64(len(keys[i])), "configuration: Keys"))
		r.Check(keys[i] != ClusterKey{}, "configuration: a key is zero")
	}
	return keys
}

// minMemberBytes is the least that a member takes: two lengths, a role and an incarnation.
const minMemberBytes = 1 + 1 + 1 + 8

func appendMembers(b []byte, members []Member) []byte {
	b = codec.AppendUvarint(b, uint64(len(members)))
	for i := range members {
		m := &members[i]
		b = codec.AppendString(b, string(m.ID))
		b = codec.AppendString(b, m.Address)
		b = append(b, byte(m.Role))
		b = binary.LittleEndian.AppendUint64(b, uint64(m.Incarnation))
	}
	return b
}

// members reads a list of members, and judges neither their roles nor their IDs.
func (r *reader) members(name string) []Member {
	n := r.Count(minMemberBytes, name)
	if n > MaxMembers {
		r.Fail("%s: %d, more than %d", name, n, MaxMembers)
	}
	if r.Err() != nil || n == 0 {
		return nil
	}
	members := make([]Member, n)
	for i := range members {
		m := &members[i]
		m.ID = r.serverID(name)
		m.Address = r.String(MaxAddress, name)
		m.Role = MemberRole(r.Byte(name))
		m.Incarnation = Incarnation(r.Uint64(name))
		if r.Err() != nil {
			return nil
		}
	}
	return members
}

// sortedMembers reads a list of members that must be sorted, with roles that are known.
func (r *reader) sortedMembers(name string) []Member {
	members := r.members(name + ": Members")
	for i := range members {
		m := &members[i]
		switch {
		case m.ID == "":
			r.Fail("%s: member %d has no ID", name, i)
		case i > 0 && m.ID <= members[i-1].ID:
			r.Fail("%s: member %q after %q: not sorted", name, m.ID, members[i-1].ID)
		case m.Role != Voter && m.Role != Learner && m.Role != Joining:
			r.Fail("%s: member %q has the unknown role %d", name, m.ID, uint8(m.Role))
		}
		if r.Err() != nil {
			return nil
		}
	}
	return members
}
