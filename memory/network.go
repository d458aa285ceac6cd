package memory

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/hash"
	"github.com/e17579a5/raft/wire"
)

// Options say how a Network behaves from the start. The zero value is a perfect network.
type Options struct {
	// Seed decides all luck: which message is lost, repeated or delayed, and by how much. The luck
	// of a message depends on the seed, on the two servers, on its group if that has faults of its own,
	// and on how many messages went that way before it.
	Seed uint64

	// Faults hold for every direction between two servers, until SetFaults says otherwise.
	Faults Faults
}

// Faults are what a network does to the messages from one server to another.
type Faults struct {
	// MinDelay and MaxDelay bound how long a message travels. If both are 0, the receiver has the
	// message before Send returns.
	MinDelay, MaxDelay time.Duration
	// Loss, Duplicate and Reorder are shares of the messages, from 0 to 1: those that are lost,
	// those that arrive twice, and those that don't keep their places in line. Reorder has an
	// effect only where there is a delay.
	Loss, Duplicate, Reorder float64
	// Cut loses every message, and breaks the streams between the two servers.
	Cut bool
}

// Limits of what is on its way from one server to another. A message that would exceed one is lost.
const (
	maxMessagesUnderWay = 16 << 10
	maxBytesUnderWay    = 64 << 20
)

// A Network connects the servers of one process. It does to their messages what its Faults say: it
// loses, delays, repeats and reorders them. It also parts servers, both ways or only one way, and
// partially. Faults may be set and healed at any time, by any goroutine.
//
// It has timers, but no goroutine of its own. So it works in a bubble of testing/synctest.
type Network struct {
	seed uint64

	mu      sync.Mutex
	faults  Faults
	servers map[raft.ServerID]*endpoint // the servers that have started and aren't closed
	links   map[direction]*link
	// groups are the faults of groups that have some of their own, and travel on links of their own.
	groups map[raft.GroupID]Faults
}

// A direction is a way for messages, from one server to another: for those of a group that has faults
// of its own, or for all others.
type direction struct {
	from, to raft.ServerID
	own      bool
	group    raft.GroupID // if own
}

// NewNetwork returns a network without servers.
func NewNetwork(options Options) *Network {
	return &Network{
		seed: options.Seed, faults: options.Faults,
		servers: make(map[raft.ServerID]*endpoint), links: make(map[direction]*link), groups: make(map[raft.GroupID]Faults),
	}
}

// Join returns a transport for a server. After it was closed, the server can join again.
func (n *Network) Join(id raft.ServerID) raft.Transport {
	return &endpoint{network: n, id: id, idle: make(chan struct{}), streams: make(map[*stream]struct{})}
}

// SetFaults sets what happens to all messages, and forgets what was set for single directions and
// groups.
func (n *Network) SetFaults(f Faults) {
	n.change(func() {
		n.faults = f
		clear(n.groups)
		for _, l := range n.links {
			l.faults = f
		}
	})
}

// SetLinkFaults sets what happens to the messages from one server to another, in this direction
// only.
func (n *Network) SetLinkFaults(from, to raft.ServerID, f Faults) {
	n.change(func() { n.link(from, to).faults = f })
}

// Cut cuts one direction between two servers.
func (n *Network) Cut(from, to raft.ServerID) {
	n.change(func() { n.link(from, to).faults.Cut = true })
}

// Isolate cuts both directions between a server and all others that have started.
func (n *Network) Isolate(id raft.ServerID) {
	n.change(func() {
		for other := range n.servers {
			if other != id {
				n.link(id, other).faults.Cut = true
				n.link(other, id).faults.Cut = true
			}
		}
	})
}

// Partition cuts all directions between servers of different groups. A server that is in no group
// keeps all its connections, so a partition may be partial.
func (n *Network) Partition(groups ...[]raft.ServerID) {
	n.change(func() {
		for i, group := range groups {
			for j, other := range groups {
				if i == j {
					continue
				}
				for _, from := range group {
					for _, to := range other {
						n.link(from, to).faults.Cut = true
					}
				}
			}
		}
	})
}

// SetGroupFaults sets what happens to the messages of one group, in all directions, in the place of
// what happens to others. Where a direction is cut, it is cut for the group too. Streams are of no
// group. What was on its way before stays as it was.
func (n *Network) SetGroupFaults(group raft.GroupID, f Faults) {
	n.change(func() {
		n.groups[group] = f
		for d, l := range n.links {
			if d.own && d.group == group {
				l.faults = f
			}
		}
	})
}

// Heal mends every cut, of groups too. The other faults stay.
func (n *Network) Heal() {
	n.change(func() {
		n.faults.Cut = false
		for group, f := range n.groups {
			f.Cut = false
			n.groups[group] = f
		}
		for _, l := range n.links {
			l.faults.Cut = false
		}
	})
}

// change runs f, which may cut directions, and then breaks the streams that need a direction that
// is cut.
func (n *Network) change(f func()) {
	n.mu.Lock()
	f()
	var broken []*stream
	for _, e := range n.servers {
		for s := range e.streams {
			if n.cut(s.from, s.to) || n.cut(s.to, s.from) {
				broken = append(broken, s)
			}
		}
	}
	n.mu.Unlock()
	for _, s := range broken {
		s.sever(errStreamBroken)
	}
}

