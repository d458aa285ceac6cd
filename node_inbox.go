package raft

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/e17579a5/raft/wire"
)

// An inbox takes in everything that the loop has to know: from callers, from other servers and from
// the lanes. It gathers while the loop is at work, and the loop takes all of it at once: so batches
// form by themselves. A goroutine that puts something in wakes the loop only when the loop sleeps.
// No goroutine ever waits here.
type inbox struct {
	maxMessages, maxMessageBytes  int
	maxProposals, maxCommandBytes int

	rouse func() // wakes the loop
	// now, unless it is nil, is the clock by which callers are timed, for the trace.
	now func() Instant
	// dropped counts the messages for which there was no room.
	dropped atomic.Uint64

	mu       sync.Mutex
	sleeping bool
	awaited  bool  // whether a loop that sleeps is to be woken for what was applied
	bounded  bool  // a turn takes a part of what has gathered, and backlog holds the rest
	refused  error // why no calls are taken any more
	closed   error // why nothing at all is taken any more
	// What a group in a host has of the host's memory.
	commandRoom, messageRoom account

	*gathering // nil while the loop rests and nothing has come (lock)
}

// A gathering is what has come and wasn't taken.
type gathering struct {
	intake  *intake
	backlog backlog
}

// lock locks mu. There is room then for what comes.
func (in *inbox) lock() {
	in.mu.Lock()
	if in.gathering == nil {
		in.gathering = &gathering{intake: new(intake)}
	}
}

// An intake is what has gathered since the loop last looked.
type intake struct {
	some bool // whether there is anything to wake the loop for

	persisted WriteNumber // the highest that was reported
	writes    int         // how many writes were reported
	batches   []Batch
	fetched   []fetched
	lost      []ServerID
	messages  []wire.Message
	forwards  []wire.Message // those of a group in a host, until they are taken
	proposals []proposed
	reads     []*waiter
	calls     []called
	cancels   []canceled
	queries   []chan<- Status
	resign    bool                   // the loop is to hand over, and then to stop
	asked     bool                   // the Book of the host has asked for this turn
	reports   []func(*loop, Instant) // about snapshots: what to tell the core
	stop      error                  // the first reason to stop: errClose or a failure

	load
	// unfinished says that messages which had come before this turn wait for the next one, so that the
	// time doesn't pass.
	unfinished bool
	// since is when the first of the proposals and reads came, if somebody wants to know.
	since Instant
}

// A load counts what waits against the limits. bytes are those of all messages. bulk are appends,
// forwards and calls; commandBytes are the commands of the proposals. strangers are messages of strangers.
type load struct{ bytes, bulk, bulkBytes, commandBytes, strangers int }

// count counts a message, which bulkOf has judged.
func (l *load) count(m *wire.Message, bulk bool, size int) {
	l.bytes += size
	if m.Stranger {
		l.strangers++
	}
	if bulk {
		l.bulk++
		l.bulkBytes += size
	}
}

// without returns what is left of a load when a part of it is gone.
func (l load) without(part *load) load {
	return load{l.bytes - part.bytes, l.bulk - part.bulk, l.bulkBytes - part.bulkBytes, l.commandBytes - part.commandBytes, l.strangers - part.strangers}
}

// bulkOf says whether a message is an append, a forward or a call, and which size it has.
func bulkOf(m *wire.Message) (bulk bool, size int) {
	switch m.Kind() {
	case wire.KindAppendRequest, wire.KindForwardRequest, wire.KindCallRequest:
		return true, m.Size()
	}
	return false, m.Size()
}

// keptOf returns which part of its sure share of the host's memory a group may fill with something, as a
// divisor: bulk leaves half of it to the messages that keep the group together.
func keptOf(bulk bool) int {
	if bulk {
		return 2
	}
	return 1
}

// proposed is a proposal with the caller that waits for it.
type proposed struct {
	Proposal
	waiter *waiter
}

