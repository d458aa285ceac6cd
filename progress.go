package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// progress is what a leader knows of one peer, and what is on its way to that peer.
//
// A peer is probed, by one append at a time, until one of its answers shows where the logs agree.
// From then on appends are pipelined: next runs ahead of match by what is in the window, without
// waiting for answers. When something is lost on the way, the peer is probed again.
type progress struct {
	id          ServerID
	incarnation Incarnation // of the disk that counts
	address     string
	// leaving is the index of the configuration to which the peer doesn't belong any more, and 0
	// for a member. The leader tries to tell the peer about that configuration. farewell counts
	// down the rounds in which it tries.
	leaving  Index
	farewell int
	// since is the index of the configuration that has made this disk a member, and 0 if an earlier
	// one names it that is known to be committed. Until the one at since is committed, the peer is
	// sent heartbeats and nothing of the log: who isn't a member yet may never become one, and the
	// log has the key of the cluster.
	since Index
	// replaced says that the server has come back with another disk.
	replaced bool

	match Index // durable there and equal to this log
	next  Index // the next entry to send; match < next ≤ last+1

	probing
	// fetching says that the next entries are being read from the disk.
	fetching bool
	inFlight

	said

	// told is the commit index that the peer was last told. owed is the index up to which callers
	// at the peer wait for it: the last entry that the peer has forwarded, or the last index that
	// it was given for a read.
	told, owed Index

	supply

	// heard is when the peer has last answered. It decides nothing.
	heard Instant `state:"luck"`
}

func (p *progress) encode(s *stateEncoder) {
	s.server(p.id)
	s.bytes([]byte(p.address))
	s.numbers(uint64(p.incarnation), uint64(p.leaving))
	if p.leaving != 0 {
		s.numbers(uint64(p.farewell))
	}
	s.numbers(uint64(p.since), flag(p.replaced), uint64(p.match), uint64(p.next), flag(p.fetching), uint64(p.told), uint64(p.owed))
	p.said.encode(s)
	p.probing.encode(s)
	p.inFlight.encode(s)
	p.supply.encode(s)
}

func (p *progress) clone() progress {
	n := *p
	n.inFlight = p.inFlight.clone()
	return n
}

// check verifies what a leader whose log ends at last knows of a peer.
func (p *progress) check(last Index) error {
	if p.match >= p.next || p.next > last+1 {
		return broken("Progress Ordered", "peer %s: match %d next %d last %d", p.id, p.match, p.next, last)
	}
	if err := p.carried.check(p.id); err != nil {
		return err
	}
	return p.inFlight.check(p.id)
}

// end returns the index of the last entry that a peer may be sent from a log that ends at last. A
// peer that leaves is sent the configuration by which it leaves, and nothing behind that: the next
// configuration brings a key that only members may know.
func (p *progress) end(last Index) Index {
	if p.leaving != 0 {
		return min(last, p.leaving)
	}
	return last
}

// probing is how a leader finds out where a peer's log agrees with its own, and whether something
// on the way to the peer was lost.
type probing struct {
	// replicating says that the logs are known to agree before next. While the peer is probed,
	// waiting says that an answer is due. It will say whether the logs agree at probed.
	replicating bool
	waiting     bool
	probed      Index
	// checked is a round whose heartbeat left after everything before checkedNext, and after the
	// probe that waits for an answer. It is 0 if there is none.
	checked     uint64
	checkedNext Index
}

func (p *probing) encode(s *stateEncoder) {
	s.numbers(flag(p.replicating), flag(p.waiting), p.checked)
	if p.waiting {
		s.numbers(uint64(p.probed))
	}
	if p.checked != 0 {
		s.numbers(uint64(p.checkedNext))
	}
}

// inFlight are the appends to a peer that have not been acknowledged, in order. They are bounded in
// number and in bytes.
type inFlight struct {
	window      []windowed
	windowBytes int `state:"derived"`
	// large is an entry that was read from the disk and didn't fit into the window. Unless it is
	// remembered, it is read again and again.
	large windowed
	// overtaken says that a large append was sent since the window was empty the last time. So
	// heartbeats may arrive before appends that left earlier.
	overtaken bool
}

func (f *inFlight) encode(s *stateEncoder) {
	encodeList(s, f.window, (*windowed).encode)
	f.large.encode(s)
	s.numbers(flag(f.overtaken))
}

func (f *inFlight) clone() inFlight {
	n := *f
	n.window = slices.Clone(f.window)
	return n
}

