package tcp

import (
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A large message to a member travels on a connection of its own, so that heartbeats, votes and
// answers don't wait until it is through. As long as it isn't, what must not overtake it goes the
// same way: appends and forwards of its group.
//
//	in the queue      ── heartbeat, answer, heartbeat ────────────▶ connection for messages
//	in the bulk       ── large append, append, append ────────────▶ connection for large messages
//
// When the other side has taken everything of a group from that connection, the group's appends and
// forwards go the usual way again. A connection for large messages is dialled when there is one, and closed when there
// was none for bulkIdle.
const bulkIdle = 10 * time.Second

// A bulk is the large messages to a member. The mutex of the peer guards it.
type bulk struct {
	queue queue
	wake  chan struct{} // like that of the peer
	// running says that there is a goroutine that sends. out is its connection.
	running bool
	out     *link
	// ways are the groups of which something may be on its way that small messages must not overtake:
	// it has gone when the other side has read so many bytes of the connection. If there are none,
	// idle is since when.
	ways map[raft.GroupID]uint64
	idle time.Time
}

// unwritten is the way of a group of which something waits, or is being written.
const unwritten = math.MaxUint64

// inBulk says whether a message goes to the bulk. The caller holds mu.
func (p *peer) inBulk(m *wire.Message) bool {
	if kind := m.Kind(); kind != wire.KindAppendRequest && kind != wire.KindForwardRequest {
		return false
	}
	if _, behind := p.bulk.ways[m.Group]; behind {
		return true
	}
	return p.member.Load() && m.Size() > wire.LargeMessage
}

// add queues a message, or drops it. first says that there is no goroutine yet that sends: the
// caller, which holds mu, is to start it.
func (b *bulk) add(m *wire.Message) (first bool, dropped error) {
	if _, dropped = b.queue.add(m); dropped != nil {
		return false, dropped
	}
	first, b.running = !b.running, true
	if b.ways == nil {
		b.ways = make(map[raft.GroupID]uint64)
	}
	b.ways[m.Group] = unwritten
	rouse(b.wake)
	return first, nil
}

// errMoved says that a peer has another address by now.
var errMoved = errors.New("the server has moved")

// runBulk sends large messages until there were none for a while, or something goes wrong. Then
// what is queued is dropped: whoever wants it sent notices that it was lost.
func (p *peer) runBulk() {
	cause := errEnded
	defer func() {
		if cause == errIdle {
			return // lapseBulk has seen to it
		}
		p.mu.Lock()
		p.bulk.queue.clear()
		p.bulk.running, p.bulk.ways, p.bulk.out = false, nil, nil
		p.mu.Unlock()
		if p.ctx.Err() == nil {
			p.note(slog.LevelWarn, "tcp: large messages are lost", cause)
		}
	}()
	cause = p.carryBulk()
}

// carryBulk dials the peer, and serves the connection.
func (p *peer) carryBulk() error {
	to := p.server()
	l, err := p.transport.dial(p.ctx, forBulk, to)
	if err != nil {
		return err
	}
	defer p.transport.release(l.raw)
	p.mu.Lock()
	moved := p.address != to.Address
	p.bulk.out = l
	p.mu.Unlock()
	if moved {
		return errMoved
	}
	return p.serve(l, &lane{wake: p.bulk.wake, take: p.takeBulk, lapse: p.lapseBulk, asksAlways: true})
}

// takeBulk returns the frames that are to be written next. The appends and forwards of groups of
// which the other side has taken everything may go the usual way.
func (p *peer) takeBulk(beat *pulse) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bulk.settle(beat.progress())
	return p.bulk.queue.take()
}

// settle ends the ways of groups, when so many bytes were written and read. The batch that was taken
// last was written.
func (b *bulk) settle(written, read uint64) {
	before := len(b.ways)
	for group, end := range b.ways {
		if end == unwritten && !b.queue.holds(group) {
			end = written
			b.ways[group] = end
		}
		if end <= read {
			delete(b.ways, group)
		}
	}
	if before > 0 && len(b.ways) == 0 {
		b.idle = time.Now()
	}
}

// lapseBulk is like lapse, for the connection for large messages. When that has had its time, the
// goroutine is to end, and the next large message starts another one.
func (p *peer) lapseBulk() (<-chan time.Time, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bulk.ways) > 0 {
		return nil, bulkIdle
	}
	left := time.Until(p.bulk.idle.Add(bulkIdle))
	if left <= 0 {
		p.bulk.queue.clear() // gives up its memory
		p.bulk.running, p.bulk.out = false, nil
	}
	return time.After(left), left
}

// attachBulk notes a connection for large messages that the peer has dialled. It takes the place of
// an earlier one.
func (p *peer) attachBulk(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bulkIn != nil {
		abandon(p.bulkIn.raw)
	}
	p.bulkIn, l.idle = l, guestIdle
}
