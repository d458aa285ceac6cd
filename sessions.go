package raft

import (
	"sort"

	"github.com/e17579a5/raft/internal/codec"
	"github.com/e17579a5/raft/wire"
)

// A session makes the commands of one client of the service take effect exactly once, wherever and
// however often the client sends them (§6.3). An entry of the log opens the session. The client
// numbers its commands. A table, the same on every server, keeps the result of each command until
// the client says that it has it. When a number comes again, the server answers with the kept
// result and applies nothing.
//
// The table has limits. When one is exceeded, the sessions expire that were used least recently.
// The log alone decides that: the limits are in the entries that open sessions, and "recently" is
// by the place in the log. A command of an expired session is refused: it may be a copy of one that
// was applied, and nothing is left by which to know that.
//
// What becomes of an entry depends on the entries before it, and on nothing else. In particular it
// doesn't depend on how the entries came in batches. So the size of the results is looked at only
// where every server knows all earlier results: at each entry that is no command, and after each
// index that is a multiple of sessionCheckpoint.

// sessionCheckpoint is how many indexes lie at most between two looks at the size of the results.
// It is part of the format: a server with another number would expire other sessions.
const sessionCheckpoint = 1024

// sessions is the table.
type sessions struct {
	// byIndex finds a session by the index at which it was opened. One index opens one session at
	// most. The map is only looked up in: to range over it would show its order. It is nil before the
	// first session.
	byIndex map[Index]*session
	// recent holds some of the sessions that were looked up, each at its index modulo the length.
	recent []*session
	// oldest and newest are the ends of the list of all sessions, in the order in which they were
	// last used.
	oldest, newest *session
	bytes          uint64 // the size of all kept results, with resultOverhead for each
	limits         wire.SessionLimits
}

// A session is what is kept for one client.
type session struct {
	id           SessionID
	older, newer *session

	// lowest is the lowest sequence that the client may still send.
	lowest uint64
	// results are the results of the commands from lowest on, in the order of their sequences. The
	// first skip of them are no longer kept.
	results []keptResult
	skip    int
}

// A keptResult is the result of a command that may be sent again.
type keptResult struct {
	sequence uint64
	index    Index // where the command was applied
	// pending is not 0 while the command is being applied, and its result isn't known yet. It is
	// then 1 more than the command's place among those that are being applied.
	pending int
	null    bool // the result is nil, rather than empty
	result  []byte
}

// resultOverhead is what a result counts for beside its bytes. It is part of the format, as
// sessionCheckpoint is.
const resultOverhead = 64

// keepResultBytes is how large the buffer of a result may be if it is to be used for another
// result.
const keepResultBytes = 256

// recentSessions is how many sessions can be found without a look into the map.
const recentSessions = 256

// add adds a session.
func (t *sessions) add(s *session) {
	if t.recent == nil {
		t.recent = make([]*session, recentSessions)
	}
	if t.byIndex == nil {
		t.byIndex = make(map[Index]*session)
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

// expire removes the sessions that were used least recently, until the results take no more room
// than they may. It says whether it has removed any.
func (t *sessions) expire() (changed bool) {
	for t.bytes > t.limits.Bytes && t.oldest != nil {
		t.remove(t.oldest)
		changed = true
	}
	return changed
}

// close removes a session, if it is there.
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

// begin says in o what becomes of a session's command. If the command is new, the state machine
// gets it at o.place, and keep keeps its result afterwards.
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
		// The results that were let go of move behind the others, so that their buffers are used
		// again.
		for i := s.skip; i < len(s.results); i++ {
			s.results[i-s.skip], s.results[i] = s.results[i], s.results[i-s.skip]
		}
		s.results, s.skip = s.results[:len(s.results)-s.skip], 0
		if room := cap(s.results); room > minResults && room > 8*len(s.results) {
			s.results = append(make([]keptResult, 0, 2*len(s.results)), s.results...) // it was a burst
		}
	}
}

// minResults is for how many results a session may hold room without using it.
const minResults = 16

// find returns the position of a sequence, or the one where it belongs.
func (s *session) find(sequence uint64) (at int, found bool) {
	n := len(s.results)
	if n == s.skip || sequence > s.results[n-1].sequence {
		return n, false // nearly always
	}
	// Sequences rise along the results, nearly always by one. So it is at this position or further
	// left.
	first := s.results[s.skip].sequence
	if sequence < first {
		return s.skip, false
	}
	if at = s.skip + int(min(sequence-first, uint64(n-1-s.skip))); s.results[at].sequence != sequence {
		at = s.skip + sort.Search(at-s.skip, func(i int) bool { return s.results[s.skip+i].sequence >= sequence })
	}
	return at, s.results[at].sequence == sequence
}

// insert makes room for the result of a sequence, at a position. It uses the buffer of a result
// that was let go of, if there is one.
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

// keep stores the result of a command that was applied, unless the client has let go of it in the
// meantime.
func (t *sessions) keep(o *outcome) {
	at := o.at
	if results := o.session.results; at < o.session.skip || at >= len(results) || results[at].sequence != o.sequence {
		var found bool
		if at, found = o.session.find(o.sequence); !found {
			return // it is gone; otherwise it has only moved
		}
	}
	kept := &o.session.results[at]
	kept.pending, kept.index = 0, o.index
	kept.null, kept.result = o.result == nil, append(kept.result[:0], o.result...)
	t.bytes += uint64(len(o.result)) + resultOverhead
}

// discard lets go of a result, and keeps its buffer if that is small.
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

// append appends the encoded table. First come the limits. Then come the sessions, beginning with
// the one that was used least recently. Each has its ID, its lowest sequence, and its results in
// the order of their sequences. A result has its sequence, counted from the lowest one; the index
// at which its command was applied; and its length plus 1 with that many bytes, or 0 for nil.
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

// minSessionBytes is how many bytes a session takes at least in the encoding, and minResultBytes
// how many a result takes.
const minSessionBytes, minResultBytes = 4, 3

// decodeSessions decodes what sessions.append has appended.
func decodeSessions(r *codec.Reader) sessions {
	var t sessions
	t.limits = wire.SessionLimits{Sessions: r.Uvarint("sessions: limit"), Bytes: r.Uvarint("sessions: limit in bytes")}
	r.Check(t.limits.Sessions <= wire.MaxSessions && t.limits.Bytes <= wire.MaxSessionBytes, "sessions: limits out of range")
	n := r.Count(minSessionBytes, "sessions")
	r.Check(uint64(n) <= t.limits.Sessions, "sessions: more than their limit")
	for ; n > 0 && r.Err() == nil; n-- {
		id := sessionID(r)
		r.Check(id.Term > 0 && id.Index > 0 && t.byIndex[id.Index] == nil, "session: an ID that is zero, or that of another session")
		if r.Err() != nil {
			break
		}
		s := &session{id: id, lowest: r.Present(r.Uvarint("session: lowest"), "session: lowest")}
		t.add(s)
		t.decodeResults(r, s)
	}
	return t
}

// decodeResults decodes the results of a session.
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
