package raft

import (
	"context"
	"slices"
	"sync"
)

// hostSnapshots are the places for the snapshots of a host's groups, which are taken, sent and received a
// few at a time, and the sizes of the groups' logs, by which some of them take theirs earlier.
type hostSnapshots struct {
	takes    takePlaces
	sends    streamPlaces
	receives receivePlaces
	logs     hostLogs
}

func (s *hostSnapshots) init(h *Host) {
	h.pools.snapshots = s
	s.takes.init(h)
	s.receives.patience = Instant(sendingPatience * h.settings.ElectionTimeout)
	s.logs.init(h)
}

// show shows how many snapshots are on their way.
func (s *hostSnapshots) show(status *HostStatus) {
	status.LogBytes = s.logs.count()
	status.Taking, status.ToTake = s.takes.count()
	status.Sending, status.ToSend = s.sends.count()
	status.Receiving, status.ToReceive = s.receives.count()
}

// maxSends is how many snapshots a host sends to one server at a time. A transport has more places than
// that for the streams of one server, and a stream for which there is none breaks. From one server a host
// receives as many at a time, and maxReceives from all servers together.
const (
	maxSends    = 4
	maxReceives = 8
)

// streamPlaces are the places for the snapshots that a host sends, apart for each server: one that takes
// nothing holds up only what is for itself. Who waits gets a place in the order in which it came.
type streamPlaces struct {
	mu      sync.Mutex
	of      map[ServerID]chan struct{} // holds a token for each snapshot that is being sent
	waiting int
}

// enter waits for a place, and returns what gives it back. If it has to wait, it says so before. The error
// says that ctx has ended.
func (p *streamPlaces) enter(ctx context.Context, to ServerID, waits func()) (leave func(), err error) {
	p.mu.Lock()
	if p.of == nil {
		p.of = make(map[ServerID]chan struct{})
	}
	places := p.of[to]
	if places == nil {
		places = make(chan struct{}, maxSends)
		p.of[to] = places
	}
	leave = func() { <-places }
	select {
	case places <- struct{}{}:
		p.mu.Unlock()
		return leave, nil
	default:
	}
	p.waiting++
	p.mu.Unlock()
	waits()
	defer p.leaveLine()
	select {
	case places <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *streamPlaces) leaveLine() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
}

// count returns how many snapshots are sent, and how many wait.
func (p *streamPlaces) count() (sending, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, places := range p.of {
		sending += len(places)
	}
	return sending, p.waiting
}

// enterSend waits for a place for a snapshot that is to be sent, and tells the core when it waits and when
// it doesn't any more. A node that stands alone doesn't wait.
func (t *transfers) enterSend(ctx context.Context, send *SendSnapshot) (leave func(), err error) {
	if t.snapshots == nil {
		return func() {}, nil
	}
	waited := false
	leave, err = t.snapshots.sends.enter(ctx, send.Header.To, func() {
		waited = true
		_ = t.inbox.report(func(l *loop, now Instant) { l.core.SnapshotWaits(now, send.Stream) }) // it may have stopped
	})
	if waited && err == nil {
		offset := send.Header.SnapshotStream().Offset
		_ = t.inbox.report(func(l *loop, now Instant) { l.core.SnapshotMoved(now, send.Stream, offset) })
	}
	return leave, err
}

// enterReceive takes a place for a snapshot that a server brings, and returns what gives it back. It
// returns false if there is none. A node that stands alone always has one.
func (t *transfers) enterReceive(from ServerID) (leave func(), ok bool) {
	if t.snapshots == nil {
		return func() {}, true
	}
	r := &t.snapshots.receives
	if !r.enter(t.group, from, t.clock.now()) {
		return nil, false
	}
	return func() { r.leave(t.group, t.clock.now()) }, true
}

