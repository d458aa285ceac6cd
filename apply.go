package raft

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft/internal/codec"
	"github.com/e17579a5/raft/wire"
)

// An Applier hands committed entries to a state machine, and keeps the table of the sessions beside
// it (§6.3). So it defines what it means to apply an entry, in production and in the simulator
// alike. One goroutine at a time uses it.
type Applier struct {
	machine  StateMachine
	origin   Origin
	sessions sessions
	last     Index // up to where entries were applied or restored
	term     Term  // of the entry at last
	// durable is nil unless the machine keeps its own durable state. touched says that what the
	// machine keeps beside that state has changed since it was last told.
	durable *DurableMachine
	// patiently calls a function until it doesn't fail for want of room. nil calls it once.
	patiently func(func() error) error
	touched   bool

	// print is the fingerprint of the results so far; known says whether it is known. comparing
	// says that fingerprints are kept at all.
	print     wire.Fingerprint
	known     bool
	comparing bool
	prints    []wire.Fingerprint // of the batch being applied

	*batchRoom // nil while the Applier rests
}

// A batchRoom is room for the entries being applied. It is used again, and empty between two calls.
type batchRoom struct {
	results  [][]byte
	commands []Entry
	outcomes []outcome
}

// Rest lets go of room that is only needed while entries are applied. Apply makes it anew.
func (a *Applier) Rest() { a.batchRoom = nil }

// An outcome is what becomes of one of the entries being applied.
type outcome struct {
	// place is the command's place among those that the state machine gets. session keeps the
	// result under sequence. again says that the command is a copy of an earlier one: then place is
	// that of the first copy if that one is being applied too, and otherwise -1, and result is the
	// kept one.
	place    int
	again    bool
	index    Index
	session  *session // nil for none
	sequence uint64
	at       int // where the session's place for the result was when it was made
	result   []byte
	err      error // why the entry isn't applied
}

// NewApplier returns an Applier for a state machine. Its batches hold the results of the commands
// that origin has proposed.
func NewApplier(machine StateMachine, origin Origin) *Applier {
	return &Applier{machine: machine, origin: origin, known: true}
}

// CompareResults makes the Applier keep fingerprints of the results (CoreConfig.CompareResults). It
// is called before anything is applied.
func (a *Applier) CompareResults() { a.comparing = true }

// Resume lets the Applier go on with a state machine that keeps its own durable state. applied and
// beside are what DurableMachine.Load returned.
func (a *Applier) Resume(durable *DurableMachine, applied Index, beside []byte) error {
	a.known = applied == 0
	term, state, err := splitBeside(beside)
	if err == nil && len(state) > 0 {
		err = a.restoreState(state)
	}
	if err != nil {
		return because(errBeside, err)
	}
	a.durable, a.last, a.term = durable, applied, term
	a.touched = true // in its earlier life the server may have kept fingerprints, or not
	return nil
}

// SaveBy lets a function call DurableMachine.Save, so that it may call it again when there was no room.
// It returns the last error. Without it, Save is called once.
func (a *Applier) SaveBy(patiently func(save func() error) error) { a.patiently = patiently }

// save tells the state machine what to keep beside its state.
func (a *Applier) save() error {
	if a.durable == nil {
		return nil
	}
	var beside []byte
	if a.touched {
		beside = a.appendState(codec.AppendUvarint([]byte{besideVersion}, uint64(a.term)))
	}
	a.touched = false
	save := func() error { return a.durable.Save(a.last, beside) }
	if a.patiently == nil {
		a.patiently = func(try func() error) error { return try() }
	}
	if err := a.patiently(save); err != nil {
		return because(fmt.Errorf("raft: save the state at index %d", a.last), err)
	}
	return nil
}

// What a durable state machine keeps beside its state is a byte besideVersion, the term of the last
// entry that it has applied, as a varint, and what the Applier keeps itself (Applier.appendState).
// Version 1 had no term.
const besideVersion = 2

// errBeside says what is decoded.
var errBeside = errors.New("raft: decode the bytes that Durable.Load returned")

// splitBeside returns the term and the rest of what a durable state machine keeps beside its state.
// It returns 0 and nil if that is nothing.
func splitBeside(beside []byte) (term Term, state []byte, err error) {
	if len(beside) == 0 {
		return 0, nil, nil
	}
	r := codec.NewReader(beside)
	if version := r.Byte("version"); version != besideVersion {
		r.Fail("of version %d, not %d", version, besideVersion)
	}
	term = Term(r.Uvarint("term"))
	return term, r.Rest(), r.Err()
}

