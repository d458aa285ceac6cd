package sim

import "github.com/e17579a5/raft"

// room reports whether the times of a run leave a leadership and an election the room that they
// need within an election timeout, even by the fastest clock.
func (p *Params) room() bool {
	fast, slow := 1+float64(p.Drift)/1e6, 1-float64(p.Drift)/1e6
	heartbeat, election := float64(p.Heartbeat)/slow, float64(p.Election)/fast
	write := 2 * float64(p.WriteTime)                         // a piece of work takes at most twice of its mean
	fetches := 2 * float64(p.All()+1) * float64(p.FetchTime)  // the state machine's waits behind those for the peers, and a scrub
	return heartbeat+float64(p.Jitter+p.held()) < election && // a follower hears its leader
		heartbeat+float64(2*p.oneWay()) < election && // a quorum answers a round
		float64(2*p.oneWay())+4*write < election && // votes are granted, durably
		fetches < election && 16*float64(p.ApplyTime) < election
}

// hurries reports whether nothing takes longer than a part of a heartbeat interval, because there are
// no faults. A cluster that has plenty of room for its elections never hurries.
func (w *World) hurries() bool {
	p := &w.params
	return w.calm && (!p.room() || 8*p.oneWay() > p.Election)
}

// held returns how long the effects of an event may be held back.
func (p *Params) held() int64 {
	if p.Hold == 0 {
		return 0
	}
	return p.HoldTime + 1
}

// oneWay returns how long it takes at most until a message has its effects.
func (p *Params) oneWay() int64 { return p.Delay + p.Jitter + p.held() }

// quiet reports whether nothing happens for which a leadership might end: no fault, no change of
// the members, and no time that is too long. On a disk whose throughput is bounded, all else must
// be fast.
func (p *Params) quiet() bool {
	return p.FaultKinds == 0 && p.Loss == 0 && p.Slow == 0 && p.ChangeTime == 0 && p.Priorities == 0 && p.Older == 0 &&
		p.Freeze == 0 && p.Durable == 0 && p.After == 0 && p.Found != 0 && p.room() &&
		(p.Throughput == 0 || p.Drift == 0 && 8*(p.oneWay()+max(p.WriteTime, p.ApplyTime, p.StoreTime)) <= p.Heartbeat)
}

// undisturbed returns p without anything for which a leadership might end. Its times are of any
// size that leaves a leadership the room that it needs: messages and disks may take longer than the
// interval between two heartbeats. Every other such run is as fast as can be, so that nobody waits
// unseen.
func (p Params) undisturbed(h uint64) Params {
	p = p.WithModel()
	p.FaultKinds, p.Loss, p.Slow, p.ChangeTime, p.Spares, p.Priorities, p.Older, p.Freeze, p.Durable, p.Throughput, p.LoseTime = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
	p.Found = 1
	p.Reserve = 0 // a new leader takes nothing before it knows the others' rooms
	p.Election = p.Heartbeat * pick(mix(h+1), 2, 3, 5, 10)
	p.MaxLease = pick(mix(h+2), 0, p.Election/2, p.Election)
	if h>>8%2 == 0 {
		p.Delay, p.Jitter, p.Hold = p.Heartbeat/1000, pick(mix(h+3), 0, p.Heartbeat/1000), 0
		p.WriteTime, p.ApplyTime, p.FetchTime = p.Heartbeat/1000, 1000, 1000
		return p
	}
	p.Delay = p.Heartbeat * pick(mix(h+3), 1, 10, 50, 100, 200) / 100
	p.Jitter = pick(mix(h+4), 0, p.Delay/10, p.Delay, p.Heartbeat/2)
	p.WriteTime = p.Heartbeat * pick(mix(h+5), 1, 10, 50, 100) / 100
	p.FetchTime = p.Heartbeat * pick(mix(h+6), 1, 10, 50) / 100
	for !p.room() {
		p.Delay, p.Jitter, p.WriteTime, p.FetchTime = p.Delay*3/4, p.Jitter*3/4, p.WriteTime*3/4, p.FetchTime*3/4
		p.ApplyTime, p.Drift = p.ApplyTime*3/4, p.Drift*3/4
	}
	return p
}

