package raft

// quorum returns the largest value that a majority of the voters has reached, given each voter's
// value. It is the one place that knows what a majority is. It serves the commit index (match
// indexes), elections (1 for a vote), the question whether this leader still leads, and reads
// (rounds answered). Without voters it is 0. In a joint configuration each half must have reached
// the value (§4.3).
//
// value takes a member, not a server: the two halves may name different disks of one server.
func quorum(c *Configuration, value func(*Member) uint64) uint64 {
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
		// Insertion keeps the values in falling order. There are only a handful.
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

// reachable says whether a majority of the voters among some members has answered this leader, and
// not too many rounds ago. Without that majority, a step to these members could be the last one
// that this cluster takes.
func (c *Core) reachable(l *leader, members []Member) bool {
	heard := majority(members, func(m *Member) uint64 { return c.heard(l, m) })
	return heard > 0 && heard+lateRounds > l.confirmed
}

// heard returns one more than the last round that a member has answered. It returns 0 for a member
// that has answered no round and acknowledged nothing.
func (c *Core) heard(l *leader, m *Member) uint64 {
	p := l.progressOf(m)
	switch {
	case p == nil:
		return c.own(m, l.round+1)
	case c.wentBack(m.ID, m.Incarnation):
		return 0
	case p.round == 0 && p.match == 0:
		return 0
	}
	return p.round + 1
}

// answered returns the last round that a member has answered.
func (c *Core) answered(l *leader, m *Member) uint64 {
	if p := l.progressOf(m); p != nil {
		return p.round
	}
	return c.own(m, l.round)
}

// lateRounds is how many rounds late an answer may be.
const lateRounds = 2
