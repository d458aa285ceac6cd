// Package sessionmodel is a test oracle: a plain and slow copy of the table of client sessions
// (§6.3). It takes one entry after the other and keeps everything in slices, so that a reader can
// check it against the thesis at sight. Tests compare what raft.Applier does with whole batches of
// entries to what this table does with the same entries.
//
// Nothing of the library imports this package; only tests and the simulator do. It is below the
// module's root, and not below rafttest, because the tests of package raft import it: Go lets only
// packages below rafttest import rafttest/internal. It is internal because it promises nothing to
// users.
package sessionmodel

import (
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A Table is the table of the open sessions of a cluster. The zero Table has none.
type Table struct {
	MaxSessions, MaxBytes uint64    // the limits, from the entry that opened a session last
	Sessions              []Session // the session that was used least recently comes first
}

// A Session is what the table keeps of one session.
type Session struct {
	ID      raft.SessionID
	Lowest  uint64   // the client has let go of the results of all lower sequence numbers
	Results []Result // sorted by sequence number
}

// A Result is what the state machine returned for one command of a session.
type Result struct {
	Sequence uint64
	Index    raft.Index // of the entry with the command
	Data     []byte
}

// An Outcome is what becomes of one entry.
type Outcome struct {
	Applied bool       // the state machine got the entry
	Again   bool       // an earlier copy of the command was applied, at Index, and returned Result
	Index   raft.Index // of the entry, or of the earlier copy
	Result  []byte
	Err     error // raft.ErrSessionExpired or raft.ErrSessionAnswered
}

// checkpoint is the number of indexes from one check of the room that results take to the next.
const checkpoint = 1024

// Step takes the next entry of the log and says what becomes of it. It calls apply, which stands
// for the state machine, with each command that is to be applied.
func (t *Table) Step(e *raft.Entry, apply func(command []byte) []byte) Outcome {
	o, data := Outcome{Index: e.Index}, e.Data
	switch e.Kind {
	case wire.EntryCommand:
		o.Applied, o.Result = true, slices.Clone(apply(e.Data))
	case wire.EntrySessionCommand:
		t.command(e, apply, &o)
	case wire.EntryOpenSession:
		t.MaxSessions, t.MaxBytes = number(&data), number(&data)
		t.Sessions = append(t.Sessions, Session{ID: raft.SessionID{Term: e.Term, Index: e.Index}, Lowest: 1})
		for uint64(len(t.Sessions)) > t.MaxSessions {
			t.Sessions = t.Sessions[1:]
		}
		o.Result = binary.AppendUvarint(binary.AppendUvarint(nil, uint64(e.Term)), uint64(e.Index))
	case wire.EntryCloseSession:
		id := raft.SessionID{Term: raft.Term(number(&data)), Index: raft.Index(number(&data))}
		t.Sessions = slices.DeleteFunc(slices.Clone(t.Sessions), func(s Session) bool { return s.ID == id })
	}
	if e.Kind != wire.EntryCommand && e.Kind != wire.EntrySessionCommand || e.Index%checkpoint == 0 {
		for t.bytes() > t.MaxBytes {
			t.Sessions = t.Sessions[1:]
		}
	}
	return o
}

// command takes an entry with a command of a session.
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

// bytes returns the room that the kept results take, in bytes. Each result counts for 64 bytes more
// than its data.
func (t *Table) bytes() uint64 {
	sum := uint64(0)
	for _, s := range t.Sessions {
		for _, r := range s.Results {
			sum += uint64(len(r.Data)) + 64
		}
	}
	return sum
}

// Append appends the table to b, in the encoding that the table has in a snapshot.
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

// number removes a number from the front of data and returns it.
func number(data *[]byte) uint64 {
	v, n := binary.Uvarint(*data)
	*data = (*data)[n:]
	return v
}
