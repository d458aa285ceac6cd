package coalesce

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A process is another process that serves some of the same groups.
type process struct {
	id    wire.ServerID
	start uint64 // the latest that was heard of; 0 for none

	list  list  // ours for it
	holds holds // its for us

	// round is the last round that was sent, and rounds are those after the last one that was
	// answered. answered is that one, and sent is when it left. live says that answers come: there was
	// one within the patience.
	round    uint64
	rounds   []sentRound
	answered uint64
	sent     Instant
	live     bool
	excepted []*entry // those for which the last answer didn't speak
	waits    []*entry // those in whose groups reads wait for an answer

	// next is when the next heartbeat is due, and answerDue when the answer is; never for neither.
	// urgent says that somebody waits for the answer to a heartbeat.
	next, answerDue Instant
	urgent          bool

	// absences is in how many groups that this process leads it takes no part. starts is until when the
	// groups there are on their way, because the process has started anew; 0 if they aren't.
	absences int
	starts   Instant
	missed   int // absences when starts was set
	// cut says that the transport has lost the process, which wasn't heard since.
	cut bool

	room uint64
	// gone are the processes that this one hears no more, as far as it has said. lost says that this
	// process hears that one no more.
	gone []wire.ServerID
	lost bool
}

type sentRound struct {
	round uint64
	at    Instant
}

// maxRounds bounds the rounds that are remembered while no answer comes.
const maxRounds = 64

// maxProcesses bounds the processes of which something is known.
const maxProcesses = 1 << 12

// process returns what is known of a process, from now on at least. It returns nil if that is this one
// or there are too many.
func (b *Book) process(id wire.ServerID) *process {
	p := b.byProcess[id]
	if p == nil && id != b.config.Self && id != "" && len(b.processes) < maxProcesses {
		p = &process{id: id, next: never, answerDue: never}
		p.list.early = never
		p.list.entries, p.holds.byGroup = map[wire.GroupID]*entry{}, map[wire.GroupID]*hold{}
		b.byProcess[id] = p
		b.processes = append(b.processes, p)
	}
	return p
}

// contact lets heartbeats go to the process from now on.
func (p *process) contact(b *Book) { p.next = min(p.next, b.now+b.interval) }

// due returns when the Book has something to do about the process.
func (p *process) due(b *Book) Instant {
	due := min(p.next, p.answerDue)
	if p.urgent {
		due = b.now
	}
	if len(p.holds.all) > 0 && p.holds.round > 0 && !p.lost {
		due = min(due, max(p.holds.heard+b.timeout, b.checks))
	}
	if p.live {
		due = min(due, max(p.sent+b.patience, b.checks))
	}
	if p.starts > 0 {
		due = min(due, max(p.starts, b.checks))
	}
	if p.list.early != never {
		due = min(due, max(p.list.early+b.patience, b.checks))
	}
	if e := p.list.oldest(); e != nil {
		due = min(due, max(e.since+b.patience, b.checks))
	}
	for _, e := range p.excepted {
		if e.waits() {
			due = min(due, max(e.spoken()+b.patience, b.checks))
		}
	}
	return due
}

// wantsMessage says whether a message to the process is due.
func (p *process) wantsMessage(b *Book) bool {
	return p.urgent || b.now >= p.next || b.now >= p.answerDue
}

// send sends a process a heartbeat, which is also the answer to its heartbeats. What doesn't fit into
// one message goes ahead.
func (b *Book) send(p *process) {
	b.leaveAway()
	l := &p.list
	needed := len(l.all) > 0 || len(l.changes) > 0 || p.absences > 0
	at, base := 0, l.told
	for {
		m := wire.ProcessHeartbeat{Base: base, Room: b.room, Lost: b.lostProcesses()}
		next, whole := l.piece(&m, at)
		if whole {
			if needed {
				p.round++
				m.Round, m.Wait = p.round, b.config.Heartbeat
				if p.urgent {
					m.Wait = 0
				}
				p.remember(sentRound{p.round, b.now})
			}
			if m.AnsweredStart = p.start; p.start != 0 {
				p.holds.answer(&m)
			}
		}
		b.messages = append(b.messages, m.Message().In(wire.Envelope{From: b.config.Self, To: p.id, FromStart: b.config.Start}))
		if at, base = next, m.Version; whole {
			break
		}
	}
	p.urgent, p.answerDue, p.next = false, never, never
	if needed {
		p.next = b.now + b.interval
	}
}

// remember notes when a round left.
func (p *process) remember(r sentRound) {
	if len(p.rounds) == maxRounds {
		p.rounds = append(p.rounds[:0], p.rounds[1:]...)
	}
	p.rounds = append(p.rounds, r)
}

