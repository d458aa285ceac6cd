package raft

// find returns the place of a server in a list of members, or -1.
func find(members []Member, id ServerID) int {
	for i := range members {
		if members[i].ID == id {
			return i
		}
	}
	return -1
}

// member returns what the configuration says of a server, or nil. Of two disks of one server, the one that is
// being left doesn't count.
func (c *Configuration) member(id ServerID) *Member {
	if i := find(c.Members, id); i >= 0 {
		return &c.Members[i]
	}
	if i := find(c.Old, id); i >= 0 {
		return &c.Old[i]
	}
	return nil
}

// names says whether the configuration knows a server with this disk.
func (c *Configuration) names(id ServerID, incarnation Incarnation) bool {
	m := c.member(id)
	return m != nil && m.Incarnation == incarnation
}

// votes says whether a server is a voter of this configuration, of either half of a joint one.
func (c *Configuration) votes(id ServerID) bool {
	return votes(c.Members, id) || votes(c.Old, id)
}

func votes(members []Member, id ServerID) bool {
	i := find(members, id)
	return i >= 0 && members[i].Role == Voter
}

// counts says whether the vote of this disk counts in this configuration, in either half of a joint one.
func (c *Configuration) counts(id ServerID, incarnation Incarnation) bool {
	for _, half := range [2][]Member{c.Members, c.Old} {
		if i := find(half, id); i >= 0 && half[i].Role == Voter && half[i].Incarnation == incarnation {
			return true
		}
	}
	return false
}

// soleVoter says whether id is the only voter.
func (c *Configuration) soleVoter(id ServerID) bool {
	for _, half := range [2][]Member{c.Members, c.Old} {
		for i := range half {
			if m := &half[i]; m.Role == Voter && m.ID != id {
				return false
			}
		}
	}
	return c.votes(id)
}

// settled says that no change is under way.
func (c *Configuration) settled() bool { return c.Old == nil && c.Next == nil }

// quorum returns the largest value that a majority of the voters has reached, given each one's value. It is the
// one place that knows what a majority is: for the commit index (match indexes), for elections
// (1 for a vote), for "am I still leader" and for reads (rounds answered). Without voters it is 0. Of a joint
// configuration each half must have reached it (§4.3).
//
// The value is asked of a member, not of a server: the two halves may name different disks of one server.
func (c *Configuration) quorum(value func(*Member) uint64) uint64 {
	reached := majority(c.Members, value)
	if c.Old != nil {
		reached = min(reached, majority(c.Old, value))
	}
	return reached
}

// majority returns the largest value that a majority of the voters among some members has reached.
func majority(members []Member, value func(*Member) uint64) uint64 {
	var buffer [8]uint64
	sorted := buffer[:0]
	for i := range members {
		if members[i].Role != Voter {
			continue
		}
		// Insertion keeps the values in falling order; there are a handful.
		v := value(&members[i])
		sorted = append(sorted, v)
		at := len(sorted) - 1
		for ; at > 0 && sorted[at-1] < v; at-- {
			sorted[at] = sorted[at-1]
		}
		sorted[at] = v
	}
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// reachable says whether a majority of the voters among some members has answered this leader, and not too many rounds
// ago: without that, a step to them could be the last one that this cluster takes.
func (c *Core) reachable(l *leader, members []Member) bool {
	heard := majority(members, func(m *Member) uint64 { return c.heard(l, m) })
	return heard > 0 && heard+lateRounds > l.confirmed
}

// heard is one more than the last round that a member has answered, or 0 when it hasn't acknowledged anything else either.
func (c *Core) heard(l *leader, m *Member) uint64 {
	p := l.progressOf(m)
	switch {
	case p == nil:
		return c.own(m, l.round+1)
	case p.round == 0 && p.match == 0:
		return 0
	}
	return p.round + 1
}

// answered is the last round that a member has answered.
func (c *Core) answered(l *leader, m *Member) uint64 {
	if p := l.progressOf(m); p != nil {
		return p.round
	}
	return c.own(m, l.round)
}

// lateRounds is how many rounds an answer may be late.
const lateRounds = 2
