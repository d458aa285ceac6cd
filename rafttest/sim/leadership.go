package sim

import (
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// checkLeases checks, when a server is elected, that no other server holds a lease by its own
// clock. That one would go on serving reads.
func (w *World) checkLeases(i int) {
	for j := 0; j < w.n; j++ {
		s := &w.servers[j]
		if j != i && s.up && s.status.role == leads && s.status.term < w.servers[i].status.term && s.status.leaseUntil > w.local(s) {
			w.fail(Leases, i, "leads term %d while server %d, of term %d, holds a lease for another %d ns",
				w.servers[i].status.term, j+1, s.status.term, s.status.leaseUntil-w.local(s))
		}
	}
}

// checkLease checks, when a leader takes a lease, that no server was elected in a later term.
func (w *World) checkLease(i int) {
	s := &w.servers[i]
	for t := int(s.status.term) + 1; t < len(w.ghost.leaders); t++ {
		if w.ghost.leaders[t].server != 0 {
			w.fail(Leases, i, "takes a lease in term %d, but server %d was elected in term %d", s.status.term, w.ghost.leaders[t].server, t)
		}
	}
}

// checkHandOver checks a TimeoutNow that leaves a server. The sender must have no lease. The
// target's disk must hold the sender's whole log. If the sender has just stepped down because its
// disk stands still, the target's disk needs to hold only what the sender knows to be committed.
func (w *World) checkHandOver(i int, m *wire.Message) {
	s, d := &w.servers[i], w.diskOf(&raft.Member{Server: raft.Server{ID: m.To}, Incarnation: m.ToIncarnation})
	if s.status.leaseUntil != 0 {
		w.fail(Leases, i, "lets %s campaign while it holds a lease", m.To)
	}
	last := s.status.last
	if s.status.role != leads {
		last = s.status.commit
	}
	if last > raft.Index(len(s.view)) {
		return // the sender has entries that it hasn't even handed to its own disk
	}
	if d != nil && d.back {
		return // the disk has forgotten what it had acknowledged
	}
	if d != nil && d.state.Term > m.Term {
		return // the target follows a later leader, which may have replaced what it had acknowledged to this one
	}
	if d == nil || d.last() < last || last > 0 && d.slots[last-1] != s.view[last-1] {
		w.fail(HandingOver, i, "lets %s campaign, whose disk doesn't hold the sender's log up to %d", m.To, last)
	}
}

// A transfer is a call that asks a server to hand the leadership over.
type transfer struct {
	to    int8      // the server to lead, from 1; 0 for any
	since raft.Term // the term of the server that was asked
	ended bool
}

// handOver makes a call that asks for a transfer.
func (w *World) handOver(e *Event, s *server) {
	call := wire.Call{Kind: wire.CallTransfer}
	to := int8(0)
	if e.N > 0 && e.N <= int64(w.n) {
		to = int8(e.N)
		call.Members = []raft.Member{{Server: raft.Server{ID: w.servers[to-1].id}}}
	}
	number := s.core.Call(w.local(s), call)
	for uint64(len(s.transfers)) <= number {
		s.transfers = append(s.transfers, transfer{ended: true})
	}
	s.transfers[number] = transfer{to: to, since: s.status.term}
	s.open++
}

// checkTransfer checks the answer to such a call. If the transfer is done, the server must have led
// since the call was made.
func (w *World) checkTransfer(i int, a *raft.Answer) {
	s := &w.servers[i]
	if a.Number >= uint64(len(s.transfers)) || s.transfers[a.Number].ended {
		w.fail(Answers, i, "answers a transfer, number %d, that isn't open", a.Number)
		return
	}
	t := &s.transfers[a.Number]
	t.ended = true
	s.open--
	if a.Err != nil {
		if errors.Is(a.Err, raft.ErrNotApplied) == errors.Is(a.Err, raft.ErrOutcomeUnknown) {
			w.fail(Answers, i, "transfer: the error %v doesn't name one outcome", a.Err)
		}
		return
	}
	w.stats.Transfers++
	for term := int(t.since) + 1; term < len(w.ghost.leaders); term++ {
		if led := w.ghost.leaders[term].server; led != 0 && (t.to == 0 || led == t.to) {
			return
		}
	}
	w.fail(HandingOver, i, "a transfer to server %d (0: any) is acknowledged, but that server hasn't led since term %d", t.to, t.since)
}
