// Package sessions is the table of sessions (§6.3) done the plain way: one entry after the other, in slices, with nothing
// clever. What raft.Applier makes of batches is compared with it.
package sessions

import (
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft"
)

// A Table is the table.
type Table struct {
	MaxSessions, MaxBytes uint64
	Sessions              []Session // the one that was used least recently first
}

// A Session is what is kept of one.
type Session struct {
	ID      raft.SessionID
	Lowest  uint64
	Results []Result // by sequence
}

// A Result is that of one command.
type Result struct {
	Sequence uint64
	Index    raft.Index
	Data     []byte
}

// An Outcome is what becomes of an entry.
type Outcome struct {
	Applied bool // the state machine got it
	Again   bool // an earlier copy was applied, at Index with Result
	Index   raft.Index
	Result  []byte
	Err     error
}

// checkpoint is how many entries lie between two looks at the room that results take.
const checkpoint = 1024

// Step takes the next entry of the log. apply is the state machine.
func (t *Table) Step(e *raft.Entry, apply func(command []byte) []byte) Outcome {
	o, data := Outcome{Index: e.Index}, e.Data
	switch e.Kind {
	case raft.EntryCommand:
		o.Applied, o.Result = true, slices.Clone(apply(e.Data))
	case raft.EntrySessionCommand:
		t.command(e, apply, &o)
	case raft.EntryOpenSession:
		t.MaxSessions, t.MaxBytes = number(&data), number(&data)
		t.Sessions = append(t.Sessions, Session{ID: raft.SessionID{Term: e.Term, Index: e.Index}, Lowest: 1})
		for uint64(len(t.Sessions)) > t.MaxSessions {
			t.Sessions = t.Sessions[1:]
		}
		o.Result = binary.AppendUvarint(binary.AppendUvarint(nil, uint64(e.Term)), uint64(e.Index))
	case raft.EntryCloseSession:
		id := raft.SessionID{Term: raft.Term(number(&data)), Index: raft.Index(number(&data))}
		t.Sessions = slices.DeleteFunc(slices.Clone(t.Sessions), func(s Session) bool { return s.ID == id })
	}
	if e.Kind != raft.EntryCommand && e.Kind != raft.EntrySessionCommand || e.Index%checkpoint == 0 {
		for t.bytes() > t.MaxBytes {
			t.Sessions = t.Sessions[1:]
		}
	}
	return o
}

// command takes a command of a session.
func (t *Table) command(e *raft.Entry, apply func(command []byte) []byte, o *Outcome) {
	data := e.Data
	id := raft.SessionID{Term: raft.Term(number(&data)), Index: raft.Index(number(&data))}
	sequence := number(&data)
	lowest := sequence - number(&data)

	at := slices.IndexFunc(t.Sessions, func(s Session) bool { return s.ID == id })
	if at < 0 {
		o.Err = raft.ErrSessionExpired
		return
	}
	s := t.Sessions[at]
	t.Sessions = slices.Delete(slices.Clone(t.Sessions), at, at+1)
	defer func() { t.Sessions = append(t.Sessions, s) }()

	s.Lowest = max(s.Lowest, lowest)
	s.Results = slices.DeleteFunc(slices.Clone(s.Results), func(r Result) bool { return r.Sequence < s.Lowest })
	if sequence < s.Lowest {
		o.Err = raft.ErrSessionAnswered
		return
	}
	for _, r := range s.Results {
		if r.Sequence == sequence {
			o.Again, o.Index, o.Result = true, r.Index, r.Data
			return
		}
	}
	if len(data) == 0 {
		data = nil
	}
	o.Applied, o.Result = true, slices.Clone(apply(data))
	s.Results = append(s.Results, Result{sequence, e.Index, o.Result})
	slices.SortFunc(s.Results, func(a, b Result) int { return int(a.Sequence) - int(b.Sequence) })
}

// bytes is what the kept results count for.
func (t *Table) bytes() uint64 {
	sum := uint64(0)
	for _, s := range t.Sessions {
		for _, r := range s.Results {
			sum += uint64(len(r.Data)) + 64
		}
	}
	return sum
}

// Append appends the table in the encoding in which snapshots have it.
func (t *Table) Append(b []byte) []byte {
	put := func(v uint64) { b = binary.AppendUvarint(b, v) }
	put(t.MaxSessions)
	put(t.MaxBytes)
	put(uint64(len(t.Sessions)))
	for _, s := range t.Sessions {
		put(uint64(s.ID.Term))
		put(uint64(s.ID.Index))
		put(s.Lowest)
		put(uint64(len(s.Results)))
		for _, r := range s.Results {
			put(r.Sequence - s.Lowest)
			put(uint64(r.Index))
			if r.Data == nil {
				put(0)
				continue
			}
			put(uint64(len(r.Data)) + 1)
			b = append(b, r.Data...)
		}
	}
	return b
}

// number takes a number from the front of data.
func number(data *[]byte) uint64 {
	v, n := binary.Uvarint(*data)
	*data = (*data)[n:]
	return v
}
