package raft

// An Applier hands committed entries to a state machine. It is what applying an entry means, in
// production and in the simulator alike. It is used by one goroutine at a time.
type Applier struct {
	machine StateMachine
	origin  Origin
	results [][]byte
}

// NewApplier returns an Applier that keeps the results of the commands that origin proposed.
func NewApplier(machine StateMachine, origin Origin) *Applier {
	return &Applier{machine: machine, origin: origin}
}

// A Batch is a run of entries that were applied, and what came of it.
type Batch struct {
	Last Index // of the last entry applied
	Term Term  // of that entry
	// Commands are the commands of the Applier's origin, in the order of the log, with their results.
	Commands []AppliedCommand
}

// An AppliedCommand is the result of one command.
type AppliedCommand struct {
	Number uint64
	Index  Index
	Result []byte
}

// Apply applies the entries in order. It copies the results, since the state machine may use their
// memory again.
func (a *Applier) Apply(entries []Entry) Batch { return Batch{} }
