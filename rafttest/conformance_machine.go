package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
// that says, for each broken rule, what was expected and what was found. A call that hasn't returned
// within a minute hangs, and is the last that TestStateMachine makes.
//
// Run it with the race detector: one goroutine writes a snapshot while another one applies
// commands.
func TestStateMachine(newMachine func() raft.StateMachine, command func(*rand.Rand) []byte) error {
	var failures []error
	for _, c := range machineChecks {
		for round := range uint64(machineRounds) {
			m := newMachineRun(newMachine, command, round)
			err := m.run(func() { c.check(m) })
			if err == nil {
				continue
			}
			failures = append(failures, fmt.Errorf("rafttest: state machine: %s: %w (round %d)\n\tthe rule: %s", c.name, err, round, c.rule))
			if errors.Is(err, errHung) {
				return errors.Join(failures...)
			}
			break
		}
	}
	return errors.Join(failures...)
}

// A machineCheck checks one rule of the contract. Each round of it makes up new commands.
type machineCheck struct {
	name, rule string
	check      func(*machineRun)
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
	*watch
	makes   func() raft.StateMachine
	entries []raft.Entry
	luck    *rand.Rand
}

// newMachineRun makes up the commands of a round. Their indexes have gaps, since in a real log
// no-ops and configurations lie between commands.
func newMachineRun(newMachine func() raft.StateMachine, command func(*rand.Rand) []byte, round uint64) *machineRun {
	m := &machineRun{watch: newWatch(), makes: newMachine, luck: rand.New(rand.NewPCG(round, 3))}
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

// newMachine returns a state machine in its initial state.
func (m *machineRun) newMachine() raft.StateMachine {
	return watchMachine(m.makes(), m.caller())
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

// sameResults convicts a machine whose results differ from those of another one.
func (m *machineRun) sameResults(what string, got, want [][]byte) {
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			convict("%s: the result of command %d, %s, is %s, want %s", what, i+1, describeBytes(m.entries[i].Data),
				describeBytes(got[i]), describeBytes(want[i]))
		}
	}
}

// sameStates convicts a machine whose snapshot differs from that of another one.
func sameStates(what string, got, want raft.StateMachine) {
	sameBytes(what+": the snapshot", state(got), state(want))
}

// sameBytes convicts a machine of a snapshot that isn't as it should be.
func sameBytes(what string, got, want []byte) {
	if !bytes.Equal(got, want) {
		convict("%s is %s, want %s (they differ from byte %d on)", what, describeBytes(got), describeBytes(want), differAt(got, want))
	}
}

// state takes a snapshot, which must succeed, and returns its bytes.
func state(machine raft.StateMachine) []byte {
	b, err := snapshotOf(machine)
	if err != nil {
		convict("%w", err)
	}
	return b
}

// capture takes a snapshot, which must succeed.
func capture(machine raft.StateMachine) io.WriterTo {
	captured, err := captureOf(machine)
	if err != nil {
		convict("%w", err)
	}
	return captured
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
	snapshot, err := captureOf(machine)
	if err != nil {
		return nil, err
	}
	return written(snapshot)
}

// captureOf takes a snapshot, which isn't written yet.
func captureOf(machine raft.StateMachine) (io.WriterTo, error) {
	snapshot, err := machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("the call of Snapshot failed: %w", err)
	}
	if snapshot == nil {
		return nil, errors.New("the call of Snapshot returned neither a capture nor an error")
	}
	return snapshot, nil
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

func (m *machineRun) checkDeterminism() {
	first, second := m.newMachine(), m.newMachine()
	sameStates("two machines in the initial state", first, second)
	want := applyOneByOne(first, m.entries)
	m.sameResults("two machines, one command at a time", applyOneByOne(second, m.entries), want)
	sameStates("two machines, one command at a time", second, first)
}

func (m *machineRun) checkBatches() {
	empty := m.newMachine()
	apply(empty, nil)
	sameStates("an empty batch", empty, m.newMachine())
	single, whole, random := m.newMachine(), m.newMachine(), m.newMachine()
	want := applyOneByOne(single, m.entries)
	m.sameResults("all commands in one batch", apply(whole, m.entries), want)
	m.sameResults("batches of random sizes", m.applyRandomly(random, m.entries), want)
	sameStates("all commands in one batch", whole, single)
	sameStates("batches of random sizes", random, single)
}

