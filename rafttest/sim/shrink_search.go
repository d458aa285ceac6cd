package sim

import "github.com/e17579a5/raft/wire"

// When no event can be left out any more, there may still be a shorter failure near by that is no
// part of the present one: the cluster got into a state by a detour, and the shorter way consists
// of other events. So the shrinker also replaces events by what people would write (gadgets),
// exchanges the names of servers, and goes on at random from there.

// A gadget is a list of events that takes a cluster somewhere on a short way.
type gadget []Event

// deliver returns the delivery of the latest message of a kind from one server to another.
func deliver(from, to int8, kind wire.Kind) Event {
	return Event{Op: OpDeliver, Peer: from, Server: to, Kind: kind}
}

// gadgets returns the short ways in a cluster of n servers: elections by timeout and by transfer,
// replication to one server, a crash and a start.
func gadgets(n int8) []gadget {
	all := []gadget{{}}
	for a := int8(0); a < n; a++ {
		all = append(all,
			gadget{{Op: OpCrash, Server: a}, {Op: OpStart, Server: a}, {Op: OpPersist, Server: a}},
			gadget{{Op: OpPersist, Server: a}},
			gadget{{Op: OpExpire, Server: a}})
		for first := int8(1); first < n; first++ {
			all = append(all, elect(n, a, first, OpExpire), elect(n, a, first, OpTransfer))
			b := (a + first) % n
			all = append(all, gadget{
				deliver(a, b, wire.KindAppendRequest), {Op: OpPersist, Server: b}, deliver(b, a, wire.KindAppendResponse),
			}, gadget{
				deliver(b, a, wire.KindHeartbeatResponse), deliver(a, b, wire.KindAppendRequest),
				{Op: OpPersist, Server: b}, deliver(b, a, wire.KindAppendResponse),
			})
		}
	}
	return all
}

// elect returns the events that make a server lead. It gets the votes of as many others as it
// needs: its neighbours from the firstth on. It campaigns because its deadline passes (OpExpire),
// or because another server, which leads, asks it to (OpTransfer).
func elect(n, candidate, first int8, begin Op) gadget {
	var voters []int8
	for i := int8(0); i < n/2; i++ {
		voters = append(voters, (candidate+(first-1+i)%(n-1)+1)%n)
	}
	var g gadget
	if begin == OpTransfer {
		leader := (candidate + (first-1+n/2)%(n-1) + 1) % n
		g = append(g, Event{Op: begin, Peer: leader, Server: candidate})
	} else {
		g = append(g, Event{Op: begin, Server: candidate})
		for _, v := range voters {
			g = append(g, deliver(candidate, v, wire.KindPreVoteRequest), deliver(v, candidate, wire.KindPreVoteResponse))
		}
	}
	g = append(g, Event{Op: OpPersist, Server: candidate})
	for _, v := range voters {
		g = append(g, deliver(candidate, v, wire.KindVoteRequest), Event{Op: OpPersist, Server: v},
			deliver(v, candidate, wire.KindVoteResponse))
	}
	return append(g, Event{Op: OpPersist, Server: candidate})
}

// renamed returns a copy of events with the names of two servers exchanged.
func renamed(events []Event, a, b int8) []Event {
	other := func(s int8) int8 {
		switch s {
		case a:
			return b
		case b:
			return a
		}
		return s
	}
	out := append([]Event(nil), events...)
	for i := range out {
		if !out[i].Op.alone() {
			out[i].Server = other(out[i].Server)
		}
		if out[i].Op.pairs() {
			out[i].Peer = other(out[i].Peer)
		}
	}
	return out
}

// bridge replaces runs of successive events, long runs first, by a shorter gadget.
func (k *shrinker) bridge() {
	ways := gadgets(int8(k.best.Params.Servers))
	for size := len(k.best.Events); size > 1; size -= max(size/4, 1) {
		for from := 0; from+size <= len(k.best.Events); from += max(size/4, 1) {
			for _, g := range ways {
				if len(g) < size && k.replace(from, from+size, g) {
					break
				}
			}
		}
		if k.budget <= k.reserve {
			return
		}
	}
}

// replace tries the best events with a run of them replaced by other events.
func (k *shrinker) replace(from, to int, with gadget) bool {
	to = min(to, len(k.best.Events))
	if from >= to {
		return false
	}
	k.trial = append(append(append(k.trial[:0], k.best.Events[:from]...), with...), k.best.Events[to:]...)
	return k.shorter(k.best.Params, k.trial)
}

// wander looks for shorter failures at random, until it has found none for long.
func (k *shrinker) wander() {
	const patience = 60 // tries for each event that is left
	ways := gadgets(int8(k.best.Params.Servers))
	for vain := 0; vain < patience*len(k.best.Events) && k.budget > k.reserve; {
		before := len(k.best.Events)
		k.stray(ways)
		if vain++; len(k.best.Events) < before {
			vain = 0
		}
	}
}

