package raft

import (
	"cmp"
	"context"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Trace is a set of functions that a node calls while it works. They are for measuring what the
// node does and for seeing it, in the manner of net/http/httptrace. Each of them may be nil. One
// that is nil costs nothing, not even a reading of the clock. Start copies the Trace.
//
// The rules:
//
//   - Each function says which goroutine calls it. One goroutine makes its calls one at a time, in
//     the order of what they tell. Two goroutines may call at the same time.
//   - The goroutine that calls a function waits for it: the loop with everything that the node
//     does, a lane with the work that is queued behind. So a function must not block. It counts, or
//     hands on what it was told. While one that the loop calls doesn't return, calls of the node end
//     by their contexts alone, and Status.Stuck says why.
//   - A function must not call its own node, except Node.Leadership: most methods wait for the
//     loop.
//   - What a function is told belongs to the node. It must not change anything that a value points
//     to, and must not keep it after it has returned.
//   - A panic of a function stops the node, with a PanicError from the "trace".
type Trace struct {
	// Turn is called by the loop at the end of each of its turns.
	Turn func(TurnTrace)
	// Changed is called by the loop with each Event, before the Turn that brought it. Node.Events
	// leaves out what is outdated; this leaves out nothing between the start and the end. What a
	// server knows when it starts, and that it stops, isn't told.
	Changed func(Event)
	// Received is called by the loop with each message before the core gets it, also with messages
	// that the core will refuse.
	Received func(wire.Message)
	// Sent is called by the loop with each message before the transport gets it.
	Sent func(wire.Message)
	// Committed is called by the loop when this server learns that more entries are committed, with
	// the index of the last one.
	Committed func(Index)
	// Answered is called by the loop with the answer to each call that reached it, after the caller
	// has got the answer. Calls that the end of the node answers aren't told.
	Answered func(AnswerTrace)
	// Refused is called for each call that doesn't reach the loop: because of a limit, because
	// Config.Validate refuses it, because its context has ended before, or because the node stops.
	// The goroutine of the caller calls it, so several may do so at a time. After the node has
	// stopped it isn't called.
	Refused func(RefusalTrace)

	// Wrote is called by the disk lane after each Storage.Write, before anything that rests on the
	// write happens. In a Host it is called for the writes of each group; those that were written
	// together (SharedStorage.WriteGroups) took equally long.
	Wrote func(WriteTrace)
	// Fetched is called by the catch-up lane after each Storage.Entries.
	Fetched func(FetchTrace)
	// Applied is called by the machine lane after each batch that the state machine has applied.
	Applied func(ApplyTrace)
	// Snapshot is called when a snapshot was taken, sent, received or restored, and when one of
	// these has failed. The machine lane calls it for a restore, and goroutines that come and go
	// for the rest. A stream that breaks is told, and so is the next one, which goes on where that
	// ended.
	Snapshot func(SnapshotTrace)
}

// A TurnTrace tells of one turn of the loop: how much had gathered, and how long the loop took to
// hand it to the core and to hand out the effects.
type TurnTrace struct {
	Messages, Proposals, Reads int // how many were handed in
	Reports                    int // how many items the lanes had finished
	Took                       time.Duration

	Sent int // how many messages were sent to other servers
	// Began is when the loop took what had gathered, on the node's clock. Gathering is how long the
	// first of the proposals and reads had waited for that; 0 if there are none.
	Began     Instant
	Gathering time.Duration
	// Log is how far this server had come in its log at the end of the turn.
	Log LogIndexes
}

// A RefusalTrace tells of a call that didn't reach the loop.
type RefusalTrace struct {
	Kind string // as in AnswerTrace
	Err  error  // errors.Is finds in it what it finds in the error that the caller gets
}

// An AnswerTrace tells how a call ended.
type AnswerTrace struct {
	Kind   string        // "command", "read", "lease read", "stale read"; "call" for those about the cluster
	Index  Index         // where the command was applied, or the read was served; 0 with an Err
	Waited time.Duration // since the loop took the call
	Err    error
}

// A WriteTrace tells of one Storage.Write.
type WriteTrace struct {
	Number  WriteNumber
	Entries int   // how many were written
	Last    Index // of the last entry; 0 without entries
	Repairs int   // how many lost entries were written once more
	Bytes   int   // of the commands and configurations in the entries
	Took    time.Duration
	Err     error
}

// A FetchTrace tells of one Storage.Entries.
type FetchTrace struct {
	For         ServerID // the server that needs the entries; "" for this one's state machine
	Scrub       bool     // whether they were read only to see that their bytes aren't lost
	Repair      bool     // whether that server has lost their bytes
	After, Last Index    // those in (After, Last] were asked for
	Entries     int      // how many were read
	Snapshot    Index    // not 0: a piece of the snapshot of this index was read, and no entries
	Took        time.Duration
	Err         error
}

// An ApplyTrace tells of one batch that the state machine has applied.
type ApplyTrace struct {
	Entries int
	Last    Index
	Took    time.Duration
	Err     error // of an entry that this version can't apply
}

// A SnapshotTrace tells what was done with a snapshot.
type SnapshotTrace struct {
	Kind  string   // "taken", "sent", "received" or "restored"
	Peer  ServerID // the server that it was sent to or came from; "" for the other two kinds
	Index Index    // the last entry that it covers
	// Bytes is how many bytes were written or sent. A stream begins after the first Offset bytes of
	// the snapshot, which the receiver holds from an earlier stream.
	Bytes, Offset uint64
	Took          time.Duration // since the capture of the state began, or of the stream or restore
	Err           error
}

// A CallTrace tells what became of one call (FollowCall): of Propose and of commands in sessions, of
// reads, and of the calls about the cluster.
type CallTrace struct {
	// Index is where the command was applied, or the read was served; 0 if that isn't known, or if
	// the call has failed.
	Index Index
	// Taken is when the node's loop took the call, on the node's clock, as TurnTrace.Began. It is 0
	// if the loop hasn't answered the call.
	Taken Instant
}

// FollowCall returns a context by which a call fills in t before it returns. If several calls get
// the context, they do so one after the other: they must not be made at the same time. With the
// turns of the Trace, t says when the command was written, committed and applied.
func FollowCall(ctx context.Context, t *CallTrace) context.Context {
	w := wishesOf(ctx)
	w.trace = t
	return context.WithValue(ctx, wishesKey{}, w)
}

// note fills in what became of a call that the loop has answered. Nobody may want to know.
func (t *CallTrace) note(w *waiter) {
	if t != nil {
		*t = CallTrace{Index: w.index, Taken: w.since}
	}
}

// tellTo copies the trace that the node tells what it does; nil stands for none.
func (n *Node) tellTo(t *Trace) {
	n.trace = &noTrace
	if t != nil {
		copied := *t
		n.trace = &copied
	}
	if n.trace.Turn != nil {
		n.inbox.now = n.clock.now
	}
}

// noTrace tells nobody.
var noTrace Trace

// stopwatchFor reads the clock if the trace wants to know.
func stopwatchFor(wanted bool) (start time.Time) {
	if wanted {
		start = time.Now()
	}
	return start
}

// traced calls a function of the trace for a lane, or for a goroutine that comes and goes. A panic
// is the lane's failure. If f ends the goroutine, that stops the node, too: whoever waits for what
// the goroutine has to report would wait for ever.
func (in *inbox) traced(f func()) error {
	ended := true
	defer func() {
		if ended {
			in.stop(&PanicError{Where: stepNames[inTrace]})
		}
	}()
	err := guard(stepNames[inTrace], func() error { f(); return nil })
	ended = false
	return err
}

// write writes to the storage and tells the trace.
func (n *Node) write(w *Write) error {
	start := stopwatchFor(n.trace.Wrote != nil)
	err := n.config.Storage.Write(*w)
	return cmp.Or(err, n.traceWrite(w, start, err))
}

// traceWrite tells the trace of a write.
func (n *Node) traceWrite(w *Write, start time.Time, err error) error {
	hook := n.trace.Wrote
	if hook == nil {
		return nil
	}
	t := WriteTrace{Number: w.Number, Entries: len(w.Entries), Repairs: len(w.Repairs), Bytes: dataBytes(w), Took: time.Since(start), Err: err}
	if n := len(w.Entries); n > 0 {
		t.Last = w.Entries[n-1].Index
	}
	return n.inbox.traced(func() { hook(t) })
}

// traceFetch tells the trace of a fetch.
func (n *Node) traceFetch(f Fetch, entries int, start time.Time, err error) error {
	hook := n.trace.Fetched
	if hook == nil {
		return nil
	}
	t := FetchTrace{For: f.For, Repair: f.Repair, Scrub: f.Scrub, After: f.After, Last: f.Last, Entries: entries, Took: time.Since(start), Err: err}
	if f.Snapshot != nil {
		t.Snapshot = f.Snapshot.Index
	}
	return n.inbox.traced(func() { hook(t) })
}

// traceApply tells the trace of a batch.
func (n *Node) traceApply(entries []Entry, start time.Time, err error) error {
	hook := n.trace.Applied
	if hook == nil || len(entries) == 0 {
		return nil
	}
	t := ApplyTrace{Entries: len(entries), Last: entries[len(entries)-1].Index, Took: time.Since(start), Err: err}
	return n.inbox.traced(func() { hook(t) })
}

// traceSnapshot tells the trace what was done with a snapshot since start. It is for the goroutines
// that come and go, and for the machine lane.
func (t *transfers) traceSnapshot(what SnapshotTrace, start time.Time) {
	hook := t.trace.Snapshot
	if hook == nil {
		return
	}
	what.Took = time.Since(start)
	if err := t.inbox.traced(func() { hook(what) }); err != nil {
		t.inbox.stop(err)
	}
}

// traceReceived tells the trace of the messages that are about to be handed in.
func (l *loop) traceReceived() {
	hook := l.trace.Received
	if hook == nil {
		return
	}
	for i := range l.intake.messages {
		l.tell(func() { hook(l.intake.messages[i]) })
	}
}

// traceSent tells the trace of a message that is about to be sent.
func (l *loop) traceSent(m *wire.Message) {
	if hook := l.trace.Sent; hook != nil {
		l.tell(func() { hook(*m) })
	}
}

// traceAnswer tells the trace of an answer that a caller has got. It comes after the answer, so
// that no caller waits for ever if the trace panics. The caller says that the loop is in the trace.
func (l *loop) traceAnswer(a *Answer, kind waiterKind, since Instant) {
	if hook := l.trace.Answered; hook != nil {
		hook(AnswerTrace{Kind: waiterKindNames[kind], Index: a.Index, Waited: time.Duration(l.read - since), Err: a.Err})
	}
}

// traceTurn tells the trace of a turn, and of what the turn has committed.
func (l *loop) traceTurn() {
	if hook := l.trace.Committed; hook != nil {
		if committed := l.core.Committed(); committed > l.shown.committed {
			l.shown.committed = committed
			l.tell(func() { hook(committed) })
		}
	}
	hook, got := l.trace.Turn, l.intake
	if hook == nil {
		return
	}
	t := TurnTrace{Messages: len(got.messages), Proposals: len(got.proposals), Reads: len(got.reads),
		Reports: got.writes + len(got.batches) + len(got.fetched), Took: time.Duration(l.clock.now() - l.read),
		Sent: len(l.effects.Messages), Began: l.read, Log: l.core.LogIndexes()}
	if t.Proposals+t.Reads > 0 {
		t.Gathering = time.Duration(l.read - got.since)
	}
	l.tell(func() { hook(t) })
}

// traceEvents tells the trace what has changed.
func (l *loop) traceEvents(events []Event) {
	hook := l.trace.Changed
	if hook == nil {
		return
	}
	for _, event := range events {
		l.tell(func() { hook(told(event)) })
	}
}

// refuseCommand returns the error of a command that isn't proposed.
func (n *Node) refuseCommand(reason error) error {
	return n.refused(waitsForCommand, n.callError(notApplied(reason)))
}

// refused tells the trace of a call that didn't reach the loop, and returns the error of the call.
// The caller's goroutine calls it. A panic stops the node.
func (n *Node) refused(kind waiterKind, err error) error {
	if hook := n.trace.Refused; hook != nil && !n.life.stops.given() {
		t := RefusalTrace{Kind: waiterKindNames[kind], Err: err}
		if broken := n.inbox.traced(func() { hook(t) }); broken != nil {
			n.inbox.stop(broken)
		}
	}
	return err
}

// tell calls a function of the trace for the loop. A panic meanwhile is put down to the trace.
func (l *loop) tell(f func()) {
	was := l.step.set(inTrace)
	f()
	l.step.set(was)
}