func (m *machineRun) checkLent() {
	machine, other := m.newMachine(), m.newMachine()
	lent := copies(m.entries)
	results := make([][]byte, len(lent))
	machine.Apply(lent, results)
	for i := range lent {
		if !sameEntry(lent[i], m.entries[i]) {
			convict("the call of Apply has changed %s to %s", describeEntry(m.entries[i]), describeEntry(lent[i]))
		}
	}
	kept := make([][]byte, len(results))
	for i := range results {
		kept[i] = bytes.Clone(results[i])
	}
	for i := range lent {
		scribble(lent[i].Data)
	}
	m.sameResults("after the entries' Data was used for something else", results, kept)
	other.Apply(copies(m.entries), make([][]byte, len(m.entries))) // this copy is never overwritten
	sameStates("after the entries' Data was used for something else", machine, other)
	m.sameResults("the batch after entries' Data was used for something else", apply(machine, m.entries), apply(other, m.entries))
}

func (m *machineRun) checkIsolation() {
	const few = 8 // commands that are applied while a snapshot is written
	machine, undisturbed := m.newMachine(), m.newMachine()
	half := len(m.entries) / 2
	want := append(m.applyRandomly(undisturbed, m.entries[:half]), apply(undisturbed, m.entries[half:])...)
	results := applyOneByOne(machine, m.entries[:half])
	for at := half; at < len(m.entries); at += few {
		captured := capture(machine)
		var b []byte
		together(func() {
			var err error
			if b, err = written(captured); err != nil {
				convict("%w", err)
			}
		}, func() {
			results = append(results, applyOneByOne(machine, m.entries[at:min(at+few, len(m.entries))])...)
		})
		same := m.newMachine()
		apply(same, m.entries[:at])
		sameBytes(fmt.Sprintf("a snapshot taken after command %d and written while more was applied", at), b, state(same))
	}
	m.sameResults("a machine of which snapshots were taken", results, want)

	before, captured := state(machine), capture(machine)
	apply(machine, m.entries)
	late, err := written(captured)
	must("a snapshot that was written after more was applied", err)
	sameBytes("a snapshot that was written after more was applied", late, before)
}

func (m *machineRun) checkRestore() {
	at := m.luck.IntN(len(m.entries) + 1)
	if m.luck.IntN(5) == 0 {
		at = 0 // the initial state must be restored as well
	}
	machine := m.newMachine()
	apply(machine, m.entries[:at])
	snapshot := state(machine)
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
		must(restored.what+": Restore", restored.machine.Restore(restored.reader))
		sameBytes(restored.what+": the snapshot", state(restored.machine), snapshot)
		rest := machineRun{entries: m.entries[at:]}
		rest.sameResults(restored.what, m.applyRandomly(restored.machine, m.entries[at:]), want)
		sameStates(restored.what+", and further commands", restored.machine, machine)
	}
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
func (m *machineRun) checkCaptures() {
	machine := m.newMachine()
	for i := range m.entries {
		apply(machine, m.entries[i:i+1])
		if i%16 == 0 {
			captured, err := machine.Snapshot()
			must(fmt.Sprintf("the call of Snapshot after %d others, all of which were closed,", i/16), err)
			must("the call of Close, without WriteTo,", closeCapture(captured))
		}
	}
	sameStates("a machine of which snapshots were closed without being written", machine, m.applied())
}

func (m *machineRun) checkFailingWriter() {
	machine := m.applied()
	whole := state(machine)
	for _, room := range []int{0, len(whole) / 2, len(whole) - 1} {
		if room >= len(whole) || room < 0 {
			continue // an empty snapshot needs no room
		}
		captured := capture(machine)
		_, failure := captured.WriteTo(&limitedWriter{left: room})
		must("WriteTo failed, as it should, and then Close", closeCapture(captured))
		if failure == nil {
			convict("WriteTo returned no error though the writer failed after %d of %d bytes", room, len(whole))
		}
	}
	sameStates("a machine whose snapshots failed", machine, m.applied())
}

// applied returns a new machine that has applied all entries.
func (m *machineRun) applied() raft.StateMachine {
	machine := m.newMachine()
	apply(machine, m.entries)
	return machine
}

func (m *machineRun) checkFailingReader() {
	whole := state(m.applied())
	for _, length := range []int{0, len(whole) / 2, max(len(whole)-1, 0)} {
		reader := io.MultiReader(bytes.NewReader(whole[:length]), iotest.ErrReader(errTransfer))
		if m.newMachine().Restore(reader) == nil {
			convict("the call of Restore returned nil though its reader failed after %d of %d bytes", length, len(whole))
		}
	}
}