// stray tries one change at random. It takes a change that leaves the same number of events, too:
// that may open a way.
func (k *shrinker) stray(ways []gadget) {
	n := int64(len(k.best.Events))
	if n == 0 {
		return
	}
	from := k.draw(n)
	to := min(from+1+k.draw(1+k.draw(n)), n)
	p := k.best.Params
	switch k.draw(10) {
	case 0, 1: // leave out a run of events, or its events of one server or one operation
		k.omit(from, to)
	case 2: // leave out a few, anywhere
		chance := 1 + k.draw(4)
		k.trial = k.trial[:0]
		for _, e := range k.best.Events {
			if k.draw(n) >= chance {
				k.trial = append(k.trial, e)
			}
		}
	case 3: // replace a run by a gadget
		g := ways[k.draw(int64(len(ways)))]
		if to-from < int64(len(g)) {
			to = min(from+int64(len(g))+k.draw(n/4+1), n)
		}
		k.trial = append(append(append(k.trial[:0], k.best.Events[:from]...), g...), k.best.Events[to:]...)
	case 4: // an event moves
		e := k.best.Events[from]
		k.trial = append(append(k.trial[:0], k.best.Events[:from]...), k.best.Events[from+1:]...)
		at := k.draw(n)
		k.trial = append(k.trial[:at], append([]Event{e}, k.trial[at:]...)...)
	case 5: // two servers exchange their parts from some event on
		a, b := int8(k.draw(p.Servers)), int8(k.draw(p.Servers))
		k.trial = append(append(k.trial[:0], k.best.Events[:from]...), renamed(k.best.Events[from:], a, b)...)
	case 6: // change the number of an event, and leave out a few events
		k.trial = append(k.trial[:0], k.best.Events[:from]...)
		e := k.best.Events[from]
		if e.Op.carries() {
			e.N, e.Label = 0, 0
		} else if e.Op.counts() && e.Op != OpPropose && e.Op != OpQuery && e.Op != OpCancel {
			e.N = k.draw(e.N + 1)
		}
		k.trial = append(append(k.trial, e), k.best.Events[from+1:]...)
		k.thin(k.draw(4))
	case 7: // change the seed, reset a parameter, perhaps narrow a setting, and leave out a few events
		k.trial = append(k.trial[:0], k.best.Events...)
		k.vary(&p)
		k.thin(k.draw(8))
	case 8: // let a few events happen at other servers
		k.trial = append(k.trial[:0], k.best.Events...)
		for range 1 + k.draw(3) {
			e := &k.trial[k.draw(n)]
			if server := int8(k.draw(p.Servers)); !e.Op.alone() && (server != e.Peer || !e.Op.pairs()) {
				e.Server = server
			}
		}
	case 9: // remove a server or two
		last := int8(p.Servers - 1)
		k.trial = append(k.trial[:0], renamed(k.best.Events, int8(k.draw(p.Servers)), last)...)
		p.Servers -= 1 + k.draw(2)
		if p.Servers < 1 {
			return
		}
	}
	k.noLonger(p, k.trial)
}

// omit makes a trial without the events in [from, to), or only without those of them that have the
// operation, the server, or the kind of message of the first.
func (k *shrinker) omit(from, to int64) {
	like := k.best.Events[from]
	what := k.draw(4)
	k.trial = k.trial[:0]
	for i, e := range k.best.Events {
		if int64(i) < from || int64(i) >= to || what == 1 && e.Op != like.Op ||
			what == 2 && e.Server != like.Server || what == 3 && (e.Op != like.Op || e.Kind != like.Kind) {
			k.trial = append(k.trial, e)
		}
	}
}

// vary changes the seed or resets a parameter to its value in Calm, and may narrow a setting.
func (k *shrinker) vary(p *Params) {
	calm := Calm(uint64(p.Seed), int(p.Servers))
	if i := k.draw(int64(len(p.all()))); i > 1 {
		*p.all()[i].value = *calm.all()[i].value
	} else {
		p.Seed = 1 + k.draw(64)
	}
	if k.draw(2) == 0 {
		settings := p.settings()[2:] // all but heartbeat and election timeout
		*settings[k.draw(int64(len(settings)))] = [...]int64{1, 2, 100}[k.draw(3)]
	}
}

// thin leaves out some events of a trial.
func (k *shrinker) thin(count int64) {
	for ; count > 0 && len(k.trial) > 0; count-- {
		at := k.draw(int64(len(k.trial)))
		k.trial = append(k.trial[:at], k.trial[at+1:]...)
	}
}

