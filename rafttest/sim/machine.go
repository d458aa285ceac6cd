package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A chainMachine is the state machine of the servers if the user brings none. Its state is a hash
// over all commands in their order, and this hash is the result of each command. So it notices any
// difference.
type chainMachine struct {
	state uint64
	bytes []byte // of the results of the last batch
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

// A chainSnapshot is a captured state of a chainMachine.
type chainSnapshot uint64

// WriteTo implements io.WriterTo.
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

// A replica is the state machine of one server, with checks around it. It compares every result to
// that of the reference, which applies each command once, when the command first becomes committed.
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
			r.w.fail(ReplicasEqual, r.server, "%s", r.differs(entries, i, results[i]))
			break
		}
	}
	r.w.servers[r.server].giveResults(entries, results)
	if r.w.trace != nil && r.w.options.Machine != nil {
		r.w.trace.applies(entries, results)
	}
}

// differs says how the result of one command in a batch differs from the result of the reference.
func (r *replica) differs(batch []raft.Entry, i int, result []byte) string {
	first, e, last := batch[0].Index, &batch[i], batch[len(batch)-1].Index
	how := "alone"
	if first != last {
		how = fmt.Sprintf("in one batch of indexes %d to %d", first, last)
	}
	return fmt.Sprintf("the command at index %d, %s, applied %s, has the result %s here; the same commands applied one by one give %s",
		e.Index, Show(e.Data), how, Show(result), r.w.oneByOne(e.Index))
}

// oneByOne applies the committed commands up to an index to a new machine, one by one, and shows
// the result of the last one.
func (w *World) oneByOne(to raft.Index) string {
	m := w.machine()
	var one [1]raft.Entry
	var result [1][]byte
	for i := raft.Index(1); i <= to; i++ {
		e := w.committedEntry(i)
		if e == nil {
			return "another one" // the entry is on no disk any more
		}
		if e.Kind == wire.EntryCommand {
			one[0], result[0] = *e, nil
			m.Apply(one[:], result[:])
		}
	}
	if hashBytes(result[0]) != w.ghost.results[to-1] {
		return Show(result[0]) + ", after another one before: the state machine isn't deterministic"
	}
	return Show(result[0])
}

// Show returns bytes in a form for people: printable text in quotes, anything else as hexadecimal
// digits. It shows only the first 80 bytes of longer ones.
func Show(b []byte) string {
	const most = 80
	head, more := b[:min(len(b), most)], ""
	if len(b) > most {
		more = "…"
	}
	for _, c := range string(head) {
		if c != utf8.RuneError && !unicode.IsPrint(c) {
			return fmt.Sprintf("%x%s", head, more)
		}
	}
	if !utf8.Valid(b) {
		return fmt.Sprintf("%x%s", head, more)
	}
	if text := string(head); strconv.CanBackquote(text) && strings.Contains(text, `"`) {
		return "`" + text + more + "`"
	}
	return strconv.Quote(string(head) + more)
}

// Snapshot implements raft.StateMachine.
func (r *replica) Snapshot() (io.WriterTo, error) { return r.inner.Snapshot() }

// Restore implements raft.StateMachine.
func (r *replica) Restore(in io.Reader) error { return r.inner.Restore(in) }
