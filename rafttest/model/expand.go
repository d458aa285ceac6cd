package model

import (
	"slices"

	"github.com/e17579a5/raft"
)

// A worker finds the states that may follow a state.
type worker struct {
	bounds  *Bounds
	tables  *tables
	stepper stepper
	judge   judge
	// found gets each state that follows, with its hashes by naming. The messages of that state are
	// only lent.
	found func(sums []sum, next *state)
	// broken gets the violation of a step that breaks an invariant.
	broken func(v *Violation)

	keep bool // keep dead messages
	// apart says that the messages of a state are compared apart from the rest of it (see cover).
	// The hashes are then those of the rest.
	apart bool

	// The state that is expanded, with its parts
	state    *state
	nodes    []*node
	messages []*message
	ghost    *ghost
	sums     []sum // of that state, by naming

	// The step that is tried
	move move
	next state
	list [][]uint32 // room for lists of messages: one list for each number of losses
	room [][]sum

	soups   []soup
	parcels []parcel
	echoing []uint32

	ordinal uint32 // of the step, among those of its state
	steps   uint64 // number of steps that were taken
	beyond  uint64 // number of steps that were not taken because they leave the bounds
}

func (s *Search) newWorker() *worker {
	w := &worker{bounds: &s.bounds, tables: s.tables, apart: s.apart, keep: s.keep}
	w.stepper = stepper{tables: s.tables, bounds: &s.bounds, patient: s.patient, singly: s.singly}
	w.nodes = make([]*node, s.bounds.Servers)
	w.judge.nodes = make([]*node, s.bounds.Servers)
	w.sums = make([]sum, len(s.tables.namings))
	return w
}

// expand takes every step that is possible in a state.
func (w *worker) expand(s *state) {
	w.load(s)
	w.ordinal = 0
	for i, n := range w.nodes {
		w.deliver(i)
		b := s.budget
		if b.commands > 0 && (w.bounds.Anywhere || n.status.role == leads) {
			b.commands--
			w.try(i, eventPropose, b)
			b = s.budget
		}
		if b.reads > 0 && (w.bounds.Anywhere || n.status.role == leads) {
			b.reads--
			w.try(i, eventRead, b)
			b = s.budget
		}
		w.administer(i, n)
		if len(n.writes) > 0 {
			w.try(i, eventPersist, b)
		}
		if b.crashes > 0 {
			b.crashes--
			for keep := range len(n.writes) + 1 {
				w.try(i, eventCrash+event(keep), b)
			}
		}
		w.damage(i, n)
		w.pass(i)
	}
}

// damage lets a server crash and lose the bytes of each entry that it has, but for the founding one.
func (w *worker) damage(i int, n *node) {
	b := w.state.budget
	if b.damages == 0 {
		return
	}
	b.damages--
	for index := 2; index <= len(n.view); index++ {
		if !n.disk.lost.has(raft.Index(index)) {
			w.try(i, eventDamage+event(index), b)
		}
	}
}

// load looks up the parts of a state.
func (w *worker) load(s *state) {
	w.state = s
	w.ghost = w.tables.ghosts.get(s.ghost)
	hash := w.hashBudget(s.budget)
	for k := range w.sums {
		w.sums[k] = hash.plus(w.ghost.hashes[k])
	}
	for i := range w.nodes {
		w.nodes[i] = w.tables.nodes.get(s.nodes[i])
		for k := range w.sums {
			w.sums[k] = w.sums[k].plus(w.hashNode(w.nodes[i], k))
		}
	}
	w.messages = w.messages[:0]
	for _, id := range s.messages {
		m := w.tables.message(id)
		w.messages = append(w.messages, m)
		for k := range w.sums {
			w.sums[k] = w.sums[k].plus(w.hash(m, k))
		}
	}
}

// hash returns what a message adds to the hash of a state under naming k.
func (w *worker) hash(m *message, k int) sum {
	if w.apart {
		return sum{}
	}
	return m.hashes[k]
}

