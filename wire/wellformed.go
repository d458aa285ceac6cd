package wire

// WellFormed says whether a server can have sent the message, as far as the message alone shows. A
// server takes no other message. The entries of an append are what a log holds: they are
// contiguous, their terms never fall and are not above the message's, and their data is readable.
// Those of a repair are contiguous too, and of one term.
// Forwarded commands are what callers may propose. A call is there, and so is the configuration of
// a snapshot.
func (m *Message) WellFormed() bool {
	switch m.body.kind {
	case KindAppendRequest:
		return m.appendWellFormed()
	case KindForwardRequest:
		for i := range m.body.entries {
			if !m.body.entries[i].Proposable() {
				return false
			}
		}
	case KindCallRequest:
		return m.body.rest != nil && m.body.rest.call != nil && len(m.body.rest.numbers) == 1
	case KindSnapshotRequest:
		b := m.SnapshotRequest()
		return b.Snapshot.Index > 0 && b.Snapshot.Term <= m.Term && b.Bytes > 0
	case KindSnapshotStream:
		b := m.SnapshotStream()
		if len(m.body.entries) != 1 || b.Configuration.Kind != EntryConfiguration ||
			b.Configuration.Index > b.Snapshot.Index || b.Offset > b.Bytes {
			return false
		}
		return b.Configuration.Readable() && b.Snapshot.Term <= m.Term
	case KindRepairRequest:
		b := m.RepairRequest()
		return b.First > 0 && b.First <= b.Last && b.Term > 0 && b.Term <= m.Term
	case KindSnapshotPull:
		return m.SnapshotPull().Least > 0
	case KindRepairResponse:
		return m.repairWellFormed()
	}
	return true
}

func (m *Message) repairWellFormed() bool {
	b := m.RepairResponse()
	if (b.Lacks.Index == 0) != (b.Lacks.Term == 0) || b.Lacks.Term > m.Term {
		return false
	}
	for i := range b.Entries {
		e, first := &b.Entries[i], &b.Entries[0]
		if e.Index == 0 || e.Index != first.Index+Index(i) || e.Term != first.Term || e.Term == 0 || e.Term > m.Term || !e.Readable() {
			return false
		}
	}
	return true
}

func (m *Message) appendWellFormed() bool {
	last := m.AppendRequest().Previous
	for i := range m.body.entries {
		e := &m.body.entries[i]
		if e.Index != last.Index+1 || e.Term < last.Term || e.Term > m.Term || e.Term == 0 || !e.Readable() {
			return false
		}
		last = Place{e.Index, e.Term}
	}
	return last.Term <= m.Term
}