// called is an administrative call with the caller that waits for it.
type called struct {
	call   wire.Call
	waiter *waiter
}

// canceled is a caller that doesn't want to wait any longer, and the reason.
type canceled struct {
	waiter *waiter
	reason error
}

// fetched is what the storage answered to a fetch.
type fetched struct {
	fetch   Fetch
	entries []Entry
	damage  *DamagedError // nil if nothing was found to be lost
}

// strangersShare is the part of maxMessages that strangers may take. That isn't less, since a server
// that joins gets all its messages from strangers, until the first configuration has come.
const strangersShare = 16

// keepIntake is the largest capacity with which a slice of an intake is used again. A larger slice
// comes from a burst, and its memory is given back.
const keepIntake = 16 << 10

// reset empties the intake and lets go of what it held.
func (got *intake) reset() {
	got.some, got.resign, got.asked, got.unfinished = false, false, false, false
	got.persisted, got.writes, got.since, got.load = 0, 0, 0, load{}
	if got.stop != nil {
		got.stop = nil
	}
	empty(&got.batches)
	empty(&got.fetched)
	empty(&got.lost)
	empty(&got.messages)
	empty(&got.forwards)
	empty(&got.proposals)
	empty(&got.reads)
	empty(&got.calls)
	empty(&got.cancels)
	empty(&got.queries)
	empty(&got.reports)
}

// empty empties a slice, which nearly always is empty and small.
func empty[T any](s *[]T) {
	if cap(*s) > keepIntake || len(*s) > 0 {
		*s = emptied(*s)
	}
}

// emptied returns a slice to be used again, or nil for one that is too large to be kept.
func emptied[T any](s []T) []T {
	if cap(s) > keepIntake {
		return nil
	}
	clear(s)
	return s[:0]
}

// take exchanges what has gathered for the empty intake of the caller: all of it, or what one turn of a
// group in a host may hand in. If nothing is there, it returns false, and rouse is called when something
// comes. What was applied is no reason to return true unless it is awaited: it is then taken together
// with whatever comes next.
func (in *inbox) take(got **intake, awaited bool) bool {
	in.lock()
	defer in.mu.Unlock()
	in.sleeping = !in.intake.some && !(awaited && len(in.intake.batches) > 0)
	in.awaited = awaited
	if in.sleeping {
		return false
	}
	in.intake, *got = *got, in.intake
	if in.bounded {
		in.share(*got)
	}
	return true
}

// rest lets go of the room for what comes, if nothing has come.
func (in *inbox) rest() {
	in.lock()
	defer in.mu.Unlock()
	if in.sleeping && len(in.intake.batches) == 0 {
		in.gathering = nil
	}
}

// added notes that something was put in, and unlocks mu.
func (in *inbox) added() {
	in.intake.some = true
	wake := in.sleeping
	in.sleeping = false
	in.mu.Unlock()
	if wake {
		in.rouse()
	}
}

// callers returns how many proposals and reads have gathered.
func (in *inbox) callers() int {
	in.lock()
	defer in.mu.Unlock()
	return in.proposals() + in.reads()
}

// proposals and reads return how many of them wait, and messages how many messages. The caller holds mu.
func (in *inbox) proposals() int { return len(in.intake.proposals) + in.backlog.proposals.len() }
func (in *inbox) reads() int     { return len(in.intake.reads) + in.backlog.reads.len() }
func (in *inbox) messages() int {
	return len(in.intake.messages) + len(in.intake.forwards) + in.backlog.messages.len() + in.backlog.forwards.len()
}

