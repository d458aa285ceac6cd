package raft

import (
	"cmp"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Trace is a set of functions that a node calls while it works, to measure it and to see what it
// does, in the manner of net/http/httptrace. Any of them may be nil; one that is costs nothing, not
// even a reading of the clock. The Trace is copied by Start.
//
// The rules:
//
//   - Each function says which goroutine calls it. The calls of one goroutine come one at a time, in the order of
//     what they tell; those of different goroutines may come at the same time.
//   - Whoever calls waits: the loop with everything that the node does, a lane with what is queued behind. So
//     a function must not block. It counts, or hands on what it was told.
//   - It must not call its own node, except Node.Leadership: most methods wait for the loop.
//   - What it is told belongs to the node: nothing that a value points to is to be changed, or kept after
//     the function has returned.
//   - A panic in it stops the node, with a PanicError from the "trace".
type Trace struct {
	// Turn is called by the loop at the end of each of its turns.
	Turn func(TurnTrace)
	// Received is called by the loop with each message before the core gets it, admitted or not.
	Received func(wire.Message)
	// Sent is called by the loop with each message before the transport gets it.
	Sent func(wire.Message)
	// Committed is called by the loop when this server learns that more is committed, with the last
	// index.
	Committed func(Index)
	// Answered is called by the loop with the answer to each call that reached it, when the caller
	// has got it. A Read whose context has ended gets none.
	Answered func(AnswerTrace)

	// Wrote is called by the disk lane after each Storage.Write, before anybody hears of it.
	Wrote func(WriteTrace)
	// Fetched is called by the catch-up lane after each Storage.Entries.
	Fetched func(FetchTrace)
	// Applied is called by the machine lane after each batch that the state machine has applied.
	Applied func(ApplyTrace)
	// Snapshot is called when a snapshot was taken, sent, received or restored, or wasn't, by the
	// goroutine that has done it: the machine lane restores, the others come and go. A stream that
	// is broken is told as well as the one that goes on where it was.
	Snapshot func(SnapshotTrace)
}

// A TurnTrace tells of one turn of the loop: what had gathered, and how long it took to hand it in
// and to hand out what it caused.
type TurnTrace struct {
	Messages, Proposals, Reads int
	Reports                    int // of the lanes
	Took                       time.Duration
}

// An AnswerTrace tells of the end of a call.
type AnswerTrace struct {
	Kind   string        // "command", "read", or "call" for those about the cluster itself
	Index  Index         // where a command was applied, or what a read was served at; 0 with an Err
	Waited time.Duration // since the loop took the call
	Err    error
}

// A WriteTrace tells of one Storage.Write.
type WriteTrace struct {
	Number  WriteNumber
	Entries int   // how many
	Last    Index // of the last entry; 0 without entries
	Bytes   int   // of commands and configurations
	Took    time.Duration
	Err     error
}

// A FetchTrace tells of one Storage.Entries.
type FetchTrace struct {
	For         ServerID // the server that needs them, or "" for this one's state machine
	After, Last Index    // what was asked for
	Entries     int      // how many there were
	Took        time.Duration
	Err         error
}

// An ApplyTrace tells of one batch that was applied.
type ApplyTrace struct {
	Entries int
	Last    Index
	Took    time.Duration
	Err     error // of an entry that this version can't apply
}

// A SnapshotTrace tells what was done with a snapshot.
type SnapshotTrace struct {
	Kind  string   // "taken", "sent", "received" or "restored"
	Peer  ServerID // where it was sent to, or came from
	Index Index    // that it covers
	// Bytes are those that were written or sent. A stream begins behind the first Offset bytes,
	// which the receiver holds from an earlier one.
	Bytes, Offset uint64
	Took          time.Duration // from its capture on, or for the stream
	Err           error
}

// stopwatchFor reads the clock if anybody wants to know.
func stopwatchFor(wanted bool) (start time.Time) {
	if wanted {
		start = time.Now()
	}
	return start
}

// traced calls a function of the trace. It is for the lanes: a panic is their failure.
func traced(f func()) error {
	return guard("trace", func() error { f(); return nil })
}

// write writes, and tells of it.
func (n *Node) write(w *Write) error {
	start := stopwatchFor(n.trace.Wrote != nil)
	err := n.config.Storage.Write(*w)
	return cmp.Or(err, n.traceWrite(w, start, err))
}

// traceWrite tells of a write.
func (n *Node) traceWrite(w *Write, start time.Time, err error) error {
	hook := n.trace.Wrote
	if hook == nil {
		return nil
	}
	t := WriteTrace{Number: w.Number, Entries: len(w.Entries), Took: time.Since(start), Err: err}
	for i := range w.Entries {
		t.Bytes += len(w.Entries[i].Data)
		t.Last = w.Entries[i].Index
	}
	return traced(func() { hook(t) })
}

// traceFetch tells of a fetch.
func (n *Node) traceFetch(f Fetch, entries int, start time.Time, err error) error {
	hook := n.trace.Fetched
	if hook == nil {
		return nil
	}
	t := FetchTrace{For: f.For, After: f.After, Last: f.Last, Entries: entries, Took: time.Since(start), Err: err}
	return traced(func() { hook(t) })
}

// traceApply tells of a batch.
func (n *Node) traceApply(entries []Entry, start time.Time, err error) error {
	hook := n.trace.Applied
	if hook == nil || len(entries) == 0 {
		return nil
	}
	t := ApplyTrace{Entries: len(entries), Last: entries[len(entries)-1].Index, Took: time.Since(start), Err: err}
	return traced(func() { hook(t) })
}

// traceSnapshot tells what was done with a snapshot since start. It is for the goroutines that come
// and go.
func (t *transfers) traceSnapshot(what SnapshotTrace, start time.Time) {
	hook := t.trace.Snapshot
	if hook == nil {
		return
	}
	what.Took = time.Since(start)
	if err := traced(func() { hook(what) }); err != nil {
		t.inbox.stop(err)
	}
}

// traceReceived tells of the messages that are about to be handed in.
func (l *loop) traceReceived() {
	hook := l.trace.Received
	if hook == nil {
		return
	}
	for i := range l.intake.messages {
		l.tell(func() { hook(l.intake.messages[i]) })
	}
}

// traceSent tells of a message that is about to be sent.
func (l *loop) traceSent(m *wire.Message) {
	if hook := l.trace.Sent; hook != nil {
		l.tell(func() { hook(*m) })
	}
}

// traceAnswer tells of an answer that a caller was given. Not before: if the trace panics, there is
// still nobody who waits for ever.
func (l *loop) traceAnswer(a *Answer, kind waiterKind, since Instant) {
	if hook := l.trace.Answered; hook != nil {
		t := AnswerTrace{Kind: waiterKindNames[kind], Index: a.Index, Waited: time.Duration(l.read - since), Err: a.Err}
		l.tell(func() { hook(t) })
	}
}

// traceTurn tells of a turn, and of what it has committed.
func (l *loop) traceTurn() {
	if hook := l.trace.Committed; hook != nil {
		if committed := l.core.Committed(); committed > l.shown.committed {
			l.shown.committed = committed
			l.tell(func() { hook(committed) })
		}
	}
	hook, got := l.trace.Turn, &l.intake
	if hook == nil {
		return
	}
	t := TurnTrace{Messages: len(got.messages), Proposals: len(got.proposals), Reads: len(got.reads),
		Reports: got.writes + len(got.batches) + len(got.fetched), Took: time.Duration(l.clock.now() - l.read)}
	l.tell(func() { hook(t) })
}

// tell calls a function of the trace. It is for the loop: while it hasn't returned, a panic is its
// fault.
func (l *loop) tell(f func()) {
	was := l.step
	l.step = "trace"
	f()
	l.step = was
}
