package raft

import (
	"github.com/e17579a5/raft/wire"
)

// Effects are what a Core wants done. The driver may perform all of them at once, in any order and
// side by side, with two exceptions. Writes are performed in the order of their numbers. And the
// state machine gets its work in the order in which it is handed out.
type Effects struct {
	// Write is to be stored, and then reported by Core.Persisted. If its Number is 0, there is
	// nothing to store.
	Write Write
	// Messages are to be sent.
	Messages []wire.Message
	// RestoreSnapshot, when not nil, describes the current snapshot (Storage.OpenSnapshot). The
	// state machine is to be restored from that snapshot (Applier.Restore), after the batches of
	// all earlier Apply. Then Core.Restored reports it.
	RestoreSnapshot *SnapshotMeta
	// Apply are batches of entries to be applied in order. Core.Applied then reports them. They
	// share memory with the log.
	Apply [][]Entry
	// TakeSnapshot, when not nil, asks for the state after all batches so far (Applier.Snapshot).
	// The state is to be written into the storage (Storage.CreateSnapshot) while later batches are
	// applied. Core.SnapshotTaken or Core.SnapshotFailed then reports it.
	TakeSnapshot *SnapshotMeta
	// SnapshotDue says that a snapshot is due and waits for Core.SnapshotTurn
	// (CoreConfig.SnapshotTurns).
	SnapshotDue bool
	// VerifySnapshot, when not nil, describes the current snapshot, which is to be read to its end.
	VerifySnapshot *SnapshotMeta
	// SnapshotAnswers end calls of Core.Snapshot.
	SnapshotAnswers []SnapshotAnswer
	// Sends are snapshots to be sent. StopSends are the numbers of the streams to be closed.
	Sends     []SendSnapshot
	StopSends []uint64
	// Streams says what becomes of the streams that other servers have opened. DiscardIncoming says
	// that the bytes which such streams have brought so far are to be thrown away. It is performed
	// before a stream in Streams is accepted.
	Streams         []StreamVerdict
	DiscardIncoming bool
	// Fetches are to be read from the storage. Core.Fetched then reports each of them.
	Fetches []Fetch
	// Answers are to be given to callers.
	Answers []Answer
	// Servers, when not nil, is the new list of the servers that messages may go to.
	Servers []Server
	// Keys, when not nil, are the new keys for a transport that proves keys (Transport).
	Keys []wire.ClusterKey
	// AwaitsApplied says that the core needs to know at once what the state machine has applied.
	// While AwaitsApplied is false, Core.Applied may be called as late as just before the next
	// event of another kind.
	AwaitsApplied bool
}

// An Answer ends a call of Core.Propose, Core.Read or Core.Call.
type Answer struct {
	Number uint64
	Read   bool // whether it answers a Read
	Call   bool // whether it answers a Call; when neither, it answers a Propose
	// Index is where the command was applied. For a Read it is the index up to which the state that
	// the reader sees is applied; for a Call, the index of the configuration in force, or 0.
	Index  Index
	Result []byte
	// Fresh is an instant. The state that the reader sees is at least as new as the newest state
	// was then.
	Fresh Instant
	// Err is nil, or it wraps ErrNotApplied or ErrOutcomeUnknown. A Read has other reasons.
	Err error
}