// receive takes a message from another server, or drops it. Under pressure the appends, forwards
// and calls are dropped first, since they are sent again. Votes, heartbeats and answers keep the
// cluster together, and have room of their own. What strangers send takes little of it.
func (in *inbox) receive(m wire.Message) {
	bulk, size := bulkOf(&m)
	in.lock()
	got := in.intake
	switch {
	case in.closed != nil:
		in.mu.Unlock()
		return
	case m.Stranger && got.strangers >= max(in.maxMessages/strangersShare, 1),
		bulk && got.bulk >= in.maxMessages,
		bulk && got.bulk > 0 && got.bulkBytes+size > in.maxMessageBytes,
		!bulk && in.messages()-got.bulk >= in.maxMessages,
		!in.messageRoom.take(size, keptOf(bulk)):
		in.dropped.Add(1)
		in.mu.Unlock()
		return
	}
	got.count(&m, bulk, size)
	if bulk && in.bounded && m.Kind() != wire.KindAppendRequest {
		got.forwards = append(got.forwards, m)
	} else {
		got.messages = append(got.messages, m)
	}
	in.added()
}

// nudge has the loop take a turn, though nothing has come for it but what the Book of the host may have to
// tell.
func (in *inbox) nudge() {
	in.lock()
	if in.closed != nil {
		in.mu.Unlock()
		return
	}
	in.intake.asked = true
	in.added()
}

// lost takes the hint that the process of a server is gone.
func (in *inbox) lost(id ServerID) {
	in.lock()
	if in.closed != nil || len(in.intake.lost) >= wire.MaxMembers {
		in.mu.Unlock()
		return
	}
	in.intake.lost = append(in.intake.lost, id)
	in.added()
}

// propose takes a proposal. It returns an error if it hasn't taken it.
func (in *inbox) propose(w *waiter, p Proposal) error {
	in.lock()
	got := in.intake
	switch refused := in.refused; {
	case refused != nil:
		in.mu.Unlock()
		return refused
	case in.proposals() >= in.maxProposals:
		in.mu.Unlock()
		return errMaxPending
	case in.proposals() > 0 && got.commandBytes+len(p.Data) > in.maxCommandBytes:
		in.mu.Unlock()
		return errMaxPendingBytes
	case !in.commandRoom.take(len(p.Data)+wire.EntryOverhead, 1):
		in.mu.Unlock()
		return errHostBytes
	}
	w.bytes, w.account = len(p.Data)+wire.EntryOverhead, &in.commandRoom
	in.comes()
	got.commandBytes += len(p.Data)
	got.proposals = append(got.proposals, proposed{p, w})
	in.added()
	return nil
}

// read takes a read. It returns an error if it hasn't taken it.
func (in *inbox) read(w *waiter) error {
	in.lock()
	switch refused := in.refused; {
	case refused != nil:
		in.mu.Unlock()
		return refused
	case in.reads() >= in.maxProposals:
		in.mu.Unlock()
		return errMaxPending
	}
	in.comes()
	in.intake.reads = append(in.intake.reads, w)
	in.added()
	return nil
}

// comes notes when the first of the callers came that the loop will find together.
func (in *inbox) comes() {
	if in.now != nil && in.proposals()+in.reads() == 0 {
		in.intake.since = in.now()
	}
}

// call takes an administrative call. It returns an error if it hasn't taken it.
func (in *inbox) call(w *waiter, call wire.Call) error {
	in.lock()
	switch refused := in.refused; {
	case refused != nil:
		in.mu.Unlock()
		return refused
	case len(in.intake.calls) >= maxCalls:
		in.mu.Unlock()
		return ErrOverloaded
	}
	in.intake.calls = append(in.intake.calls, called{call, w})
	in.added()
	return nil
}

// cancel takes the news that a caller's context has ended. Each caller sends it at most once, so
// there are never more of them than callers.
func (in *inbox) cancel(w *waiter, reason error) {
	in.lock()
	if in.closed != nil {
		in.mu.Unlock()
		return // every waiter is being answered
	}
	in.intake.cancels = append(in.intake.cancels, canceled{w, reason})
	in.added()
}

