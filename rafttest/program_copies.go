package rafttest

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
)

// end releases what is open, and returns the first thing that fails.
func (t *trial) end() *finding {
	f := t.guard(ruleCloses, t.drop)
	for _, s := range t.stores {
		f = cmp.Or(f, t.guard(ruleFails, s.Crash))
	}
	return f
}

// open returns a state machine in its initial state, with what a durable one has besides.
func (t *trial) open() (raft.StateMachine, raft.DurableMachine, sim.Store) {
	if t.property.Store == nil {
		m := t.property.Machine()
		if m == nil {
			t.convict(ruleOpens, "Machine returned nil")
		}
		return m, raft.DurableMachine{}, nil
	}
	s := t.property.Store()
	if s == nil {
		t.convict(ruleOpens, "Store returned nil")
	}
	t.stores = append(t.stores, s)
	m, durable := t.openStore(s, "an empty store")
	return m, durable, s
}

// openStore opens a store, which what names.
func (t *trial) openStore(s sim.Store, what string) (raft.StateMachine, raft.DurableMachine) {
	m, durable, err := s.Open()
	switch {
	case err != nil:
		t.convict(ruleOpens, "%s can't be opened: %v", what, err)
	case m == nil:
		t.convict(ruleOpens, "%s opens without a state machine", what)
	case durable.Load == nil || durable.Save == nil:
		t.convict(ruleOpens, "%s opens without Load or without Save", what)
	}
	return m, durable
}

// renew goes on with a new state machine.
func (t *trial) renew() {
	t.log, t.applied, t.saves = nil, 0, []saveCall{{}}
	t.machine, t.saving, t.disk = t.open()
}

// expect returns the result of the last of the first n commands of the log, applied one by one.
func (t *trial) expect(n int) []byte {
	if t.reference == nil || len(t.referred) >= n || !samePrefix(t.referred, t.log) {
		t.reference, _, _ = t.open()
		t.referred = nil
	}
	var result []byte
	for i := len(t.referred); i < n; i++ {
		result = applyCopy(t.reference, i, t.log[i])
	}
	t.referred = t.log[:n:n]
	return result
}

// oneByOne returns a new machine that has applied commands one by one.
func (t *trial) oneByOne(log [][]byte) raft.StateMachine {
	m, _, _ := t.open()
	for i := range log {
		applyCopy(m, i, log[i])
	}
	return m
}

// snapshot returns the bytes of a machine's snapshot, which what names.
func (t *trial) snapshot(what string, m raft.StateMachine) []byte {
	b, err := snapshotOf(m)
	t.must(what, err)
	return b
}

// compare compares a snapshot of the machine to that of the same commands applied one by one.
func (t *trial) compare(what string) {
	log := t.log[:t.applied]
	if t.mercy.noCapture {
		// A last snapshot of this copy would be one of a machine that was captured.
		t.machine = t.oneByOne(log)
	}
	t.equal(what, t.snapshot(what, t.machine), log)
}

// equal compares the bytes of a snapshot to those of a machine that has applied commands one by
// one.
func (t *trial) equal(what string, got []byte, log [][]byte) {
	one := fmt.Sprintf("the snapshot of a copy that has applied %d commands one by one", len(log))
	if want := t.snapshot(one, t.oneByOne(log)); !bytes.Equal(got, want) {
		t.convict(ruleSame, "%s is %s, as after the same commands applied one by one", what, sim.Difference(got, want))
	}
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
