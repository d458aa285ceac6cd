package sim

import (
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/sessionmodel"
)

// Clients with sessions, each numbered from 0. Such a client opens a session at some server, numbers its commands in it, and sends
// one again, at any server, when it has heard nothing or just so: also when it has let go of the answer, and when the session is
// gone. A call is one command with all its copies. Whatever happens, it is applied once at most, in whichever of the
// two tables, the one of raft.Applier and the plain one, it is looked up.

// maxClients bounds the clients with sessions, maxSequence their numbers.
const (
	maxClients  = 8
	maxSequence = 1 << 14
)

// A sessionClient is a client with what it knows itself.
type sessionClient struct {
	session raft.SessionID // zero while it has none
	next    uint64         // the next number; numbers go on from session to session
	lowest  uint64         // the lowest number that isn't done
	calls   []call         // by number
}

// A call is a command of a session.
type call struct {
	command raft.SessionCommand // as it was sent first; zero if it wasn't
	data    []byte
	copies  int        // that were sent
	done    bool       // the client knows what became of it, or doesn't care any more
	applied raft.Index // where the state machine got it; 0 for nowhere yet
}

// A verdict is what the plain table says about a committed entry.
type verdict struct {
	index raft.Index // that an answer names
	err   error      // why it wasn't applied
	table uint64     // hash of the table after it
}

// sessionCall returns a call, or nil if it was never made.
func (w *World) sessionCall(client int8, sequence uint32) *call {
	if calls := w.sessions[client].calls; int(sequence) < len(calls) && calls[sequence].command.Sequence != 0 {
		return &calls[sequence]
	}
	return nil
}

// proposal returns what an event of a client with a session proposes, or false if it can't.
func (w *World) proposal(e *Event) (raft.Proposal, bool) {
	if !e.Op.inSession() {
		return raft.Proposal{Kind: raft.EntryCommand, Data: w.command(e)}, true
	}
	if e.Peer < 0 || int(e.Peer) >= maxClients {
		return raft.Proposal{}, false
	}
	c := &w.sessions[e.Peer]
	switch e.Op {
	case OpOpen:
		limits := raft.SessionLimits{Sessions: uint64(w.params.MaxSessions), Bytes: uint64(w.params.SessionBytes)}
		if h := w.luck.draw(luckSession, int(e.Peer), 1, uint64(e.N)); h%8 == 0 {
			limits.Sessions = 1 + h>>8%maxClients // opened at a server with other settings
		}
		return raft.Proposal{Kind: raft.EntryOpenSession, Data: raft.AppendSessionLimits(nil, limits)}, true
	case OpClose:
		if c.session == (raft.SessionID{}) {
			return raft.Proposal{}, false
		}
		return raft.Proposal{Kind: raft.EntryCloseSession, Data: raft.AppendSessionID(nil, c.session)}, true
	}
	known := w.sessionCall(e.Peer, e.Label)
	if known == nil {
		if known = w.newCall(e, c); known == nil {
			return raft.Proposal{}, false
		}
	}
	known.copies++
	return raft.Proposal{
		Kind: raft.EntrySessionCommand, Data: raft.AppendSessionCommand(nil, &known.command, known.data), Only: known.copies == 1,
	}, true
}

// newCall makes a client's next call, or one a few numbers on.
func (w *World) newCall(e *Event, c *sessionClient) *call {
	sequence := uint64(e.Label)
	if c.session == (raft.SessionID{}) || sequence >= maxSequence || sequence < c.next || sequence-c.lowest >= raft.MaxSessionCommands {
		return nil
	}
	for uint64(len(c.calls)) <= sequence {
		c.calls = append(c.calls, call{done: true})
	}
	c.next = sequence + 1
	known := &c.calls[sequence]
	*known = call{command: raft.SessionCommand{Session: c.session, Sequence: sequence}, data: w.command(e)}
	c.letGo()
	known.command.Lowest = c.lowest
	return known
}

// letGo finds the lowest number that isn't done.
func (c *sessionClient) letGo() {
	for c.lowest < c.next && (c.lowest >= uint64(len(c.calls)) || c.calls[c.lowest].done) {
		c.lowest++
	}
}

// sessionAnswered lets a client know what became of an operation.
func (w *World) sessionAnswered(i int, o *operation, a *raft.Answer) {
	if !o.op.inSession() || o.op == OpClose || w.violation != nil {
		return
	}
	c := &w.sessions[o.client]
	if o.op == OpOpen {
		if a.Err != nil {
			return
		}
		id, err := raft.DecodeSessionID(a.Result)
		if err != nil || id.Index != o.index || id.Term != w.ghost.committed[o.index-1].term {
			w.fail(Sessions, i, "the session opened at index %d is called %v: %v", o.index, id, err)
			return
		}
		for j := range c.calls {
			c.calls[j].done = true // what was sent in the session before is not sent in this one
		}
		c.session, c.lowest = id, c.next
		w.stats.Sessions++
		return
	}
	known := w.sessionCall(o.client, o.sequence)
	lost := errors.Is(a.Err, raft.ErrSessionExpired) || errors.Is(a.Err, raft.ErrSessionAnswered)
	if a.Err == nil && a.Index != o.index {
		w.stats.SessionCopies++
	}
	if a.Err == nil || lost {
		known.done = w.luck.draw(luckSession, int(o.client), 2, o.number)%4 != 0 // or the client crashes before it has noted it
	}
	if known.command.Session == c.session && errors.Is(a.Err, raft.ErrSessionExpired) {
		c.session = raft.SessionID{}
	}
}