// unit returns how long it takes at most, in a quiet run in which nothing else is to be done, until
// a command is answered: it is forwarded, appended, acknowledged and told to be committed; it may
// be read from the disk by the leader and at the server that applies it; each lane may be at
// something else first, as at reading what nobody needs (scrub).
func (p *Params) unit() int64 {
	write, fetch := 2*p.WriteTime, 2*p.FetchTime
	return 8*p.oneWay() + 2*((p.Writes+1)*write+p.held()) + 12*p.ApplyTime + p.held() + (p.Servers+5)*fetch
}

// expect notes until when an operation must be answered, if nothing is wrong. Whatever is ahead of
// it may take as long as it does: the other calls, and what its server hasn't applied yet. A command
// that has to wait at its server is expected only from when it may leave (offers).
func (w *World) expect(s *server, o *operation) {
	if !w.undisturbed() || w.params.Throughput != 0 {
		return // on a bounded disk each command takes its own time
	}
	leader := w.leading()
	if leader < 0 || w.local(&w.servers[leader])-w.servers[leader].leaderSince <= raft.Instant(w.params.Election) {
		return // the last leader may have left things undone
	}
	ahead := max(int64(w.servers[leader].status.last)-int64(s.status.applied), 0)
	for j := 0; j < w.n; j++ {
		ahead += int64(w.servers[j].open)
	}
	o.due = w.now + (2+ahead)*w.params.unit()
}

// undisturbed reports whether nothing is wrong, and nothing was for an election timeout. (What was on
// its way when a phase of a run began is lost.)
func (w *World) undisturbed() bool {
	return w.hosts == nil && w.timed && w.phase == phaseFaults && w.now-w.phaseBegun > w.params.Election && w.params.quiet()
}

// checkInTime checks an answer, other than that a call is refused, against what was expected.
func (w *World) checkInTime(i int, o *operation, a *raft.Answer) {
	if a.Err == nil && o.due != 0 && w.now > o.due && w.undisturbed() {
		w.fail(InTime, i, "operation %d is answered after %d ns, %d ns later than it must be while nothing is wrong", a.Number, w.now-o.begun, w.now-o.due)
	}
}

// checkLeaseHeld checks, in a run in which nothing is wrong, that a leader holds a lease if a lease
// outlasts two round trips and two heartbeat intervals: the first of them brings the lease, and the
// second one the next lease.
func (w *World) checkLeaseHeld(i int) {
	s, p := &w.servers[i], &w.params
	length := float64(p.MaxLease) / (1 + float64(p.config(i).ClockDrift)/1e9)
	lasts := float64(4*p.oneWay()+2*p.Heartbeat)*(1+float64(p.Drift)/1e6)*(1+float64(p.Drift)/1e6) < length
	since := w.local(s) - max(s.leaderSince, s.configured)
	if lasts && p.ShortLeases == 0 && since > raft.Instant(findsOut*p.Election) && w.undisturbed() && s.status.leaseUntil <= w.local(s) {
		w.fail(Leases, i, "holds no lease, though a quorum answers in time")
	}
}

// findsOut is the number of election timeouts in which a new leader finds out where the logs of its
// peers agree with its own. Meanwhile it sends in vain.
const findsOut = 5

// checkSentOnce checks, in a run in which nothing is lost, that no entry is sent to a peer twice.
func (w *World) checkSentOnce(i int, l *link, entries []raft.Entry) {
	if len(entries) == 0 {
		return
	}
	s := &w.servers[i]
	settled := w.local(s)-s.leaderSince > raft.Instant(findsOut*w.params.Election)
	if first := entries[0].Index; settled && first <= l.reached && w.params.Reorder == 0 && w.params.Duplicate == 0 && w.undisturbed() {
		w.fail(SentOnce, i, "sends index %d again, though nothing is lost", first)
	}
	l.reached = entries[len(entries)-1].Index
}