// Receive takes a process heartbeat of another process.
func (b *Book) Receive(now Instant, m *wire.Message) {
	b.advance(now)
	if m.Kind() != wire.KindProcessHeartbeat || m.To != b.config.Self || m.Stranger || m.FromStart == 0 {
		return
	}
	p := b.process(m.From)
	if p == nil {
		return
	}
	body := m.ProcessHeartbeat()
	b.surpass(body.AnsweredStart)
	if m.FromStart < p.start {
		p.answerDue = min(p.answerDue, b.now+b.interval) // it may not know of the later one
		return
	}
	if m.FromStart > p.start {
		b.startedAnew(p, m.FromStart)
	}
	if p.cut {
		p.cut = false
		b.lookAfter(p)
	}
	if b.takeList(p, &body) && body.Round > p.holds.round {
		b.heard(p, &body)
	}
	if len(p.holds.all) == 0 {
		b.found(p) // it is there, and leads nothing here: no round will say so
	}
	if body.Round != 0 {
		p.answerDue = min(p.answerDue, b.answerBy(p, &body))
	}
	p.room = body.Room
	b.takeLost(p, body.Lost)
	if body.AnsweredStart == b.config.Start {
		b.takeAnswer(p, &body)
	}
}

// answerBy returns when the answer to a heartbeat is due. It may wait for this process's own next
// heartbeat, if there is one.
func (b *Book) answerBy(p *process, m *wire.ProcessHeartbeat) Instant {
	if p.next == never {
		return b.now
	}
	return b.now + min(Instant(m.Wait), b.interval)
}

// startedAnew notes that a process is at a later start than before. It knows nothing of our list.
func (b *Book) startedAnew(p *process, start uint64) {
	if p.start != 0 {
		b.forget(p)
		p.unanswered()
		p.starts, p.missed = b.now+b.timeout, p.absences
	}
	p.start = start
}

// unanswered notes that what a process has answered belongs to another start, of its own or of this one.
func (p *process) unanswered() {
	p.list.begin()
	p.forgetExceptions()
	p.answered, p.rounds, p.live = 0, nil, false
}

// surpass lets this process's start have a later number than another one of its starts that was heard
// of. So it is if its disk was put back to an earlier state, or replaced: it counts from there, and the
// others drop what it says. To them, and for all lists, it is as if the process had started again.
func (b *Book) surpass(start uint64) {
	next := wire.NextStart(start, uint32(b.config.Start))
	if start <= b.config.Start || next < start {
		return
	}
	b.config.Start = next
	for _, p := range b.processes {
		p.unanswered()
		if p.start != 0 {
			p.answerDue = b.now
		}
	}
}

// heard notes that a whole round of a process was heard.
func (b *Book) heard(p *process, m *wire.ProcessHeartbeat) {
	back := !p.hears(b)
	p.holds.round, p.holds.heard = m.Round, b.now
	b.found(p)
	if back {
		for _, h := range p.holds.bare {
			h.handed = false
			if g := h.group; g != nil && g.lost == p.id {
				g.lost, g.first = "", false
			}
			b.wake(h)
		}
	}
}

// takeAnswer takes the answer to a round (H3).
func (b *Book) takeAnswer(p *process, m *wire.ProcessHeartbeat) {
	if m.AnsweredRound == 0 || m.AnsweredRound < p.answered || m.AnsweredRound > p.round || m.AnsweredVersion > p.list.version {
		return
	}
	again, before := m.AnsweredRound == p.answered, p.sent
	for _, id := range m.Excepted {
		if e := p.list.entries[id]; e != nil {
			e.keep(before)
		}
	}
	n := 0
	for ; n < len(p.rounds) && p.rounds[n].round <= m.AnsweredRound; n++ {
		p.sent = p.rounds[n].at
	}
	p.rounds = p.rounds[n:]
	p.answered = m.AnsweredRound
	if m.AnsweredVersion > p.list.told && m.AnsweredVersion >= p.list.begun {
		p.list.answeredWith(m.AnsweredVersion)
	}
	b.takeExceptions(p, m.Excepted, again)
	if !p.live && p.sent+b.patience > b.now {
		b.cameBack(p)
	}
	b.answerReads(p)
}

// answerReads makes the groups take a turn whose reads have waited for an answer.
func (b *Book) answerReads(p *process) {
	p.waits = slices.DeleteFunc(p.waits, func(e *entry) bool {
		if e.wanted == 0 || !e.on {
			return true // they wait no more
		}
		if !e.counts() || e.wanted > p.answered {
			return false
		}
		b.turn(e.group)
		return true
	})
}

// forgetExceptions forgets for which entries the last answer didn't speak.
func (p *process) forgetExceptions() {
	for _, e := range p.excepted {
		e.excepted = false
	}
	p.excepted = nil
}

// takeExceptions notes for which entries an answer doesn't speak. One answer may have come while the
// group took a turn there. If there are two in a row, the member has something to say.
func (b *Book) takeExceptions(p *process, groups []wire.GroupID, again bool) {
	was := p.excepted
	p.forgetExceptions()
	for _, id := range groups {
		e := p.list.entries[id]
		if e == nil || !e.on || e.version > p.list.told {
			continue
		}
		e.excepted = true
		p.excepted = append(p.excepted, e)
		if !again && slices.Contains(was, e) {
			b.doubt(e)
		}
	}
}

// Misses says whether a process is lost, and in how many groups that this process leads it takes no part.
func (b *Book) Misses(id wire.ServerID) (lost bool, absent int) {
	if p := b.byProcess[id]; p != nil {
		return p.lost, p.absences
	}
	return false, 0
}
