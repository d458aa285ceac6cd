package raft

import "encoding/binary"

// A call is encoded as its kind (1 byte), Expected, and the members, as in a configuration, except that neither
// role nor ID is judged: what a call must be like, its kind knows.

func appendCall(b []byte, c *Call) []byte {
	b = append(b, byte(c.Kind))
	b = appendUvarint(b, uint64(c.Expected))
	return appendMembers(b, c.Members)
}

func appendMembers(b []byte, members []Member) []byte {
	b = appendUvarint(b, uint64(len(members)))
	for i := range members {
		m := &members[i]
		b = appendString(b, string(m.ID))
		b = appendString(b, m.Address)
		b = append(b, byte(m.Role))
		b = binary.LittleEndian.AppendUint64(b, uint64(m.Incarnation))
	}
	return b
}

func (r *reader) call() *Call {
	c := &Call{Kind: CallKind(r.byte("call: kind")), Expected: Index(r.uvarint("call: Expected"))}
	c.Members = r.members("call: Members")
	if r.err != nil {
		return nil
	}
	return c
}

func (r *reader) members(name string) []Member {
	n := r.count(minMemberBytes, name)
	if n > MaxMembers {
		r.fail("%s: %d, more than %d", name, n, MaxMembers)
	}
	if r.err != nil || n == 0 {
		return nil
	}
	members := make([]Member, n)
	for i := range members {
		m := &members[i]
		m.ID = r.serverID(name)
		m.Address = r.string(MaxAddress, name)
		m.Role = MemberRole(r.byte(name))
		m.Incarnation = Incarnation(r.uint64(name))
		if r.err != nil {
			return nil
		}
	}
	return members
}
