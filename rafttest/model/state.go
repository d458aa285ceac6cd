package model

// A state is the whole cluster, with the messages on its links and with what may still happen.
type state struct {
	number uint32 // in the order of discovery
	depth  uint32 // number of steps from the beginning
	budget budget
	ghost  uint32
	nodes  [MaxServers]uint32
	// messages are the messages on all links, in the order of their numbers. A message knows its
	// own link.
	messages []uint32
}

// append appends a state of n servers in packed form.
func (s *state) append(b []uint32, n int) []uint32 {
	budget := s.budget.pack()
	b = append(b, s.number, s.depth, uint32(budget), uint32(budget>>32), s.ghost, uint32(len(s.messages)))
	b = append(b, s.nodes[:n]...)
	return append(b, s.messages...)
}

// load unpacks the first state in b and returns the rest of b. The messages of the state stay in b.
func (s *state) load(b []uint32, n int) []uint32 {
	s.number, s.depth, s.budget, s.ghost = b[0], b[1], unpackBudget(uint64(b[3])<<32|uint64(b[2])), b[4]
	m := int(b[5])
	copy(s.nodes[:n], b[6:])
	b = b[6+n:]
	s.messages = b[:m:m]
	return b[m:]
}

// A move is a step that is taken: which event happens to which server, whether the message that
// arrives stays, which messages are lost, and which messages arrive at once only to be answered.
type move struct {
	server int
	event  event
	stays  bool // the message may arrive again
	lost   []uint32
	echoes []uint32
	step   *step
}
