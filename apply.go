package raft

import "fmt"

// An Applier hands committed entries to a state machine. It is what applying an entry means, in
// production and in the simulator alike. It is used by one goroutine at a time.
type Applier struct {
	machine StateMachine
	origin  Origin
	last    Index    // that was applied or restored
	results [][]byte // of the entries being applied; used again, empty between two calls
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
// memory again. An entry of a kind that this version doesn't know is an error, and then none of the
// entries has been applied: what it would have done to the state is unknown, so the server must not
// go on.
func (a *Applier) Apply(entries []Entry) (Batch, error) {
	if len(entries) == 0 {
		return Batch{}, nil
	}
	own := 0
	for i := range entries {
		switch e := &entries[i]; e.Kind {
		case EntryCommand:
			if e.Origin == a.origin {
				own++
			}
		case EntryNoOp, EntryConfiguration:
		default:
			return Batch{}, fmt.Errorf("raft: apply entry %d: %s is not known to this version", e.Index, e.Kind)
		}
	}
	last := &entries[len(entries)-1]
	batch := Batch{Last: last.Index, Term: last.Term}
	if own > 0 {
		batch.Commands = make([]AppliedCommand, 0, own)
	}
	for from := 0; from < len(entries); from++ {
		if entries[from].Kind != EntryCommand {
			continue
		}
		to := from + 1
		for to < len(entries) && entries[to].Kind == EntryCommand {
			to++
		}
		batch.Commands = a.apply(entries[from:to:to], batch.Commands)
		from = to
	}
	a.last = last.Index
	return batch, nil
}

// apply applies neighbouring commands and appends the results of the origin's own, which it copies
// into one piece of memory.
func (a *Applier) apply(commands []Entry, own []AppliedCommand) []AppliedCommand {
	if cap(a.results) < len(commands) {
		a.results = make([][]byte, max(len(commands), 2*cap(a.results)))
	}
	results := a.results[:len(commands)]
	defer clear(results)
	a.machine.Apply(commands, results)

	before, bytes := len(own), 0
	for i := range commands {
		if e := &commands[i]; e.Origin == a.origin {
			own = append(own, AppliedCommand{Number: e.Number, Index: e.Index, Result: results[i]})
			bytes += len(results[i])
		}
	}
	arena := make([]byte, 0, bytes)
	for i := before; i < len(own); i++ {
		if result := own[i].Result; result != nil {
			start := len(arena)
			arena = append(arena, result...)
			own[i].Result = arena[start:len(arena):len(arena)]
		}
	}
	return own
}
