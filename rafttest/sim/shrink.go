package sim

// Shrink cuts a schedule that breaks an invariant down to what it takes to break the same one: delta debugging
// (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input") over its events, then over what
// they say, then over the parameters. budget bounds the events that are replayed in search of it;
// DefaultBudget is a matter of seconds. A schedule that breaks nothing comes back as it is.
func (w *World) Shrink(s Schedule, budget int) Schedule {
	k := &shrinker{w: w, best: s, budget: budget}
	first := w.Replay(&s)
	if first.Violation == nil {
		return s
	}
	k.best.Expect = first.Violation.Name
	k.failure = first.Violation.kind()
	k.try(k.best.Params, k.best.Events)
	for before := -1; before != len(k.best.Events) && k.budget > 0; {
		before = len(k.best.Events)
		k.dropGroups()
		k.foundEarlier()
		k.dropChunks()
		k.simplify()
		k.simplifyParams()
	}
	k.dropPairs()
	k.simplify()
	return k.best
}

// DefaultBudget is the budget of Shrink that suits a person who waits.
const DefaultBudget = 8_000_000

type shrinker struct {
	w      *World
	best   Schedule
	budget int
	trial  []Event

	failure string // Violation.kind of what is to be kept
}

// try replays a candidate. If it breaks the same invariant it becomes the best one so far, without the events that didn't
// happen or came too late. Settings that no server starts with break nothing but themselves.
func (k *shrinker) try(p Params, events []Event) bool {
	if k.budget <= 0 || !p.startable() {
		return false
	}
	candidate := Schedule{Params: p, Events: events}
	k.w.record = true
	r := k.w.Replay(&candidate)
	k.w.record = false
	k.budget -= r.Stats.Events + len(events)/4 + 1
	if r.Violation == nil || r.Violation.kind() != k.failure {
		return false
	}
	k.best.Params = p
	k.best.Events = append([]Event(nil), k.w.history...)
	return true
}

// without tries the best events without those that drop names.
func (k *shrinker) without(drop func(i int, e *Event) bool) bool {
	k.trial = k.trial[:0]
	for i := range k.best.Events {
		if !drop(i, &k.best.Events[i]) {
			k.trial = append(k.trial, k.best.Events[i])
		}
	}
	return len(k.trial) < len(k.best.Events) && k.try(k.best.Params, k.trial)
}

// dropGroups leaves out all events of a server, of a kind, or of a kind of message.
func (k *shrinker) dropGroups() {
	for server := int8(0); server < MaxServers; server++ {
		k.without(func(_ int, e *Event) bool {
			return !e.Op.alone() && (e.Server == server || e.Op.pairs() && e.Peer == server)
		})
	}
	for op := OpStart; op <= lastOp; op++ {
		k.without(func(_ int, e *Event) bool { return e.Op == op })
	}
	for kind := firstKind; kind <= lastKind; kind++ {
		k.without(func(_ int, e *Event) bool { return e.Op == OpDeliver && e.Kind == kind })
	}
}

// foundEarlier puts a cluster that is founded without incident in the place of a beginning.
func (k *shrinker) foundEarlier() {
	n := len(k.best.Events)
	if n == 0 || n <= 8 {
		return
	}
	for part := 15; part >= 0; part-- {
		from := n * part / 16
		events := append([]Event{{Op: OpFound}}, k.best.Events[min(from, len(k.best.Events)):]...)
		if k.best.Events[0].Op == OpFound && from <= 1 {
			return
		}
		if k.try(k.best.Params, events) {
			return
		}
	}
}

// dropChunks leaves out runs of events, long ones first.
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

// dropPairs leaves out two events that make sense only together, once the list is short.
func (k *shrinker) dropPairs() {
	const short = 90
	for i := 0; i < len(k.best.Events) && len(k.best.Events) <= short; i++ {
		for j := i + 1; j < len(k.best.Events); j++ {
			if k.without(func(at int, _ *Event) bool { return at == i || at == j }) {
				j = i
				k.dropChunks()
				if i >= len(k.best.Events) {
					return
				}
			}
		}
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

// simplify makes events say less: no times, nothing held back, one write at a time, nothing kept at a crash.
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
			if e.Op == OpStart || e.Op == OpCrash || e.Op == OpPersist || e.Op == OpApply {
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

// simplifyParams takes back what the seed drew, one parameter at a time, and servers that nothing happens to.
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
