package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing/iotest"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Sizes of the checks of a state machine
const (
	machineRounds   = 25
	machineCommands = 80 // in a round
)

// TestStateMachine checks a state machine against the contract of raft.StateMachine. newMachine
// returns a new state machine in its initial state on each call. command makes up a command. Most
// commands should make sense; TestStateMachine adds some that don't. It returns nil, or an error
// that says, for each broken rule, what was expected and what was found.
//
// Run it with the race detector: one goroutine writes a snapshot while another one applies
// commands.
func TestStateMachine(newMachine func() raft.StateMachine, command func(*rand.Rand) []byte) error {
	var failures []error
	for _, c := range machineChecks {
		for round := range uint64(machineRounds) {
			m := newMachineRun(newMachine, command, round)
			if err := guarded(func() error { return c.check(m) }); err != nil {
				failures = append(failures, fmt.Errorf("rafttest: state machine: %s: %w (round %d)\n\tthe rule: %s", c.name, err, round, c.rule))
				break
			}
		}
	}
	return errors.Join(failures...)
}

// A machineCheck checks one rule of the contract. Each round of it makes up new commands.
type machineCheck struct {
	name, rule string
	check      func(*machineRun) error
}

var machineChecks = []machineCheck{
	{"determinism", "the same entries in the same order give the same results and the same snapshots on every server", (*machineRun).checkDeterminism},
	{"batches", "the results don't depend on where a batch ends, and an empty one changes nothing", (*machineRun).checkBatches},
	{"lent entries", "an entry is never changed, and its Data is valid during the call only", (*machineRun).checkLent},
	{"isolation", "what Snapshot returns doesn't see what is applied later, and is written while Apply goes on", (*machineRun).checkIsolation},
	{"restore", "Restore replaces the state by the one in a snapshot, whatever it was before", (*machineRun).checkRestore},
	{"captures", "what Snapshot returns, if it can be closed, is closed once, written or not, before the next one is captured", (*machineRun).checkCaptures},
	{"failing writer", "a snapshot that can't be written is an error", (*machineRun).checkFailingWriter},
	{"failing reader", "a snapshot that can't be read is an error", (*machineRun).checkFailingReader},
}

// A machineRun is one round of a check.
type machineRun struct {
	newMachine func() raft.StateMachine
	entries    []raft.Entry
	luck       *rand.Rand
}

// newMachineRun makes up the commands of a round. Their indexes have gaps, since in a real log
// no-ops and configurations lie between commands.
func newMachineRun(newMachine func() raft.StateMachine, command func(*rand.Rand) []byte, round uint64) *machineRun {
	m := &machineRun{newMachine: newMachine, luck: rand.New(rand.NewPCG(round, 3))}
	index, term := raft.Index(1), raft.Term(1)
	for i := range machineCommands {
		index += 1 + raft.Index(m.luck.IntN(20)/19)
		term += raft.Term(m.luck.IntN(20) / 19)
		data := command(m.luck)
		switch m.luck.IntN(12) {
		case 0:
			data = nil
		case 1:
			data = data[:m.luck.IntN(len(data)+1)]
		case 2:
			data = make([]byte, m.luck.IntN(30))
			for i := range data {
				data[i] = byte(m.luck.Uint32())
			}
		}
		m.entries = append(m.entries, raft.Entry{
			Index: index, Term: term, Kind: wire.EntryCommand,
			Origin: raft.Origin{Server: "a", Start: 1}, Number: uint64(i) + 1, Data: data,
		})
	}
	return m
}

// guarded runs a check and turns a panic of what is checked into an error. In a node such a panic
// stops the node.
func guarded(check func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
	}()
	return check()
}

// copies returns deep copies of entries, which can be lent to a state machine.
func copies(entries []raft.Entry) []raft.Entry {
	copied := slices.Clone(entries)
	for i := range copied {
		copied[i].Data = bytes.Clone(copied[i].Data)
	}
	return copied
}

