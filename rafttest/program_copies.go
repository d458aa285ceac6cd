package rafttest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
)

// end releases what is open, and returns the first thing that fails.
func (t *trial) end() *finding {
	f := t.guard(ruleCloses, t.drop)
	for _, s := range t.stores {
		f = cmp.Or(f, t.crash(s))
	}
	return f
}

// crash cuts the power of a store.
func (t *trial) crash(s sim.Store) *finding {
	return t.guard(ruleFails, func() *finding { s.Crash(); return nil })
}

// open returns a state machine in its initial state, with what a durable one has besides.
func (t *trial) open() (raft.StateMachine, raft.DurableMachine, sim.Store, *finding) {
	if t.property.Store == nil {
		m := t.property.Machine()
		if m == nil {
			return nil, raft.DurableMachine{}, nil, t.found(ruleOpens, "Machine returned nil")
		}
		return m, raft.DurableMachine{}, nil, nil
	}
	s := t.property.Store()
	if s == nil {
		return nil, raft.DurableMachine{}, nil, t.found(ruleOpens, "Store returned nil")
	}
	t.stores = append(t.stores, s)
	m, durable, f := t.openStore(s, "an empty store")
	return m, durable, s, f
}

// openStore opens a store, which what names.
func (t *trial) openStore(s sim.Store, what string) (raft.StateMachine, raft.DurableMachine, *finding) {
	m, durable, err := s.Open()
	switch {
	case err != nil:
		return nil, durable, t.found(ruleOpens, "%s can't be opened: %v", what, err)
	case m == nil:
		return nil, durable, t.found(ruleOpens, "%s opens without a state machine", what)
	case durable.Load == nil || durable.Save == nil:
		return nil, durable, t.found(ruleOpens, "%s opens without Load or without Save", what)
	}
	return m, durable, nil
}

// renew goes on with a new state machine.
func (t *trial) renew() (f *finding) {
	t.log, t.applied, t.saves = nil, 0, []saveCall{{}}
	t.machine, t.saving, t.disk, f = t.open()
	return f
}

// expect returns the result of the last of the first n commands of the log, applied one by one.
func (t *trial) expect(n int) ([]byte, *finding) {
	if t.reference == nil || len(t.referred) >= n || !samePrefix(t.referred, t.log) {
		m, _, _, f := t.open()
		if f != nil {
			return nil, f
		}
		t.reference, t.referred = m, nil
	}
	var result []byte
	for i := len(t.referred); i < n; i++ {
		result = applyCopy(t.reference, i, t.log[i])
	}
	t.referred = t.log[:n:n]
	return result, nil
}

// oneByOne returns a new machine that has applied commands one by one.
func (t *trial) oneByOne(log [][]byte) (raft.StateMachine, *finding) {
	m, _, _, f := t.open()
	if f != nil {
		return nil, f
	}
	for i := range log {
		applyCopy(m, i, log[i])
	}
	return m, nil
}

// snapshot returns the bytes of a machine's snapshot, which what names.
func (t *trial) snapshot(what string, m raft.StateMachine) ([]byte, *finding) {
	b, err := snapshotOf(m)
	if err != nil {
		rule := ruleFails
		if errors.Is(err, errNotClosed) {
			rule = ruleCloses
		}
		return nil, t.found(rule, "%s: %v", what, err)
	}
	return b, nil
}

// want returns the bytes of a snapshot of a new machine that has applied commands one by one.
func (t *trial) want(log [][]byte) ([]byte, *finding) {
	m, f := t.oneByOne(log)
	if f != nil {
		return nil, f
	}
	return t.snapshot(fmt.Sprintf("the snapshot of a copy that has applied %d commands one by one", len(log)), m)
}

// compare compares a snapshot of the machine to that of the same commands applied one by one.
func (t *trial) compare(what string) *finding {
	if t.mercy.noCapture {
		// A last snapshot of this copy would be one of a machine that was captured.
		m, f := t.oneByOne(t.log[:t.applied])
		if f != nil {
			return f
		}
		t.machine = m
	}
	got, f := t.snapshot(what, t.machine)
	if f != nil {
		return f
	}
	return t.equal(what, got, t.log[:t.applied])
}

// equal compares the bytes of a snapshot to those of a machine that has applied commands one by
// one.
func (t *trial) equal(what string, got []byte, log [][]byte) *finding {
	want, f := t.want(log)
	if f == nil && !bytes.Equal(got, want) {
		f = t.found(ruleSame, "%s is %s, as after the same commands applied one by one", what, sim.Difference(got, want))
	}
	return f
}

// samePrefix reports whether all of a stands at the beginning of b.
func samePrefix(a, b [][]byte) bool {
	for i := range a {
		if i >= len(b) || !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// applyCopy applies one command and lends memory that is never overwritten.
func applyCopy(m raft.StateMachine, n int, command []byte) []byte {
	entry, result := [1]raft.Entry{entryOf(n, command)}, [1][]byte{}
	m.Apply(entry[:], result[:])
	return bytes.Clone(result[0])
}
