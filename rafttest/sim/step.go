package sim

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// step lets one event happen, and reports whether the event could happen. Everything that reaches a
// core goes through here, in timed runs and in repeated ones. m is the message of a delivery in a
// timed run, and nil otherwise.
func (w *World) step(e Event, m *wire.Message) bool {
	if int(e.Server) >= w.n || int(e.Peer) >= w.n && !e.Op.inSession() || w.violation != nil {
		return false
	}
	if e.At > w.now {
		w.now = e.At
	}
	if w.stamped {
		e.At = w.now
	}
	recorded := w.record && !w.waking && (w.macro == 0 || w.macro == w.expandAt)
	if recorded {
		if e.Op.carries() && m != nil {
			e.Label = label(m)
		}
		if e.Op.proposes() && w.options.Command != nil {
			e.Data = w.command(&e)
		}
		w.history = append(w.history, e)
	}
	whole := e.Op != OpWake // OpWake consists of other events
	shown := whole && w.trace != nil
	if shown {
		w.trace.begin(w, &e, m)
	}
	happened := w.perform(&e, m)
	if happened && whole {
		w.stats.Steps++
		w.hash = mix(w.hash ^ uint64(w.now)<<8 ^ uint64(e.Op)<<3 ^ uint64(e.Server))
	} else if !happened && recorded && w.violation == nil {
		w.history = w.history[:len(w.history)-1]
	}
	if shown {
		w.trace.end(w, &e, happened)
	}
	return happened
}

// perform performs an event. step keeps the books.
func (w *World) perform(e *Event, m *wire.Message) bool {
	s := &w.servers[e.Server]
	i := int(e.Server)
	switch e.Op {
	case OpStart:
		return w.start(i, e.N)
	case OpCrash:
		return w.crash(i, e.N)
	case OpWipe:
		return w.wipe(i)
	case OpUpgrade:
		return w.upgrade(i)
	case OpMove:
		return w.move(i)
	case OpImage:
		return w.takeImage(i)
	case OpPutBack:
		return w.putBack(i, int(min(e.N, maxImages)))
	case OpLogBack:
		return w.logBack(i, int(min(e.N, maxImages)))
	case OpMachineBack:
		return w.machineBack(i, int(min(e.N, maxImages)))
	case OpCut, OpJoin:
		l := &w.links[e.Peer][e.Server]
		changed := l.cut != (e.Op == OpCut)
		l.cut = e.Op == OpCut
		return changed
	case OpHeal:
		w.heal()
		return true
	case OpFound, OpPass, OpSettle:
		return w.performMacro(e)
	case OpClock:
		return w.setClock(s, e.N-1_000_000)
	case OpLose:
		return w.lose(i, e.N)
	case OpFailWrite, OpFailSync, OpFill, OpFree, OpRot, OpSpoil:
		return w.diskSuffers(s, e)
	case OpBreak:
		return w.breakStreams(e)
	}
	return s.up && w.performUp(e, m)
}

// performUp performs an event that happens only to a server that is up.
func (w *World) performUp(e *Event, m *wire.Message) bool {
	s := &w.servers[e.Server]
	i := int(e.Server)
	switch e.Op {
	case OpDrain:
		w.resumeTurn(i)
		w.drain(i)
		w.endTurn(i)
		return true
	case OpRead:
		return w.readLog(s)
	case OpArrive:
		s.reached[e.Peer] = true
		return w.arrive(e, m)
	case OpWake:
		return w.wake(i, e.At)
	case OpStore:
		return w.store(s)
	}
	w.beginTurn(i)
	if e.Op == OpDeliver {
		if m == nil {
			if m = w.find(e); m == nil {
				return false
			}
		} else if w.trace != nil {
			w.trace.delivered(m, uint64(e.N))
		}
		s.reached[e.Peer] = true
		w.speaks(i, m)
		w.expectSticky(s, m)
	}
	if w.options.Clone {
		w.swap(i, w.servers[i].core.Clone())
	}
	silent := w.hosts == nil && (e.Op == OpCancel || e.Op == OpApply && s.captures(e.N))
	if !w.input(e, s, m) {
		w.endVainTurn(i)
		return false
	}
	if !silent {
		s.told = w.local(s)
	}
	w.stats.Events++
	if !s.up {
		return true // the server's disk has failed
	}
	w.tickTurn(i)
	w.tellRoom(s)
	w.observe(i)
	w.checkTimes(i, e, m)
	if e.Hold && w.violation == nil {
		if !s.held {
			s.heldSince = s.told
		}
		s.held = true
		return true
	}
	w.drain(i)
	w.endTurn(i)
	return true
}