// apply applies entries as one batch. It then overwrites the memory that it lent, and returns
// copies of the results.
func apply(machine raft.StateMachine, entries []raft.Entry) [][]byte {
	lent := copies(entries)
	results := make([][]byte, len(entries))
	machine.Apply(lent, results)
	for i := range lent {
		scribble(lent[i].Data)
		lent[i] = raft.Entry{}
	}
	for i := range results {
		results[i] = bytes.Clone(results[i])
	}
	return results
}

// applyOneByOne applies each entry in a batch of its own.
func applyOneByOne(machine raft.StateMachine, entries []raft.Entry) [][]byte {
	var results [][]byte
	for i := range entries {
		results = append(results, apply(machine, entries[i:i+1])...)
	}
	return results
}

// applyRandomly applies entries in batches of random sizes.
func (m *machineRun) applyRandomly(machine raft.StateMachine, entries []raft.Entry) [][]byte {
	var results [][]byte
	for len(entries) > 0 {
		n := m.luck.IntN(min(len(entries), 9) + 1) // may be 0: an empty batch
		results = append(results, apply(machine, entries[:n])...)
		entries = entries[n:]
	}
	return results
}

// sameResults compares the results of two machines.
func (m *machineRun) sameResults(what string, got, want [][]byte) error {
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			return fmt.Errorf("%s: the result of command %d, %s, is %s, want %s", what, i+1, describeBytes(m.entries[i].Data),
				describeBytes(got[i]), describeBytes(want[i]))
		}
	}
	return nil
}

// sameStates compares the snapshots of two machines.
func sameStates(what string, got, want raft.StateMachine) error {
	a, err := snapshotOf(got)
	if err != nil {
		return err
	}
	b, err := snapshotOf(want)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("%s: the snapshot is %s, want %s (they differ from byte %d on)", what, describeBytes(a), describeBytes(b), differAt(a, b))
	}
	return nil
}

// differAt returns the first index at which two slices differ.
func differAt(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// snapshotOf takes a snapshot and returns its bytes.
func snapshotOf(machine raft.StateMachine) ([]byte, error) {
	snapshot, err := machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("the call of Snapshot failed: %w", err)
	}
	if snapshot == nil {
		return nil, errors.New("the call of Snapshot returned neither a capture nor an error")
	}
	return written(snapshot)
}

// errNotClosed says that a capture, which can be closed, isn't.
var errNotClosed = errors.New("the call of Close after WriteTo failed")

// written returns the bytes that a snapshot writes, and closes it.
func written(snapshot io.WriterTo) ([]byte, error) {
	var b bytes.Buffer
	n, err := snapshot.WriteTo(&b)
	if err := closeCapture(snapshot); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotClosed, err)
	}
	if err != nil {
		return nil, fmt.Errorf("WriteTo failed: %w", err)
	}
	if n != int64(b.Len()) {
		return nil, fmt.Errorf("WriteTo returned %d, want %d: the number of bytes that it wrote", n, b.Len())
	}
	return b.Bytes(), nil
}

func (m *machineRun) checkDeterminism() error {
	first, second := m.newMachine(), m.newMachine()
	if err := sameStates("two machines in the initial state", first, second); err != nil {
		return err
	}
	want := applyOneByOne(first, m.entries)
	if err := m.sameResults("two machines, one command at a time", applyOneByOne(second, m.entries), want); err != nil {
		return err
	}
	return sameStates("two machines, one command at a time", second, first)
}

func (m *machineRun) checkBatches() error {
	single, whole, random := m.newMachine(), m.newMachine(), m.newMachine()
	want := applyOneByOne(single, m.entries)
	if err := m.sameResults("all commands in one batch", apply(whole, m.entries), want); err != nil {
		return err
	}
	if err := m.sameResults("batches of random sizes", m.applyRandomly(random, m.entries), want); err != nil {
		return err
	}
	if err := sameStates("all commands in one batch", whole, single); err != nil {
		return err
	}
	if err := sameStates("batches of random sizes", random, single); err != nil {
		return err
	}
	apply(random, nil)
	return sameStates("an empty batch", random, single)
}