// A Core is one server's part in the protocol: it decides, and does nothing else. Events go in by
// its methods, and effects come out of [Core.Drain]. A Core is single-threaded and deterministic:
// the same config and the same events give the same effects. It never blocks, and it reads no
// clock: every event comes with the current time, which never goes back. The example drives one
// server.
//
// # Events
//
// Other servers cause [Core.Receive] and [Core.Lost]. The time causes [Core.Tick], which is due at
// [Core.Deadline]. Callers cause [Core.Propose], [Core.ProposeEntry], [Core.Read],
// [Core.ReadByLease], [Core.ReadStale], [Core.Call], [Core.Snapshot] and [Core.Resign]. A caller
// that gives up causes [Core.Cancel], [Core.CancelRead], [Core.CancelCall] or
// [Core.CancelSnapshot]. Each [Answer] names the number that the call has returned.
//
// # Effects, and the reports of them
//
// Drain fills [Effects]. An effect that takes time is reported when it is done. The reports are
// [Core.Persisted], [Core.Fetched], [Core.Applied], [Core.Restored], [Core.SnapshotVerified], and
// [Core.SnapshotTaken] or [Core.SnapshotFailed]. [Core.Room] reports how much room the storage has.
// [Core.SnapshotMoved] and [Core.SnapshotSent] report on a stream to another server;
// [Core.StreamOpened], [Core.StreamMoved] and [Core.StreamEnded] on a stream that another server
// opens. A driver of many cores lets snapshots wait for their turns by [Core.SnapshotTurn],
// [Core.SnapshotWaits] and [Core.ReceiveBusy], and has logs shortened by [Core.FreeLog]. Several events may come between two calls of Drain: what they cause is then done together.
// [HandIn] says in which order to hand in the events that have gathered.
//
// # What can be asked
//
// [Core.Standing] is what is worth telling whenever it changes. [Core.Status] tells more, and
// [Core.Explain] says why. [Core.LogSize] and [Core.TakesOffer] are for drivers of many cores. [Core.Config], [Core.Origin], [Core.Committed], [Core.Leads] and
// [Core.Resigned] each answer one question.
//
// # For tests
//
// [Core.Check] looks for broken invariants, and [Core.Clone] copies. [Core.AppendState],
// [Core.AppendStateButHeld], [Core.Held], [Core.Armed], [Core.Pass] and [Core.Transfer] are for a
// model checker.
type Core struct {
	id     ServerID    `state:"fixed"`
	seed   uint64      `state:"fixed"`
	config *CoreConfig `state:"fixed"` // without what only a start needs; other cores may have the same one

	// state is what was decided. It is durable once the write that carries it is durable.
	state DurableState
	log   entryLog
	out   outbox
	role  role
	timing

	// What callers at this server wait for.
	proposals proposals
	lastReads

	snapshots snapshots

	// disk and machine are how fast this server's disk writes, and its state machine applies.
	disk, machine tempo `state:"luck"`
	space         space

	membership
	rollback
	keyring keyring
	refusal *refusal `state:"luck"` // nil while no message was refused

	campaigns campaignTurn

	*aside // nil while this core rests
}

// encode writes the core's state without the messages that wait for the disk. It is called when the
// effects have been drained, so it leaves out the fields that Drain has emptied.
func (c *Core) encode(s *stateEncoder) {
	s.durableState(&c.state)
	c.log.encode(s)
	c.out.encode(s)
	c.role.encode(s)
	c.timing.encode(s)
	c.proposals.encode(s)
	s.numbers(c.lastRead)
	c.snapshots.encode(s)
	c.membership.encode(s)
	c.rollback.encode(s)
	c.aside.encode(s)
	c.space.encode(s, &c.log.weights)
	s.numbers(uint64(c.campaigns))
}

// Clone returns an independent copy.
func (c *Core) Clone() *Core {
	c.wake()
	n := *c
	n.log = c.log.clone()
	n.out = c.out.clone()
	n.role = c.role.clone()
	n.proposals = c.proposals.clone()
	n.snapshots = c.snapshots.clone()
	n.rollback = c.rollback.clone()
	n.aside = c.aside.clone()
	return &n
}

// A role is what a server is in its current term, with the data of that role and nothing else:
// *follower, *candidate, *recovering or *leader. To step down is one assignment.
type role interface {
	encode(s *stateEncoder)
	clone() role
	check(c *Core) error
}

// NewCore returns a core that starts from what the storage holds. Its first write records the
// start. An error wraps ErrConfig if the config can't be used, ErrCorrupt if the storage holds what
// it can't hold, and ErrOutdated if this version doesn't know the level in force.
func NewCore(config CoreConfig) (*Core, error) {
	if err := config.normalize(); err != nil {
		return nil, err
	}
	if err := config.checkSaved(); err != nil {
		return nil, err
	}
	log, err := newLog(&config.Saved)
	if err != nil {
		return nil, err
	}
	for _, placed := range log.configurations {
		if err := checkLevel(placed.configuration, config.Level); err != nil {
			return nil, err
		}
	}
	log.weights = newWeights(&config.Saved, config.ReserveBytes)
	c := &Core{
		id: config.ID, seed: config.Seed, config: config.lasting(), state: config.Saved.State, log: log,
		role: &follower{}, timing: timing{now: config.Now, soonest: never}, membership: membership{serversChanged: true},
		proposals: proposals{next: 1, nextFree: 1}, lastReads: lastReads{fresh: neverSynced},
		snapshots: newSnapshots(&config.Saved), disk: newTempo(&config), machine: newTempo(&config), space: space{room: endless},
		aside: new(aside),
	}
	if c.state.Server == "" {
		c.state.Server, c.state.Incarnation = config.ID, config.Incarnation
	}
	c.state.Start = wire.NextStart(c.state.Start, config.StartLuck)
	c.out.termChanged()
	c.findNamed()
	if err := c.resume(&config); err != nil {
		return nil, err
	}
	c.repairs.since = config.Now
	for _, lost := range config.Saved.Lost {
		c.noteLost(lost)
	}
	if err := c.hopeless(); err != nil {
		return nil, err
	}
	if configuration := log.configuration(); configuration != nil {
		if m := configuration.Member(c.id); m != nil && m.Incarnation != c.state.Incarnation {
			c.trouble = ErrOtherIncarnation
		}
		c.keyAppended()
	}
	if c.state.RolledBack {
		c.noticed, c.trouble = true, ErrRolledBack
	} else {
		c.inquire()
	}
	c.armElection()
	if c.state.MaxLease > 0 {
		c.keepQuiet(c.state.MaxLease) // a promise from before the start may still hold
	}
	if config.ScrubBytesPerSecond > 0 && !config.Coalesced {
		c.arm(scrubDeadline, config.ElectionTimeout)
	}
	if c.alone() && c.inquiry == nil {
		c.arm(electDeadline, 0) // there is nobody to wait for
	}
	return c, nil
}

