package sim

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/e17579a5/raft"
)

// A chainMachine is the state machine that is replicated when the user brings none: a hash over all
// commands in their order, which is also the result of each. It forgives nothing.
type chainMachine struct {
	state uint64
	bytes []byte // of the results
}

// Apply implements raft.StateMachine.
func (m *chainMachine) Apply(entries []raft.Entry, results [][]byte) {
	m.bytes = m.bytes[:0]
	for i := range entries {
		m.state = mix(m.state ^ hashBytes(entries[i].Data))
		m.bytes = binary.LittleEndian.AppendUint64(m.bytes, m.state)
	}
	for i := range results {
		results[i] = m.bytes[8*i : 8*i+8 : 8*i+8]
	}
}

type chainSnapshot uint64

func (s chainSnapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(s)))
	return int64(n), err
}

// Snapshot implements raft.StateMachine.
func (m *chainMachine) Snapshot() (io.WriterTo, error) { return chainSnapshot(m.state), nil }

// Restore implements raft.StateMachine.
func (m *chainMachine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(b) != 8 {
		return errors.New("sim: a snapshot of the chain machine has 8 bytes")
	}
	m.state = binary.LittleEndian.Uint64(b)
	return nil
}

// A replica is the state machine of one server, watched: every result is compared with that of the
// reference, which applies each command once, when it is first known to be committed.
type replica struct {
	w       *World
	server  int
	inner   raft.StateMachine
	command raft.Index // the last command applied
}

// Apply implements raft.StateMachine.
func (r *replica) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		r.w.checkApply(r, &entries[i])
	}
	if r.w.violation != nil {
		return
	}
	r.inner.Apply(entries, results)
	if r.w.options.Invariant != nil {
		if err := r.w.options.Invariant(r.inner); err != nil {
			r.w.fail(Invariant, r.server, "after index %d: %v", r.command, err)
		}
	}
	for i := range entries {
		if hashBytes(results[i]) != r.w.ghost.results[entries[i].Index-1] {
			r.w.fail(ReplicasEqual, r.server, "the command at index %d has the result %x here, another one elsewhere",
				entries[i].Index, results[i])
			return
		}
	}
}

// Snapshot implements raft.StateMachine.
func (r *replica) Snapshot() (io.WriterTo, error) { return r.inner.Snapshot() }

// Restore implements raft.StateMachine.
func (r *replica) Restore(in io.Reader) error { return r.inner.Restore(in) }
