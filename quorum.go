package raft

// find returns the place of a member in the list, or -1.
func (c *Configuration) find(id ServerID) int {
	for i := range c.Members {
		if c.Members[i].ID == id {
			return i
		}
	}
	return -1
}

// votes says whether a server is a voter of this configuration.
func (c *Configuration) votes(id ServerID) bool {
	i := c.find(id)
	return i >= 0 && c.Members[i].Role == Voter
}

// names says whether the configuration knows a server with this disk.
func (c *Configuration) names(id ServerID, incarnation Incarnation) bool {
	i := c.find(id)
	return i >= 0 && c.Members[i].Incarnation == incarnation
}

// soleVoter says whether id is the only voter.
func (c *Configuration) soleVoter(id ServerID) bool {
	for i := range c.Members {
		if m := &c.Members[i]; m.Role == Voter && m.ID != id {
			return false
		}
	}
	return c.votes(id)
}

// quorum returns the largest value that a majority of the voters has reached, given each one's value. It is the
// one place that knows what a majority is: for the commit index (match indexes), for elections
// (1 for a vote), for "am I still leader" and for reads (rounds answered). Without voters it is 0.
func (c *Configuration) quorum(value func(member int) uint64) uint64 {
	var buffer [8]uint64
	sorted := buffer[:0]
	for i := range c.Members {
		if c.Members[i].Role != Voter {
			continue
		}
		// Insertion keeps the values in falling order; there are a handful.
		v := value(i)
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
