package raft

import (
	"context"
	"sync/atomic"
)

// A loop owns a core. It alone hands events in and takes effects out, one turn after the other. No
// other goroutine has a reference to the loop, so no other can touch what belongs to it. A function
// that comes through the inbox gets the loop as its argument, and runs in the loop's goroutine.
//
// It is the loop of one server in one cluster, and knows nothing of the process around it. It
// neither starts nor closes a storage or a transport. Several loops may use the same ones.
type loop struct {
	// What the node shares with its loop is used by other goroutines too. The settings never change, and
	// each of the rest is safe for use by several goroutines.
	*Node
	misplaced *misplaced
	roomy     roomyStorage // the storage, if it says how much room it has

	core *Core
	*desk
	awaits bool    // whether the core awaits what is being applied (Effects.AwaitsApplied)
	read   Instant // when the clock was last read

	waiting   *waiting // the callers that the core owes an answer; nil while the loop rests
	snapshots underway // those that are on their way
	busy      busy     // how long the lanes take
	shown     shown    // what watchers, the log and the trace were told
	resigning bool

	// A node that is one of many in its process has these.
	host      *Host
	coalesced *Coalesced
	scrubbing bool // it is this group's turn to read what it has (hostScrub)
	// dueTake says that the group waits for its turn to take a snapshot, and mayTake that it has it now.
	dueTake, mayTake bool

	// These are the shard's. active says that the loop had a turn in the last round, joined that it is to
	// have one in this round, and over that it will have none any more. warm says that it may have memory
	// that it doesn't need while it sleeps.
	alarm                      alarm
	active, joined, over, warm bool
}

// A desk has what a loop needs during a turn, and only then. The loops of a shard have one desk
// together.
type desk struct {
	intake    *intake // what this turn hands in
	handed    int     // how many of the intake's proposals the core has
	effects   Effects
	tasks     []machineTask // what this turn has for the state machine
	proposing *waiter       // the caller whose proposal is being handed to the core
	explained *Status       // the explanations in this turn, once somebody has asked for them
}

func newDesk() *desk { return &desk{intake: new(intake)} }

// waiting are the callers that the core owes an answer.
type waiting struct{ commands, reads, calls waiters }

// none says whether there are no such callers.
func (w *waiting) none() bool {
	for _, t := range []*waiters{&w.commands, &w.reads, &w.calls} {
		if t.count > 0 || len(t.late) > 0 {
			return false
		}
	}
	return true
}

// len returns how many callers there are.
func (w *waiting) len() int {
	if w == nil {
		return 0
	}
	return w.commands.len() + w.reads.len() + w.calls.len()
}

// of returns the waiting callers of the kind that an answer is for.
func (w *waiting) of(a *Answer) *waiters {
	switch {
	case a.Read:
		return &w.reads
	case a.Call:
		return &w.calls
	}
	return &w.commands
}

// underway is what the loop must remember of snapshots that are on their way.
type underway struct {
	calls    map[uint64]chan SnapshotAnswer // calls of Snapshot that wait
	sends    map[uint64]context.CancelFunc  // each ends a stream that is being sent
	accepted uint64                         // the stream that was accepted last
}

// busy measures how long the lanes take.
type busy struct{ disk, catchUp, machine stopwatch }

// newLoop returns the loop of a node. From now on the board shows what the core knows.
func newLoop(n *Node, core *Core) *loop {
	l := &loop{Node: n, core: core}
	l.roomy, _ = n.config.Storage.(roomyStorage)
	l.shown.standing, l.shown.leaderless = l.standing(), l.clock.now()
	l.glimpsed()
	l.board.post(l.news(Standing{})...)
	return l
}

// turn hands the core what the loop has taken, and sees to the effects. It returns the reason to stop,
// if there is one.
func (l *loop) turn() error {
	l.wake()
	if l.intake.stop != nil {
		return l.intake.stop
	}
	l.read = l.clock.now() // once, after everything was taken
	if l.coalesced != nil {
		if l.intake.asked {
			l.coalesced.Asked()
		}
		l.coalesced.Before(l.read)
	}
	if l.intake.resign {
		l.core.Resign(l.read)
		if l.resigning = true; l.core.Resigned() {
			return errClose
		}
	}
	HandIn(l.read, (*turn)(l))
	if l.resigning && l.core.Resigned() {
		l.intake.batches = emptied(l.intake.batches) // the core knows of them
		return errClose
	}
	l.core.Drain(&l.effects)
	l.awaits = l.effects.AwaitsApplied
	l.keepTail()
	l.takeTurn()
	l.perform()
	l.observe()
	l.answer() // a caller who has an answer is shown what led to it
	l.traceTurn()
	if l.coalesced != nil {
		if !l.intake.unfinished && l.coalesced.After(l.read) {
			l.host.book.sooner(l.read)
		}
		l.weigh()
		l.glimpsed()
	}
	if l.scrubbing && !l.core.Scrubs() {
		l.scrubbing = false
		l.host.scrub.done()
	}
	l.handed, l.explained = 0, nil
	l.inbox.messageRoom.give(l.intake.load.bytes)
	l.intake.reset()
	return nil
}

// wake makes anew what rest has let go of.
func (l *loop) wake() {
	if l.waiting == nil {
		l.waiting = new(waiting)
	}
}

