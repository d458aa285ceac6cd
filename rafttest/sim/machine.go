package sim

import (
	"bytes"
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
	w        *World
	server   int
	inner    raft.StateMachine
	command  raft.Index // the last command applied
	restored raft.Index // of the snapshot of which the state was restored last; 0 for none
	open     int        // captures that aren't closed
	last     *held      // the last capture
	lent     lending
}

// Apply implements raft.StateMachine.
func (r *replica) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		r.w.checkApply(r, &entries[i])
	}
	if r.w.violation != nil {
		return
	}
	if !r.w.user() {
		r.inner.Apply(entries, results)
	} else if !r.lends(entries, results) {
		return
	}
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
	if r.w.trace != nil && r.w.user() {
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
	return fmt.Sprintf("the command at index %d, %s, applied %s, has the result %s here; the same commands applied one by one give %s%s",
		e.Index, Show(e.Data), how, Show(result), r.w.oneByOne(e.Index), r.origin())
}

// A lending is memory that is lent to a user's state machine, call after call.
type lending struct {
	entries []raft.Entry
	data    []byte
}

// lends lends entries to a user's state machine and lets it apply them. It overwrites the entries'
// Data after the call, as the contract of raft.StateMachine allows. It reports whether the state
// machine has left them as they were.
func (r *replica) lends(entries []raft.Entry, results [][]byte) bool {
	l := &r.lent
	l.entries, l.data = append(l.entries[:0], entries...), l.data[:0]
	for i := range entries {
		l.data = append(l.data, entries[i].Data...)
	}
	rest := l.data
	for i := range l.entries {
		n := len(entries[i].Data)
		l.entries[i].Data, rest = rest[:n:n], rest[n:]
	}
	r.inner.Apply(l.entries, results)
	for i := range entries {
		if got := &l.entries[i]; got.Index != entries[i].Index || got.Kind != entries[i].Kind || !bytes.Equal(got.Data, entries[i].Data) {
			r.w.fail(LentEntries, r.server, "Apply has changed the command at index %d from %s to %s", entries[i].Index, Show(entries[i].Data), Show(got.Data))
			return false
		}
	}
	overwrite(l.data)
	return true
}

// overwrite fills memory with something else, so that whoever kept it is found out.
func overwrite(b []byte) {
	for i := range b {
		b[i] ^= 0xa5
	}
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
			one[0].Data = bytes.Clone(e.Data)
			m.Apply(one[:], result[:])
		}
	}
	if hashBytes(result[0]) != w.ghost.results[to-1] {
		return Show(result[0]) + ", after another one before: the state machine isn't deterministic"
	}
	return Show(result[0])
}

// shown is the number of bytes that Show shows.
const shown = 80

// Show returns bytes in a form for people: printable text in quotes, anything else as hexadecimal
// digits. It shows only the first 80 bytes of longer ones.
func Show(b []byte) string {
	head, more := b[:min(len(b), shown)], ""
	if len(b) > shown {
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
func (r *replica) Snapshot() (io.WriterTo, error) {
	captured, err := r.inner.Snapshot()
	if err != nil || captured == nil {
		return captured, err
	}
	return r.hold(captured), nil
}

// Restore implements raft.StateMachine.
func (r *replica) Restore(in io.Reader) error { return r.inner.Restore(in) }