// Config returns what this core was made of, without what only its start needed. Other cores may have
// the same one (CoreConfig.Share), and nobody may change it.
func (c *Core) Config() *CoreConfig { return c.config }

// Origin returns the origin of all commands that callers propose at this server.
func (c *Core) Origin() Origin { return Origin{Server: c.id, Start: c.state.Start} }

// alone says whether this server, with its present disk, is the only voter of its cluster.
func (c *Core) alone() bool {
	if configuration := c.log.configuration(); configuration != nil {
		return configuration.SoleVoter(c.id) && configuration.Counts(c.id, c.state.Incarnation)
	}
	return len(c.config.Bootstrap) == 1
}

// Receive takes a message from another server. The term rule stands here and nowhere else (§3.3): a
// server that hears of a higher term adopts it, and a server that is spoken to in a lower term
// refuses.
func (c *Core) Receive(now Instant, m wire.Message) {
	c.advance(now)
	if !c.admit(&m) || !c.hears(&m) || !c.understands(&m) {
		return
	}
	if m.Pulled() {
		c.answerPulled(&m)
		return
	}
	if why := c.contradicts(&m); why != "" {
		c.refuse(&m, why)
		return
	}
	c.noteRefusal(&m)
	if c.outsideOfTerms(&m) {
		return
	}
	if c.inquiry != nil && !c.whileInquiring(&m) {
		return
	}
	kind := m.Kind()
	if kind == wire.KindPreVoteRequest {
		c.tellRemoval(&m)
	}
	asksVote := kind == wire.KindPreVoteRequest || kind == wire.KindVoteRequest && !m.VoteRequest().Transfer
	if asksVote && c.leaderHeard() {
		// A server that was removed, or cut off, must not depose a leader that its peers hear. Its
		// request isn't even answered, and its term isn't looked at (§4.2.3).
		return
	}
	// The term of a pre-vote is one that might come to be. No server is in it yet.
	mayBe := kind == wire.KindPreVoteRequest || m.PreVoteResponse().Granted
	switch {
	case mayBe:
	case m.Term > c.state.Term:
		c.adoptTerm(m.Term)
	case m.Term < c.state.Term:
		c.refuseOldTerm(&m)
		return
	}
	c.dispatch(&m)
}

// dispatch hands a message of the current term to its consumer: a request to the server, a response
// to the role that asked.
func (c *Core) dispatch(m *wire.Message) {
	switch m.Kind() {
	case wire.KindPreVoteRequest:
		c.answerPreVote(m)
	case wire.KindVoteRequest:
		c.answerVote(m)
	case wire.KindAppendRequest:
		c.answerAppend(m)
	case wire.KindHeartbeat:
		c.answerHeartbeat(m)
	case wire.KindTimeoutNow:
		c.timeoutNow(m)
	case wire.KindForwardRequest:
		c.takeForwards(m)
	case wire.KindForwardResponse:
		c.forwardsRefused(m)
	case wire.KindReadRequest:
		r := m.ReadRequest()
		c.takeRead(askedRead{from: m.From, disk: m.FromIncarnation, start: r.Start, number: r.Number, byLease: r.ByLease})
	case wire.KindReadResponse:
		c.readConfirmed(m)
	case wire.KindFingerprints:
		c.compareFingerprints(m)
	case wire.KindCallRequest:
		c.takeCall(m.From, m.FromIncarnation, m.CallRequest())
	case wire.KindCallResponse:
		c.callAnswered(m)
	case wire.KindSnapshotRequest:
		c.answerSnapshot(m)
	case wire.KindSnapshotStream:
		c.answerStream(m)
	default:
		switch r := c.role.(type) {
		case *candidate:
			c.voteAnswered(r, m)
		case *leader:
			c.leaderAnswered(r, m)
		}
	}
}

