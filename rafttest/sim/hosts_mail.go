package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// A mail is a message of one process to another, with the truth as it was when the message left.
type mail struct {
	message wire.Message
	from    int8
	copies  int8
	truth   [MaxGroups]truth
}

// A truth is what a server was when its process sent a message.
type truth struct {
	up, leads   bool
	term        raft.Term
	leader      raft.ServerID
	incarnation raft.Incarnation
}

// sends puts a message of a process on its way.
func (h *Hosts) sends(i int, m *wire.Message) {
	h.stats.Heartbeats++
	h.renames(i, m.FromStart)
	to := serverOf(m.To)
	if to >= h.n || to == i || m.Kind() != wire.KindProcessHeartbeat {
		h.fail(Gate, nil, i, "a Book sends %v to %q", m.Kind(), m.To)
		return
	}
	decoded, err := wire.DecodeMessage(wire.AppendMessage(nil, m))
	if err != nil {
		h.fail(Gate, nil, i, "a message of a process can't be decoded: %v", err)
		return
	}
	sent := mail{message: decoded, from: int8(i), copies: 1}
	for _, w := range h.worlds {
		if s := &w.servers[i]; s.up {
			shown := s.core.Status()
			sent.truth[w.group] = truth{true, shown.Role == leads, shown.Term, shown.Leader, shown.Incarnation}
		}
	}
	if h.out != nil {
		h.tells(i, "→%s", heartbeatText(m))
	}
	h.notes(i, to, &sent)
	h.carries(i, to, &sent)
}

// carries plans the arrival of a message, as World.transmit does.
func (h *Hosts) carries(i, to int, sent *mail) {
	p, l, shared := &h.params, &h.links[i][to], &h.worlds[0].links[i][to]
	l.sent++
	if shared.cut {
		return
	}
	luck := h.luck.draw(luckNetwork, i|0x40, to|0x40, l.sent)
	delay := p.Delay + below(luck, p.Jitter+1) + shared.lag
	if h.worlds[0].hurries() {
		delay = min(delay, p.Heartbeat/20)
	}
	reordered := false
	if !h.calm {
		if permille(mix(luck+1), p.Loss) {
			return
		}
		if permille(mix(luck+2), p.Slow) {
			delay += below(mix(luck+3), p.DelaySlow)
			reordered = true
		}
		if permille(mix(luck+4), p.Duplicate) {
			sent.copies = 2
		}
		reordered = reordered || permille(mix(luck+5), p.Reorder)
	}
	at := h.now + delay
	if !reordered {
		at = max(at, l.arriving)
		l.arriving = at
	}
	place := h.keep(sent)
	h.queue.push(item{at: at, what: itemDeliver, a: int8(to), b: int8(i), n: int64(place)})
	if sent.copies == 2 {
		h.queue.push(item{at: at + 1 + below(mix(luck+6), p.DelaySlow), what: itemDeliver, a: int8(to), b: int8(i), n: int64(place)})
	}
}

// keep keeps a message that is on its way, and returns its place.
func (h *Hosts) keep(sent *mail) int32 {
	if n := len(h.free); n > 0 {
		place := h.free[n-1]
		h.free = h.free[:n-1]
		h.mail[place] = *sent
		return place
	}
	h.mail = append(h.mail, *sent)
	return int32(len(h.mail) - 1)
}

// release notes that one copy of a message has arrived.
func (h *Hosts) release(place int32) {
	if h.mail[place].copies--; h.mail[place].copies == 0 {
		h.free = append(h.free, place)
	}
}

// receives hands a message to the Book of a process.
func (h *Hosts) receives(i int, place int32) {
	sent := &h.mail[place]
	h.learns(i, sent)
	if h.out != nil {
		h.tells(i, "hears %s→%s", sent.message.From, heartbeatText(&sent.message))
	}
	h.processes[i].book.Receive(coalesce.Instant(h.local(i)), &sent.message)
	h.release(place)
	h.performBook(i)
}