// receivePlaces are the places for the snapshots that a host receives. A leader asks before it opens a
// stream, and asks again after each round of heartbeats until it is told to begin. So a group that waits
// needs nothing but its place in the line:
//
//	ask ──▶ in the line ──▶ a place is kept for it ──▶ ask: begin ──▶ enter: its stream is open ──▶ leave
//	           │                      │
//	           └──────────────────────┴──▶ gone, if it wasn't asked for in a while
//
// There are only so many places for one server as that server has for this one, so that whatever is told to
// begin does begin.
type receivePlaces struct {
	patience Instant // after which nobody is expected any more who hasn't asked again

	mu    sync.Mutex
	of    map[GroupID]*receivePlace
	has   []*receivePlace // those that have a place
	lines map[ServerID]*receiveLine
	last  uint64 // the number of the last one that came
}

// A receivePlace is the place of a group. number is its place in the order in which they came.
type receivePlace struct {
	group   GroupID
	from    ServerID
	number  uint64
	asked   Instant
	has     bool // a place; otherwise it waits
	streams int  // those that are open
}

// A receiveLine is what comes from one server. Some of those that wait may have gone.
type receiveLine struct {
	has     int // how many have a place
	waiting []*receivePlace
}

// ask says whether a snapshot may come for a group. Otherwise the group waits in the line.
func (r *receivePlaces) ask(group GroupID, from ServerID, now Instant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(group, from, now).has
}

// enter counts a stream, if there is a place for its group.
func (r *receivePlaces) enter(group GroupID, from ServerID, now Instant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.find(group, from, now)
	if p.has {
		p.streams++
	}
	return p.has
}

// leave counts a stream that has ended. Its group's place is free then, unless another one is open.
func (r *receivePlaces) leave(group GroupID, now Instant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.of[group]
	if p.streams--; p.streams == 0 {
		r.drop(p)
		r.admit(now)
	}
}

// find returns the place of a group, or its place in the line. The caller holds mu, as those of the rest.
func (r *receivePlaces) find(group GroupID, from ServerID, now Instant) *receivePlace {
	if r.of == nil {
		r.of, r.lines = make(map[GroupID]*receivePlace), make(map[ServerID]*receiveLine)
	}
	p := r.of[group]
	if p != nil && p.from != from && p.streams == 0 { // another server leads, and begins at the end
		r.drop(p)
		p = nil
	}
	if p == nil {
		r.last++
		p = &receivePlace{group: group, from: from, number: r.last}
		line := r.lines[from]
		if line == nil {
			line = new(receiveLine)
			r.lines[from] = line
		}
		line.waiting = append(line.waiting, p)
		r.of[group] = p
	}
	p.asked = now
	r.admit(now)
	return p
}

// drop takes away the place of a group, or its place in the line.
func (r *receivePlaces) drop(p *receivePlace) {
	delete(r.of, p.group)
	if p.has {
		r.has = slices.DeleteFunc(r.has, func(other *receivePlace) bool { return other == p })
		r.lines[p.from].has--
	}
}

// admit takes away the places that were kept in vain, and gives places to those that wait, in their order.
func (r *receivePlaces) admit(now Instant) {
	for i := len(r.has) - 1; i >= 0; i-- {
		if p := r.has[i]; p.streams == 0 && p.asked+r.patience < now {
			r.drop(p)
		}
	}
	for len(r.has) < maxReceives {
		next := r.next(now)
		if next == nil {
			return
		}
		line := r.lines[next.from]
		line.waiting = line.waiting[1:]
		line.has++
		next.has = true
		r.has = append(r.has, next)
	}
}

// next returns who has waited the longest, of those for which there is a place. It goes by the few servers
// from which snapshots come, and not by the groups.
func (r *receivePlaces) next(now Instant) (next *receivePlace) {
	for from, line := range r.lines {
		for len(line.waiting) > 0 {
			p := line.waiting[0]
			if r.of[p.group] == p {
				if p.asked+r.patience >= now {
					break
				}
				r.drop(p)
			}
			line.waiting = line.waiting[1:]
		}
		switch {
		case len(line.waiting) == 0 && line.has == 0:
			delete(r.lines, from)
		case len(line.waiting) > 0 && line.has < maxSends && (next == nil || line.waiting[0].number < next.number):
			next = line.waiting[0]
		}
	}
	return next
}

// count returns how many snapshots come, and how many wait for a place.
func (r *receivePlaces) count() (coming, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.has {
		coming += min(p.streams, 1)
	}
	return coming, len(r.of) - len(r.has)
}