func (m *machineRun) checkLent() error {
	machine, other := m.newMachine(), m.newMachine()
	lent := copies(m.entries)
	results := make([][]byte, len(lent))
	machine.Apply(lent, results)
	for i := range lent {
		if !sameEntry(lent[i], m.entries[i]) {
			return fmt.Errorf("the call of Apply has changed %s to %s", describeEntry(m.entries[i]), describeEntry(lent[i]))
		}
	}
	kept := make([][]byte, len(results))
	for i := range results {
		kept[i] = bytes.Clone(results[i])
	}
	for i := range lent {
		scribble(lent[i].Data)
	}
	if err := m.sameResults("after the entries' Data was used for something else", results, kept); err != nil {
		return err
	}
	other.Apply(copies(m.entries), make([][]byte, len(m.entries))) // this copy is never overwritten
	if err := sameStates("after the entries' Data was used for something else", machine, other); err != nil {
		return err
	}
	return m.sameResults("the batch after entries' Data was used for something else", apply(machine, m.entries), apply(other, m.entries))
}

func (m *machineRun) checkIsolation() error {
	machine, undisturbed := m.newMachine(), m.newMachine()
	early, late := m.entries[:len(m.entries)/2], m.entries[len(m.entries)/2:]
	want := append(m.applyRandomly(undisturbed, early), apply(undisturbed, late)...)
	results := applyOneByOne(machine, early)
	expected, err := snapshotOf(machine)
	if err != nil {
		return err
	}
	type outcome struct {
		bytes []byte
		err   error
	}
	var outcomes []outcome
	var writing chan outcome // nil while none is written
	finish := func() {
		if writing != nil {
			outcomes = append(outcomes, <-writing)
		}
	}
	for i := range late {
		if i%8 == 0 { // a snapshot is written while commands are applied
			finish()
			snapshot, err := machine.Snapshot()
			if err != nil {
				return fmt.Errorf("the call of Snapshot failed: %w", err)
			}
			written, result := snapshotWriter(snapshot), make(chan outcome, 1)
			go func() {
				b, err := written()
				result <- outcome{b, err}
			}()
			writing = result
		}
		results = append(results, apply(machine, late[i:i+1])...)
	}
	finish()
	for i, got := range outcomes {
		if got.err != nil {
			return got.err
		}
		if i > 0 {
			at := m.newMachine()
			apply(at, m.entries[:len(early)+i*8])
			if expected, err = snapshotOf(at); err != nil {
				return err
			}
		}
		if !bytes.Equal(got.bytes, expected) {
			return fmt.Errorf("a snapshot taken after command %d and written while more was applied is %s, want %s",
				len(early)+i*8, describeBytes(got.bytes), describeBytes(expected))
		}
	}
	if err := m.sameResults("a machine of which snapshots were taken", results, want); err != nil {
		return err
	}
	return m.checkLateWriting(machine)
}

// snapshotWriter returns a function that writes a snapshot and turns a panic into an error.
func snapshotWriter(snapshot io.WriterTo) func() ([]byte, error) {
	return func() (b []byte, err error) {
		defer func() {
			if cause := recover(); cause != nil {
				err = fmt.Errorf("WriteTo: panic: %v\n%s", cause, debug.Stack())
			}
		}()
		return written(snapshot)
	}
}

// checkLateWriting takes a snapshot, applies more commands, and only then writes the snapshot.
func (m *machineRun) checkLateWriting(machine raft.StateMachine) error {
	want, err := snapshotOf(machine)
	if err != nil {
		return err
	}
	snapshot, err := machine.Snapshot()
	if err != nil {
		return fmt.Errorf("the call of Snapshot failed: %w", err)
	}
	apply(machine, m.entries)
	got, err := written(snapshot)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("a snapshot that was written after more was applied is %s, want %s", describeBytes(got), describeBytes(want))
	}
	return nil
}

