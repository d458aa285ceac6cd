package tcp

import (
	"errors"
	"log/slog"
	"time"

	"github.com/e17579a5/raft"
)

// expect notes that a server was asked. It has a place of its own as a guest for a while, so that
// it can answer. The caller holds mu.
func (t *Transport) expect(id raft.ServerID) {
	now := time.Now()
	for id, until := range t.expected {
		if now.After(until) {
			delete(t.expected, id)
		}
	}
	if len(t.expected) < maxAsking {
		t.expected[id] = now.Add(guestIdle)
	}
}

// isExpected reports whether a server was asked not long ago. The caller holds mu.
func (t *Transport) isExpected(id raft.ServerID) bool {
	return time.Now().Before(t.expected[id])
}

// makeRoomForGuest sees to it that there is a place for one more guest. If there is none, a guest
// is shown out: one that has never sent a message, or else the one that has been silent for
// longest. The caller holds mu.
func (t *Transport) makeRoomForGuest() {
	guests := 0
	var last *peer
	var spoke, came time.Time // of last
	for id, p := range t.peers {
		if t.isExpected(id) {
			continue
		}
		p.mu.Lock()
		if !p.member.Load() && !p.proved() {
			guests++
			if last == nil || p.spoke.Before(spoke) || p.spoke.Equal(spoke) && p.came.Before(came) {
				last, spoke, came = p, p.spoke, p.came
			}
		}
		p.mu.Unlock()
	}
	if guests >= maxGuests {
		t.log.put(line{level: slog.LevelWarn, text: "tcp: a server that is no member makes room", more: []slog.Attr{peerAttr(last.id)}})
		delete(t.peers, last.id)
		last.showOut()
	}
}

// limit sees to it that reading from a guest has a deadline, and reading from a member has none.
// The caller holds mu.
func (p *peer) limit() {
	var deadline time.Time
	if !p.member.Load() {
		deadline = time.Now().Add(guestIdle)
	}
	if p.in != nil && (p.limited || !p.member.Load()) {
		_ = guard("Conn", func() error { return p.in.raw.SetReadDeadline(deadline) }) // if it has broken, reading tells
	}
	p.limited = !p.member.Load()
}

// begin sets the deadline of reading from a link, after its handshake.
func (p *peer) begin(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in == l {
		p.limited = true // the handshake had a deadline
		p.limit()
	}
}

// hears reports whether the peer may go on after its link was silent until a deadline. A guest may
// not, unless it sends large messages, whose connection has a deadline of its own. A member may: it
// was a guest when the deadline was set.
func (p *peer) hears(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in != l || !p.member.Load() && p.bulkIn == nil {
		return false
	}
	p.limit()
	return true
}

// spoken notes that the peer has sent a message, and says whether it has sent it as a stranger.
func (p *peer) spoken(l *link) (stranger bool) {
	if p.member.Load() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoke = time.Now()
	p.limit()
	return !l.proved.Load()
}

// isStranger says whether what comes on a connection comes from a stranger. A peer that was
// forgotten is nil.
func (p *peer) isStranger(l *link) bool {
	return !l.proved.Load() && (p == nil || !p.member.Load())
}

// proved says whether the peer has proved the newest key. The caller holds mu.
func (p *peer) proved() bool { return p.in != nil && p.in.proved.Load() }

// showOut ends whatever there is of a guest. The caller has taken it out of the transport.
func (p *peer) showOut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel()
	for _, l := range []*link{p.in, p.bulkIn, p.out, p.bulk.out} {
		if l != nil {
			abandon(l.raw)
		}
	}
	p.in, p.bulkIn = nil, nil
}

// errIdle says that a guest's connection isn't needed any more.
var errIdle = errors.New("nothing was sent to a server that is no member, and nothing came from it")

// lapse returns a channel that tells when a guest that has hung up, and to which nothing is sent,
// has had its time, and how much of that is left. For anybody else the channel is nil.
func (p *peer) lapse() (<-chan time.Time, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.member.Load() || p.in != nil {
		return nil, guestIdle
	}
	left := time.Until(p.used.Add(guestIdle))
	return time.After(left), left
}

// forgotten reports whether the peer is a guest without a connection and without an attempt at one.
// If so, it takes the peer out of the transport.
func (p *peer) forgotten() bool {
	p.transport.mu.Lock()
	defer p.transport.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.member.Load() || p.in != nil || p.bulkIn != nil || p.out != nil || p.dial {
		return false
	}
	p.cancel()
	delete(p.transport.peers, p.id)
	return true
}

// forget takes the peer out of the transport, unless another one has its place already.
func (p *peer) forget() {
	p.transport.mu.Lock()
	defer p.transport.mu.Unlock()
	p.cancel()
	if p.transport.peers[p.id] == p {
		delete(p.transport.peers, p.id)
	}
}

// homes adds the sources of a member's connections: what its address says, and where it was the
// last time.
func (p *peer) homes(known map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.member.Load() {
		known[sourceOfAddress(p.address)] = true
		if p.source != "" {
			known[p.source] = true
		}
	}
}