// input hands an event to a core. It reports whether the event could happen.
func (w *World) input(e *Event, s *server, m *wire.Message) bool {
	now := w.local(s)
	switch e.Op {
	case OpDeliver:
		marked := w.marked(s, m)
		s.core.Receive(now, marked)
		w.answered(int(e.Server), m)
		w.checkRefused(int(e.Server), marked.Stranger)
	case OpExpire:
		return w.expire(s)
	case OpPersist:
		return w.persist(s, e.N)
	case OpApply:
		return w.apply(s, e.N)
	case OpFetched:
		if len(s.fetched) == 0 {
			return false
		}
		f := s.fetched[0]
		s.fetched = s.fetched[:copy(s.fetched, s.fetched[1:])]
		s.read = instant{now, now}
		w.fetchEnds(s, &f)
	case OpPropose, OpProposeFenced, OpQuery, OpQueryLease, OpQueryStale, OpOpen, OpClose, OpCall, OpChange:
		return w.call(e, s)
	case OpHandOver:
		w.handOver(e, s)
	case OpResign:
		s.core.Resign(now)
	case OpCancel:
		return w.cancel(e, s)
	case OpStored:
		return w.storedEnds(s, e.N != 0)
	case OpStream:
		return w.streamArrives(e, s)
	case OpSent:
		return w.streamSent(e, s)
	case OpSnapshot:
		w.wantSnapshot(s)
	case OpVerify:
		return w.verifySnapshot(s)
	case OpLost:
		s.core.Lost(now, w.servers[e.Peer].id)
	case OpTransfer, OpProbe:
		return w.impersonate(e, s)
	case OpStranger:
		return w.strangerSpeaks(s, e.N)
	default:
		return false
	}
	return true
}

// persist makes the oldest n writes durable.
func (w *World) persist(s *server, n int64) bool {
	n = max(n, 1)
	if int64(len(s.writes)) < n {
		n = int64(len(s.writes))
	}
	own := s.ownLog()
	if own != nil {
		if n = own.settle(n); n == 0 && len(s.writes) > 0 {
			w.diskFails(s, own.issued[0].err)
			return true
		}
	}
	var number raft.WriteNumber
	for at, write := range s.writes[:n] {
		if !s.disk.fits(write) {
			n = int64(at) // the rest waits
			break
		}
		w.checkRepairs(w.index(s), write)
		w.noteStored(s, write)
		s.disk.perform(write)
		number = write.Number
	}
	if n == 0 {
		return false
	}
	maps.DeleteFunc(s.knowsLost, func(index raft.Index, _ bool) bool { return !s.disk.gone[index] })
	s.writes = s.writes[:copy(s.writes, s.writes[n:])]
	s.rotten = s.rotten && (len(s.disk.gone) > 0 || s.disk.wal.rots() || w.foundByCleaner(s))
	s.wrote = instant{w.local(s), w.local(s)}
	w.stats.Writes++
	if own != nil {
		w.anchor(s, number)
	}
	s.core.Persisted(w.local(s), number)
	return true
}

