package raft

import (
	"context"
	"iter"
	"sync"
)

// An Event is something that a node knows and that has changed, as it is now: Leadership,
// Membership, CurrentSnapshot, Trouble, PeerTrouble or Stopped.
type Event interface{ kind() eventKind }

// Leadership says who leads, as far as a server knows.
type Leadership struct {
	Term Term
	Role string // of this server: "follower", "pre-candidate", "candidate", "leader"; "stopped" at the end

	// Leader leads in Term; "" while none is known. LeaderAddress is where the other servers reach
	// it.
	Leader        ServerID
	LeaderAddress string

	// Ready says that this server leads and has applied the entry that began its term (§6.4): its
	// state holds everything that was ever acknowledged. Who is to act as the leader begins now,
	// not at its election.
	Ready bool
}

// Membership says who belongs to the cluster. A configuration takes effect when it is in the log
// (§4.1); until it is committed another one may take its place.
type Membership struct {
	Index         Index         // of the entry that the configuration came with
	Configuration Configuration // shared, and not to be changed
	Committed     bool
}

// Trouble says why a server takes no part in its cluster, as Status.Trouble does; nil when it has
// none any more.
type Trouble struct{ Err error }

// PeerTrouble says that another member takes no part, as far as this server, while it leads, knows: its disk has
// gone back in time (ErrRolledBack), or it has another one than the cluster knows (ErrOtherIncarnation). Of several
// it names the first; Status.Peers has all. Server is "" when there is none any more.
type PeerTrouble struct {
	Server ServerID
	Err    error
}

// Stopped says that the node has stopped: Err is why, as Node.Err tells it. It is the last event.
type Stopped struct{ Err error }

// The kinds of events.
type eventKind int

const (
	leadershipKind eventKind = iota
	membershipKind
	snapshotKind
	troubleKind
	peerTroubleKind
	stoppedKind

	numEventKinds
)

func (Leadership) kind() eventKind      { return leadershipKind }
func (Membership) kind() eventKind      { return membershipKind }
func (CurrentSnapshot) kind() eventKind { return snapshotKind }
func (Trouble) kind() eventKind         { return troubleKind }
func (PeerTrouble) kind() eventKind     { return peerTroubleKind }
func (Stopped) kind() eventKind         { return stoppedKind }

// Events yields what the node knows now, one event of each kind, and then every change, until ctx
// ends, the node has stopped, or the caller breaks off. It can be called at any time, also after
// the node has stopped, and as often as one likes; each iteration sees every kind for itself.
//
// It never holds up the node. Who is slow misses what is outdated, and nothing else: of each kind
// there is only the latest event to be yielded, at the place in the order where that came. So the
// last Leadership that was yielded, once the iteration waits for more, is the current one, however
// slowly the events were taken.
func (n *Node) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		w := n.board.watch()
		defer n.board.leave(w)
		for ctx.Err() == nil {
			event := n.board.take(w)
			if event == nil {
				select {
				case <-w.wake:
				case <-ctx.Done():
				}
				continue
			}
			if !yield(event) || event.kind() == stoppedKind {
				return
			}
		}
	}
}

// Leadership returns who leads, as far as this server knows. It costs next to nothing, and waits
// for nobody.
func (n *Node) Leadership() Leadership { return n.board.leadership() }

// A board shows the latest event of each kind. The loop puts events up and waits for nobody;
// watchers remember which ones they have seen.
type board struct {
	mu       sync.Mutex
	posted   uint64 // how many events were put up
	notices  [numEventKinds]notice
	watchers map[*watcher]struct{}
}

// A notice is an event and its place among all of them, from 1.
type notice struct {
	event Event
	place uint64
}

// A watcher is one iteration over the events.
type watcher struct {
	wake chan struct{} // holds a token when there may be something new
	seen [numEventKinds]uint64
}

// post puts events up.
func (b *board) post(events ...Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, event := range events {
		b.posted++
		b.notices[event.kind()] = notice{event, b.posted}
	}
	for w := range b.watchers {
		select {
		case w.wake <- struct{}{}:
		default: // it is about to look anyway
		}
	}
}

// watch adds a watcher, which has seen nothing yet.
func (b *board) watch() *watcher {
	w := &watcher{wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watchers == nil {
		b.watchers = make(map[*watcher]struct{})
	}
	b.watchers[w] = struct{}{}
	return w
}

// leave removes a watcher.
func (b *board) leave(w *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watchers, w)
}

// take returns the first event that a watcher hasn't seen, or nil.
func (b *board) take(w *watcher) Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var first notice
	for kind, n := range b.notices {
		if n.place > w.seen[kind] && (first.event == nil || n.place < first.place) {
			first = n
		}
	}
	if first.event != nil {
		w.seen[first.event.kind()] = first.place
	}
	return first.event
}

// leadership returns the latest one.
func (b *board) leadership() Leadership {
	b.mu.Lock()
	defer b.mu.Unlock()
	latest, _ := b.notices[leadershipKind].event.(Leadership)
	return latest
}