// withdraw takes back what a caller has asked for, and its cancellation, if the loop hasn't taken
// them. It returns false if the loop has taken the call.
func (in *inbox) withdraw(w *waiter) bool {
	in.lock()
	defer in.mu.Unlock()
	got := in.intake
	got.cancels = slices.DeleteFunc(got.cancels, func(c canceled) bool { return c.waiter == w })
	before := in.proposals() + in.reads() + len(got.calls)
	proposal := func(p proposed) bool {
		if p.waiter == w {
			got.commandBytes -= len(p.Data)
			w.giveBack()
		}
		return p.waiter == w
	}
	read := func(r *waiter) bool { return r == w }
	got.proposals, got.reads = slices.DeleteFunc(got.proposals, proposal), slices.DeleteFunc(got.reads, read)
	in.backlog.proposals.remove(proposal)
	in.backlog.reads.remove(read)
	got.calls = slices.DeleteFunc(got.calls, func(c called) bool { return c.waiter == w })
	return in.proposals()+in.reads()+len(got.calls) < before
}

// query asks for the status. It reports false when the loop has ended.
func (in *inbox) query(answer chan<- Status) bool {
	in.lock()
	if in.closed != nil {
		in.mu.Unlock()
		return false
	}
	in.intake.queries = append(in.intake.queries, answer)
	in.added()
	return true
}

// forget takes a question for the status back.
func (in *inbox) forget(answer chan<- Status) {
	in.lock()
	defer in.mu.Unlock()
	in.intake.queries = slices.DeleteFunc(in.intake.queries, func(q chan<- Status) bool { return q == answer })
}

// persisted, applied and fetched take the reports of the lanes. There are only as many of them as
// the core has asked for.

func (in *inbox) persisted(n WriteNumber) {
	in.lock()
	in.intake.persisted = n
	in.intake.writes++
	in.added()
}

func (in *inbox) applied(batch Batch) {
	in.lock()
	in.intake.batches = append(in.intake.batches, batch)
	if !in.awaited || !in.sleeping {
		in.mu.Unlock()
		return // a loop that is at work asks take, and says then whether it is awaited
	}
	in.added()
}

func (in *inbox) fetched(f fetched) {
	in.lock()
	in.intake.fetched = append(in.intake.fetched, f)
	in.added()
}

// report takes something that is to be told to the core. Reports are told in the order in which
// they came. It returns an error if it hasn't taken it.
func (in *inbox) report(tell func(*loop, Instant)) error {
	in.lock()
	if in.closed != nil {
		in.mu.Unlock()
		return in.closed // it never changes once it is set
	}
	in.intake.reports = append(in.intake.reports, tell)
	in.added()
	return nil
}

// resigned says whether calls are refused, because the node stops or has stopped.
func (in *inbox) resigned() bool {
	in.lock()
	defer in.mu.Unlock()
	return in.refused != nil
}

// reason returns why nothing is taken any more, or nil while something is.
func (in *inbox) reason() error {
	in.lock()
	defer in.mu.Unlock()
	return in.closed
}

// stop tells the loop to end. Only the first reason counts.
func (in *inbox) stop(reason error) {
	in.lock()
	if in.closed != nil || in.intake.stop != nil {
		in.mu.Unlock()
		return
	}
	in.intake.stop = reason
	in.added()
}

// resign tells the loop to hand the leadership over and then to end. No more calls are taken.
func (in *inbox) resign() {
	in.lock()
	if in.refused != nil {
		in.mu.Unlock()
		return
	}
	in.refused = ErrClosed
	in.intake.resign = true
	in.added()
}

// close lets nothing in any more, and returns what had gathered.
func (in *inbox) close(reason error) *intake {
	in.lock()
	defer in.mu.Unlock()
	in.refused, in.closed = reason, reason
	rest := in.intake
	rest.proposals = slices.Concat(in.backlog.proposals.rest(), rest.proposals)
	rest.reads = slices.Concat(in.backlog.reads.rest(), rest.reads)
	in.intake, in.backlog = new(intake), backlog{}
	return rest
}