// rest lets go of the memory that the loop needs only while something happens.
func (l *loop) rest() {
	l.inbox.rest()
	l.coalesced.Rest()
	l.keepTail()
	if l.waiting != nil && l.waiting.none() {
		l.waiting = nil
	}
	if l.busy.machine.items == 0 { // the machine's lane is at rest, too
		l.lanes.applier.Rest()
	}
}

// keepTail lets go of entries in memory for which the host has no room, and counts the rest.
func (l *loop) keepTail() {
	if l.tail.of == nil {
		return
	}
	bytes := l.core.TrimTail(maxInt)
	if kept := l.tail.keep(bytes); kept < bytes {
		l.tail.keep(min(l.core.TrimTail(kept), kept))
	}
}

// deadline returns when the loop is to have a turn though nothing has come for it.
func (l *loop) deadline() Instant {
	if l.coalesced != nil {
		return l.coalesced.Deadline()
	}
	return l.core.Deadline()
}

// A step says where the loop is: for the report of a panic, and for callers that wait in vain. Any
// goroutine may ask.
type step struct{ at atomic.Int32 }

// The places where the loop may be, and their names.
const (
	inCore = iota
	inTransport
	inTrace
	inStorage
)

var stepNames = [...]string{inCore: "core", inTransport: "transport", inTrace: "trace", inStorage: "storage"}

func (s *step) set(at int32) (was int32) { return s.at.Swap(at) }
func (s *step) name() string             { return stepNames[s.at.Load()] }

// holdsUp says what a loop that stands still waits for.
func (s *step) holdsUp() string {
	switch s.at.Load() {
	case inTransport:
		return "a method of the Transport doesn't return"
	case inTrace:
		return "a function of the Trace doesn't return"
	case inStorage:
		return "a method of the Storage doesn't return"
	}
	return "it gets no processor"
}

// perform sees to what the core wants done. Each effect is safe at once. The disk begins first,
// because it takes the longest.
func (l *loop) perform() {
	e := &l.effects
	if e.Write.Number != 0 {
		l.busy.disk.begin(l.read, 1)
		l.lanes.writes.add(e.Write)
	}
	l.step.set(inTransport)
	if e.Servers != nil {
		l.moved.learn(l.core)
		l.config.Transport.SetServers(l.moved.servers(e.Servers))
	}
	if e.Keys != nil {
		if prover, ok := l.config.Transport.(keyProver); ok {
			prover.SetKeys(e.Keys)
		}
	}
	for i := range e.Messages {
		l.traceSent(&e.Messages[i])
		l.config.Transport.Send(e.Messages[i])
	}
	l.step.set(inCore)
	l.busy.machine.begin(l.read, len(e.Apply))
	l.performMachine()
	l.busy.catchUp.begin(l.read, len(e.Fetches))
	l.lanes.fetches.put(e.Fetches...)
	l.performStreams()
}

// performMachine hands the state machine its work, in order.
func (l *loop) performMachine() {
	e := &l.effects
	if e.RestoreSnapshot != nil {
		l.tasks = append(l.tasks, machineTask{restore: e.RestoreSnapshot})
	}
	for _, entries := range e.Apply {
		l.tasks = append(l.tasks, machineTask{entries: entries})
	}
	if e.TakeSnapshot != nil {
		l.tasks = append(l.tasks, machineTask{take: e.TakeSnapshot})
	}
	l.lanes.applies.put(l.tasks...)
	l.tasks = emptied(l.tasks)
}

// answer gives callers the answers that the core has for them. Of what happens here only the trace
// can panic or block.
func (l *loop) answer() {
	if len(l.effects.Answers) == 0 {
		return
	}
	was := l.step.set(inTrace)
	for i := range l.effects.Answers {
		a := &l.effects.Answers[i]
		if w := l.waiting.of(a).take(a.Number); w != nil {
			kind, since := w.kind, w.since
			w.answer(a)
			l.traceAnswer(a, kind, since)
		}
	}
	l.step.set(was)
}

// performStreams sees to what the core wants done about snapshots that are sent and received. It
// never waits.
func (l *loop) performStreams() {
	e := &l.effects
	if e.VerifySnapshot != nil {
		l.transfers.life.enter()
		go l.transfers.verify(*e.VerifySnapshot)
	}
	for _, a := range e.SnapshotAnswers {
		if answer := l.snapshots.calls[a.Number]; answer != nil {
			delete(l.snapshots.calls, a.Number)
			answer <- a // there is room for it
		}
	}
	for _, stream := range e.StopSends {
		if stop := l.snapshots.sends[stream]; stop != nil {
			stop()
		}
	}
	if e.DiscardIncoming {
		l.transfers.life.enter()
		go l.transfers.receiver.discard(&l.transfers, l.snapshots.accepted)
	}
	for i := range e.Streams {
		v := &e.Streams[i]
		if v.Accepted {
			l.snapshots.accepted = v.Stream
		}
		l.transfers.receiver.judge(v)
	}
	for i := range e.Sends {
		send := e.Sends[i]
		ctx, stop := context.WithCancel(l.transfers.life.context())
		if l.snapshots.sends == nil {
			l.snapshots.sends = make(map[uint64]context.CancelFunc)
		}
		l.snapshots.sends[send.Stream] = stop
		l.transfers.life.enter()
		go l.transfers.send(ctx, send)
	}
}
