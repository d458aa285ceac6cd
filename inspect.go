package raft

import (
	"bytes"
	"encoding/binary"
	"slices"
)

func (s *stateEncoder) durableState(d *DurableState) {
	s.b = append(s.b, s.name(d.Server), s.name(d.Vote))
	s.b = append(s.b, d.Cluster[:]...)
	s.numbers(uint64(d.Term), uint64(d.Incarnation), d.Start, uint64(d.MaxLease))
}

func (s *stateEncoder) entries(entries []Entry) {
	s.numbers(uint64(len(entries)))
	for i := range entries {
		s.entry(&entries[i])
	}
}

func (s *stateEncoder) entry(e *Entry) {
	s.b = append(s.b, byte(e.Kind), s.name(e.Origin.Server))
	s.numbers(uint64(e.Index), uint64(e.Term), e.Origin.Start, e.Number)
	if e.Kind == EntryConfiguration {
		if configuration, err := DecodeConfiguration(e.Data); err == nil {
			s.configuration(&configuration)
			return
		}
	}
	s.numbers(uint64(len(e.Data)))
	s.b = append(s.b, e.Data...)
}

func (s *stateEncoder) configuration(c *Configuration) {
	s.b = append(s.b, c.Cluster[:]...)
	s.members(c.Members)
	s.numbers(flag(c.Old != nil), flag(c.Next != nil))
	s.members(c.Old)
	s.members(c.Next)
	s.b = append(s.b, s.name(c.Origin.Server), s.name(c.About))
	s.numbers(c.Origin.Start, c.Number, flag(c.Begun), uint64(c.Refusal), uint64(c.Level))
	s.b = append(s.b, c.Recovered[:]...)
}

// Message writes a message, with its servers by their names.
func (s *stateEncoder) Message(m *Message) { s.b = AppendMessageState(s.b, m, s.name) }

// AppendMessageState appends an encoding of a message in which servers have the names that name gives them,
// as in Core.AppendState: equal encodings are equal messages, up to the names.
func AppendMessageState(b []byte, m *Message, name func(ServerID) byte) []byte {
	s := &stateEncoder{b: b, name: name}
	s.b = append(s.b, byte(m.Kind), name(m.From), name(m.To))
	s.b = append(s.b, m.Cluster[:]...)
	s.numbers(uint64(m.FromIncarnation), uint64(m.ToIncarnation), uint64(m.Term), uint64(m.Index), uint64(m.LogTerm),
		uint64(m.Hint), uint64(m.Commit), m.Round, m.Start, m.Number, uint64(m.Lease), m.Fitness, uint64(m.Level),
		flag(m.Granted), flag(m.Transfer), flag(m.Mismatch), flag(m.ByLease), uint64(len(m.Numbers)), uint64(len(m.Servers)))
	s.numbers(m.Numbers...)
	for _, server := range m.Servers {
		s.b = append(s.b, s.name(server.ID))
		s.numbers(uint64(len(server.Address)))
		s.b = append(s.b, server.Address...)
	}
	s.numbers(m.Size, m.Offset)
	s.entries(m.Entries)
	s.numbers(uint64(m.Refusal), flag(m.Call != nil))
	if m.Call != nil {
		s.call(m.Call)
	}
	return s.b
}

func (s *stateEncoder) call(call *Call) {
	s.numbers(uint64(call.Kind), uint64(call.Expected))
	s.members(call.Members)
}

// members writes a list of members in the order of their names: their own order is that of their IDs.
func (s *stateEncoder) members(members []Member) {
	encoded := make([][]byte, 0, len(members))
	for i := range members {
		m := &members[i]
		b := binary.AppendUvarint([]byte{s.name(m.ID), byte(m.Role)}, uint64(m.Incarnation))
		encoded = append(encoded, append(binary.AppendUvarint(b, uint64(len(m.Address))), m.Address...))
	}
	slices.SortFunc(encoded, bytes.Compare)
	s.numbers(uint64(len(members)))
	s.b = append(s.b, bytes.Join(encoded, nil)...)
}
