package rafttest

import (
	"fmt"
	"io"
	"runtime"

	"github.com/e17579a5/raft"
)

// A caller makes a call of what a user has made, and sees to it that a call which hangs is noticed.
type caller func(call string, f func())

// watched is a part of what hands each call on to something of the user's.
type watched struct {
	name string // of the user's type
	make caller
}

func (w watched) call(method string, f func()) { w.make(w.name+": "+method, f) }

// A watchedMachine hands each call on to a state machine, under a watch.
type watchedMachine struct {
	raft.StateMachine
	watched
}

// watchMachine returns a state machine that hands each call on to m. It returns nil if m is nil.
func watchMachine(m raft.StateMachine, by caller) raft.StateMachine {
	if m == nil {
		return nil
	}
	return watchedMachine{m, watched{fmt.Sprintf("%T", m), by}}
}

func (w watchedMachine) Apply(entries []raft.Entry, results [][]byte) {
	w.call("Apply", func() { w.StateMachine.Apply(entries, results) })
}

func (w watchedMachine) Snapshot() (captured io.WriterTo, err error) {
	w.call("Snapshot", func() { captured, err = w.StateMachine.Snapshot() })
	if captured == nil {
		return nil, err
	}
	return watchedCapture{captured, w.watched}, err
}

func (w watchedMachine) Restore(r io.Reader) (err error) {
	w.call("Restore", func() { err = w.StateMachine.Restore(r) })
	return err
}

// A watchedCapture is what a watchedMachine has captured.
type watchedCapture struct {
	io.WriterTo
	watched
}

func (c watchedCapture) WriteTo(w io.Writer) (n int64, err error) {
	c.call("WriteTo", func() { n, err = c.WriterTo.WriteTo(w) })
	return n, err
}

// Close closes what was captured, if it can be closed.
func (c watchedCapture) Close() (err error) {
	c.call("Close of what was captured", func() { err = closeCapture(c.WriterTo) })
	return err
}

// durable returns functions that hand each call on to those of a durable state machine. A function
// that is missing stays missing.
func (w watched) durable(d raft.DurableMachine) raft.DurableMachine {
	load, save := d.Load, d.Save
	if load != nil {
		d.Load = func() (applied raft.Index, beside []byte, err error) {
			w.call("Load", func() { applied, beside, err = load() })
			return applied, beside, err
		}
	}
	if save != nil {
		d.Save = func(applied raft.Index, beside []byte) (err error) {
			w.call("Save", func() { err = save(applied, beside) })
			return err
		}
	}
	return d
}

// A watchedStore hands each call on to a store, under a watch.
type watchedStore struct {
	Store
	watched
}

func (s watchedStore) Open() (m raft.StateMachine, d raft.DurableMachine, err error) {
	s.call("Open", func() { m, d, err = s.Store.Open() })
	return watchMachine(m, s.make), s.durable(d), err
}

func (s watchedStore) Crash() { s.call("Crash", s.Store.Crash) }

// by returns a property whose functions, and what they make, are called by a caller.
func (p Property) by(make caller) *Property {
	machine, store, invariant := p.Machine, p.Store, p.Invariant
	w := watched{"Property", make}
	if machine != nil {
		p.Machine = func() (m raft.StateMachine) {
			w.call("Machine", func() { m = machine() })
			return watchMachine(m, make)
		}
	}
	if store != nil {
		p.Store = func() (s Store) {
			w.call("Store", func() { s = store() })
			if s == nil {
				return nil
			}
			return watchedStore{s, watched{fmt.Sprintf("%T", s), make}}
		}
	}
	if invariant != nil {
		p.Invariant = func(m raft.StateMachine) (err error) {
			w.call("Invariant", func() { err = invariant(m.(watchedMachine).StateMachine) })
			return err
		}
	}
	return &p
}

// ruleReturns is the rule that no program finds broken, since none goes on behind a call that
// hangs.
const ruleReturns = "each call returns: a state machine waits for nobody"

// watching calls f with a property. If a call of the user's code hangs, watching returns an error
// without waiting for f. What f has written is of no use then, and must not be read.
func (p Property) watching(f func(*Property)) error {
	w := newWatch()
	err := w.run(func() {
		f(p.by(func(call string, f func()) {
			if w.timed(callPatience, call, f) != nil {
				runtime.Goexit() // nobody waits for what comes of it
			}
		}))
	})
	if err != nil {
		return fmt.Errorf("the state machine breaks a rule: %s: %w", ruleReturns, err)
	}
	return nil
}