// apply lets the state machine perform the oldest n of its tasks. It reports batches that follow
// each other as one batch.
func (w *World) apply(s *server, n int64) bool {
	n = min(max(n, 1), int64(len(s.lane)))
	if n == 0 {
		return false
	}
	var all raft.Batch
	report := func() {
		if all.Last != 0 && w.violation == nil {
			s.core.Applied(w.local(s), all)
			all = raft.Batch{}
		}
	}
	for _, t := range s.lane[:n] {
		if t.take != nil {
			w.captureState(s, t.take)
			continue
		}
		if t.restore != nil {
			report()
			if w.restore(s, t.restore); !s.up {
				return true // the server's disk has failed
			}
			continue
		}
		batch, err := s.applier.Apply(t.entries)
		if err != nil {
			w.fail(Assertion, w.index(s), "%v", err)
			return true
		}
		w.checkTable(s, batch.Last)
		all.Fingerprints = append(all.Fingerprints, batch.Fingerprints...)
		all.Last, all.Term = batch.Last, batch.Term
		all.Commands = append(all.Commands, batch.Commands...)
	}
	s.lane = s.lane[:copy(s.lane, s.lane[n:])]
	report()
	return true
}

// captures reports whether the first n tasks of the state machine's lane do nothing but capture its
// state. The core isn't told of that yet.
func (s *server) captures(n int64) bool {
	n = min(max(n, 1), int64(len(s.lane)))
	return !slices.ContainsFunc(s.lane[:n], func(t task) bool { return t.take == nil })
}

// readLog reads the entries that the oldest fetch asks for. They are reported later, when the log
// may have changed.
func (w *World) readLog(s *server) bool {
	if len(s.fetches) == 0 {
		return false
	}
	f := s.fetches[0]
	s.fetches = s.fetches[:copy(s.fetches, s.fetches[1:])]
	if f.Scrub {
		s.scrubReads(f)
	}
	if f.Snapshot != nil {
		w.scrubSnapshot(s, f)
		return true
	}
	entries, err := s.disk.read(f)
	var damage *raft.DamagedError
	if err != nil && !errors.Is(err, raft.ErrCompacted) && !errors.As(err, &damage) {
		w.diskFails(s, err)
		return true
	}
	switch {
	case damage == nil || s.disk.wal == nil:
	case !s.hit():
		w.fail(Recovery, w.index(s), "entries are damaged though their disk isn't: %v", damage)
		return true
	default:
		w.rotFound(s, damage.Lost)
	}
	s.fetched = append(s.fetched, fetchedEntries{f, entries, damage})
	return true
}

// fetchEnds reports to a core what was read for it.
func (w *World) fetchEnds(s *server, f *fetchedEntries) {
	if f.damage == nil {
		s.core.Fetched(w.local(s), f.fetch, f.entries)
		return
	}
	s.unsure = s.core.Status().Held > 0
	if f.fetch.Snapshot == nil {
		s.learnsLost(f.damage.Lost)
	}
	err := s.core.Damaged(w.local(s), f.fetch, f.damage)
	switch {
	case err == nil:
	case w.missing():
		w.note("stops: " + err.Error())
		w.halts(w.index(s))
		w.planStart(w.index(s))
	default:
		w.fail(Recovery, w.index(s), "%v", err)
	}
}

