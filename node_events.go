package raft

import (
	"context"
	"iter"
	"sync"
)

// An Event is something that a node knows and that has changed, with its new value. It is one of
// Leadership, Membership, CurrentSnapshot, Damage, Trouble, PeerTrouble, DiskFull and Stopped.
type Event interface{ kind() eventKind }

// Leadership says who leads, as far as this server knows. Two of them can be compared with ==.
type Leadership struct {
	Term Term
	// Role is that of this server, as in Status.
	Role string

	// Leader is the server that leads in Term; "" while this server knows none. LeaderAddress is
	// where the other servers reach it.
	Leader        ServerID
	LeaderAddress string

	// Ready says that this server leads and has applied the entry that began its term: its state
	// holds everything that was ever acknowledged (§6.4). A server that is to act as the leader
	// begins when it is ready, not when it is elected.
	Ready bool
}

// Membership says who belongs to the cluster. A configuration takes effect as soon as it is in the
// log (§4.1). Until it is committed, another one may take its place.
type Membership struct {
	Index         Index         // of the entry that the configuration came with
	Configuration Configuration // shared: it must not be changed
	Committed     bool
}

// Trouble says why a server takes no part in its cluster. Err is that of Status.Trouble; nil says
// that the trouble is over.
type Trouble struct{ Err error }

// PeerTrouble says that another member takes no part, as far as this server knows while it leads.
// Err is ErrRolledBack if the member's disk has gone back in time, or ErrOtherIncarnation if it has
// another disk than the one that the cluster knows. If several members are in trouble, Server is
// the first one; Status.Peers names them all. Server is "" once none is any more.
type PeerTrouble struct {
	Server ServerID
	Err    error
}

// DiskFull says whether this server's disk is full: hardly more than Config.ReserveBytes is left of
// its room. Status.Room says how much. Peer is the first other member whose disk is full, as far as
// this server knows while it leads, and "" for none. Status.Peers names them all.
type DiskFull struct {
	Full bool
	Peer ServerID
}

// Stopped says that the node has stopped. It is the last event. Err is that of Node.Err: nil after
// Close.
type Stopped struct{ Err error }

// The kinds of events.
type eventKind int

const (
	leadershipKind eventKind = iota
	membershipKind
	snapshotKind
	damageKind
	troubleKind
	peerTroubleKind
	diskFullKind
	stoppedKind

	numEventKinds
)

func (Leadership) kind() eventKind      { return leadershipKind }
func (Membership) kind() eventKind      { return membershipKind }
func (CurrentSnapshot) kind() eventKind { return snapshotKind }
func (Damage) kind() eventKind          { return damageKind }
func (Trouble) kind() eventKind         { return troubleKind }
func (PeerTrouble) kind() eventKind     { return peerTroubleKind }
func (DiskFull) kind() eventKind        { return diskFullKind }
func (Stopped) kind() eventKind         { return stoppedKind }

// Events yields what the node knows now, one event of each kind, and then every change. It ends
// when ctx ends, when the caller breaks off, or after Stopped. It can be called at any time, also
// after the node has stopped, and any number of times. Each iteration gets all events.
//
// Events never holds up the node. A caller that is slow misses events that are outdated, and no
// others: of each kind only the latest one waits for the caller, in the order in which the latest
// ones came. So when the iteration has nothing more to yield, the last Leadership that it yielded
// is the current one, however slow the caller was.
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

// Leadership returns who leads, as far as this server knows. It costs next to nothing and waits for
// no other goroutine. So it may be called for every request.
func (n *Node) Leadership() Leadership { return n.board.leadership() }

// A board shows the latest event of each kind. The loop puts events up, and never waits. Each
// watcher remembers which events it has seen.
type board struct {
	mu       sync.Mutex
	posted   uint64   // how many events were put up
	notices  []notice // one of each kind that was put up
	watchers map[*watcher]struct{}
}

// A notice is an event and its place in the order of all events, from 1 on.
type notice struct {
	event Event
	place uint64
}

// A watcher is one iteration over the events.
type watcher struct {
	wake chan struct{} // holds a token when there may be something new
	seen [numEventKinds]uint64
}

