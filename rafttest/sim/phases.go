package sim

import (
	"bytes"
	"errors"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The phases of a run, each with luck of its own
const (
	phaseFound = 1 + iota
	phaseFaults
	phaseSettle
	phasePass // and higher numbers
)

// FoundElections is the number of election timeouts within which a cluster must be founded. If it
// is founded with a snapshot of another cluster, it is the number without any progress.
// SettleElections is the number of election timeouts, after the last fault and after each sign of
// progress, within which there must be another sign: something becomes stable, committed, applied
// or answered somewhere. How long all takes depends on how much there is to catch up with.
const (
	FoundElections  = 30
	SettleElections = 20
)

// performMacro performs an event in which time passes by itself. It reports whether it did.
func (w *World) performMacro(e *Event) bool {
	if w.macro > 0 {
		return false
	}
	w.macros++
	w.macro = w.macros
	if w.record && w.macro == w.expandAt {
		w.history = w.history[:len(w.history)-1]
	}
	switch e.Op {
	case OpFound:
		w.found()
	case OpPass:
		w.passes++
		w.beginTimed(phasePass + w.passes)
		w.resend()
		end := w.now + min(e.N, never)
		w.loop(end, func() bool { return false })
		w.now = end
	case OpSettle:
		w.settle()
	}
	w.endTimed()
	w.macro = 0
	return true
}

// resend puts the messages that were sent event by event, and not delivered, on their way again.
func (w *World) resend() {
	for from := range w.links {
		for to := range w.links[from] {
			l := &w.links[from][to]
			for j := range l.bag {
				if s := &l.bag[j]; !s.delivered {
					s.delivered = true
					w.transmit(&s.message, l, from, to, s.number)
				}
			}
		}
	}
}

// found starts all servers on empty disks and lets time pass, without any fault, until they are a
// cluster with a leader.
func (w *World) found() {
	w.calm = true
	w.beginTimed(phaseFound)
	for i := 0; i < w.n; i++ {
		w.step(Event{Op: OpStart, Server: int8(i)}, nil)
		w.planTick(i)
	}
	limit := w.stats.Events + w.patience
	moved, place := w.now, w.place()
	w.loop(never, func() bool {
		if now := w.place(); now != place && w.inherited > 0 {
			moved, place = w.now, now // progress: the snapshot with which the cluster is founded is on its way
		}
		return w.isFounded() || w.now-moved > FoundElections*w.params.Election || w.stats.Events > limit
	})
	if w.violation == nil && !w.isFounded() {
		w.failAtLast(Convergence, -1, "the cluster isn't founded after %d election timeouts", FoundElections)
	}
}

// isFounded reports whether the servers are a cluster with a leader.
func (w *World) isFounded() bool {
	for i := 0; i < w.n && !w.orphaned(); i++ {
		if s := &w.servers[i]; i < int(w.params.Servers) && (s.status.commit == 0 || s.disk.last() == 0) {
			return false
		}
	}
	return w.leading() >= 0
}

// faultPhase lets clients work and faults happen.
func (w *World) faultPhase() {
	w.beginFaults()
	end := w.stats.Events + int(w.params.Events)
	w.loop(never/2, func() bool { return w.stats.Events >= end })
	w.endTimed()
}

// beginFaults plans what clients do first, and what goes wrong first.
func (w *World) beginFaults() {
	w.beginTimed(phaseFaults)
	if w.params.Found == 0 || w.orphaned() {
		for i := 0; i < w.n; i++ {
			w.queue.push(item{at: w.now + below(w.next(luckRestart, i), w.params.Election), what: itemRestart, a: int8(i)})
		}
	}
	w.queue.push(item{at: w.now, what: itemClient})
	w.queue.push(item{at: w.now + w.params.FaultTime, what: itemFault})
	if w.params.ChangeTime > 0 {
		w.queue.push(item{at: w.now + w.params.ChangeTime, what: itemChange})
	}
	if w.params.LoseTime > 0 {
		w.queue.push(item{at: w.now + w.params.LoseTime, what: itemLose})
	}
}

// settle ends all faults. It then demands, in this order: what is in the logs becomes committed
// without another command, and no call stays open; every healthy server gets a command and a read
// answered; all copies of the state are equal; and a server of the highest priority leads.
func (w *World) settle() {
	c := w.beginSettling()
	w.loop(never, func() bool { return w.settling(&c) })
	if w.settles(&c) {
		w.settleSuccession(c.slowest)
	}
}

// A settling is how far a cluster has settled since the faults have ended.
type settling struct {
	begun, moved, slowest int64
	place                 uint64
	calls, limit, most    int
}

// beginSettling ends all faults.
func (w *World) beginSettling() (c settling) {
	w.heal()
	w.calm = true
	w.beginTimed(phaseSettle)
	w.probes = [MaxServers]int64{}
	w.brim()
	if w.params.Freeze != 0 && len(w.ghost.configurations) > 0 {
		w.freeze()
	}
	for i := 0; i < w.n; i++ {
		if s := &w.servers[i]; s.frozen != frozenDown {
			w.step(Event{Op: OpStart, Server: int8(i)}, nil)
			w.planTick(i)
		}
	}
	c.calls, c.limit = w.openCalls(), w.stats.Events+w.patience
	c.most = c.limit + eventsPerCall*c.calls
	c.begun, c.slowest = w.now, w.params.Election+w.params.Election*w.params.Drift/1_000_000
	c.moved = w.now
	return c
}

// settling reports whether the cluster has settled, or has made no progress for too long.
func (w *World) settling(c *settling) bool {
	if now := w.place(); now != c.place || w.captures() {
		c.moved, c.place = w.now, now // how long a snapshot takes is a question of the disk
	}
	if w.settled() {
		if w.probes != [MaxServers]int64{} {
			return true
		}
		w.probeAgain()
	}
	if open := w.openCalls(); open < c.calls {
		c.calls, c.limit = open, w.stats.Events+w.patience
	}
	return w.now-c.moved > SettleElections*c.slowest || w.stats.Events > min(c.limit, c.most)
}

// captures reports whether any server that isn't frozen is taking a snapshot.
func (w *World) captures() bool {
	for i := 0; i < w.n; i++ {
		if s := &w.servers[i]; s.up && s.frozen == frozenNot && s.capture != nil {
			return true
		}
	}
	return false
}

// settles checks the cluster when it has settled, or should have. It reports whether all is well.
func (w *World) settles(c *settling) bool {
	w.stats.Settled = (w.now - c.begun) * 10 / c.slowest
	if w.violation != nil {
		return false
	}
	if w.worn() {
		w.stats.Worn++
		return false
	}
	if !w.settled() || w.probes == [MaxServers]int64{} {
		w.failAtLast(Convergence, -1, "%d election timeouts after the last fault, and %d after something moved, %s",
			w.stats.Settled/10, (w.now-c.moved)/c.slowest, w.unsettled())
		return false
	}
	if id := w.leaked(); id != "" {
		w.failAtLast(KeysStayInside, serverOf(id), "isn't a member, and has the present key of the cluster")
		return false
	}
	w.checkStates()
	w.checkGrown()
	return true
}

// eventsPerCall is how many events each call that is open when the faults end may add to those in which a
// cluster settles, as long as such calls are answered. While a call waits for room at the leader, its
// server offers it again in each heartbeat interval, and with small appends that takes many messages.
const eventsPerCall = 200

// openCalls returns how many calls have no answer yet.
func (w *World) openCalls() (open int) {
	for i := 0; i < w.n; i++ {
		open += w.servers[i].open
	}
	return open
}

// checkGrown checks that no log behind the last snapshot is longer than it may be. It makes
// exceptions for a server whose snapshot is under way, for a leader that may be sending one, and
// for runs in which a snapshot has failed: the core tries it again later.
func (w *World) checkGrown() {
	if w.stats.SnapshotsFailed > 0 || len(w.streams) > 0 || w.params.Durable != 0 && w.params.WAL != 0 {
		return // a real log knows its bytes only roughly
	}
	healthy := 0
	for i := 0; i < w.n; i++ {
		if w.healthy(i) {
			healthy++
		}
	}
	for i := 0; i < w.n; i++ {
		s := &w.servers[i]
		if s.status.role == leads && healthy < w.n {
			continue // the leader may still hope to send its snapshot to one of the others
		}
		if !w.healthy(i) || s.capture != nil || len(s.writes) > 0 || len(s.lane) > 0 || len(s.disk.stored) > 0 || s.held {
			continue
		}
		grown, limit := int64(0), w.params.SnapshotMin
		if f := s.disk.current; f != nil {
			limit = max(limit, w.params.SnapshotFactor*int64(len(f.bytes)))
		}
		for index := s.disk.current.index(); index < s.status.applied; index++ {
			grown += int64(len(w.ghost.entries[index].Data)) + wire.EntryOverhead
		}
		if grown > limit {
			w.failAtLast(LogBounded, i, "the log behind the snapshot of index %d has %d bytes, %d are allowed", s.disk.current.index(), grown, limit)
		}
	}
}

// probeAgain begins a probe of each healthy server.
func (w *World) probeAgain() {
	w.probes = [MaxServers]int64{}
	for i := 0; i < w.n; i++ {
		if w.healthy(i) {
			w.probe(i)
			w.planTick(i)
		}
	}
}

// probe proposes a command at a server, unless an earlier one is open or done. It plans another
// look for later.
func (w *World) probe(i int) {
	w.queue.push(item{at: w.now + w.params.Heartbeat, what: itemProbe, a: int8(i)})
	if !w.servers[i].up {
		return
	}
	if n := w.probes[i]; n != 0 && (w.ops[n].outcome == outcomeOpen || w.probed(n)) {
		return // after any other outcome it tries again: for instance, a snapshot may have replaced the command
	}
	n := int64(len(w.ops))
	w.probes[i] = n
	w.step(Event{Op: OpPropose, Server: int8(i), N: n}, nil)
	w.step(Event{Op: OpQuery, Server: int8(i), N: n + 1}, nil)
}

// place returns a number that changes when any server, or any of its callers, makes progress.
func (w *World) place() uint64 {
	sum := uint64(w.stats.Answered + w.stats.Refused + w.stats.Unknown + w.stats.Reads)
	for i := 0; i < w.n; i++ {
		s := &w.servers[i].status
		sum = 3*sum + uint64(s.applied+s.commit+s.stable) - uint64(len(w.servers[i].disk.gone))
		if w.searches(i) {
			sum += uint64(w.servers[i].scrubReading)
		}
		if p := w.servers[i].partial; p != nil {
			sum += uint64(len(p.content))
		}
	}
	return sum
}

// settled reports whether the cluster has made progress and all servers agree.
func (w *World) settled() bool { return w.unsettled() == "" }

// unsettled says what is missing, or "" if nothing is.
func (w *World) unsettled() string {
	for i := 0; i < w.n; i++ {
		s := &w.servers[i]
		name := string(s.id)
		switch n := w.probes[i]; {
		case s.frozen != frozenNot, w.exhausted(i):
		case s.noticed():
			if s.open > 0 {
				return "a call at server " + name + ", whose disk went back, is not answered"
			}
		case !w.counts(i):
			if what := w.astray(i); what != "" {
				return what
			}
		case !s.up:
			return "server " + name + " is down"
		case n != 0 && !w.probed(n):
			return "server " + name + " can't get a command through"
		case s.open > 0:
			return "a call at server " + name + " is not answered"
		case s.wantsSnapshot():
			return "a call for a snapshot at server " + name + " is not answered"
		case s.status.applied != w.ghost.commit():
			return "server " + name + " has not applied all that is committed"
		case s.status.last != w.ghost.commit():
			return "server " + name + " has another log than the leader"
		case w.unrepaired(i) != "":
			return w.unrepaired(i)
		case w.params.Scrub != 0 && s.disk.spoiled:
			return "server " + name + " has a damaged snapshot, and takes no other one"
		}
	}
	leader := w.leading()
	switch {
	case leader < 0:
		return "nobody leads"
	case w.servers[leader].core.Status().Changing:
		return "a change of the members is under way"
	case !w.leveled():
		return "the level that all servers know is not in force"
	}
	return ""
}

// astray says what is wrong with a server that doesn't count, or "" if nothing is. A server that
// was ever a member must know that it isn't one any more, and must have answered its callers.
func (w *World) astray(i int) string {
	s := &w.servers[i]
	if !s.up {
		return ""
	}
	shown := s.core.Status()
	switch {
	case shown.Configuration == nil:
		return ""
	case !errors.Is(shown.Trouble, raft.ErrRemoved) && !errors.Is(shown.Trouble, raft.ErrOtherIncarnation):
		if !w.canLearn(i, shown) {
			return ""
		}
		return "server " + string(s.id) + " doesn't know that it isn't a member"
	case s.open > 0 && errors.Is(shown.Trouble, raft.ErrRemoved):
		return "a call at server " + string(s.id) + ", which isn't a member, is not answered"
	}
	return ""
}

// checkStates compares the states of the state machines by their snapshots.
func (w *World) checkStates() {
	var want bytes.Buffer
	if !w.snapshot(w.ghost.reference, &want) {
		return
	}
	for i := 0; i < w.n; i++ {
		s := &w.servers[i]
		var got bytes.Buffer
		if !w.healthy(i) || !w.snapshot(s.replica.inner, &got) {
			continue
		}
		if !bytes.Equal(want.Bytes(), got.Bytes()) {
			w.failAtLast(ReplicasEqual, i, "the snapshot at index %d differs from that of the same commands applied one by one: %s%s",
				w.ghost.commit(), Difference(got.Bytes(), want.Bytes()), w.servers[i].replica.origin())
			return
		}
	}
}

// snapshot takes a snapshot of a machine. It reports whether the machine could take one.
func (w *World) snapshot(m raft.StateMachine, into *bytes.Buffer) bool {
	s, err := m.Snapshot()
	if err != nil || s == nil {
		return false
	}
	_, err = s.WriteTo(into)
	return errors.Join(err, release(s)) == nil
}

// canLearn reports whether a removed server can learn of its removal: one of the servers that it
// knows must know a later configuration without it.
func (w *World) canLearn(i int, shown raft.CoreStatus) bool {
	for _, half := range [][]raft.Member{shown.Configuration.Members, shown.Configuration.Old} {
		for j := range half {
			k := serverOf(half[j].ID)
			other := &w.servers[k]
			if k == i || !other.up || other.frozen != frozenNot || other.status.commit < shown.ConfigurationIndex {
				continue
			}
			if list := truncated(other.configurations, other.status.commit); len(list) > 0 {
				// later are the committed configuration and all that follow it: none of them may
				// name the removed server, though some of them may not be committed yet.
				later := other.configurations[len(list)-1:]
				names := func(c placed) bool {
					m := memberOf(c.configuration, w.servers[i].id)
					return m != nil && w.diskOf(m) == w.servers[i].disk
				}
				if !slices.ContainsFunc(later, names) {
					return true
				}
			}
		}
	}
	return false
}