// call proposes a command, asks for a change of the members, or asks for a read.
func (w *World) call(e *Event, s *server) bool {
	if e.N < int64(len(w.ops)) && w.ops[e.N].started {
		return false
	}
	var proposal raft.Proposal
	if !e.Op.reads() {
		ok := false
		if proposal, ok = w.proposal(e); !ok {
			return false
		}
	}
	for int64(len(w.ops)) <= e.N {
		w.ops = append(w.ops, operation{})
	}
	o := &w.ops[e.N]
	*o = operation{started: true, op: e.Op, server: e.Server, life: s.life, read: e.Op.reads(), since: w.ghost.acknowledged, begun: w.now}
	numbers := &s.reads
	switch e.Op {
	case OpChange:
		if numbers = &s.calls; !w.askChange(e, s, o) {
			o.started = false
			return false
		}
	case OpQuery:
		o.number = s.core.Read(w.local(s))
	case OpQueryLease:
		o.number = s.core.ReadByLease(w.local(s))
	case OpQueryStale:
		o.stale = true
		o.number = s.core.ReadStale(w.local(s), time.Duration(w.params.ReadAge))
	default:
		if e.Op == OpProposeFenced {
			o.fence = s.status.term
			proposal.Fence = o.fence
		}
		o.client, o.sequence, o.only = e.Peer, e.Label, proposal.Only
		o.data, o.size = hashBytes(proposal.Data), int64(len(proposal.Data)+wire.EntryOverhead)
		w.biggest = max(w.biggest, len(proposal.Data))
		o.number = s.core.ProposeEntry(w.local(s), proposal)
		numbers = &s.proposals
	}
	if o.number > 1<<20 {
		w.fail(Answers, int(e.Server), "the core has given a call the number %d", o.number)
		return true
	}
	for uint64(len(*numbers)) <= o.number {
		*numbers = append(*numbers, 0)
	}
	(*numbers)[o.number] = int32(e.N + 1)
	if o.size > 0 {
		w.offer(s, int32(e.N))
	} else {
		w.expect(s, o)
	}
	s.open++
	if !o.read {
		life := lifeOf(s.starts[len(s.starts)-1], s.start)
		list := &life.byNumber
		if o.call != nil {
			list = &life.calls
		}
		for uint64(len(*list)) <= o.number {
			*list = append(*list, 0)
		}
		(*list)[o.number] = int32(e.N + 1)
	}
	return true
}

// command returns the command that an event proposes.
func (w *World) command(e *Event) []byte {
	if e.Data != nil {
		return e.Data
	}
	if w.options.Command != nil {
		return w.options.Command(e.N)
	}
	size := 8 + below(w.luck.draw(luckData, 0, 0, uint64(e.N)), w.params.CommandSize-7)
	data := make([]byte, size)
	binary.LittleEndian.PutUint64(data, uint64(e.N))
	return data
}

// cancel gives up a call.
func (w *World) cancel(e *Event, s *server) bool {
	if e.N >= int64(len(w.ops)) {
		return false
	}
	o := &w.ops[e.N]
	if !o.started || o.outcome != outcomeOpen || o.server != e.Server || o.life != s.life {
		return false
	}
	if o.read {
		s.core.CancelRead(o.number)
		o.outcome = outcomeGone
		s.open--
		return true
	}
	if o.call != nil {
		s.core.CancelCall(o.number, errGivenUp)
		return true
	}
	s.core.Cancel(o.number, errGivenUp)
	return true
}

// impersonate delivers a message that the leader Peer might have sent: a TimeoutNow, or an append
// without entries. The message has the envelope of the last message that Peer sent as a leader.
func (w *World) impersonate(e *Event, s *server) bool {
	l, from := &w.links[e.Peer][e.Server], &w.servers[e.Peer]
	if e.Op == OpTransfer && w.params.MaxLease > 0 || l.envelope.Term == 0 || from.status.role != leads || from.status.term != l.envelope.Term {
		return false
	}
	s.reached[e.Peer] = true
	w.spokenTo(int(e.Server))
	m := wire.TimeoutNow{}.Message()
	if e.Op == OpProbe {
		after := max(int64(len(from.view))-e.N, 0)
		probe := wire.AppendRequest{Previous: wire.Place{Index: raft.Index(after)}, Commit: from.status.commit}
		if after > 0 {
			probe.Previous.Term = from.view[after-1].term
		}
		m = probe.Message()
	}
	m = m.In(l.envelope)
	marked := w.marked(s, &m)
	s.core.Receive(w.local(s), marked)
	w.answered(int(e.Server), &m)
	w.checkRefused(int(e.Server), marked.Stranger)
	return true
}

// heal mends all links.
func (w *World) heal() {
	for i := range w.links {
		for j := range w.links[i] {
			w.links[i][j].cut, w.links[i][j].lag = false, 0
		}
	}
}