// leaderAnswered takes a peer's answer. Only the disk that the configuration names counts: the
// answer of a lost disk says nothing about the disk that took its place.
func (c *Core) leaderAnswered(l *leader, m *wire.Message) {
	p := l.peer(m.From)
	if p == nil || p.incarnation != m.FromIncarnation {
		return
	}
	p.heard = c.now
	switch m.Kind() {
	case wire.KindAppendResponse:
		c.appendAnswered(l, p, m)
	case wire.KindHeartbeatResponse:
		c.heartbeatAnswered(l, p, m)
	case wire.KindSnapshotResponse:
		c.snapshotAnswered(p, m)
	}
}

// refuseOldTerm tells the sender of a message in a lower term about the current term, if the sender
// needs to know it. The refusal names its term and nothing else. When it arrives, the sender may
// already lead this very term: it would take an index or a round of the old term for an answer to
// its own probe or round.
func (c *Core) refuseOldTerm(m *wire.Message) {
	switch kind := m.Kind(); {
	case kind == wire.KindVoteRequest:
		c.reply(m, wire.VoteResponse{}.Message())
	case kind == wire.KindAppendRequest, kind == wire.KindSnapshotRequest, m.Heartbeat().Round != 0:
		c.reply(m, wire.AppendResponse{}.Message())
	}
}

// adoptTerm enters a higher term as a follower. The vote is free again, and each message that waits
// to claim something in the old term is dropped.
func (c *Core) adoptTerm(term Term) {
	assert(term > c.state.Term, "Terms Rise")
	c.state.HardState = HardState{Term: term}
	c.out.termChanged()
	c.become(&follower{})
}

// stepDown ends this server's leadership or candidacy without a new term. The vote stays: it
// belongs to the term, not to the role.
func (c *Core) stepDown() { c.become(&follower{}) }

// become changes the role. The data of the old role goes with it. Callers who waited for the old
// role wait for the next leader.
func (c *Core) become(r role) {
	if _, led := c.role.(*leader); led {
		c.serversChanged = true // a leader may speak to others too, about to be added or just removed
	}
	c.abandonSendings()
	c.role = r
	c.disarmRole()
	switch r.(type) {
	case *leader, *recovering:
		c.disarm(electDeadline)
	case *candidate:
		c.armElection()
	case *follower:
		// A server that waits for a leader already goes on waiting, no longer than before: a
		// hopeless candidate that only raises the term must not starve a good one.
		if c.states[electDeadline] == deadlineOff {
			c.armElection()
		}
	}
	c.forgetAsked()
	c.refuseFenced()
}

// leaderID returns the server that leads the current term as far as this server knows, or "". A
// recovering leader takes nothing from callers, so it counts as none here.
func (c *Core) leaderID() ServerID {
	switch r := c.role.(type) {
	case *leader:
		return c.id
	case *follower:
		return r.leader
	}
	return ""
}

// Drain fills e with everything that the events since the last call want done. The next call uses
// the slices of e again. What their elements point to is never used again.
func (c *Core) Drain(e *Effects) {
	c.wake()
	clear(e.Messages)
	clear(e.Apply)
	clear(e.Answers)
	messages, apply, fetches, answers := e.Messages[:0], e.Apply[:0], e.Fetches[:0], e.Answers[:0]
	*e = Effects{}
	e.Messages, e.Apply, e.Fetches, e.Answers = messages, apply, fetches, answers

	c.drainIncoming()
	c.offerProposals()
	c.askReads()
	c.offerCalls()
	if l, leads := c.role.(*leader); leads {
		c.driveChange(l)
	}
	switch r := c.role.(type) {
	case *leader:
		c.watchDamage()
		c.drainLeader(r)
	case *follower:
		c.acknowledge(r)
	}
	c.drainRepair()
	c.drainRestore(e)
	c.drainApply(e)
	c.watchMachine()
	c.watchSnapshot()
	c.watchFreeing()
	c.drainSnapshot(e)
	c.drainVerify(e)
	c.releaseReads()
	c.armRetry()
	c.nameSnapshot()
	c.forgetCovered()
	c.drainWrite(e)
	c.drainStreams(e)

	e.Messages, c.out.ready = c.out.ready, e.Messages
	e.Fetches, c.fetches = c.fetches, e.Fetches
	e.Answers, c.answers = c.answers, e.Answers
	if c.serversChanged {
		c.serversChanged = false
		e.Servers = c.otherServers()
	}
	c.drainKeys(e)
	c.log.tail.shrink(c.config.TailBytes, c.log.stable)
	e.AwaitsApplied = c.awaitsApplied()
}

// drainStreams hands out what is to be done about snapshots that are sent and received. That is
// rare, so none of these slices is kept for the next time.
func (c *Core) drainStreams(e *Effects) {
	e.Sends, e.StopSends, e.Streams, e.DiscardIncoming = c.sends, c.stops, c.verdicts, c.discard
	e.SnapshotAnswers = c.snapshotAnswers
	c.sends, c.stops, c.verdicts, c.discard, c.snapshotAnswers = nil, nil, nil, false, nil
}