// hashNode returns what a node adds to the hash of a state under naming k.
func (w *worker) hashNode(n *node, k int) sum {
	if w.apart && w.bounds.Soup {
		return n.bare[k]
	}
	return n.hashes[k]
}

// hashBudget returns what a budget adds to the hash of a state.
func (w *worker) hashBudget(b budget) sum {
	if w.apart {
		b.duplicates = 0
	}
	return b.hash()
}

// administer asks a leader for everything that an administrator may ask for.
func (w *worker) administer(i int, n *node) {
	if n.status.role != leads {
		return
	}
	for k := range w.bounds.Servers {
		if b := w.state.budget; b.changes > 0 {
			b.changes--
			if n.voters.has(k) {
				w.try(i, eventRemove+event(k), b)
			} else {
				w.try(i, eventAdd+event(k), b)
			}
		}
		if b := w.state.budget; b.transfers > 0 && k != i {
			b.transfers--
			w.try(i, eventHandOver+event(k), b)
		}
	}
}

// deliver lets each message on its way to a server arrive: for good, or so that it may arrive
// again.
func (w *worker) deliver(i int) {
	for j, m := range w.messages {
		if m.to != i || j > 0 && w.messages[j-1] == m {
			continue
		}
		w.try(i, event(m.id), w.state.budget)
		if b := w.state.budget; b.duplicates > 0 {
			b.duplicates--
			w.move.stays = true
			w.try(i, event(m.id), b)
			w.move.stays = false
		}
	}
}

// pass lets the time of a server pass: one deadline, or the moment at which it is told to campaign.
func (w *worker) pass(i int) {
	n, b := w.nodes[i], w.state.budget
	if !w.bounds.Timeouts && n.status.role == follows {
		w.try(i, eventTransfer, b)
		if n.disk.lost != 0 {
			w.try(i, eventOverdue, b)
		}
	}
	for k, name := range n.armed {
		if w.bounds.passes(name) || name == "repair" && w.stepper.singly {
			w.try(i, eventPass+event(k), b)
		}
	}
}

// passes reports whether a deadline may pass. The deadlines at which a leader looks for a successor
// make a difference only if disks stand still: no server is preferred to lead.
func (b *Bounds) passes(deadline string) bool {
	switch deadline {
	case "heartbeat", "retry", "recover":
		return true
	case "repair":
		return !b.asksAll()
	case "write", "read", "succession":
		return b.Timeouts && b.Stalls
	}
	return b.Timeouts
}

// try takes a step.
func (w *worker) try(i int, e event, b budget) {
	before := w.nodes[i]
	st := w.tables.step(&w.stepper, before, e)
	w.move.server, w.move.event, w.move.step, w.move.lost = i, e, st, w.move.lost[:0]
	w.move.echoes = w.move.echoes[:0]
	if st.broken != nil {
		w.broken(st.broken)
		return
	}
	arrives := e.arrival() && !w.move.stays && !w.bounds.Soup
	if st.after == before && len(st.sent) == 0 && !arrives && st.plain {
		return // nothing has happened
	}
	now := &st.after.status
	if now.term > w.bounds.lastTerm() || now.held > w.bounds.Held || st.silent && e.kind() == eventPass {
		w.beyond++
		return
	}
	after, broken := w.watch(i, e, b, st)
	if broken != nil {
		w.broken(broken)
		return
	}

	w.next = state{depth: w.state.depth + 1, budget: b, ghost: after.id, nodes: w.state.nodes}
	w.next.nodes[i] = st.after.id
	sums := w.sumsAt(0)
	change := w.hashBudget(b).minus(w.hashBudget(w.state.budget))
	for k := range sums {
		sums[k] = w.sums[k].plus(change).plus(after.hashes[k]).minus(w.ghost.hashes[k]).
			plus(w.hashNode(st.after, k)).minus(w.hashNode(before, k))
	}
	list := append(w.listAt(0), w.state.messages...)
	if arrives {
		m := w.tables.message(uint32(e))
		at, _ := slices.BinarySearch(list, m.id)
		list = slices.Delete(list, at, at+1)
		for k := range sums {
			sums[k] = sums[k].minus(w.hash(m, k))
		}
	}
	for _, m := range st.sent {
		at, there := slices.BinarySearch(list, m.id)
		if there && w.bounds.Soup {
			continue
		}
		list = slices.Insert(list, at, m.id)
		for k := range sums {
			sums[k] = sums[k].plus(w.hash(m, k))
		}
	}
	if !w.keep {
		list = w.bury(list, sums, i, before, st.after)
	}
	if w.apart && w.bounds.Soup {
		list = w.echo(list, i, st)
	}
	w.list[0] = list
	w.settle(0, b, len(st.sent) > 0 && !w.bounds.Soup)
}

