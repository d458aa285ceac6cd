package wire

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft/internal/codec"
)

// A Naming gives servers other names, of one byte each; "" has the name 0. A model checker uses it
// to encode the states of a cluster: two states that differ only in the names of their servers have
// one encoding. Equal encodings stand for equal values, up to the names. The encodings are for
// comparison only, and can't be decoded.
type Naming func(ServerID) byte

// AppendMessage appends an encoding of a message.
func (name Naming) AppendMessage(b []byte, m *Message) []byte {
	o := &m.body
	b = append(b, byte(o.kind), name(m.From), name(m.To))
	b = append(b, m.Cluster[:]...)
	b = codec.AppendString(b, string(m.Group))
	b = appendNumbers(b, uint64(m.FromIncarnation), uint64(m.ToIncarnation), uint64(m.Term), m.FromStart, uint64(o.fields))
	b = appendNumbers(b, o.numbers[:]...)
	b = name.AppendEntries(b, o.entries)
	if o.rest == nil {
		return b
	}
	b = appendNumbers(b, uint64(len(o.rest.numbers)))
	b = appendNumbers(b, o.rest.numbers...)
	b = appendNumbers(b, uint64(len(o.rest.servers)))
	for _, server := range o.rest.servers {
		b = append(b, name(server.ID))
		b = codec.AppendString(b, server.Address)
	}
	if o.rest.call != nil {
		b = name.AppendCall(b, o.rest.call)
	}
	if o.rest.process != nil {
		b = appendProcess(b, o.rest.process) // no group of a model checker hears of these
	}
	return b
}

// AppendEntries appends an encoding of a list of entries.
func (name Naming) AppendEntries(b []byte, entries []Entry) []byte {
	b = appendNumbers(b, uint64(len(entries)))
	for i := range entries {
		b = name.AppendEntry(b, &entries[i])
	}
	return b
}

// AppendEntry appends an encoding of an entry.
func (name Naming) AppendEntry(b []byte, e *Entry) []byte {
	b = append(b, byte(e.Kind), name(e.Origin.Server))
	b = appendNumbers(b, uint64(e.Index), uint64(e.Term), e.Origin.Start, e.Number)
	if e.Kind == EntryConfiguration {
		if c, err := DecodeConfiguration(e.Data); err == nil {
			return name.AppendConfiguration(b, &c)
		}
	}
	b = appendNumbers(b, uint64(len(e.Data)))
	return append(b, e.Data...)
}

// AppendConfiguration appends an encoding of a configuration.
func (name Naming) AppendConfiguration(b []byte, c *Configuration) []byte {
	b = append(b, c.Cluster[:]...)
	b = name.AppendMembers(b, c.Members)
	b = append(b, flag(c.Old != nil), flag(c.Next != nil))
	b = name.AppendMembers(b, c.Old)
	b = name.AppendMembers(b, c.Next)
	b = append(b, name(c.Origin.Server), name(c.About), flag(c.Begun), byte(c.Refusal))
	b = appendNumbers(b, c.Origin.Start, c.Number, uint64(c.LevelInForce()))
	b = append(append(b, c.Recovered[:]...), flag(c.KeyOutworn), byte(len(c.Keys)))
	for i := range c.Keys {
		b = append(b, c.Keys[i][:]...)
	}
	return b
}

// AppendMembers appends an encoding of a list of members, in the order of their names. (The list
// itself is in the order of their IDs.)
func (name Naming) AppendMembers(b []byte, members []Member) []byte {
	encoded := make([][]byte, 0, len(members))
	for i := range members {
		m := &members[i]
		one := binary.AppendUvarint([]byte{name(m.ID), byte(m.Role)}, uint64(m.Incarnation))
		encoded = append(encoded, codec.AppendString(one, m.Address))
	}
	slices.SortFunc(encoded, bytes.Compare)
	b = appendNumbers(b, uint64(len(members)))
	return append(b, bytes.Join(encoded, nil)...)
}

// AppendCall appends an encoding of a call.
func (name Naming) AppendCall(b []byte, c *Call) []byte {
	b = appendNumbers(b, uint64(c.Kind), uint64(c.Expected))
	return name.AppendMembers(b, c.Members)
}

func appendNumbers(b []byte, values ...uint64) []byte {
	for _, v := range values {
		b = codec.AppendUvarint(b, v)
	}
	return b
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
