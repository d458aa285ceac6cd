package raft

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A queue carries work from the loop to a lane. The lane takes everything that has gathered. The
// core bounds what it asks for, and so it bounds the queue too.
type queue[T any] struct {
	wake chan struct{} // holds a token when the lane is to be woken
	// begin, unless it is nil, starts the lane's goroutine, which then lives only while there is work:
	// a lane that sleeps has none.
	begin func()

	mu               sync.Mutex
	items            []T
	sleeping, closed bool
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

// newShortQueue returns the queue of a lane whose goroutine lives only while there is work.
func newShortQueue[T any](begin func()) *queue[T] { return &queue[T]{begin: begin, sleeping: true} }

// put adds items. It never blocks.
func (q *queue[T]) put(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	q.items = append(q.items, items...)
	q.rouse()
}

// add adds one item. It never blocks.
func (q *queue[T]) add(item T) {
	q.mu.Lock()
	q.items = append(q.items, item)
	q.rouse()
}

// close ends the lane as soon as it has finished its present item. Items that it hasn't begun are
// dropped.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.rouse()
}

// rouse unlocks mu, and wakes the lane if it sleeps.
func (q *queue[T]) rouse() {
	wake := q.sleeping
	q.sleeping = false
	q.mu.Unlock()
	switch {
	case !wake:
	case q.begin != nil:
		q.begin()
	default:
		q.wake <- struct{}{} // there is room: the lane takes one token for each sleep
	}
}

// take waits for work and exchanges it for an empty slice. There is none when the queue is closed, or
// when the goroutine is to end because the lane rests.
func (q *queue[T]) take(empty []T) (items []T, rests bool) {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return nil, false
		}
		if len(q.items) > 0 {
			items := q.items
			q.items = empty
			q.mu.Unlock()
			return items, false
		}
		q.sleeping = true
		q.mu.Unlock()
		if q.begin != nil {
			return nil, true
		}
		<-q.wake
	}
}

// poll exchanges what has gathered for an empty slice, and doesn't wait for more.
func (q *queue[T]) poll(empty []T) (items []T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, empty
	return items
}

// len returns how many items have gathered.
func (q *queue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// idles says whether nothing is there. What a burst has left is let go of then.
func (q *queue[T]) idles() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 {
		return false
	}
	q.items = modest(q.items)
	return true
}

// isClosed says whether the items that a lane has taken and not begun are to be dropped.
func (q *queue[T]) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// lanes do the work that the loop hands them. Each has an order of its own, and one goroutine at a
// time.
type lanes struct {
	writes interface {
		add(write Write)
		close()
	}
	fetches *queue[Fetch]
	applies *queue[machineTask]
	applier *Applier // used by the machine lane alone
	// snapshot is the one that the fetch lane reads, and nil while it reads none. It alone uses this.
	snapshot *snapshotReader
	// lacks is why the machine lane waits for room; nil if it doesn't.
	lacks atomic.Pointer[error]
}

// makeLanes gives a node that stands alone its lanes, whose goroutines last.
func (n *Node) makeLanes() {
	n.lanes.writes, n.lanes.fetches, n.lanes.applies = newQueue[Write](), newQueue[Fetch](), newQueue[machineTask]()
}

// startLanes starts those goroutines.
func (n *Node) startLanes() {
	n.life.enterStorage()
	go n.writeLane(n.lanes.writes.(*queue[Write]))
	n.life.enterStorage()
	go n.fetchLane()
	n.life.enter()
	go n.applyLane()
}

// close ends each lane as soon as it has finished its present item.
func (l *lanes) close() {
	l.writes.close()
	l.fetches.close()
	l.applies.close()
}

// A machineTask is work for the state machine: exactly one of the three fields is set.
type machineTask struct {
	entries       []Entry
	take, restore *SnapshotMeta
}

// work runs a lane. It calls do with one item after the other, until the queue is closed, do fails,
// or the lane rests, which it reports. A failure stops the node.
func work[T any](n *Node, q *queue[T], where string, do func(T) error) (rests bool) {
	// The failure stays this one if guard doesn't return: then do has ended the goroutine.
	var failure error = &PanicError{Where: where}
	defer func() {
		if failure != nil {
			n.inbox.stop(failure)
		}
	}()
	failure = guard(where, func() error {
		var spare []T
		for {
			var items []T
			if items, rests = q.take(spare); items == nil {
				return nil
			}
			for i := range items {
				if i > 0 && q.isClosed() {
					return nil
				}
				if err := do(items[i]); err != nil {
					return err
				}
			}
			spare = emptied(items)
		}
	})
	return rests
}

// writeLane makes writes durable, in order. After a failure it reports nothing and tries nothing
// again: nobody knows what the disk holds.
func (n *Node) writeLane(writes *queue[Write]) {
	defer n.leaveStorage()
	work(n, writes, "storage", func(w Write) error {
		if err := n.write(&w); err != nil {
			return because(fmt.Errorf("raft: write %d", w.Number), err)
		}
		n.inbox.persisted(w.Number)
		return nil
	})
}

// fetchLane reads entries that have left memory. If they have been compacted meanwhile, that is no
// failure; neither is it if some of them are lost. It also reads the snapshot to see whether it is
// sound.
func (n *Node) fetchLane() {
	defer n.leaveStorage()
	rests := false
	defer func() {
		if !rests {
			n.closeSnapshot()
		}
	}()
	rests = work(n, n.lanes.fetches, "storage", n.fetch)
}

// applyLane drives the state machine.
func (n *Node) applyLane() {
	defer n.life.leave()
	work(n, n.lanes.applies, "state machine", func(task machineTask) error {
		switch {
		case task.take != nil:
			n.takeSnapshot(task.take)
			return nil
		case task.restore != nil:
			return n.restoreSnapshot(task.restore)
		}
		start := stopwatchFor(n.trace.Applied != nil)
		batch, err := n.lanes.applier.Apply(task.entries)
		if err := n.traceApply(task.entries, start, err); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		n.inbox.applied(batch)
		return nil
	})
}

// A stopwatch measures how long a lane takes for its items. The loop keeps it, by the clock
// readings that it makes anyway.
type stopwatch struct {
	items int // those that were handed over and not reported
	since Instant
}

// begin notes that items were handed over.
func (s *stopwatch) begin(now Instant, items int) {
	if s.items == 0 {
		s.since = now
	}
	s.items += items
}

// end notes that items were reported, and returns how long the lane took for them.
func (s *stopwatch) end(now Instant, items int) time.Duration {
	took := time.Duration(now - s.since)
	s.items, s.since = s.items-items, now
	return took
}

// A LaneStatus says what one of the node's lanes is doing.
type LaneStatus struct {
	Pending int           // how many items it was given and hasn't finished
	For     time.Duration // since it finished one or was given the first; 0 when nothing is pending
	// Waits is what is waited for. Of the disk, it is what the storage says (see Storage). Of the
	// state machine, it is why DurableMachine.Save or Restore finds no room.
	Waits error
}

// status says what the lane is doing.
func (s *stopwatch) status(now Instant) LaneStatus {
	if s.items == 0 {
		return LaneStatus{}
	}
	return LaneStatus{Pending: s.items, For: time.Duration(now - s.since)}
}
