package coalesce

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// doubt makes the core of an entry's group begin a round: the process doesn't speak for it.
func (b *Book) doubt(e *entry) {
	e.keep(e.process.sent)
	e.doubted = true
	e.group.doubted = true
	b.turn(e.group)
}

// cameBack notes that a process answers again: leaders look after the members there (H7). If it has
// started anew, its groups speak to their leaders as each of them starts. Those that haven't by then are
// looked after a while later. Otherwise all leaders would speak to groups that aren't there yet, in each
// interval until the last one is.
func (b *Book) cameBack(p *process) {
	p.live = true
	b.lookAfter(p)
}

// answers says whether the groups of a process answer as far as they run there.
func (p *process) answers() bool { return p.live && !p.cut && p.starts == 0 }

// lookAfter lets leaders look after the members at a process that take no part.
func (b *Book) lookAfter(p *process) {
	if !p.answers() || p.absences == 0 {
		return
	}
	for _, g := range b.groups {
		if slices.Contains(g.absent, p) {
			g.doubted = true
			b.turn(g)
		}
	}
}

// lookAround looks for what has gone silent (H6, H8).
func (b *Book) lookAround() {
	for _, p := range b.processes {
		if len(p.holds.all) > 0 && p.holds.round > 0 && !p.lost && b.now >= p.holds.heard+b.timeout {
			b.lose(p)
		}
		if p.starts > 0 && b.now >= p.starts {
			b.moreStart(p)
		}
		if p.live && b.now >= p.sent+b.patience {
			for _, e := range p.list.all {
				b.doubt(e)
			}
			p.list.clear()
			p.live = false
		}
		for _, e := range p.excepted {
			if e.waits() && b.now >= e.spoken()+b.patience {
				b.doubt(e)
			}
		}
		if b.now >= p.list.early && b.now-p.list.early >= b.patience {
			for _, e := range p.list.overdue(b.now - b.patience) {
				b.doubt(e)
				p.take(b, e)
			}
		}
		for e := p.list.oldest(); e != nil && b.now >= e.since+b.patience; e = p.list.oldest() {
			b.doubt(e)
			p.take(b, e)
		}
	}
	if len(b.groups) == 0 {
		return
	}
	for i := range b.shards {
		if s := &b.shards[i]; !s.stuck && b.now >= s.turned+b.patience {
			s.stuck = true
			b.silence(i)
		}
	}
}

// moreStart looks after the groups of a process that has started anew, unless more of them have started lately:
// then the rest are still on their way.
func (b *Book) moreStart(p *process) {
	if p.absences < p.missed {
		p.starts, p.missed = b.now+b.timeout, p.absences
		return
	}
	p.starts = 0
	b.lookAfter(p)
}

// silence takes the groups of a shard from all lists. Their cores take turns when the shard does
// (Turned).
func (b *Book) silence(shard int) {
	for _, g := range b.groups {
		if g.shard != shard {
			continue
		}
		for _, e := range g.entries {
			e.process.take(b, e)
		}
		g.entries, g.out = nil, false
		for _, h := range g.holds {
			b.lapse(h)
		}
	}
}

// Lost notes that the transport has lost the process of a server. The groups there that lack something
// aren't looked after until the process is heard again.
func (b *Book) Lost(now Instant, server wire.ServerID) {
	b.advance(now)
	if p := b.byProcess[server]; p != nil {
		p.cut = true
		if !p.lost && p.holds.round > 0 {
			b.lose(p)
		}
	}
	for _, g := range b.groups {
		b.loseHeir(g, server)
	}
}

// found notes that a process is heard. If it was lost, the others are told at once.
func (b *Book) found(p *process) {
	if p.lost {
		p.lost = false
		b.tell(p)
	}
}

// loseHeir tells a core that the process of the server is gone to which it hands over, if it is that one.
func (b *Book) loseHeir(g *group, server wire.ServerID) {
	if g.heir == server && server != "" {
		g.lost, g.first = server, false
		b.turn(g)
	}
}

// tell tells the others at once that this process hears another one no more, or hears it again. Those
// that follow the same leader may never have spoken to each other.
func (b *Book) tell(of *process) {
	for _, g := range b.groups {
		if g.leader != of {
			continue
		}
		for _, id := range g.voters {
			b.process(id)
		}
	}
	for _, other := range b.processes {
		if other != of {
			other.answerDue = b.now
		}
	}
}

// lose notes that this process hears another one no more. The others are told at once. The groups
// that it led take a turn each.
func (b *Book) lose(p *process) {
	p.lost = true
	b.tell(p)
	for _, g := range b.groups {
		b.loseHeir(g, p.id)
	}
	for _, h := range p.holds.all {
		h.handed = false
		b.lapse(h)
	}
	b.succeed(p, true)
}

// takeLost takes what a process says of the processes that it hears no more.
func (b *Book) takeLost(p *process, lost []wire.ServerID) {
	was := p.gone
	p.gone = lost
	for _, id := range lost {
		if of := b.byProcess[id]; of != nil && of.lost && !slices.Contains(was, id) {
			b.succeed(of, false)
		}
	}
}

// succeed looks for the groups that the lost process led, and in which this server is the one to
// campaign at once. With tells, all groups that it led are told that it is gone.
func (b *Book) succeed(lost *process, tells bool) {
	for _, g := range b.groups {
		if g.leader != lost {
			continue
		}
		first := b.agreed(g, lost) && First(g.id, b.heardOf(g.voters)) == b.config.Self
		if !first && !tells {
			continue
		}
		g.lost, g.first = lost.id, first
		b.turn(g)
	}
}

// agreed says whether a majority of a group's voters hears a process no more.
func (b *Book) agreed(g *group, lost *process) bool {
	agree := 0
	for _, id := range g.voters {
		if p := b.byProcess[id]; id == b.config.Self || p != nil && !p.lost && slices.Contains(p.gone, lost.id) {
			agree++
		}
	}
	return 2*agree > len(g.voters)
}

// heardOf returns those of some servers whose processes aren't lost.
func (b *Book) heardOf(servers []wire.ServerID) []wire.ServerID {
	return slices.DeleteFunc(slices.Clone(servers), func(id wire.ServerID) bool {
		p := b.byProcess[id]
		return p != nil && p.lost
	})
}

// lostProcesses returns the servers whose processes this one hears no more.
func (b *Book) lostProcesses() (lost []wire.ServerID) {
	for _, p := range b.processes {
		if p.lost && len(lost) < wire.MaxMembers {
			lost = append(lost, p.id)
		}
	}
	return lost
}
