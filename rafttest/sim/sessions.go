package sim

import (
	"bytes"
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/sessionmodel"
	"github.com/e17579a5/raft/wire"
)

// Clients with sessions are numbered from 0. Such a client opens a session at some server and
// numbers its commands in it. It may send a command again, at any server, because it has heard
// nothing, or for no reason. It does so even when it has let go of the answer, and when the session
// is gone. A call is one command with all its copies. Whatever happens, both tables, the one of
// raft.Applier and the plain one, must apply a call once at most.

// maxClients bounds the clients with sessions. maxSequence bounds the sequence numbers of their
// commands.
const (
	maxClients  = 8
	maxSequence = 1 << 14
)

// A sessionClient is a client with what it knows itself.
type sessionClient struct {
	session raft.SessionID // zero while it has no session
	next    uint64         // the next sequence number; numbers are not used again in a later session
	lowest  uint64         // the lowest sequence number of a call that isn't done
	calls   []call         // by sequence number
}

// A call is a command of a session with all its copies.
type call struct {
	command raft.SessionCommand // as it was first sent; zero if it was never sent
	data    []byte
	copies  int        // number of copies that were sent
	done    bool       // the client knows the outcome, or doesn't care any more
	applied raft.Index // the index at which the state machine got it; 0 if it hasn't
}

// A verdict is what the plain table says about a committed entry.
type verdict struct {
	index raft.Index // the index that an answer must name
	err   error      // why it wasn't applied
	table uint64     // a hash of the table after the entry
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
		return raft.Proposal{Kind: wire.EntryCommand, Data: w.command(e)}, true
	}
	if e.Peer < 0 || int(e.Peer) >= maxClients {
		return raft.Proposal{}, false
	}
	c := &w.sessions[e.Peer]
	switch e.Op {
	case OpOpen:
		limits := wire.SessionLimits{Sessions: uint64(w.params.MaxSessions), Bytes: uint64(w.params.SessionBytes)}
		if h := w.luck.draw(luckSession, int(e.Peer), 1, uint64(e.N)); h%8 == 0 {
			limits.Sessions = 1 + h>>8%maxClients // the session is opened at a server with other settings
		}
		return raft.Proposal{Kind: wire.EntryOpenSession, Data: wire.AppendSessionLimits(nil, limits)}, true
	case OpClose:
		if c.session == (raft.SessionID{}) {
			return raft.Proposal{}, false
		}
		return raft.Proposal{Kind: wire.EntryCloseSession, Data: wire.AppendSessionID(nil, c.session)}, true
	}
	known := w.sessionCall(e.Peer, e.Label)
	if known == nil {
		if known = w.newCall(e, c); known == nil {
			return raft.Proposal{}, false
		}
	}
	known.copies++
	return raft.Proposal{
		Kind: wire.EntrySessionCommand, Data: wire.AppendSessionCommand(nil, &known.command, known.data), Only: known.copies == 1,
	}, true
}

// newCall makes a call of a client with the sequence number that an event names: the next one, or
// one a few numbers later.
func (w *World) newCall(e *Event, c *sessionClient) *call {
	sequence := uint64(e.Label)
	if c.session == (raft.SessionID{}) || sequence >= maxSequence || sequence < c.next || sequence-c.lowest >= wire.MaxSessionCommands {
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

// letGo raises lowest to the lowest sequence number of a call that isn't done.
func (c *sessionClient) letGo() {
	for c.lowest < c.next && (c.lowest >= uint64(len(c.calls)) || c.calls[c.lowest].done) {
		c.lowest++
	}
}

// sessionAnswered tells a client what became of its operation.
func (w *World) sessionAnswered(i int, o *operation, a *raft.Answer) {
	if !o.op.inSession() || o.op == OpClose || w.violation != nil {
		return
	}
	c := &w.sessions[o.client]
	if o.op == OpOpen {
		if a.Err != nil {
			return
		}
		id, err := wire.DecodeSessionID(a.Result)
		if err != nil || id.Index != o.index || id.Term != w.ghost.committed[o.index-1].term {
			w.fail(Sessions, i, "the session opened at index %d is called %v: %v", o.index, id, err)
			return
		}
		for j := range c.calls {
			c.calls[j].done = true // a client sends no command of an earlier session in this one
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
		// If this is false, the client crashes before it has noted the answer.
		known.done = w.luck.draw(luckSession, int(o.client), 2, o.number)%4 != 0
	}
	if known.command.Session == c.session && errors.Is(a.Err, raft.ErrSessionExpired) {
		c.session = raft.SessionID{}
	}
}

// sessionClientActs chooses what a client with a session does next.
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
		// Send one of the last few calls again, or now and then any call.
		span := min(c.next-1, 4)
		if odds == 27 {
			span = c.next - 1
		}
		e.Label = uint32(c.next - 1 - uint64(below(mix(h+3), int64(span))))
	}
}

// sessionStep lets the plain table take a committed entry. It returns the hash of the result, and
// whether the state machine got the entry. It also notes what the answer must be.
func (w *World) sessionStep(i int, e *raft.Entry) (result uint64, applied bool) {
	g := &w.ghost
	o := g.table.Step(e, func(command []byte) []byte {
		g.one[0], g.result[0] = *e, nil
		g.one[0].Kind, g.one[0].Data = wire.EntryCommand, command
		if w.user() {
			g.given = append(g.given, command)
			g.one[0].Data = bytes.Clone(command)
		}
		g.reference.Apply(g.one[:], g.result[:])
		if w.user() && !bytes.Equal(g.one[0].Data, command) {
			w.fail(LentEntries, -1, "Apply has changed the command at index %d from %s to %s", e.Index, Show(command), Show(g.one[0].Data))
		}
		return g.result[0]
	})
	v := verdict{index: o.Index, err: o.Err}
	if w.params.Sessions > 0 {
		g.buffer = g.table.Append(g.buffer[:0])
		v.table = hashBytes(g.buffer)
	}
	g.verdicts = append(g.verdicts, v)
	switch {
	case e.Kind == wire.EntryNoOp || e.Kind == wire.EntryConfiguration:
		return 0, false
	case o.Err != nil:
		result = mix(hashBytes([]byte(o.Err.Error())))
	default:
		result = hashBytes(o.Result)
	}
	if e.Kind == wire.EntrySessionCommand && o.Applied {
		w.callApplied(i, e)
	}
	return result, o.Applied
}

// callApplied notes that the command of a call is applied, and checks that no copy of it was
// applied before.
func (w *World) callApplied(i int, e *raft.Entry) {
	o := w.operationOf(e)
	if o == nil || o.op != OpCall {
		return // commitCommand has reported it
	}
	known := w.sessionCall(o.client, o.sequence)
	if known.applied != 0 {
		w.fail(Sessions, i, "command %d of client %d is applied at index %d, and was at index %d", o.sequence, o.client, e.Index, known.applied)
		return
	}
	known.applied = e.Index
	w.stats.SessionCommands++
}

// checkTable compares the session table of a server to the plain one.
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

// checkRefusal checks the answer to a command of a session that was committed but not applied.
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
		w.fail(Sessions, i, "command %d of client %d (sent only once: %v) is answered with %v", o.sequence, o.client, o.only, a.Err)
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