func (m *machineRun) checkRestore() error {
	at := m.luck.IntN(len(m.entries) + 1)
	if m.luck.IntN(5) == 0 {
		at = 0 // the initial state must be restored as well
	}
	machine := m.newMachine()
	apply(machine, m.entries[:at])
	snapshot, err := snapshotOf(machine)
	if err != nil {
		return err
	}
	want := applyOneByOne(machine, m.entries[at:])
	used := m.newMachine()
	apply(used, m.entries[m.luck.IntN(len(m.entries)):])
	for _, restored := range []struct {
		what    string
		machine raft.StateMachine
		reader  io.Reader
	}{
		{"a new machine after Restore", m.newMachine(), bytes.NewReader(snapshot)},
		{"a machine with another state after Restore", used, bytes.NewReader(snapshot)},
		{"Restore from a reader that gives one byte at a time", m.newMachine(), iotest.OneByteReader(bytes.NewReader(snapshot))},
		{"Restore from a reader that gives its last bytes together with io.EOF", m.newMachine(), iotest.DataErrReader(bytes.NewReader(snapshot))},
	} {
		if err := restored.machine.Restore(restored.reader); err != nil {
			return fmt.Errorf("%s: Restore failed: %w", restored.what, err)
		}
		again, err := snapshotOf(restored.machine)
		if err != nil {
			return err
		}
		if !bytes.Equal(again, snapshot) {
			return fmt.Errorf("%s: the snapshot is %s, want %s, from which it was restored", restored.what, describeBytes(again), describeBytes(snapshot))
		}
		rest := machineRun{entries: m.entries[at:]}
		if err := rest.sameResults(restored.what, m.applyRandomly(restored.machine, m.entries[at:]), want); err != nil {
			return err
		}
		if err := sameStates(restored.what+", and further commands", restored.machine, machine); err != nil {
			return err
		}
	}
	return nil
}

// errTransfer is the failure of the writer or the reader of a snapshot.
var errTransfer = errors.New("a failure that the check has made")

// A limitedWriter fails when it has no room left for all bytes of a Write.
type limitedWriter struct{ left int }

// Write implements io.Writer.
func (w *limitedWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		n := w.left
		w.left = 0
		return n, errTransfer
	}
	w.left -= len(b)
	return len(b), nil
}

// checkCaptures closes captures that aren't written, as a node does when the storage can't take a
// snapshot. It leaves none open, so that a state machine that counts them finds none.
func (m *machineRun) checkCaptures() error {
	machine := m.newMachine()
	for i := range m.entries {
		apply(machine, m.entries[i:i+1])
		if i%16 != 0 {
			continue
		}
		snapshot, err := machine.Snapshot()
		if err != nil {
			return fmt.Errorf("the call of Snapshot after %d others, all of which were closed, failed: %w", i/16, err)
		}
		if err := closeCapture(snapshot); err != nil {
			return fmt.Errorf("the call of Close, without WriteTo, failed: %w", err)
		}
	}
	return sameStates("a machine of which snapshots were closed without being written", machine, m.applied())
}

func (m *machineRun) checkFailingWriter() error {
	machine := m.newMachine()
	apply(machine, m.entries)
	whole, err := snapshotOf(machine)
	if err != nil || len(whole) == 0 {
		return err
	}
	for _, room := range []int{0, len(whole) / 2, len(whole) - 1} {
		snapshot, err := machine.Snapshot()
		if err != nil {
			return fmt.Errorf("the call of Snapshot failed: %w", err)
		}
		_, failure := snapshot.WriteTo(&limitedWriter{left: room})
		if err := closeCapture(snapshot); err != nil {
			return fmt.Errorf("WriteTo failed, as it should, and then Close failed: %w", err)
		}
		if failure == nil {
			return fmt.Errorf("WriteTo returned no error though the writer failed after %d of %d bytes", room, len(whole))
		}
	}
	return sameStates("a machine whose snapshots failed", machine, m.applied())
}

// applied returns a new machine that has applied all entries.
func (m *machineRun) applied() raft.StateMachine {
	machine := m.newMachine()
	apply(machine, m.entries)
	return machine
}

func (m *machineRun) checkFailingReader() error {
	whole, err := snapshotOf(m.applied())
	if err != nil {
		return err
	}
	for _, length := range []int{0, len(whole) / 2, max(len(whole)-1, 0)} {
		reader := io.MultiReader(bytes.NewReader(whole[:length]), iotest.ErrReader(errTransfer))
		if err := m.newMachine().Restore(reader); err == nil {
			return fmt.Errorf("the call of Restore returned nil though its reader failed after %d of %d bytes", length, len(whole))
		}
	}
	return nil
}