// A Batch is a run of entries that were applied, with what came of them.
type Batch struct {
	Last Index // of the last entry applied
	Term Term  // of that entry
	// Commands are the commands of the Applier's origin, in the order of the log, with their
	// results.
	Commands []AppliedCommand
	// Fingerprints are the fingerprints at the indexes that are multiples of 64, if they are kept.
	Fingerprints []wire.Fingerprint
}

// An AppliedCommand is the result of one command, or of opening or closing a session.
type AppliedCommand struct {
	Number uint64
	Place  Index // the index of its entry
	// Index is where the command was applied. It differs from Place for a copy of a session's
	// command: then it is the index of the copy that was applied.
	Index  Index
	Result []byte
	// Err says why the entry was not applied: ErrSessionExpired or ErrSessionAnswered.
	Err error
}

// Apply applies the entries in order. It copies the results, since the state machine may use their
// memory again. An entry of a kind that this version doesn't know is an error, and then none of the
// entries has been applied: nobody here knows what the entry would have done to the state, so the
// server must not go on.
func (a *Applier) Apply(entries []Entry) (Batch, error) {
	if len(entries) == 0 {
		return Batch{}, nil
	}
	if a.batchRoom == nil {
		a.batchRoom = new(batchRoom)
	}
	own := 0
	for i := range entries {
		switch e := &entries[i]; e.Kind {
		case wire.EntryCommand, wire.EntryOpenSession, wire.EntryCloseSession, wire.EntrySessionCommand:
			if e.Origin == a.origin {
				own++
			}
		case wire.EntryNoOp, wire.EntryConfiguration:
		default:
			return Batch{}, fmt.Errorf("raft: apply entry %d: %s is not known to this version", e.Index, e.Kind)
		}
	}
	last := entries[len(entries)-1]
	batch := Batch{Last: last.Index, Term: last.Term}
	if own > 0 {
		batch.Commands = make([]AppliedCommand, 0, own)
	}
	for len(entries) > 0 {
		n, inSessions := a.run(entries)
		a.touched = a.touched || n == 0 && entries[0].Proposable() || inSessions || a.comparing
		var err error
		switch {
		case n == 0:
			n = 1
			batch.Commands, err = a.applyOther(&entries[0], batch.Commands)
		case inSessions:
			batch.Commands, err = a.applySessions(entries[:n:n], batch.Commands)
		default:
			batch.Commands = a.apply(entries[:n:n], batch.Commands)
		}
		if err != nil {
			return Batch{}, err
		}
		if e := &entries[n-1]; !e.Command() || e.Index%sessionCheckpoint == 0 {
			a.touched = a.sessions.expire() || a.touched
		}
		entries = entries[n:]
	}
	a.touched = a.touched || a.term != last.Term
	a.last, a.term = last.Index, last.Term
	batch.Fingerprints, a.prints = a.prints, nil
	return batch, a.save()
}

// fingerprintEpoch is how many indexes a fingerprint stands for at most. After that it begins anew,
// so that a server can join in that hasn't kept one so far, or doesn't know the others'
// fingerprint.
const fingerprintEpoch = 1 << 16

// passed keeps the fingerprint at an index if it is one of those at which fingerprints are kept.
func (a *Applier) passed(index Index) {
	if a.known && index%fingerprintInterval == 0 {
		a.prints = append(a.prints, wire.Fingerprint{Index: index, Sum: a.print.Sum})
	}
	if index%fingerprintEpoch == 0 {
		a.print, a.known = wire.Fingerprint{}, true
	}
}

// run returns how many of the first entries are commands that can be applied together, and whether
// there are commands of sessions among them.
func (a *Applier) run(entries []Entry) (n int, inSessions bool) {
	for n < len(entries) && entries[n].Command() {
		inSessions = inSessions || entries[n].Kind == wire.EntrySessionCommand
		n++
		if entries[n-1].Index%sessionCheckpoint == 0 && a.sessions.oldest != nil {
			break
		}
	}
	return n, inSessions
}

