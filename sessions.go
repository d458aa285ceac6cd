package raft

import (
	"sort"

	"github.com/e17579a5/raft/internal/codec"
	"github.com/e17579a5/raft/wire"
)

// A session makes the commands of one client of the service exactly once, wherever and however often the client sends them
// (§6.3). It is opened by an entry of the log. Its commands are numbered by the client, and a table, the same on every
// server, keeps the result of each until the client says that it has it: who meets a number again answers with that
// result and applies nothing.
//
// The table has limits, and who exceeds them expires the sessions that were used least recently. The log alone decides that:
// the limits come with the entries that open sessions, and "recently" is by the place in the log. A command of a
// session that has expired is refused: it may be a copy of one that was applied, and there is nothing left to know that by.
//
// What becomes of an entry depends on the entries before it and on nothing else; in particular not on how they came in
// batches. So the room that results take is looked at where all results before are known on every server: at each
// entry that is no command, and after each index that is a multiple of sessionCheckpoint.

// sessionCheckpoint is how many indexes lie between two looks at the room that results take, at most. It is part of the
// format: a server with another one would expire other sessions.
const sessionCheckpoint = 1024

// sessions is the table.
type sessions struct {
	// byIndex finds a session: at one index only one was opened. It is only looked up, since its order would show.
	byIndex map[Index]*session
	// recent are some of those that were looked up, by their index modulo the length.
	recent []*session
	// The list of all sessions is in the order in which they were used last.
	oldest, newest *session
	bytes          uint64 // that the kept results count for
	limits         wire.SessionLimits
}

// A session is what is kept for one client.
type session struct {
	id           SessionID
	older, newer *session

	// lowest is the lowest sequence that the client may still send.
	lowest uint64
	// results are those of commands from lowest on, in the order of their sequences. The first skip of them are let go of.
	results []keptResult
	skip    int
}

// A keptResult is the result of a command that may be sent again.
type keptResult struct {
	sequence uint64
	index    Index // of the entry that was applied
	// pending, when not 0, is 1 more than the command's place among those that are being applied: its result isn't known yet.
	pending int
	null    bool // the result is nil, not empty
	result  []byte
}

// resultOverhead is what a result counts for beside its bytes. It is part of the format, like the checkpoint.
const resultOverhead = 64

// keepResultBytes is how large the buffer of a result may be and be used for another one.
const keepResultBytes = 256

// recentSessions is how many sessions are found without a look into the map.
const recentSessions = 256

func newSessions() sessions {
	return sessions{byIndex: make(map[Index]*session)}
}

// add adds a session.
func (t *sessions) add(s *session) {
	if t.recent == nil {
		t.recent = make([]*session, recentSessions)
	}
	t.byIndex[s.id.Index] = s
	t.use(s)
}

// open adds a session, and expires others if there are more than the limits allow.
func (t *sessions) open(id SessionID, limits wire.SessionLimits) {
	t.limits = limits
	t.add(&session{id: id, lowest: 1})
	for uint64(len(t.byIndex)) > limits.Sessions {
		t.remove(t.oldest)
	}
}

// expire removes the sessions used least recently while results take more room than they may, and says whether there were any.
func (t *sessions) expire() (changed bool) {
	for t.bytes > t.limits.Bytes && t.oldest != nil {
		t.remove(t.oldest)
		changed = true
	}
	return changed
}

// close removes a session if it is there.
func (t *sessions) close(id SessionID) {
	if s := t.get(id); s != nil {
		t.remove(s)
	}
}

// get returns a session, or nil.
func (t *sessions) get(id SessionID) *session {
	if t.oldest == nil {
		return nil
	}
	recent := &t.recent[id.Index%recentSessions]
	if s := *recent; s != nil && s.id == id {
		return s
	}
	if s := t.byIndex[id.Index]; s != nil && s.id == id {
		*recent = s
		return s
	}
	return nil
}

// remove forgets a session.
func (t *sessions) remove(s *session) {
	for i := s.skip; i < len(s.results); i++ {
		t.discard(&s.results[i])
	}
	t.unlink(s)
	if recent := &t.recent[s.id.Index%recentSessions]; *recent == s {
		*recent = nil
	}
	delete(t.byIndex, s.id.Index)
}

