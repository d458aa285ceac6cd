package sim

import (
	"fmt"

	"github.com/e17579a5/raft/wire"
)

// Shrink cuts a schedule that breaks an invariant down to the events that it takes to break the
// same invariant. It uses delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
// Failure-Inducing Input") over the events, then over what the events say, and then over the
// parameters. After that it searches for shorter ways to the same failure. budget bounds the work;
// its unit is about a microsecond of a processor. A schedule that breaks nothing is returned as it
// is. The Proof says which shorter schedules were tried.
func (w *World) Shrink(s Schedule, budget int) (Schedule, Proof) {
	first := w.Replay(&s)
	if first.Violation == nil {
		return s, Proof{}
	}
	s.Expect = first.Violation.Name
	failure := first.Violation.kind()
	if first.Stats.Events <= MaxEvents {
		return w.shrink(s, failure, budget)
	}
	// The run seems to go on for ever: it has reached MaxEvents. Candidates would each take a good
	// part of the budget to do the same, so each is given up much sooner. If that was rash, the
	// failure isn't there at the end, and the shrinking is done once more.
	w.patience = MaxEvents / 20
	best, proof := w.shrink(s, failure, budget/4*3)
	w.patience = MaxEvents
	if last := w.Replay(&best); last.Violation != nil && last.Violation.kind() == failure {
		return best, proof
	}
	return w.shrink(s, failure, budget/4)
}

// shrink shortens a schedule that ends in a failure, as Shrink says.
func (w *World) shrink(s Schedule, failure string, budget int) (Schedule, Proof) {
	k := &shrinker{w: w, best: s, failure: failure, budget: budget, reserve: budget / 4}
	k.try(k.best.Params, k.best.Events)
	k.reduce()
	k.inService()
	for before := -1; before != len(k.best.Events) && k.budget > k.reserve; {
		before = len(k.best.Events)
		k.rebuild()
		k.bridge()
		k.wander()
		k.reduce()
	}
	k.reserve = 0
	return k.best, k.prove()
}

// DefaultBudget is a budget for Shrink that takes seconds. It suits a person who waits.
const DefaultBudget = 6_000_000

// A shrinker is the state of one shrinking.
type shrinker struct {
	w       *World
	best    Schedule
	budget  int
	reserve int // the part of the budget for the last steps
	trial   []Event
	drawn   uint64
	tried   int // number of candidates so far

	failure string // Violation.kind of the failure that is kept
}

// reduce leaves out events and simplifies the rest until nothing changes.
func (k *shrinker) reduce() {
	for before := -1; before != len(k.best.Events) && k.budget > k.reserve; {
		before = len(k.best.Events)
		k.dropGroups()
		k.foundEarlier()
		k.dropChunks()
		k.asModel()
		k.fillFaster()
		k.simplify()
		k.simplifyParams()
	}
}

// fails replays a candidate. If it broke the same invariant, fails returns the events that happened
// until then; otherwise it returns nil. Sometimes these events alone don't break the invariant: an
// event that couldn't happen has made a difference all the same. Then fails returns all events. It
// refuses settings with which no server starts: they break nothing but themselves.
func (k *shrinker) fails(p Params, events []Event) []Event {
	if k.budget <= 0 || !p.startable() || !k.breaks(p, events) {
		return nil
	}
	if len(k.w.history) == len(events) {
		return k.w.history
	}
	if happened := append([]Event(nil), k.w.history...); k.breaks(p, happened) {
		return happened
	}
	return events
}

// breaks replays a candidate and reports whether it broke the same invariant.
func (k *shrinker) breaks(p Params, events []Event) bool {
	candidate := Schedule{Params: p, Events: events}
	k.w.record = true
	r := k.w.Replay(&candidate)
	k.w.record = false
	k.tried++
	k.budget -= cost(&r, len(events))
	return r.Violation != nil && r.Violation.kind() == k.failure
}

// cost returns what a replay takes of the budget: about the microseconds that it takes of a
// processor.
func cost(r *Result, events int) int {
	c := 20 + r.Stats.Events + events/4
	if r.Params.WAL != 0 {
		c = 100 + c*3/2 + 20*r.Stats.Opened
	}
	return c
}

