package tcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Whoever reaches the port of a server can connect, say nothing, and come again. So every place has
// a time after which it is given back, and where strangers take up all of them, a stranger makes
// room. Members have places of their own, which nobody else can take.
const (
	maxHandshakes    = 512       // accepted connections whose servers haven't said yet who they are
	maxGuests        = 64        // servers that have connected although SetServers doesn't name them
	maxGuestFrame    = 512 << 10 // bytes in a message of a guest; one guest at a time may send a larger one
	maxMemberStreams = 8         // streams that are received from one member
	maxGuestStreams  = 16        // streams that are received from all guests
	maxAsking        = 64        // connections for single messages

	guestIdle  = 30 * time.Second // how long a guest may send nothing
	streamIdle = 30 * time.Second // how long a stream may bring nothing while its receiver reads
	streamRest = 3 * time.Second  // after so long without a byte, a stream makes room for another one
)

// errNoPlace says that there is no room for a connection.
var errNoPlace = errors.New("no place is free")

// errStranger says that a stream, or a connection for large messages, comes from a server that
// doesn't belong to the cluster.
var errStranger = errors.New("the server is no member, and hasn't proved that it belongs to the cluster")

// A newcomer is an accepted connection whose server hasn't said yet who it is.
type newcomer struct {
	raw       net.Conn
	source    string // from where it comes
	displaced bool   // it has made room for another one
}

// sourceOf returns from where a connection comes: an address of IPv4, or a network of IPv6 that one
// owner has.
func sourceOf(conn net.Conn) (source string) {
	_ = guard("Conn", func() error {
		source = sourceOfAddress(conn.RemoteAddr().String())
		return nil
	})
	return source
}

func sourceOfAddress(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// enter gives a newcomer a place. If there are too many, one makes room, and is returned: if there
// is any, one that doesn't come from where a member is; of these, one of the source that has sent
// the most; and of these the one that has been silent for longest. So strangers displace strangers,
// and a member needs its place only for a round trip or two. The caller holds mu.
func (t *Transport) enter(n *newcomer) (displaced *newcomer) {
	t.newcomers = append(t.newcomers, n)
	if len(t.newcomers) <= maxHandshakes {
		return nil
	}
	homes := make(map[string]bool)
	for _, p := range t.peers {
		p.homes(homes)
	}
	many := make(map[string]int)
	for _, n := range t.newcomers {
		many[n.source]++
	}
	for _, n := range t.newcomers { // in the order in which they came
		switch d := displaced; {
		case d == nil, homes[d.source] && !homes[n.source]:
			displaced = n
		case homes[n.source] && !homes[d.source]:
		case many[n.source] > many[d.source]:
			displaced = n
		}
	}
	displaced.displaced = true
	t.leave(displaced)
	return displaced
}

// leave gives a newcomer's place back. The caller holds mu.
func (t *Transport) leave(n *newcomer) {
	for i, other := range t.newcomers {
		if other == n {
			t.newcomers = append(t.newcomers[:i], t.newcomers[i+1:]...)
			return
		}
	}
}

// beginLarge lets a guest send a frame that is larger than those of guests may be, if no other
// guest does so.
func (t *Transport) beginLarge(l *link) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.large != nil && t.large != l {
		return fmt.Errorf("%w for a message of more than %d bytes from a server that is no member", errNoPlace, maxGuestFrame)
	}
	t.large = l
	return nil
}

// endLarge gives the place back.
func (t *Transport) endLarge(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.large == l {
		t.large = nil
		l.reader.shrink()
	}
}

// An arrival is a stream that is being received.
type arrival struct {
	link  *link
	guest bool
	moved time.Time // when it has brought something the last time, or when it came
}

// beginStream gives a stream a place, or fails if there is none. The streams of a member have
// places of their own. Where all are taken, the stream that has brought nothing for longest makes
// room, if that is long enough.
func (t *Transport) beginStream(l *link) (*arrival, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.judge(l)
	from := l.session.from
	a := &arrival{link: l, guest: t.peers[from].isStranger(l), moved: time.Now()}
	if a.guest && !t.keys.empty() {
		return nil, errStranger
	}
	limit := maxMemberStreams
	if a.guest {
		limit = maxGuestStreams
	}
	rivals := 0
	var last *arrival
	for other := range t.arrivals {
		if other.guest != a.guest || !a.guest && other.link.session.from != from {
			continue
		}
		rivals++
		if last == nil || other.moved.Before(last.moved) {
			last = other
		}
	}
	if rivals >= limit {
		if time.Since(last.moved) < streamRest {
			return nil, fmt.Errorf("%w: %d streams are being received already", errNoPlace, rivals)
		}
		delete(t.arrivals, last)
		abandon(last.link.raw)
	}
	t.arrivals[a] = struct{}{}
	return a, nil
}

// moves notes that a stream has brought something. It fails if the sender has become a stranger.
func (t *Transport) moves(a *arrival) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.moved = time.Now()
	if !t.keys.empty() && t.peers[a.link.session.from].isStranger(a.link) {
		return errStranger
	}
	return nil
}

// endStream gives the place back.
func (t *Transport) endStream(a *arrival) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.arrivals, a)
}