func (f *inFlight) check(peer ServerID) error {
	if f.windowBytes < 0 || len(f.window) == 0 && f.windowBytes != 0 {
		return broken("Window Accounted", "peer %s: %d bytes in %d messages", peer, f.windowBytes, len(f.window))
	}
	return nil
}

// A windowed append ends with the entry at last.
type windowed struct {
	last  Index
	bytes int
}

func (w *windowed) encode(s *stateEncoder) { s.numbers(uint64(w.last), uint64(w.bytes)) }

// full says whether nothing more may be sent for now.
func (p *progress) full(config *CoreConfig) bool {
	if p.fetching || p.sending.state != sendingNot && p.wants == 0 {
		return true
	}
	if !p.replicating {
		return p.waiting
	}
	return len(p.window) >= config.WindowMessages || p.windowBytes >= config.WindowBytes
}

// room returns how many bytes of entries the window has room for, in one append. That may be less
// than 0.
func (p *progress) room(config *CoreConfig) int {
	return config.WindowBytes - p.windowBytes - wire.MessageOverhead
}

// demands returns how much room the window must have for the next entry, as far as that is known.
func (p *progress) demands() int {
	if p.large.last == p.next {
		return p.large.bytes
	}
	return wire.EntryOverhead
}

// fits says whether the first of the entries may be sent. An empty window takes any.
func (p *progress) fits(entries []Entry, room int) bool {
	return len(p.window) == 0 || len(entries) == 0 || entries[0].Size() <= room
}

// sent notes that an append was sent. One of more bytes than large is a large one.
func (p *progress) sent(last Index, bytes, large int) {
	p.overtaken = p.overtaken || bytes > large
	if !p.replicating {
		p.probed, p.waiting = p.next-1, true
		p.checked = 0 // no round has left after this probe yet, so none can show that it was lost
	}
	p.next = last + 1
	p.window = append(p.window, windowed{last, bytes})
	p.windowBytes += bytes
}

// agree notes that the logs agree up to an index, durably or not. That ends the probing if it
// answers the probe.
func (p *progress) agree(index Index) {
	if p.waiting && p.probed <= index || p.next == index+1 {
		p.replicating, p.waiting = true, false
	}
}

// acknowledge notes that everything up to match is durable at the peer, and makes room in the
// window.
func (p *progress) acknowledge(match Index) {
	p.match = max(p.match, match)
	p.next = max(p.next, p.match+1)
	p.agree(p.match)
	done := 0
	for done < len(p.window) && p.window[done].last <= p.match {
		p.windowBytes -= p.window[done].bytes
		done++
	}
	p.window = append(p.window[:0], p.window[done:]...)
	p.overtaken = p.overtaken && len(p.window) > 0
}

// probe starts over from next, because something was lost or refused. The window is forgotten, so
// it can't leak.
func (p *progress) probe(next Index) {
	p.next = max(next, p.match+1)
	p.replicating, p.waiting, p.checked = false, false, 0
	p.window, p.windowBytes = p.window[:0], 0
	p.overtaken = false
}

// heartbeat notes that everything sent so far left before the heartbeat of a round.
func (p *progress) heartbeat(round uint64) {
	if p.checked == 0 {
		p.checked, p.checkedNext = round, p.next
	}
}

// answered notes the answer to a heartbeat, which says how far the peer has received. If the peer
// lacks what left before the heartbeat, that was lost and is sent again. A lost probe is repeated
// at the same index: a peer that has just started may know of less than its log holds.
func (p *progress) answered(round uint64, received Index) {
	p.round = max(p.round, round)
	p.agree(received)
	if p.checked == 0 || round < p.checked {
		return
	}
	p.checked = 0
	switch {
	case p.replicating && received+1 < p.checkedNext:
		p.probe(received + 1)
	case p.waiting:
		p.probe(max(p.probed, received) + 1)
	}
}

// asksBehind returns an append without entries that is to travel behind a large one, in the order
// of all appends. If the large one was lost, the peer refuses this one. If both were lost, the next
// round sends another one.
//
//	appends     ──── 64 MiB ──── empty ─▶
//	the rest    ─ heartbeat ─ heartbeat ─ heartbeat ─▶
//
// It returns false if no large append is on its way, so that heartbeats keep their order, or if the
// log has forgotten where that append belongs, so that it is of no use any more.
func (c *Core) asksBehind(p *progress) (m wire.Message, asks bool) {
	if !p.overtaken {
		return m, false
	}
	at := p.next - 1
	if p.waiting {
		at = p.probed
	}
	term, known := c.log.term(at)
	request := wire.AppendRequest{Previous: wire.Place{Index: at, Term: term}, Commit: c.log.commit}
	return request.Message(), known
}
