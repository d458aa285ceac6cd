package raft

// quorum returns the largest value that a majority of the voters has reached, given each voter's value.
// It is the one place that knows what a majority is. It serves the commit index (match indexes),
// elections (1 for a vote), the question "am I still leader", and reads (rounds answered). Without voters
// it is 0. Of a joint configuration each half must have reached the value (§4.3).
//
// The value is asked of a member, not of a server: the two halves may name different disks of one server.
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
