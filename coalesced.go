package raft

import "github.com/e17579a5/raft/internal/coalesce"

// A Coalesced is one group's core at a process that serves many groups. It joins the core and the
// process's Book, and knows in which order they are to be asked. Package coalesce says what a driver
// does with it.
type Coalesced struct {
	core  *Core
	book  *coalesce.Book
	lock  Locker
	group GroupID
	shard int

	*talk
	campaign campaign
	later    bool // another server is the first one to campaign
	founds   bool // the campaign is to found the group
	settled  bool // whether the Book looks after the core
	busy     bool // on no list, and the Book has nothing to tell the core
	asking   bool // the Book; after a panic in it, for ever
}

// A talk is what the core and the Book have to tell each other.
type talk struct {
	left  coalesce.Left
	quiet coalesce.Quiet
	heir  ServerID // to whom the core hands over, as the Book knows it; a core that does so doesn't rest
}

// A Locker guards the Book of a process, in which several goroutines may take turns of groups.
type Locker interface {
	Lock()
	Unlock()
}

// NewCoalesced joins the core of a group, whose turns a shard takes, and a Book. The core is one whose
// CoreConfig.Coalesced is true.
func NewCoalesced(core *Core, group GroupID, shard int, book *coalesce.Book, lock Locker) *Coalesced {
	return &Coalesced{core: core, book: book, lock: lock, group: group, shard: shard}
}

// A campaign is what a group has to do with the lines of the Book.
type campaign uint8

const (
	campaignNot   campaign = iota
	campaignNew            // it is to be founded, and this server is the first one to campaign for that
	campaignWaits          // in a line
	campaignTries          // it has a place
)

// Found makes the core campaign if it may found a cluster and is the first one to do so: at once, unless
// many groups are being founded. It returns the server that is the first one, or "" if the core may not
// found a cluster.
func (q *Coalesced) Found() (first ServerID) {
	if !q.core.mayFound() {
		return ""
	}
	servers := q.core.config.Bootstrap
	ids := make([]ServerID, 0, len(servers))
	for i := range servers {
		ids = append(ids, servers[i].ID)
	}
	if first = coalesce.First(q.group, ids); first == q.core.id {
		q.core.awaitCampaign()
		q.campaign = campaignNew
	}
	return first
}

// noteCampaign tells the Book whether the core waits until it may campaign, or whether that is over.
func (q *Coalesced) noteCampaign(now Instant) (sooner bool) {
	waits, was := q.core.waits(), q.campaign
	switch {
	case waits && was != campaignWaits:
		q.campaign = campaignWaits
	case was == campaignNot, was == campaignWaits && waits, was == campaignTries && !q.led():
		return false
	default:
		q.campaign, q.later = campaignNot, false
	}
	q.lock.Lock()
	defer q.lock.Unlock()
	q.asking = true
	if waits {
		q.founds = q.core.mayFound()
		again := was == campaignTries || q.later || q.founds && was != campaignNew
		sooner = q.book.WaitToCampaign(coalesce.Instant(now), q.group, q.founds, again)
	} else {
		sooner = q.book.CampaignOver(coalesce.Instant(now), q.group)
	}
	q.asking = false
	return sooner
}

// led says whether the group is led. One that was just founded is so when it comes to rest: until then it says
// more than others, and all that it says is yet to be heard.
func (q *Coalesced) led() bool { return q.core.led() && (q.settled || !q.founds) }

// Asked notes that the Book has asked for a turn of the group. It comes before that turn.
func (q *Coalesced) Asked() { q.busy = false }

// Before begins a turn: the core leaves the lists, and is told what it has missed. It comes before
// anything else is handed to the core.
func (q *Coalesced) Before(now Instant) {
	if q.talk == nil {
		q.talk = new(talk)
	}
	if q.settled = false; q.busy {
		q.left.Clear() // and the group doesn't wait for the lock
	} else {
		q.leave(now)
	}

	c, left := q.core, &q.left
	for i := range left.Heard {
		c.Heard(now, &left.Heard[i])
	}
	if left.Term > 0 {
		c.Vouched(now, left.Term, left.Vouched)
	}
	if left.Doubted {
		c.Doubted(now)
	}
	for i := range left.Heartbeats {
		c.receiveLate(now, Instant(left.At(&left.Heartbeats[i])), left.Heartbeats[i])
	}
	if left.Lost != "" {
		c.Orphaned(now, left.Lost, left.First)
		q.later = !left.First
	}
	if left.Campaign {
		q.campaign = campaignTries
		c.MayCampaign(now)
	}
}

// Told returns what the last Before has told the core. The next one uses it again. It is for drivers
// that check what the core does.
func (q *Coalesced) Told() *coalesce.Left { return &q.left }

// After ends a turn: if the group is quiet, the core goes onto the lists. It comes after Drain. It
// returns true if the Book's Deadline may be earlier than before.
func (q *Coalesced) After(now Instant) (sooner bool) {
	sooner = q.noteHeir()
	if q.rests(now) {
		sooner = true
	}
	if q.noteCampaign(now) {
		sooner = true
	}
	return sooner
}

// rests puts the core onto the lists if the group is quiet.
func (q *Coalesced) rests(now Instant) (sooner bool) {
	if !q.core.Quiet(&q.quiet) {
		q.core.Unvouched(now)
		return false
	}
	for i := range q.quiet.Others {
		q.quiet.Others[i].Stand.Group = q.group
	}
	sooner = q.settle(now)
	if !q.settled {
		q.core.Unvouched(now)
	}
	return sooner
}

// leave takes the core from the lists.
func (q *Coalesced) leave(now Instant) {
	q.lock.Lock()
	defer q.lock.Unlock() // also after a panic
	q.asking = true
	q.busy = q.book.Leave(coalesce.Instant(now), q.group, &q.left)
	q.asking = false
}

// settle puts the core onto the lists.
func (q *Coalesced) settle(now Instant) (sooner bool) {
	q.lock.Lock()
	defer q.lock.Unlock()
	q.asking = true
	q.busy = false
	q.settled, sooner = q.book.Settle(coalesce.Instant(now), q.group, q.shard, &q.quiet)
	q.asking = false
	return sooner
}

// Rest lets go of the memory that the core needs only while something happens. It comes between two
// turns, when the last one is a while ago.
func (q *Coalesced) Rest() {
	q.talk = nil
	q.core.rest()
}

// noteHeir tells the Book to whom the core hands over.
func (q *Coalesced) noteHeir() (sooner bool) {
	heir := q.core.handsTo()
	if heir == q.heir {
		return false
	}
	q.heir = heir
	q.lock.Lock()
	defer q.lock.Unlock()
	q.asking = true
	sooner = q.book.Heir(q.group, heir)
	q.asking = false
	return sooner
}

// Deadline returns when the group's next turn is due, whatever happens.
func (q *Coalesced) Deadline() Instant {
	if q.settled {
		return never
	}
	return q.core.Deadline()
}

// End takes the group from the Book, because it ends here or its core has failed.
func (q *Coalesced) End(now Instant) {
	q.lock.Lock()
	defer q.lock.Unlock()
	q.book.End(coalesce.Instant(now), q.group)
}
