package raft

// Admission is the front door of every message: what isn't admitted touches neither term, nor log,
// nor role. A message must be well formed, and come from this server's cluster, or from servers
// that this one may found or join a cluster with (founding.go). It must also mean this server's
// disk, and not one that it has lost.

// admit says whether a message concerns this server as it is now: it is well formed, and comes from
// its cluster, or from those that it may found or join one with.
func (c *Core) admit(m *Message) bool {
	if m.To != c.id || m.From == c.id || m.From == "" || m.Term > maxTerm || !m.wellFormed() {
		return false
	}
	switch m.Kind {
	case IdentityRequest:
		c.tellIdentity(m)
		return false
	case IdentityResponse:
		c.identityTold(m)
		return false
	}
	switch {
	case c.state.Cluster == m.Cluster:
		if m.ToIncarnation != 0 && m.ToIncarnation != c.state.Incarnation {
			c.takenForAnother(m)
			if m.Kind == PreVoteRequest {
				c.tellRemoval(m) // it may have been away for so long that it knows of an older disk here
			}
			return false
		}
		if m.Kind == Removed {
			c.removedBy(m)
			return false
		}
		return c.state.Cluster != ClusterID{} || c.mayFoundWith(m)
	case c.state.Cluster == ClusterID{}:
		// A cluster that names this very disk is one to belong to. One that names another knew a
		// disk that this server has lost, with votes and acknowledgements on it.
		if m.ToIncarnation != c.state.Incarnation {
			if m.ToIncarnation != 0 {
				c.takenForAnother(m)
			}
			return false
		}
		return true
	case m.Cluster == ClusterID{}:
		return c.admitUnfounded(m)
	}
	if c.leaderID() == "" && c.trouble == nil {
		c.trouble = ErrOtherCluster // a server that hears a leader takes part, whoever else speaks to it
	}
	return false
}

// takenForAnother notes that the cluster knows this server with another disk, and says so to a
// leader. Who isn't one may have an older configuration than this server.
func (c *Core) takenForAnother(m *Message) {
	leads := (m.Kind == Heartbeat || m.Kind == AppendRequest) && m.Term >= c.state.Term
	if c.named == 0 || leads {
		c.trouble = ErrOtherIncarnation
	}
	if m.Kind == Heartbeat && m.Round != 0 {
		c.send(Message{Kind: IdentityResponse, To: m.From, LogTerm: m.Term})
	}
}

// admitUnfounded judges what a server says that doesn't know yet, or not any more, that it belongs
// to this server's cluster. Its answers count if it has the disk that the configuration names: it
// was elected with, but hasn't got the first entry. If it wants to found a cluster it is told that
// there is one.
func (c *Core) admitUnfounded(m *Message) bool {
	switch m.Kind {
	case PreVoteRequest:
		c.send(Message{Kind: PreVoteResponse, To: m.From})
		return false
	case VoteRequest:
		c.send(Message{Kind: VoteResponse, To: m.From})
		return false
	}
	return c.log.configuration() != nil && c.log.configuration().names(m.From, m.FromIncarnation)
}

// wellFormed says whether the entries of a message can be what a log holds: contiguous, of terms
// that never fall and are not above the sender's, with data that can be read; forwarded, what
// callers may propose; and whether a call is there.
func (m *Message) wellFormed() bool {
	switch m.Kind {
	case CallRequest:
		return m.Call != nil && len(m.Numbers) == 1
	case ForwardRequest:
		for i := range m.Entries {
			if !m.Entries[i].proposable() {
				return false
			}
		}
		return true
	case SnapshotRequest:
		return m.Index > 0 && m.LogTerm <= m.Term && m.Size > 0
	case SnapshotStream:
		if len(m.Entries) != 1 || m.Entries[0].Kind != EntryConfiguration || m.Entries[0].Index > m.Index || m.Offset > m.Size {
			return false
		}
		_, err := DecodeConfiguration(m.Entries[0].Data)
		return err == nil && m.LogTerm <= m.Term
	case AppendRequest:
	default:
		return true
	}
	index, term := m.Index, m.LogTerm
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Index != index+1 || e.Term < term || e.Term > m.Term || e.Term == 0 {
			return false
		}
		if !e.readable() {
			return false
		}
		index, term = e.Index, e.Term
	}
	return term <= m.Term
}