// cut reports whether a direction is cut. The caller holds mu.
func (n *Network) cut(from, to raft.ServerID) bool {
	if l := n.links[direction{from: from, to: to}]; l != nil {
		return l.faults.Cut
	}
	return n.faults.Cut
}

// link returns the link of a direction. The caller holds mu.
func (n *Network) link(from, to raft.ServerID) *link {
	d := direction{from: from, to: to}
	l := n.links[d]
	if l == nil {
		l = &link{network: n, direction: d, seed: hash.Mix(hash.String(n.seed, from), hash.String(0, to)), faults: n.faults}
		n.links[d] = l
	}
	return l
}

// linkOf returns the link on which a message travels. The caller holds mu.
func (n *Network) linkOf(m *wire.Message, from raft.ServerID) *link {
	common := n.link(from, m.To)
	faults, own := n.groups[m.Group]
	if !own || common.faults.Cut {
		return common
	}
	d := direction{from, m.To, true, m.Group}
	l := n.links[d]
	if l == nil {
		l = &link{network: n, direction: d, seed: hash.Mix(common.seed, hash.String(0, m.Group)), faults: faults}
		n.links[d] = l
	}
	return l
}

// An endpoint is the transport of one server.
type endpoint struct {
	network *Network
	id      raft.ServerID

	// calls counts the calls to the handler that are under way. Close adds the most negative number
	// to it, and from then on no call can begin. idle is closed when the last call has ended after
	// that.
	calls   atomic.Int64
	idle    chan struct{}
	atIdle  sync.Once
	handler raft.Handler

	// network.mu guards the rest.
	started, closed bool
	streams         map[*stream]struct{} // the streams that it has opened or received
}

// Errors of a transport.
var (
	errNetworkClosed = errors.New("memory: transport is closed")
	errStreamBroken  = errors.New("memory: stream broke")
)

// Start implements raft.Transport.
func (e *endpoint) Start(self raft.Server, handler raft.Handler) error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case e.closed:
		return errNetworkClosed
	case self.ID != e.id:
		return fmt.Errorf("memory: server %q starts with the transport of %q", self.ID, e.id)
	case n.servers[e.id] != nil:
		return fmt.Errorf("memory: server %q has joined already", e.id)
	}
	e.handler, e.started = handler, true
	n.servers[e.id] = e
	return nil
}

// SetServers implements raft.Transport. It does nothing: every server that has started can be
// reached by its ID.
func (e *endpoint) SetServers([]raft.Server) {}

// Send implements raft.Transport.
func (e *endpoint) Send(m wire.Message) {
	n := e.network
	n.mu.Lock()
	to := n.servers[m.To]
	if e.closed || !e.started || to == nil {
		n.mu.Unlock()
		return
	}
	l := n.linkOf(&m, e.id)
	if l.faults == (Faults{}) && len(l.queue) == 0 {
		n.mu.Unlock()
		to.receive(m)
		return
	}
	copies := l.push(packet{message: m, size: m.Size()})
	n.mu.Unlock()
	for range copies {
		to.receive(m)
	}
}

// begin asks whether a call to the handler may begin. If it may, end must be called after it. It
// may not once the endpoint is closed.
func (e *endpoint) begin() bool {
	if e.calls.Add(1) > 0 {
		return true
	}
	e.end()
	return false
}

func (e *endpoint) end() {
	if e.calls.Add(-1) == math.MinInt64 {
		e.atIdle.Do(func() { close(e.idle) })
	}
}

// receive hands a message to the server, unless it is closed.
func (e *endpoint) receive(m wire.Message) {
	if e.begin() {
		e.handler.Receive(m)
		e.end()
	}
}

// lost tells the server that another one is gone, unless the server itself is closed.
func (e *endpoint) lost(id raft.ServerID) {
	if e.begin() {
		e.handler.Lost(id)
		e.end()
	}
}

// Close implements raft.Transport. The other servers learn of it, as they learn that a connection
// was reset. Close waits for the calls to the handler that are under way, so the handler must not
// call it.
func (e *endpoint) Close() error {
	streams, others := e.leave()
	for _, s := range streams {
		s.sever(errStreamBroken)
	}
	for _, other := range others {
		other.lost(e.id)
	}
	<-e.idle
	return nil
}

// leave takes the endpoint off the network, once. It returns the streams that break, and the
// servers that are to learn of it at once.
func (e *endpoint) leave() (streams []*stream, others []*endpoint) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return nil, nil
	}
	e.closed = true
	e.calls.Add(1)
	e.calls.Add(math.MinInt64)
	e.end()
	if !e.started {
		return nil, nil
	}
	delete(n.servers, e.id)
	for s := range e.streams {
		streams = append(streams, s)
	}
	for _, other := range n.servers {
		switch l := n.link(e.id, other.id); {
		case l.faults == (Faults{}) && len(l.queue) == 0:
			others = append(others, other)
		default:
			l.push(packet{lost: e.id})
		}
	}
	return streams, others
}
