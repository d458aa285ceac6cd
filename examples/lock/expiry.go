package main

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// A feed tells the goroutine that measures leases what changes. It keeps the latest change of each
// claim, and so it is never larger than the state and what has ended since it was taken.
type feed struct {
	mu      sync.Mutex
	changes map[uint64]change // by claim
	wake    chan struct{}     // has a value when there are changes
}

// A change says that a claim has a new stamp, and for how long it lasts from now on; 0 if it has
// ended.
type change struct {
	sighting
	lasts time.Duration
}

func (f *feed) note(seen sighting, lasts time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes[seen.Claim] = change{seen, lasts}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) take() map[uint64]change {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.changes
	f.changes = map[uint64]change{}
	return taken
}

// follow starts a feed, which begins with all claims that there are. unfollow ends it.
func (m *machine) follow() *feed {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.feed = &feed{changes: map[uint64]change{}, wake: make(chan struct{}, 1)}
	for _, claims := range m.locks {
		for _, c := range claims {
			m.touched(c)
		}
	}
	return m.feed
}

func (m *machine) unfollow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.feed = nil
}

// expireClaims measures the time of all claims while this server leads, again and again until ctx or
// the node ends.
//
// A new leader knows nothing of the time that has passed before, so it begins every claim anew: a
// lease may last longer than promised, but never shorter. It is measured from when the leader has
// applied the command that began it, which is after the client has sent that.
func expireClaims(ctx context.Context, node *raft.Node, m *machine) {
	for {
		err := node.WhileLeader(ctx, func(ctx context.Context, _ raft.Term) error {
			w := &clock{feed: m.follow(), running: map[uint64]*lapse{}, propose: func(c *command) error {
				_, err := node.Propose(ctx, encode(c))
				return err
			}}
			defer m.unfollow()
			w.run(ctx)
			return nil
		})
		if err != nil || ctx.Err() != nil {
			return // err is not nil only if the function wasn't called: the node ends, or ctx
		}
	}
}

// A clock measures the time of claims in one leadership, by the monotonic clock of this server, and
// proposes the end of those that have outlasted it.
//
// The proposals are fenced: a leader that was deposed has decided by its own clock, while the next
// leader begins every claim anew. And they name the stamp, so that a renewal that gets into the log
// first wins.
type clock struct {
	feed    *feed
	propose func(*command) error // in this leadership, or never

	running map[uint64]*lapse // by claim
	due     lapses            // the same, ordered by the time of their end
}

// A lapse is a claim whose time runs.
type lapse struct {
	sighting
	end time.Time
	at  int // the place in the heap
}

// retry is how long the clock waits after a proposal that has failed.
const retry = 50 * time.Millisecond

// run runs until ctx ends.
func (w *clock) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changes := w.feed.take()
		now := time.Now() // after all of the changes, or a lease would be shorter than promised
		for _, c := range changes {
			w.note(c, now)
		}
		over := w.overdue(now)
		if len(over) > 0 && w.propose(&command{Do: doExpire, Expired: over}) != nil {
			// It may be applied nevertheless. The feed then says so.
			select {
			case <-time.After(retry):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
		if len(over) > 0 {
			continue // there may be more
		}
		sleep := time.Hour
		if len(w.due) > 0 {
			sleep = time.Until(w.due[0].end)
		}
		timer.Reset(sleep)
		select {
		case <-w.feed.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// note takes a change in.
func (w *clock) note(c change, now time.Time) {
	l, found := w.running[c.Claim]
	switch {
	case c.lasts == 0:
		if found {
			heap.Remove(&w.due, l.at)
			delete(w.running, c.Claim)
		}
	case !found:
		l = &lapse{sighting: c.sighting, end: now.Add(c.lasts)}
		w.running[c.Claim] = l
		heap.Push(&w.due, l)
	case l.Stamp != c.Stamp:
		l.sighting, l.end = c.sighting, now.Add(c.lasts)
		heap.Fix(&w.due, l.at)
	}
}

// overdue returns claims whose time is over. They stay until the feed says that they have ended.
func (w *clock) overdue(now time.Time) (over []sighting) {
	for len(w.due) > 0 && len(over) < maxExpired && !now.Before(w.due[0].end) {
		over = append(over, heap.Pop(&w.due).(*lapse).sighting)
	}
	for _, seen := range over {
		heap.Push(&w.due, w.running[seen.Claim])
	}
	return over
}

// lapses is a heap.
type lapses []*lapse

func (l lapses) Len() int           { return len(l) }
func (l lapses) Less(i, j int) bool { return l[i].end.Before(l[j].end) }
func (l lapses) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].at, l[j].at = i, j
}

// Push implements heap.Interface.
func (l *lapses) Push(x any) {
	added := x.(*lapse)
	added.at = len(*l)
	*l = append(*l, added)
}

// Pop implements heap.Interface.
func (l *lapses) Pop() any {
	last := len(*l) - 1
	removed := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return removed
}
