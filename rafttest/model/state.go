package model

// A state is the whole cluster and what is on its links, with what may still happen.
type state struct {
	number uint32 // in the order of discovery
	depth  uint32 // steps from the beginning
	budget budget
	ghost  uint32
	nodes  [MaxServers]uint32
	// messages are on the links, in the order of their numbers. All links are in one list: a message names
	// its own.
	messages []uint32
}

// append packs a state of n servers.
func (s *state) append(b []uint32, n int) []uint32 {
	b = append(b, s.number, s.depth, s.budget.pack(), s.ghost, uint32(len(s.messages)))
	b = append(b, s.nodes[:n]...)
	return append(b, s.messages...)
}

// load unpacks the first state in b and returns the rest of b. The messages stay in b.
func (s *state) load(b []uint32, n int) []uint32 {
	s.number, s.depth, s.budget, s.ghost = b[0], b[1], unpackBudget(b[2]), b[3]
	m := int(b[4])
	copy(s.nodes[:n], b[5:])
	b = b[5+n:]
	s.messages = b[:m:m]
	return b[m:]
}

// A move is a step that is taken: which event happens to which server, what becomes of the message that
// arrives, which messages are lost, and which arrive because of it only to be answered.
type move struct {
	server int
	event  event
	stays  bool // the message that arrives may arrive again
	lost   []uint32
	echoes []uint32
	step   *step
}
