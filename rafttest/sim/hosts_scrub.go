package sim

// A hostScrub is how far a process has come in having its groups read their logs (Params.Scrub): one after
// the other, as a host does.
type hostScrub struct {
	next    int             // the next group of this pass
	reading int             // the group that reads, counted from 1; 0 for none
	asked   [MaxGroups]bool // the group is to begin in its next turn
}

// planScrub plans the first pass of a process that has started.
func (h *Hosts) planScrub(i int) {
	p := &h.processes[i]
	p.hostScrub = hostScrub{}
	if h.params.Scrub != 0 {
		h.queue.push(item{at: h.now + h.params.Election, what: itemScrub, a: int8(i), life: p.life})
	}
}

// scrubs lets the next group read, if the one before has ended.
func (h *Hosts) scrubs(it *item, i int) {
	p := &h.processes[i]
	if !p.up || it.life != p.life || h.unread {
		return
	}
	again := item{at: h.now + h.params.Heartbeat, what: itemScrub, a: int8(i), life: p.life}
	defer func() { h.queue.push(again) }()
	if n := p.reading - 1; n >= 0 {
		if s := &h.worlds[n].servers[i]; s.up && (p.asked[n] || s.core.Scrubs()) {
			return
		}
	}
	p.reading = 0
	if p.next == len(h.worlds) {
		p.next = 0
		again.at = h.now + max(h.params.ScrubPause, h.params.Heartbeat)
		return
	}
	w := h.worlds[p.next]
	if s := &w.servers[i]; s.up {
		p.reading, p.asked[w.group] = p.next+1, true
		h.stats.Scrubs++
		w.queue.push(item{at: h.now, what: itemTurn, a: int8(i), life: s.life})
	}
	p.next++
}

// asksToScrub lets the core of a group begin to read its log, in a turn, if its process wants that.
func (w *World) asksToScrub(s *server) {
	p := &w.hosts.processes[w.index(s)]
	if p.asked[w.group] {
		p.asked[w.group] = false
		s.core.Scrub(w.local(s))
	}
}