// applyOther applies an entry that isn't a command.
func (a *Applier) applyOther(e *Entry, own []AppliedCommand) ([]AppliedCommand, error) {
	if a.comparing {
		a.passed(e.Index)
	}
	var result []byte
	switch e.Kind {
	case wire.EntryOpenSession:
		limits, err := wire.DecodeSessionLimits(e.Data)
		if err != nil {
			return own, because(fmt.Errorf("raft: apply entry %d", e.Index), err)
		}
		id := SessionID{Term: e.Term, Index: e.Index}
		a.sessions.open(id, limits)
		result = wire.AppendSessionID(nil, id)
	case wire.EntryCloseSession:
		id, err := wire.DecodeSessionID(e.Data)
		if err != nil {
			return own, because(fmt.Errorf("raft: apply entry %d", e.Index), err)
		}
		a.sessions.close(id)
	default:
		return own, nil
	}
	if e.Origin == a.origin {
		own = append(own, AppliedCommand{Number: e.Number, Place: e.Index, Index: e.Index, Result: result})
	}
	return own, nil
}

// apply applies neighbouring commands, none of which is in a session. It appends the results of the
// origin's own commands.
func (a *Applier) apply(commands []Entry, own []AppliedCommand) []AppliedCommand {
	results := a.call(commands)
	defer clear(results)
	before := len(own)
	for i := range commands {
		if e := &commands[i]; e.Origin == a.origin {
			own = append(own, AppliedCommand{Number: e.Number, Place: e.Index, Index: e.Index, Result: results[i]})
		}
	}
	for i := 0; a.comparing && i < len(commands); i++ {
		a.print = nextFingerprint(a.print, commands[i].Index, results[i])
		a.passed(commands[i].Index)
	}
	copyResults(own[before:])
	return own
}

// applySessions is apply for commands of which some are in sessions. A new command of a session
// gets a place in the table before the state machine gets the command, so that a copy in the same
// batch finds it. The table keeps its result afterwards.
func (a *Applier) applySessions(entries []Entry, own []AppliedCommand) ([]AppliedCommand, error) {
	commands, outcomes := a.commands[:0], a.outcomes[:0]
	var results [][]byte
	defer func() {
		clear(commands)
		clear(outcomes)
		clear(results)
		a.commands, a.outcomes = commands[:0], outcomes[:0]
	}()
	for i := range entries {
		outcomes = append(outcomes, outcome{place: len(commands), index: entries[i].Index})
		o := &outcomes[i]
		if entries[i].Kind == wire.EntryCommand {
			commands = append(commands, entries[i])
			continue
		}
		command, data, err := wire.DecodeSessionCommand(entries[i].Data)
		if err != nil {
			return own, because(fmt.Errorf("raft: apply entry %d", entries[i].Index), err)
		}
		a.sessions.begin(&command, o)
		if !o.again && o.err == nil {
			commands = append(commands, entries[i])
			e := &commands[o.place]
			e.Kind, e.Data = wire.EntryCommand, data
		}
	}
	results = a.call(commands)
	before := len(own)
	for i := range outcomes {
		o := &outcomes[i]
		switch {
		case o.err != nil:
		case o.place >= 0:
			o.result, o.index = results[o.place], commands[o.place].Index
		}
		if o.session != nil && !o.again {
			a.sessions.keep(o)
		}
		if a.comparing {
			if o.err == nil && !o.again {
				a.print = nextFingerprint(a.print, o.index, o.result)
			}
			a.passed(entries[i].Index)
		}
		if e := &entries[i]; e.Origin == a.origin {
			own = append(own, AppliedCommand{Number: e.Number, Place: e.Index, Index: o.index, Result: o.result, Err: o.err})
		}
	}
	copyResults(own[before:])
	return own, nil
}

// call lets the state machine apply commands. The caller clears the results when it has read them.
func (a *Applier) call(commands []Entry) [][]byte {
	if cap(a.results) < len(commands) {
		a.results = make([][]byte, max(len(commands), 2*cap(a.results)))
	}
	results := a.results[:len(commands)]
	if len(commands) > 0 {
		a.machine.Apply(commands, results)
	}
	return results
}

// copyResults copies results into one piece of memory.
func copyResults(own []AppliedCommand) {
	bytes := 0
	for i := range own {
		bytes += len(own[i].Result)
	}
	arena := make([]byte, 0, bytes)
	for i := range own {
		if result := own[i].Result; result != nil {
			start := len(arena)
			arena = append(arena, result...)
			own[i].Result = arena[start:len(arena):len(arena)]
		}
	}
}

// AppendSessions appends the table of the sessions, encoded as in snapshots. Servers that have
// applied the same entries have the same table.
func (a *Applier) AppendSessions(b []byte) []byte { return a.sessions.append(b) }