// unlink takes a session out of the list.
func (t *sessions) unlink(s *session) {
	if s.older != nil {
		s.older.newer = s.newer
	} else if t.oldest == s {
		t.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else if t.newest == s {
		t.newest = s.older
	}
	s.older, s.newer = nil, nil
}

// use makes a session the one that was used last.
func (t *sessions) use(s *session) {
	if t.newest == s {
		return
	}
	t.unlink(s)
	if t.newest == nil {
		t.oldest = s
	} else {
		t.newest.newer, s.older = s, t.newest
	}
	t.newest = s
}

// begin says in o what becomes of a command of a session. The state machine gets a new one at o.place, and its result is to
// be kept afterwards.
func (t *sessions) begin(command *SessionCommand, o *outcome) {
	s := t.get(command.Session)
	if s == nil {
		o.err = ErrSessionExpired
		return
	}
	t.use(s)
	t.raise(s, command.Lowest)
	if command.Sequence < s.lowest {
		o.err = ErrSessionAnswered
		return
	}
	o.session, o.sequence = s, command.Sequence
	at, found := s.find(command.Sequence)
	if !found {
		s.insert(at, command.Sequence, o.place+1)
		o.at = at
		return
	}
	o.again = true
	if kept := &s.results[at]; kept.pending != 0 {
		o.place = kept.pending - 1
	} else {
		o.place, o.index, o.result = -1, kept.index, kept.get()
	}
}

// raise lets go of the results below a sequence.
func (t *sessions) raise(s *session, lowest uint64) {
	s.lowest = max(s.lowest, lowest)
	for s.skip < len(s.results) && s.results[s.skip].sequence < s.lowest {
		t.discard(&s.results[s.skip])
		s.skip++
	}
	if s.skip > len(s.results)/2 {
		// What was let go of moves behind the others, so that its buffers are used again.
		for i := s.skip; i < len(s.results); i++ {
			s.results[i-s.skip], s.results[i] = s.results[i], s.results[i-s.skip]
		}
		s.results, s.skip = s.results[:len(s.results)-s.skip], 0
		if room := cap(s.results); room > minResults && room > 8*len(s.results) {
			s.results = append(make([]keptResult, 0, 2*len(s.results)), s.results...) // it was a burst
		}
	}
}

// minResults is the room for results that a session may keep without using it.
const minResults = 16

// find returns the place of a sequence, or where it belongs.
func (s *session) find(sequence uint64) (at int, found bool) {
	n := len(s.results)
	if n == s.skip || sequence > s.results[n-1].sequence {
		return n, false // nearly always
	}
	// Sequences rise along the results, by one nearly always: so it is here or further left.
	first := s.results[s.skip].sequence
	if sequence < first {
		return s.skip, false
	}
	if at = s.skip + int(min(sequence-first, uint64(n-1-s.skip))); s.results[at].sequence != sequence {
		at = s.skip + sort.Search(at-s.skip, func(i int) bool { return s.results[s.skip+i].sequence >= sequence })
	}
	return at, s.results[at].sequence == sequence
}

// insert makes room for the result of a sequence at a place, with the buffer of one that was let go of if there is one.
func (s *session) insert(at int, sequence uint64, pending int) {
	n := len(s.results)
	if n < cap(s.results) {
		s.results = s.results[:n+1]
	} else {
		s.results = append(s.results, keptResult{})
	}
	if at < n {
		free := s.results[n].result
		copy(s.results[at+1:], s.results[at:n])
		s.results[at].result = free
	}
	kept := &s.results[at]
	kept.sequence, kept.pending = sequence, pending
}

// keep stores the result of a command that was applied, unless the client has let go of it meanwhile.
func (t *sessions) keep(o *outcome) {
	at := o.at
	if results := o.session.results; at < o.session.skip || at >= len(results) || results[at].sequence != o.sequence {
		var found bool
		if at, found = o.session.find(o.sequence); !found {
			return // it has moved, or is gone
		}
	}
	kept := &o.session.results[at]
	kept.pending, kept.index = 0, o.index
	kept.null, kept.result = o.result == nil, append(kept.result[:0], o.result...)
	t.bytes += uint64(len(o.result)) + resultOverhead
}

// discard lets go of a result, but for its buffer if that is small.
func (t *sessions) discard(kept *keptResult) {
	if kept.pending == 0 {
		t.bytes -= uint64(len(kept.result)) + resultOverhead
	}
	kept.result = kept.result[:0]
	if cap(kept.result) > keepResultBytes {
		kept.result = nil
	}
}

// get returns a result that is kept.
func (k *keptResult) get() []byte {
	if k.null {
		return nil
	}
	return append([]byte{}, k.result...)
}

// append appends the table: the limits, and the sessions from the one that was used least recently, each with its ID, its
// lowest sequence and its results by their sequences, counted from the lowest one. A result is its length plus 1 and that
// many bytes, or 0 for nil.
func (t *sessions) append(b []byte) []byte {
	b = codec.AppendUvarint(codec.AppendUvarint(b, t.limits.Sessions), t.limits.Bytes)
	b = codec.AppendUvarint(b, uint64(len(t.byIndex)))
	for s := t.oldest; s != nil; s = s.newer {
		b = codec.AppendUvarint(wire.AppendSessionID(b, s.id), s.lowest)
		b = codec.AppendUvarint(b, uint64(len(s.results)-s.skip))
		for i := s.skip; i < len(s.results); i++ {
			kept := &s.results[i]
			b = codec.AppendUvarint(codec.AppendUvarint(b, kept.sequence-s.lowest), uint64(kept.index))
			if kept.null {
				b = append(b, 0)
				continue
			}
			b = append(codec.AppendUvarint(b, uint64(len(kept.result))+1), kept.result...)
		}
	}
	return b
}

// Each session takes at least so many bytes, and each result.
const minSessionBytes, minResultBytes = 4, 3

// decodeSessions undoes sessions.append.
func decodeSessions(r *codec.Reader) sessions {
	t := newSessions()
	t.limits = wire.SessionLimits{Sessions: r.Uvarint("sessions: limit"), Bytes: r.Uvarint("sessions: limit in bytes")}
	r.Check(t.limits.Sessions <= wire.MaxSessions && t.limits.Bytes <= wire.MaxSessionBytes, "sessions: limits out of range")
	n := r.Count(minSessionBytes, "sessions")
	r.Check(uint64(n) <= t.limits.Sessions, "sessions: more than their limit")
	for ; n > 0 && r.Err() == nil; n-- {
		id := sessionID(r)
		r.Check(id.Term > 0 && id.Index > 0 && t.byIndex[id.Index] == nil, "session: no ID, or one that was there before")
		if r.Err() != nil {
			break
		}
		s := &session{id: id, lowest: r.Present(r.Uvarint("session: lowest"), "session: lowest")}
		t.add(s)
		t.decodeResults(r, s)
	}
	return t
}

// decodeResults reads the results of a session.
func (t *sessions) decodeResults(r *codec.Reader, s *session) {
	next := uint64(0)
	for n := r.Count(minResultBytes, "session: results"); n > 0 && r.Err() == nil; n-- {
		above, index := r.Uvarint("session: sequence"), r.Uvarint("session: index")
		size := r.Uvarint("session: length of a result")
		var result []byte
		if size > 0 {
			result = r.Next(size-1, "session: result")
		}
		r.Check(above >= next && above < wire.MaxSessionCommands && s.lowest+above >= s.lowest, "session: sequences out of order")
		if r.Err() != nil {
			return
		}
		next = above + 1
		s.results = append(s.results, keptResult{
			sequence: s.lowest + above, index: Index(index), null: size == 0, result: append([]byte(nil), result...),
		})
		t.bytes += uint64(len(result)) + resultOverhead
	}
}

func sessionID(r *codec.Reader) SessionID {
	return SessionID{Term: Term(r.Uvarint("session: term")), Index: Index(r.Uvarint("session: index"))}
}
