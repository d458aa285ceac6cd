package raft

import (
	"fmt"
	"strconv"
	"strings"
)

// A SessionID names a session for ever: by the place of the entry that opened it, which no other entry has. Its text is
// the term and the index with a dot between them, "3.1042".
type SessionID struct {
	Term  Term
	Index Index
}

// String returns the ID's text.
func (id SessionID) String() string {
	return strconv.FormatUint(uint64(id.Term), 10) + "." + strconv.FormatUint(uint64(id.Index), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (id SessionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. An error wraps ErrMalformed.
func (id *SessionID) UnmarshalText(text []byte) error {
	term, index, _ := strings.Cut(string(text), ".")
	t, errTerm := strconv.ParseUint(term, 10, 64)
	i, errIndex := strconv.ParseUint(index, 10, 64)
	found := SessionID{Term(t), Index(i)}
	if errTerm != nil || errIndex != nil || t == 0 || i == 0 || found.String() != string(text) {
		return fmt.Errorf("%w: %q is not a session ID like 3.1042", ErrMalformed, text)
	}
	*id = found
	return nil
}

// MaxSessionCommands is how many commands of one session may be on their way: Sequence is less than Lowest + this.
const MaxSessionCommands = 256

// A SessionCommand says which command of a session (§6.3) one is.
type SessionCommand struct {
	Session SessionID
	// Sequence is the client's number of the command: at least 1, another one for each, and the same when the
	// command is sent again.
	Sequence uint64
	// Lowest is the lowest number that the client may still send, at least 1 and at most Sequence. What is kept of the
	// commands below it is let go of, and a copy of one of them that comes late is refused.
	Lowest uint64
	// Only says that no other copy of the command was sent to any server, nor will be before this one is answered. It
	// doesn't go into the log; it only makes an error say more (Node.ProposeInSession).
	Only bool
}

// check says what is wrong with a command's numbers.
func (s *SessionCommand) check() error {
	switch {
	case s.Session.Term == 0 || s.Session.Index == 0:
		return fmt.Errorf("%w: session command: no session", ErrMalformed)
	case s.Lowest == 0 || s.Sequence < s.Lowest:
		return fmt.Errorf("%w: session command: sequence %d below the lowest, %d, or that is 0", ErrMalformed, s.Sequence, s.Lowest)
	case s.Sequence-s.Lowest >= MaxSessionCommands:
		return fmt.Errorf("%w: session command: sequence %d is %d above the lowest, %d are allowed",
			ErrMalformed, s.Sequence, s.Sequence-s.Lowest, MaxSessionCommands-1)
	}
	return nil
}

// SessionLimits bound the sessions of a cluster. They are in the log with each session that is opened, so that all
// servers expire the same sessions at the same place.
type SessionLimits struct {
	// Sessions is how many there are at most (1 to MaxSessions).
	Sessions uint64
	// Bytes is how much room the results take that are kept for sessions (1 to MaxSessionBytes).
	Bytes uint64
}

// Limits of SessionLimits.
const (
	MaxSessions     = 1 << 20
	MaxSessionBytes = 256 << 20
)

// maxSessionPrefix is about what the data of a session's command takes at most beside the command.
const maxSessionPrefix = 48

// AppendSessionLimits appends the data of an EntryOpenSession: the limits.
func AppendSessionLimits(b []byte, l SessionLimits) []byte {
	return appendUvarint(appendUvarint(b, l.Sessions), l.Bytes)
}

// AppendSessionID appends a session's ID, which is also the data of an EntryCloseSession.
func AppendSessionID(b []byte, id SessionID) []byte {
	return appendUvarint(appendUvarint(b, uint64(id.Term)), uint64(id.Index))
}

// AppendSessionCommand appends the data of an EntrySessionCommand: the session, the sequence, by how much it is above the
// lowest one, and the command.
func AppendSessionCommand(b []byte, s *SessionCommand, command []byte) []byte {
	b = appendUvarint(AppendSessionID(b, s.Session), s.Sequence)
	return append(appendUvarint(b, s.Sequence-s.Lowest), command...)
}

// DecodeSessionCommand takes the data of an EntrySessionCommand apart. The command aliases it, and is nil when it is
// empty. An error wraps ErrMalformed and says what is wrong.
func DecodeSessionCommand(data []byte) (SessionCommand, []byte, error) {
	// Every server does this for every command of a session, several times.
	var fields [4]uint64
	at := 0
	for i := range fields {
		v, n := shortUvarint(data[at:])
		if n == 0 {
			return decodeSessionCommand(data)
		}
		fields[i] = v
		at += n
	}
	s := SessionCommand{Session: SessionID{Term(fields[0]), Index(fields[1])}, Sequence: fields[2]}
	if fields[3] >= s.Sequence || fields[3] >= MaxSessionCommands || fields[0] == 0 || fields[1] == 0 {
		return decodeSessionCommand(data)
	}
	s.Lowest = s.Sequence - fields[3]
	if at == len(data) {
		return s, nil, nil
	}
	return s, data[at:], nil
}

// shortUvarint reads a number of up to four bytes. It returns 0 bytes for any other.
func shortUvarint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 4 {
		c := b[n]
		v |= uint64(c&0x7f) << (7 * n)
		n++
		if c < 0x80 {
			if c == 0 && n > 1 {
				return 0, 0
			}
			return v, n
		}
	}
	return 0, 0
}

// decodeSessionCommand is DecodeSessionCommand for large numbers and wrong ones.
func decodeSessionCommand(data []byte) (SessionCommand, []byte, error) {
	r := reader{bytes: data}
	s := SessionCommand{Session: r.sessionID()}
	s.Sequence = r.uvarint("session command: sequence")
	above := r.uvarint("session command: lowest")
	if r.err == nil && above < s.Sequence {
		s.Lowest = s.Sequence - above
	}
	if r.err == nil {
		r.err = s.check()
	}
	if r.err != nil {
		return SessionCommand{}, nil, r.err
	}
	if r.left() == 0 {
		return s, nil, nil
	}
	return s, data[r.at:], nil
}

func (r *reader) sessionID() SessionID {
	return SessionID{Term(r.uvarint("session: term")), Index(r.uvarint("session: index"))}
}

// DecodeSessionID returns the ID of the session that was opened with this result. An error wraps ErrMalformed.
func DecodeSessionID(result []byte) (SessionID, error) { return decodeCloseSession(result) }

// decodeOpenSession undoes AppendSessionLimits.
func decodeOpenSession(data []byte) (SessionLimits, error) {
	r := reader{bytes: data}
	l := SessionLimits{r.uvarint("open session: sessions"), r.uvarint("open session: bytes")}
	r.check(l.Sessions > 0 && l.Sessions <= MaxSessions, "open session: no possible number of sessions")
	r.check(l.Bytes > 0 && l.Bytes <= MaxSessionBytes, "open session: no possible number of bytes")
	r.end("open session")
	return l, r.err
}

// decodeCloseSession undoes AppendSessionID.
func decodeCloseSession(data []byte) (SessionID, error) {
	r := reader{bytes: data}
	id := r.sessionID()
	r.end("close session")
	return id, r.err
}

// proposable says whether a caller may have proposed an entry: it is of such a kind, and its data can be read.
func (e *Entry) proposable() bool {
	switch e.Kind {
	case EntryCommand, EntryOpenSession, EntryCloseSession, EntrySessionCommand:
		return e.readable()
	}
	return false
}

// readable says whether an entry's data is what its kind demands. Of an unknown kind nothing is demanded.
func (e *Entry) readable() bool {
	var err error
	switch e.Kind {
	case EntryConfiguration:
		_, err = DecodeConfiguration(e.Data)
	case EntryOpenSession:
		_, err = decodeOpenSession(e.Data)
	case EntryCloseSession:
		_, err = decodeCloseSession(e.Data)
	case EntrySessionCommand:
		_, _, err = DecodeSessionCommand(e.Data)
	}
	return err == nil
}