// sessionClientActs chooses what a client with a session does.
func (w *World) sessionClientActs(e *Event, h uint64) {
	e.Peer = int8(below(mix(h+1), w.params.Sessions))
	c := &w.sessions[e.Peer]
	e.Op, e.Label = OpCall, uint32(c.next)
	switch odds := mix(h+2) % 64; {
	case c.session == (raft.SessionID{}) && odds < 48 || odds < 3:
		e.Op, e.Label = OpOpen, 0
	case odds < 4:
		e.Op, e.Label = OpClose, 0
	case odds < 28 && c.next > 1:
		// One of the last few calls once more, or, now and then, any.
		span := min(c.next-1, 4)
		if odds == 27 {
			span = c.next - 1
		}
		e.Label = uint32(c.next - 1 - uint64(below(mix(h+3), int64(span))))
	}
}

// sessionStep lets the plain table take a committed entry, and returns the hash of what it comes to, whether the state
// machine got it, and what is to be answered.
func (w *World) sessionStep(i int, e *raft.Entry) (result uint64, applied bool) {
	g := &w.ghost
	o := g.table.Step(e, func(command []byte) []byte {
		g.one[0], g.result[0] = *e, nil
		g.one[0].Kind, g.one[0].Data = raft.EntryCommand, command
		g.reference.Apply(g.one[:], g.result[:])
		return g.result[0]
	})
	v := verdict{index: o.Index, err: o.Err}
	if w.params.Sessions > 0 {
		g.buffer = g.table.Append(g.buffer[:0])
		v.table = hashBytes(g.buffer)
	}
	g.verdicts = append(g.verdicts, v)
	switch {
	case e.Kind == raft.EntryNoOp || e.Kind == raft.EntryConfiguration:
		return 0, false
	case o.Err != nil:
		result = mix(hashBytes([]byte(o.Err.Error())))
	default:
		result = hashBytes(o.Result)
	}
	if e.Kind == raft.EntrySessionCommand && o.Applied {
		w.callApplied(i, e)
	}
	return result, o.Applied
}

// callApplied notes that the command of a session is applied, once and for all its copies.
func (w *World) callApplied(i int, e *raft.Entry) {
	o := w.operationOf(e)
	if o == nil || o.op != OpCall {
		return // told already
	}
	known := w.sessionCall(o.client, o.sequence)
	if known.applied != 0 {
		w.fail(Sessions, i, "command %d of client %d is applied at index %d, and was at index %d", o.sequence, o.client, e.Index, known.applied)
		return
	}
	known.applied = e.Index
	w.stats.SessionCommands++
}

// checkTable compares the table of sessions of a server with the plain one.
func (w *World) checkTable(s *server, last raft.Index) {
	if w.params.Sessions == 0 || w.violation != nil {
		return
	}
	g := &w.ghost
	g.buffer = s.applier.AppendSessions(g.buffer[:0])
	if hashBytes(g.buffer) != g.verdicts[last-1].table {
		w.fail(Sessions, w.index(s), "the table after index %d differs from that of the same entries taken one by one", last)
	}
}

// checkRefusal checks the answer to a command of a session that was committed and not applied.
func (w *World) checkRefusal(i int, o *operation, a *raft.Answer) {
	w.stats.SessionRefused++
	v := verdict{}
	if o.index != 0 {
		v = w.ghost.verdicts[o.index-1]
	}
	if v.err == nil || !errors.Is(a.Err, v.err) {
		w.fail(Sessions, i, "command %d of client %d, committed at index %d, is answered with %v", o.sequence, o.client, o.index, a.Err)
	}
	if o.only != errors.Is(a.Err, raft.ErrNotApplied) {
		w.fail(Sessions, i, "command %d of client %d, the only copy: %v, is answered with %v", o.sequence, o.client, o.only, a.Err)
	}
	if known := w.sessionCall(o.client, o.sequence); o.only && known.copies == 1 && known.applied != 0 {
		w.fail(Sessions, i, "command %d of client %d is answered with %v, but was applied at index %d", o.sequence, o.client, a.Err, known.applied)
	}
}

// resetSessions prepares the clients for a run.
func (w *World) resetSessions() {
	for i := range w.sessions {
		w.sessions[i] = sessionClient{next: 1, lowest: 1, calls: w.sessions[i].calls[:0]}
	}
	w.ghost.table = sessionmodel.Table{}
	w.ghost.verdicts = w.ghost.verdicts[:0]
}