// watch checks a step against the whole cluster. It returns what the observer knows after the step.
func (w *worker) watch(i int, e event, b budget, st *step) (*ghost, *Violation) {
	j := &w.judge
	if st.plain && st.commit <= w.ghost.commit() && !st.claims {
		return w.ghost, nil
	}
	copy(j.nodes, w.nodes)
	j.nodes[i] = st.after
	j.i, j.before, j.step, j.ghost, j.own, j.reads, j.broken = i, w.nodes[i], st, w.ghost, false, w.bounds.Reads > 0, nil
	j.check(e)
	if j.broken != nil {
		return nil, j.broken
	}
	if !j.own {
		return w.ghost, nil
	}
	return w.tables.addGhost(j.ghost, &w.stepper.buffer), nil
}

// settle makes room on links that hold too much, in every possible way, and hands over the states
// that follow. A message that is never delivered is as good as lost. So no message needs to be lost
// before it stands in the way of another one.
func (w *worker) settle(losses int, b budget, sent bool) {
	list, sums := w.list[losses], w.room[losses]
	full := -1
	if sent {
		full = w.fullLink(list)
	}
	if full < 0 {
		w.steps++
		w.next.budget, w.next.messages = b, list
		w.found(sums, &w.next)
		w.ordinal++
		return
	}
	if b.losses == 0 {
		w.beyond++
		return
	}
	change := w.hashBudget(b)
	if b.losses != endless {
		b.losses--
	}
	change = w.hashBudget(b).minus(change)
	for at, id := range list {
		m := w.tables.message(id)
		if m.from*MaxServers+m.to != full || at > 0 && list[at-1] == id {
			continue
		}
		w.list[losses+1] = slices.Delete(append(w.listAt(losses+1), list...), at, at+1)
		rest := w.sumsAt(losses + 1)
		for k := range rest {
			rest[k] = sums[k].plus(change).minus(w.hash(m, k))
		}
		w.move.lost = append(w.move.lost, id)
		w.settle(losses+1, b, true)
		w.move.lost = w.move.lost[:len(w.move.lost)-1]
	}
}

// fullLink returns a link that holds too many messages, or -1.
func (w *worker) fullLink(list []uint32) int {
	var count [MaxServers * MaxServers]int8
	for _, id := range list {
		m := w.tables.message(id)
		link := m.from*MaxServers + m.to
		if count[link]++; int(count[link]) > w.bounds.InFlight {
			return link
		}
	}
	return -1
}

// listAt returns an empty list of messages for use after a number of losses.
func (w *worker) listAt(losses int) []uint32 {
	for len(w.list) <= losses {
		w.list = append(w.list, nil)
	}
	return w.list[losses][:0]
}

// sumsAt returns room for the sums after a number of losses.
func (w *worker) sumsAt(losses int) []sum {
	for len(w.room) <= losses {
		w.room = append(w.room, make([]sum, len(w.sums)))
	}
	return w.room[losses]
}

// least returns the least sum. It belongs to the naming under which all states that differ only in
// the names of servers look the same.
func least(sums []sum) sum {
	first := sums[0]
	for _, s := range sums[1:] {
		if s.less(first) {
			first = s
		}
	}
	return first
}