// try makes a candidate the best one so far if it fails.
func (k *shrinker) try(p Params, events []Event) bool {
	return k.take(p, k.fails(p, events), len(events))
}

// shorter makes a candidate the best one so far if it fails and fewer events happen in it.
func (k *shrinker) shorter(p Params, events []Event) bool {
	return k.take(p, k.fails(p, events), len(k.best.Events)-1)
}

// noLonger makes a candidate the best one so far if it fails and no more events happen in it.
func (k *shrinker) noLonger(p Params, events []Event) bool {
	return k.take(p, k.fails(p, events), len(k.best.Events))
}

// take makes the events that happened in a failing candidate the best ones, unless there are more
// than most.
func (k *shrinker) take(p Params, happened []Event, most int) bool {
	if happened == nil || len(happened) > most {
		return false
	}
	k.best.Params = p
	k.best.Events = append([]Event(nil), happened...)
	return true
}

// without tries the best events without those for which drop returns true.
func (k *shrinker) without(drop func(i int, e *Event) bool) bool {
	k.trial = k.trial[:0]
	for i := range k.best.Events {
		if !drop(i, &k.best.Events[i]) {
			k.trial = append(k.trial, k.best.Events[i])
		}
	}
	return len(k.trial) < len(k.best.Events) && k.try(k.best.Params, k.trial)
}

// dropGroups leaves out all events of one server, of one operation, or of one kind of message.
func (k *shrinker) dropGroups() {
	for server := int8(0); server < MaxServers; server++ {
		k.without(func(_ int, e *Event) bool {
			return !e.Op.alone() && (e.Server == server || e.Op.pairs() && e.Peer == server)
		})
	}
	for op := OpStart; op <= lastOp; op++ {
		k.without(func(_ int, e *Event) bool { return e.Op == op })
	}
	for _, kind := range wire.Kinds() {
		k.without(func(_ int, e *Event) bool { return e.Op.carries() && e.Kind == kind })
	}
}

// foundEarlier replaces the beginning by the founding of a cluster without any fault. It makes the
// beginning as long as possible. It also tries this with the names of two servers exchanged, and
// with another election after the founding.
func (k *shrinker) foundEarlier() {
	const parts, short = 48, 200
	n := len(k.best.Events)
	if n <= 8 {
		return
	}
	servers := int8(k.best.Params.Servers)
	if n > short {
		servers = 1 // no names are exchanged
	}
	starts := []gadget{{{Op: OpFound}}}
	for a := int8(0); a < servers && servers <= 3; a++ {
		starts = append(starts, append(gadget{{Op: OpFound}}, elect(servers, a, 1, OpExpire)...))
	}
	for part := parts - 1; part >= 0; part-- {
		from := n * part / parts
		if k.best.Events[0].Op == OpFound && from <= 1 {
			return
		}
		for _, start := range starts {
			if from <= len(start) && k.best.Events[0].Op == OpFound {
				continue
			}
			for a := int8(0); a < servers; a++ {
				for b := int8(0); b < servers && b <= a; b++ {
					if a == b && a > 0 {
						continue // unchanged names, once
					}
					rest := renamed(k.best.Events[from:], a, b)
					if k.try(k.best.Params, append(append([]Event(nil), start...), rest...)) {
						return
					}
				}
			}
		}
		if k.budget <= k.reserve {
			return
		}
	}
}

// dropChunks leaves out runs of successive events, long runs first.
func (k *shrinker) dropChunks() {
	for size := max(len(k.best.Events)/2, 1); ; size /= 2 {
		for again := true; again; {
			again = false
			for end := len(k.best.Events); end > 0; {
				from := max(end-size, 0)
				if k.without(func(i int, _ *Event) bool { return i >= from && i < end }) {
					again = size == 1
					end = min(from, len(k.best.Events))
				} else {
					end = from
				}
			}
		}
		if size == 1 || k.budget <= 0 {
			return
		}
	}
}

// A Proof says which shorter schedules were tried in vain.
type Proof struct {
	Events, Singles, Pairs int // all events; events that were left out alone; pairs that were
	Tried                  int // number of candidates in all
}