// rebuild tries the plainest ways to get the proposed commands committed and applied. The leader of
// a cluster that was just founded takes them all, one by one or together, gets them to a majority,
// and commits them; then all servers apply them. If the shortest failure among these is shorter
// than the best one, rebuild goes on from it.
func (k *shrinker) rebuild() {
	found := Schedule{Params: k.best.Params, Events: []Event{{Op: OpFound}}}
	if k.w.Replay(&found); k.w.violation != nil || k.w.leading() < 0 {
		return
	}
	n, leader := int8(k.best.Params.Servers), int8(k.w.leading())
	var calls []Event
	for _, e := range k.best.Events {
		if e.Op == OpPropose || e.Op == OpQuery {
			e.Server, e.Hold, e.At = leader, false, 0
			calls = append(calls, e)
		}
	}
	for _, together := range []int{len(calls), 2, 1} {
		if together < 1 {
			continue
		}
		events := []Event{{Op: OpFound}}
		for from := 0; from < len(calls); from += together {
			events = append(events, calls[from:min(from+together, len(calls))]...)
			for range 2 { // in the first round, some commands are proposed while a write or an append is under way
				events = append(events, commit(n, leader)...)
			}
		}
		before := k.best
		if happened := k.fails(k.best.Params, events); happened != nil {
			k.best.Events = append([]Event(nil), happened...)
			k.dropChunks()
			k.dropPairs()
			if len(k.best.Events) >= len(before.Events) {
				k.best = before
			}
		}
	}
}

// commit returns the events that bring what a leader has taken to all other servers and make all
// servers apply it.
func commit(n, leader int8) gadget {
	g := gadget{{Op: OpPersist, Server: leader}}
	for b := int8(0); b < n; b++ {
		if b != leader {
			g = append(g, deliver(leader, b, wire.KindAppendRequest), Event{Op: OpPersist, Server: b}, deliver(b, leader, wire.KindAppendResponse))
		}
	}
	g = append(g, Event{Op: OpApply, Server: leader}, Event{Op: OpExpire, Server: leader})
	for b := int8(0); b < n; b++ {
		if b != leader {
			g = append(g, deliver(leader, b, wire.KindAppendRequest), deliver(leader, b, wire.KindHeartbeat), Event{Op: OpPersist, Server: b},
				Event{Op: OpApply, Server: b})
		}
	}
	return g
}

// draw returns a random number below n.
func (k *shrinker) draw(n int64) int64 {
	k.drawn++
	return below(mix(0x9e3779b97f4a7c15*k.drawn), n)
}

// fillFaster tries larger commands: fewer of them fill a segment or a quota.
func (k *shrinker) fillFaster() {
	const short, large = 40, 2000
	if len(k.best.Events) <= short || k.best.Params.CommandSize >= large {
		return
	}
	before := k.best
	p := k.best.Params
	p.CommandSize = large
	if k.try(p, k.best.Events) {
		k.dropChunks()
		if len(k.best.Events) >= len(before.Events) {
			k.best = before
		}
	}
}

// asModel tries models instead of real logs. A disk that fails, fills up or rots ends its server
// instead.
func (k *shrinker) asModel() {
	if k.best.Params.WAL == 0 {
		return
	}
	p := k.best.Params.WithModel()
	for _, instead := range []Op{OpCrash, OpFree, OpPersist} { // OpFree does nothing to a model
		failing := [MaxServers]bool{}
		k.trial = k.trial[:0]
		for _, e := range k.best.Events {
			switch {
			case e.Op >= OpFailWrite && e.Op <= OpRot:
				failing[e.Server] = e.Op != OpFree
				continue
			case failing[e.Server] && !e.Op.alone() && (e.Op == OpPersist || e.Op == OpRead):
				e.Op, e.N = instead, 0
				failing[e.Server] = false
			case e.Op == OpCrash:
				e.N &= 0xff
			case e.Op == OpStart:
				e.N = 0
			}
			k.trial = append(k.trial, e)
		}
		servers := int8(p.Servers)
		for a := int8(0); a < servers; a++ { // on other disks another server may lead after the founding
			for b := int8(0); b <= a; b++ {
				if (a != b || a == 0) && k.try(p, renamed(k.trial, a, b)) {
					return
				}
			}
		}
	}
}

// inService replaces the beginning of a failure that stays long by a calm while, in which every
// server gets commands committed. Often the failure needs nothing but some entries and snapshots,
// however they got there.
func (k *shrinker) inService() {
	const short = 40
	n := len(k.best.Events)
	for from := n - 1; from > 0 && n > short && k.budget > k.reserve; from -= 1 + (n-from)/4 {
		if k.try(k.best.Params, append([]Event{{Op: OpSettle}}, k.best.Events[from:]...)) {
			k.reduce()
			return
		}
	}
}
