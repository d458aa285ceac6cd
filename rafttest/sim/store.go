package sim

import (
	"bytes"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A Store is what a durable state machine of one server keeps its state on: a directory, or a disk
// that is simulated. It outlives the machine.
type Store interface {
	// Open opens what is durable, and returns a state machine that goes on from there, with the
	// functions that Config.Durable has in production. The machine before it was ended by Crash.
	Open() (raft.StateMachine, raft.DurableMachine, error)

	// Crash ends the machine that Open has returned, at any moment between two calls, as a power
	// cut does: whatever isn't durable may be lost. It also releases what the machine holds, such
	// as files.
	Crash()
}

// A saved is what a durable state machine was told to save in one call.
type saved struct {
	applied raft.Index
	beside  []byte
	slot    slot // of the log at applied
}

// user reports whether the state machines are a user's.
func (w *World) user() bool { return w.options.Machine != nil || w.options.Store != nil }

// openMachine opens the state machine of a server that starts.
func (w *World) openMachine(i int) {
	s := &w.servers[i]
	s.replica.command, s.replica.restored = 0, 0
	if w.options.Store == nil {
		s.replica.inner = w.machine()
		return
	}
	if s.store == nil {
		s.store, s.saves = w.options.Store(), []saved{{}}
	}
	w.closeStore(s) // if a start has failed that has opened it
	s.opened = true
	machine, durable, err := s.store.Open()
	switch {
	case err != nil:
		w.fail(DurableState, i, "its store can't be opened: %v", err)
	case machine == nil:
		w.fail(DurableState, i, "its store opens without a state machine")
	case durable.Load == nil || durable.Save == nil:
		w.fail(DurableState, i, "its store opens without Load or without Save")
	}
	if w.violation != nil {
		s.replica.inner, s.durable = new(chainMachine), raft.DurableMachine{}
		return
	}
	s.replica.inner, s.durable = machine, durable
	w.loadState(i)
}

// closeStore ends the user's durable state machine of a server, if it is open.
func (w *World) closeStore(s *server) {
	if s.opened {
		s.opened = false
		s.store.Crash()
	}
}

// keeps returns what a durable state machine of a server keeps. Of a user's it is what was saved
// last.
func (s *server) keeps() kept {
	if n := len(s.saves); n > 0 {
		last := &s.saves[n-1]
		return kept{index: last.applied, beside: last.beside, slot: last.slot}
	}
	return s.kept
}

// keepAgain lets the durable state machine of a server that is down keep what it kept before. It
// reports whether it can: that of a user is made again.
func (w *World) keepAgain(i int, k *kept) bool {
	s := &w.servers[i]
	if w.options.Store != nil {
		return w.remake(i, k.index)
	}
	s.kept = *k
	return true
}

// remake gives a server that is down a store of the user's that is as of an earlier index: an empty
// one, whose machine has applied what was committed up to there, and has saved that. It reports
// whether all of it is still known.
func (w *World) remake(i int, to raft.Index) bool {
	s := &w.servers[i]
	if to > raft.Index(len(w.ghost.committed)) {
		return false
	}
	entries := make([]raft.Entry, 0, to)
	for at := raft.Index(1); at <= to; at++ {
		e := w.committedEntry(at)
		if e == nil {
			return false
		}
		entries = append(entries, *e)
		entries[at-1].Data = bytes.Clone(e.Data)
	}
	w.closeStore(s)
	s.store = nil
	w.openMachine(i)
	if w.violation != nil {
		return false
	}
	applier := raft.NewApplier(s.replica.inner, raft.Origin{})
	if w.params.Compare != 0 {
		applier.CompareResults()
	}
	save := func(applied raft.Index, beside []byte) error {
		if beside != nil {
			s.beside = bytes.Clone(beside)
		}
		at := slot{}
		if applied > 0 {
			at = w.ghost.committed[applied-1]
		}
		s.saves = append(s.saves, saved{applied, s.beside, at})
		return s.durable.Save(applied, beside)
	}
	err := applier.Resume(&raft.DurableMachine{Save: save}, 0, nil)
	if err == nil {
		_, err = applier.Apply(entries)
	}
	if err != nil {
		w.fail(DurableState, i, "a new store can't apply and save what was committed up to index %d: %v", to, err)
	}
	w.closeStore(s)
	return w.violation == nil
}

// loadState asks a durable state machine from where it goes on. That must be what one call of Save
// said, and no earlier one than it told before.
func (w *World) loadState(i int) {
	s := &w.servers[i]
	applied, beside, err := s.durable.Load()
	if err != nil {
		w.fail(DurableState, i, "Load failed: %v", err)
		return
	}
	for n := len(s.saves) - 1; n >= 0; n-- {
		if now := &s.saves[n]; now.applied == applied && bytes.Equal(now.beside, beside) {
			s.saves = append([]saved{*now}, s.saves[n+1:n+1]...)
			s.kept = kept{index: applied, beside: bytes.Clone(beside), slot: now.slot}
			w.notes("goes on from index %d, which its machine has saved", applied)
			return
		}
	}
	w.fail(DurableState, i, "Load returned index %d and %s; no call of Save since the last start had these, the last one had index %d and %s",
		applied, ofSize(beside), s.saves[len(s.saves)-1].applied, ofSize(s.saves[len(s.saves)-1].beside))
}

// save lets a user's durable state machine save its state.
func (w *World) save(i int, applied raft.Index, beside []byte) {
	s := &w.servers[i]
	lent := bytes.Clone(beside)
	if err := s.durable.Save(applied, lent); err != nil {
		w.fail(DurableState, i, "Save of index %d failed: %v", applied, err)
		return
	}
	overwrite(lent)
	s.saves = append(s.saves, saved{applied, s.beside, s.slotAt(applied)})
}

// cutPower ends a user's durable state machine. Luck may decide that it has applied a batch before,
// and not come to save that.
func (w *World) cutPower(i int) {
	s := &w.servers[i]
	w.release(s)
	if !s.opened {
		return
	}
	if len(s.lane) > 0 && w.violation == nil && w.luck.draw(luckKept, i, 1, uint64(s.life))%2 == 0 {
		var unsaved []raft.Entry
		for _, e := range s.lane[0].entries {
			if e.Kind == wire.EntryCommand {
				e.Data = bytes.Clone(e.Data)
				unsaved = append(unsaved, e)
			}
		}
		if len(unsaved) > 0 {
			s.replica.inner.Apply(unsaved, make([][]byte, len(unsaved)))
			w.notes("has applied up to %d, and not saved that", unsaved[len(unsaved)-1].Index)
		}
	}
	w.closeStore(s)
}

// closeStores ends all state machines that are open.
func (w *World) closeStores() {
	for i := range w.servers {
		if s := &w.servers[i]; s.opened {
			s.opened = false
			w.ends(s.store.Crash)
		}
	}
	for _, store := range w.stores {
		w.ends(store.Crash)
	}
	w.stores = w.stores[:0]
}

// Commands returns the commands that the last run has applied, in their order. It returns none if
// the state machines are the simulator's own.
func (w *World) Commands() [][]byte { return w.ghost.given }
