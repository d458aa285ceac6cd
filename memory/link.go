package memory

import (
	"container/heap"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/hash"
	"github.com/e17579a5/raft/wire"
)

// A link carries the messages of one direction. network.mu guards all of it.
type link struct {
	network *Network
	direction
	seed   uint64
	faults Faults

	sent       uint64    // how many messages were sent so far: the key of their luck
	line       time.Time // when the last of the messages arrives that keep their places
	queue      packets   // what is on its way, the earliest first
	bytes      int
	delivering bool // a timer is set, or its function runs
}

// A packet is a message on its way, or the news that a server is gone.
type packet struct {
	message wire.Message
	lost    raft.ServerID
	size    int
	due     time.Time
	order   uint64 // its place among those that are due at the same time
}

// What luck is needed for. Each purpose has luck of its own.
const (
	luckLoss = 1 + iota
	luckDuplicate
	luckReorder
	luckDelay
	luckSecondDelay
	luckStream
)

// push sends a packet on its way. It returns how many copies of the packet the caller has to hand
// over at once. A timer brings the others. The caller holds network.mu.
func (l *link) push(p packet) (copies int) {
	l.sent++
	f := &l.faults
	if f.Cut || l.chance(luckLoss, f.Loss) {
		return 0
	}
	copies = 1
	if p.lost == "" && l.chance(luckDuplicate, f.Duplicate) {
		copies = 2
	}
	if f.MinDelay <= 0 && f.MaxDelay <= 0 && len(l.queue) == 0 && p.lost == "" {
		return copies
	}
	now := time.Now()
	for i := range copies {
		p.due = now.Add(l.delay(luckDelay + uint64(i)))
		if !l.chance(luckReorder, f.Reorder) {
			if p.due.Before(l.line) {
				p.due = l.line
			}
			l.line = p.due
		}
		p.order = 2*l.sent + uint64(i)
		if len(l.queue) < maxMessagesUnderWay && l.bytes+p.size <= maxBytesUnderWay {
			heap.Push(&l.queue, p)
			l.bytes += p.size
		}
	}
	if !l.delivering && len(l.queue) > 0 {
		l.delivering = true
		time.AfterFunc(l.queue[0].due.Sub(now), l.deliver)
	}
	return 0
}

// deliver hands over everything that is due, in order, and sets the timer for the rest.
func (l *link) deliver() {
	n := l.network
	n.mu.Lock()
	for len(l.queue) > 0 {
		if wait := time.Until(l.queue[0].due); wait > 0 {
			time.AfterFunc(wait, l.deliver)
			n.mu.Unlock()
			return
		}
		p := heap.Pop(&l.queue).(packet)
		l.bytes -= p.size
		to := n.servers[l.to]
		if to == nil || l.faults.Cut || n.cut(l.from, l.to) {
			continue
		}
		n.mu.Unlock()
		if p.lost != "" {
			to.lost(p.lost)
		} else {
			to.receive(p.message)
		}
		n.mu.Lock()
	}
	l.delivering = false
	n.mu.Unlock()
}

// delay draws how long a packet travels.
func (l *link) delay(purpose uint64) time.Duration {
	low := max(l.faults.MinDelay, 0)
	if span := l.faults.MaxDelay - low; span > 0 {
		return low + time.Duration(l.luck(purpose)%uint64(span+1))
	}
	return low
}

// chance draws whether this packet is one of the share to which something happens.
func (l *link) chance(purpose uint64, share float64) bool {
	return share > 0 && float64(l.luck(purpose)>>11) < share*(1<<53)
}

// luck draws a number for the message that was sent last. The number depends on the seed, on the
// direction, on how many messages were sent before, and on its purpose. It depends on nothing else.
// So what happens to one message leaves the luck of the others alone.
func (l *link) luck(purpose uint64) uint64 {
	return hash.Mix(hash.Mix(l.seed, l.sent), purpose)
}

// packets is a heap, ordered by the time when they are due.
type packets []packet

func (q packets) Len() int { return len(q) }
func (q packets) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].order < q[j].order
}
func (q packets) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *packets) Push(x any)   { *q = append(*q, x.(packet)) }
func (q *packets) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = packet{}
	*q = (*q)[:last]
	return p
}
