package wire

import (
	"strconv"

	"github.com/e17579a5/raft/internal/codec"
)

// An EntryKind says what an entry of the log is for.
type EntryKind uint8

// Kinds of entries.
const (
	// EntryCommand carries a command of the user to the state machine.
	EntryCommand EntryKind = 1 + iota
	// EntryNoOp is the first entry of a new leader. With it the leader commits its predecessors'
	// entries (§6.4).
	EntryNoOp
	// EntryConfiguration carries a Configuration in the encoding of AppendConfiguration.
	EntryConfiguration
	// EntryOpenSession opens a session, whose ID is the place of the entry (§6.3). It carries
	// SessionLimits.
	EntryOpenSession
	// EntryCloseSession ends the session that it names.
	EntryCloseSession
	// EntrySessionCommand carries a SessionCommand and the command itself (DecodeSessionCommand).
	EntrySessionCommand
)

// String returns the kind in words.
func (k EntryKind) String() string {
	switch k {
	case EntryCommand:
		return "command"
	case EntryNoOp:
		return "no-op"
	case EntryConfiguration:
		return "configuration"
	case EntryOpenSession:
		return "open session"
	case EntryCloseSession:
		return "close session"
	case EntrySessionCommand:
		return "session command"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Known says whether this version knows the kind.
func (k EntryKind) Known() bool { return k >= EntryCommand && k <= EntrySessionCommand }

// Level returns the level to which a kind of entry belongs. A server appends an entry only when
// that level is in force.
func (k EntryKind) Level() Level {
	switch k {
	case EntryOpenSession, EntryCloseSession, EntrySessionCommand:
		return LevelSessions
	}
	return LevelFirst
}

// An Entry is one record of the replicated log (§3.5). Its Data never changes once the entry
// exists: the log, messages and writes share it.
type Entry struct {
	Index Index
	Term  Term // the term of the leader that appended the entry
	Kind  EntryKind

	// Origin and Number identify a command for ever, across retries and leaders. By them a command
	// is applied exactly once. They are zero in an entry that no caller proposed.
	Origin Origin
	Number uint64

	Data []byte
}

// Size is what an entry counts for against limits in bytes: its data, and EntryOverhead for the
// rest.
func (e *Entry) Size() int { return len(e.Data) + EntryOverhead }

// EntryOverhead is about what an entry takes in memory beside its data, in bytes.
const EntryOverhead = 96

// Command says whether the entry carries a command for the state machine.
func (e *Entry) Command() bool { return e.Kind == EntryCommand || e.Kind == EntrySessionCommand }

// Proposable says whether a caller may have proposed the entry: callers propose entries of its
// kind, and its data is what the kind demands.
func (e *Entry) Proposable() bool {
	switch e.Kind {
	case EntryCommand, EntryOpenSession, EntryCloseSession, EntrySessionCommand:
		return e.Readable()
	}
	return false
}

// Readable says whether the entry's data is what its kind demands. An unknown kind demands nothing.
func (e *Entry) Readable() bool {
	var err error
	switch e.Kind {
	case EntryConfiguration:
		_, err = DecodeConfiguration(e.Data)
	case EntryOpenSession:
		_, err = DecodeSessionLimits(e.Data)
	case EntryCloseSession:
		_, err = DecodeSessionID(e.Data)
	case EntrySessionCommand:
		_, _, err = DecodeSessionCommand(e.Data)
	}
	return err == nil
}

// The bits that say which parts of an entry its encoding has.
const (
	entryPlace byte = 1 << iota
	entryOrigin

	allEntryFields = entryOrigin<<1 - 1
)

// AppendEntry appends the encoding of e to b.
func AppendEntry(b []byte, e *Entry) []byte {
	var fields byte
	if e.Index != 0 || e.Term != 0 {
		fields |= entryPlace
	}
	if e.Number != 0 || e.Origin.Start != 0 || e.Origin.Server != "" {
		fields |= entryOrigin
	}
	b = append(b, byte(e.Kind), fields)
	if fields&entryPlace != 0 {
		b = codec.AppendUvarint(b, uint64(e.Index))
		b = codec.AppendUvarint(b, uint64(e.Term))
	}
	if fields&entryOrigin != 0 {
		b = codec.AppendString(b, string(e.Origin.Server))
		b = codec.AppendUvarint(b, e.Origin.Start)
		b = codec.AppendUvarint(b, e.Number)
	}
	b = codec.AppendUvarint(b, uint64(len(e.Data)))
	return append(b, e.Data...)
}

// DecodeEntry decodes the entry at the beginning of b, and returns the bytes behind it. The entry's
// Data aliases b, and is nil when it is empty. An unknown kind is no error. An error wraps
// ErrMalformed and says what is wrong.
//
// To decode many entries, use a Decoder.
func DecodeEntry(b []byte) (e Entry, rest []byte, err error) { return new(Decoder).DecodeEntry(b) }

// DecodeEntry decodes like the function of that name.
func (d *Decoder) DecodeEntry(b []byte) (e Entry, rest []byte, err error) {
	r := newReader(b, d)
	if r.entry(&e); r.Err() != nil {
		return Entry{}, nil, r.Err()
	}
	return e, r.Rest(), nil
}

func (r *reader) entry(e *Entry) {
	e.Kind = EntryKind(r.Byte("entry: kind"))
	fields := r.Byte("entry: fields")
	if fields&^allEntryFields != 0 {
		r.Fail("entry: unknown fields %#x", fields&^allEntryFields)
		return
	}
	if fields&entryPlace != 0 {
		e.Index = Index(r.Uvarint("entry: Index"))
		e.Term = Term(r.Uvarint("entry: Term"))
		r.Check(e.Index != 0 || e.Term != 0, "entry: Index and Term are zero, yet present")
	}
	if fields&entryOrigin != 0 {
		e.Origin.Server = r.serverID("entry: Origin")
		e.Origin.Start = r.Uvarint("entry: Origin: Start")
		e.Number = r.Uvarint("entry: Number")
		r.Check(e.Number != 0 || e.Origin != Origin{}, "entry: Origin and Number are zero, yet present")
	}
	size := r.Uvarint("entry: length of Data")
	if size > MaxCommandSize {
		r.Fail("entry: Data of %d bytes, more than %d", size, MaxCommandSize)
		return
	}
	e.Data = r.Next(size, "entry: Data")
}

// minEntryBytes is the least that an entry takes: a kind, a byte of fields, and the length of the
// data.
const minEntryBytes = 3

// entries reads a count, not 0, and as many entries.
func (r *reader) entries(name string) []Entry {
	n := r.Count(minEntryBytes, name)
	if n == 0 {
		r.Fail("%s is empty, yet present", name)
	}
	if r.Err() != nil {
		return nil
	}
	entries := r.decoder.entries(n)
	for i := range entries {
		if r.entry(&entries[i]); r.Err() != nil {
			return nil
		}
	}
	return entries
}