// post puts events up, and wakes the watchers.
func (b *board) post(events ...Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, event := range events {
		b.posted++
		b.put(notice{event, b.posted})
	}
	for w := range b.watchers {
		select {
		case w.wake <- struct{}{}:
		default: // it is about to look anyway
		}
	}
}

// put puts up a notice in the place of the one before, of the same kind.
func (b *board) put(n notice) {
	for i := range b.notices {
		if b.notices[i].event.kind() == n.event.kind() {
			b.notices[i] = n
			return
		}
	}
	b.notices = append(b.notices, n)
}

// latest returns the latest event of a kind, or nil.
func (b *board) latest(kind eventKind) Event {
	for _, n := range b.notices {
		if n.event.kind() == kind {
			return n.event
		}
	}
	return nil
}

// watch adds a watcher that has seen nothing yet.
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
	for _, n := range b.notices {
		if n.place > w.seen[n.event.kind()] && (first.event == nil || n.place < first.place) {
			first = n
		}
	}
	if first.event != nil {
		w.seen[first.event.kind()] = first.place
	}
	return told(first.event)
}

// A placedMembership is a Membership as it is put up: groups that rest have one each.
type placedMembership struct {
	index         Index
	configuration *Configuration
	committed     bool
}

func (placedMembership) kind() eventKind { return membershipKind }

// event returns it as it is told.
func (m placedMembership) event() Membership {
	shown := *m.configuration
	shown.Keys = nil // they concern nobody but the servers
	return Membership{m.index, shown, m.committed}
}

// told returns an event as it is told.
func told(event Event) Event {
	if m, ok := event.(placedMembership); ok {
		return m.event()
	}
	return event
}

// leadership returns the latest Leadership.
func (b *board) leadership() Leadership {
	latest, _, _ := b.shown()
	return latest
}

// shown returns the latest Leadership, Membership and Trouble.
func (b *board) shown() (leadership Leadership, shown Membership, trouble Trouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	leadership, _ = b.latest(leadershipKind).(Leadership)
	shown, _ = told(b.latest(membershipKind)).(Membership)
	trouble, _ = b.latest(troubleKind).(Trouble)
	return leadership, shown, trouble
}

// news returns an event for everything that has changed since an earlier standing.
func (l *loop) news(was Standing) (events []Event) {
	now := l.shown.standing
	leadership := Leadership{now.Term, now.Role, now.Leader, l.addressOf(now.Leader, now.Configuration), now.Leads}
	if leadership != l.board.leadership() {
		events = append(events, leadership)
	}
	other := now.Configuration != was.Configuration || now.ConfigurationCommitted != was.ConfigurationCommitted
	if now.Configuration != nil && other {
		events = append(events, placedMembership{now.ConfigurationIndex, now.Configuration, now.ConfigurationCommitted})
	}
	if now.Snapshot != was.Snapshot || now.SnapshotSerial != was.SnapshotSerial {
		events = append(events, now.Snapshot)
	}
	if now.Lost != was.Lost || now.LostEntries != was.LostEntries {
		status := l.core.Status()
		events = append(events, l.damage(&status))
	}
	if now.Trouble != was.Trouble {
		events = append(events, Trouble{now.Trouble})
	}
	if now.TroubledPeer != was.TroubledPeer || now.PeerTrouble != was.PeerTrouble {
		events = append(events, PeerTrouble{now.TroubledPeer, now.PeerTrouble})
	}
	if now.Full != was.Full || now.FullPeer != was.FullPeer {
		events = append(events, DiskFull{now.Full, now.FullPeer})
	}
	return events
}

// addressOf returns where other servers reach a server. The latest configuration says so; while
// there is none, Bootstrap does.
func (l *loop) addressOf(id ServerID, configuration *Configuration) string {
	if configuration != nil {
		if member := configuration.Member(id); member != nil {
			return l.moved.of(id, member.Address)
		}
	}
	for _, server := range l.config.Bootstrap {
		if server.ID == id {
			return server.Address
		}
	}
	return ""
}