// String returns the proof as a sentence.
func (p Proof) String() string {
	if p.Events == 0 {
		return "nothing is violated, so nothing was shortened"
	}
	all := p.Events * (p.Events - 1) / 2
	switch {
	case p.Singles < p.Events:
		return fmt.Sprintf("shorter ones may fail too: the search was given up after %d candidates", p.Tried)
	case p.Pairs < all:
		return fmt.Sprintf("without any single event of it nothing fails, nor without %d of %d pairs of them, when the search was given up; "+
			"%d candidates were tried in all", p.Pairs, all, p.Tried)
	}
	return fmt.Sprintf("without any single event of it nothing fails, nor without any of the %d pairs of them; %d candidates were tried in all",
		all, p.Tried)
}

// dropPairs leaves out pairs of events that make sense only together. It does so only in short
// lists.
func (k *shrinker) dropPairs() {
	const short = 60
	for i := 0; i < len(k.best.Events) && len(k.best.Events) <= short && k.budget > k.reserve; i++ {
		for j := i + 1; j < len(k.best.Events); j++ {
			if k.without(func(at int, _ *Event) bool { return at == i || at == j }) {
				j = i
			}
		}
	}
	k.dropChunks()
}

// prove leaves out each event and each pair of events, until that doesn't shorten the schedule any
// more.
func (k *shrinker) prove() Proof {
	for {
		n := len(k.best.Events)
		proof := Proof{Events: n}
		for i := 0; i < n && len(k.best.Events) == n && k.budget > 0; i++ {
			proof.Singles++
			k.without(func(at int, _ *Event) bool { return at == i })
		}
		for i := 0; i < n && len(k.best.Events) == n; i++ {
			for j := i + 1; j < n && len(k.best.Events) == n && k.budget > 0; j++ {
				proof.Pairs++
				k.without(func(at int, _ *Event) bool { return at == i || at == j })
			}
		}
		if proof.Tried = k.tried; len(k.best.Events) == n {
			return proof
		}
		k.dropChunks()
		k.simplify()
	}
}

// change tries the best events with one of them changed.
func (k *shrinker) change(i int, edit func(e *Event)) {
	if i >= len(k.best.Events) {
		return
	}
	e := k.best.Events[i]
	edit(&e)
	if e.String() == k.best.Events[i].String() {
		return
	}
	k.trial = append(k.trial[:0], k.best.Events...)
	k.trial[i] = e
	k.try(k.best.Params, k.trial)
}

// simplify makes events say less: no times, nothing held back, one write at a time, nothing kept at
// a crash.
func (k *shrinker) simplify() {
	k.trial = append(k.trial[:0], k.best.Events...)
	for i := range k.trial {
		k.trial[i].At = 0
	}
	timeless := k.try(k.best.Params, k.trial)
	k.trial = append(k.trial[:0], k.best.Events...)
	for i := range k.trial {
		k.trial[i].Hold = false
	}
	k.try(k.best.Params, k.trial)
	if len(k.best.Events) > 400 {
		return
	}
	for i := len(k.best.Events) - 1; i >= 0; i-- {
		if !timeless {
			k.change(i, func(e *Event) { e.At = 0 })
		}
		k.change(i, func(e *Event) { e.Hold = false })
		k.change(i, func(e *Event) {
			if e.Op == OpStart || e.Op == OpCrash || e.Op == OpPersist || e.Op == OpApply || e.Op == OpProbe {
				e.N = 0
			}
		})
		k.change(i, func(e *Event) {
			if e.Op == OpCrash {
				e.N &= 0xff
			}
		})
	}
}

// simplifyParams undoes what the seed drew, one parameter at a time, and removes servers to which
// nothing happens.
func (k *shrinker) simplifyParams() {
	for servers := int64(1); servers < k.best.Params.Servers; servers++ {
		p := k.best.Params
		p.Servers = servers
		if k.try(p, k.best.Events) {
			break
		}
	}
	calm := Calm(uint64(k.best.Params.Seed), int(k.best.Params.Servers))
	if k.try(calm, k.best.Events) {
		return
	}
	for i, c := range calm.all() {
		p := k.best.Params
		all := p.all()
		if all[i].name == "servers" || *all[i].value == *c.value {
			continue
		}
		*all[i].value = *c.value
		k.try(p, k.best.Events)
	}
}
