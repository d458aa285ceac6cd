package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/e17579a5/raft/internal/codec"
)

// A SessionID names a session for ever, by the place of the entry that opened it. Its text is the
// term and the index with a dot between them: "3.1042".
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

// MaxSessionCommands is how many commands of one session may be on their way: Sequence is less than
// Lowest + MaxSessionCommands.
const MaxSessionCommands = 256

// A SessionCommand says which command of which session a command is (§6.3).
type SessionCommand struct {
	Session SessionID
	// Sequence is the client's number of the command, at least 1. Each command has another number,
	// and keeps it when the client sends the command again.
	Sequence uint64
	// Lowest is the lowest number that the client may still send, at least 1 and at most Sequence.
	// The servers drop the results of the commands below it, and refuse a late copy of such a
	// command.
	Lowest uint64
	// Only says that the client sent no other copy of the command to any server, and will send none
	// before this one is answered. It doesn't go into the log; it only makes an error say more
	// (Node.ProposeInSession).
	Only bool
}

// Check says what is wrong with the numbers of the command. The error wraps ErrMalformed.
func (s *SessionCommand) Check() error {
	switch {
	case s.Session.Term == 0 || s.Session.Index == 0:
		return fmt.Errorf("%w: session command: no session", ErrMalformed)
	case s.Lowest == 0 || s.Sequence < s.Lowest:
		return fmt.Errorf("%w: session command: sequence %d is below the lowest, %d, or the lowest is 0",
			ErrMalformed, s.Sequence, s.Lowest)
	case s.Sequence-s.Lowest >= MaxSessionCommands:
		return fmt.Errorf("%w: session command: sequence %d is %d above the lowest, more than %d",
			ErrMalformed, s.Sequence, s.Sequence-s.Lowest, MaxSessionCommands-1)
	}
	return nil
}

// SessionLimits bound the sessions of a cluster. The entry that opens a session carries them, so
// all servers expire the same sessions at the same place in the log.
type SessionLimits struct {
	// Sessions is how many sessions there are at most (1 to MaxSessions).
	Sessions uint64
	// Bytes is how much room the results may take that the servers keep for sessions (1 to
	// MaxSessionBytes).
	Bytes uint64
}

// Limits of SessionLimits.
const (
	MaxSessions     = 1 << 20
	MaxSessionBytes = 256 << 20
)

// MaxSessionPrefix is about what the data of an EntrySessionCommand takes at most beside the
// command, in bytes.
const MaxSessionPrefix = 48

// AppendSessionLimits appends the data of an EntryOpenSession: the limits.
func AppendSessionLimits(b []byte, l SessionLimits) []byte {
	return codec.AppendUvarint(codec.AppendUvarint(b, l.Sessions), l.Bytes)
}

// AppendSessionID appends the ID of a session. It is the result of opening the session, and the
// data of an EntryCloseSession.
func AppendSessionID(b []byte, id SessionID) []byte {
	return codec.AppendUvarint(codec.AppendUvarint(b, uint64(id.Term)), uint64(id.Index))
}

// AppendSessionCommand appends the data of an EntrySessionCommand: the session, Sequence, by how
// much Sequence is above Lowest, and the command.
func AppendSessionCommand(b []byte, s *SessionCommand, command []byte) []byte {
	b = codec.AppendUvarint(AppendSessionID(b, s.Session), s.Sequence)
	return append(codec.AppendUvarint(b, s.Sequence-s.Lowest), command...)
}

// DecodeSessionCommand takes the data of an EntrySessionCommand apart. The command aliases the
// data, and is nil when it is empty. An error wraps ErrMalformed and says what is wrong.
func DecodeSessionCommand(data []byte) (SessionCommand, []byte, error) {
	// Every server does this for every command of a session, several times. So it is made for
	// speed.
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
	r := newReader(data, nil)
	s := SessionCommand{Session: r.sessionID()}
	s.Sequence = r.Uvarint("session command: sequence")
	above := r.Uvarint("session command: lowest")
	if r.Err() == nil && above < s.Sequence {
		s.Lowest = s.Sequence - above
	}
	err := r.Err()
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return SessionCommand{}, nil, err
	}
	if r.Left() == 0 {
		return s, nil, nil
	}
	return s, r.Rest(), nil
}

func (r *reader) sessionID() SessionID {
	return SessionID{Term(r.Uvarint("session: term")), Index(r.Uvarint("session: index"))}
}

// DecodeSessionLimits undoes AppendSessionLimits. An error wraps ErrMalformed and says what is
// wrong.
func DecodeSessionLimits(data []byte) (SessionLimits, error) {
	r := newReader(data, nil)
	l := SessionLimits{r.Uvarint("open session: sessions"), r.Uvarint("open session: bytes")}
	r.Check(l.Sessions > 0 && l.Sessions <= MaxSessions, "open session: the number of sessions is out of range")
	r.Check(l.Bytes > 0 && l.Bytes <= MaxSessionBytes, "open session: the number of bytes is out of range")
	r.End("open session")
	return l, r.Err()
}

// DecodeSessionID undoes AppendSessionID. It takes the result of opening a session, or the data of
// an EntryCloseSession. An error wraps ErrMalformed and says what is wrong.
func DecodeSessionID(data []byte) (SessionID, error) {
	r := newReader(data, nil)
	id := r.sessionID()
	r.End("close session")
	return id, r.Err()
}
