package sim

import "github.com/e17579a5/raft"

// A frozenState says what stays wrong with a server after all other faults have ended.
type frozenState uint8

const (
	frozenNot frozenState = iota
	frozenDown
	frozenOff     // the server neither hears nor is heard
	frozenDeaf    // it is heard but doesn't hear
	frozenDumb    // it hears but isn't heard
	frozenDisk    // its disk neither writes nor reads
	frozenPause   // its process stands still
	frozenMachine // its state machine stands still

	numFrozen
)

// healthy reports whether a server must make progress.
func (w *World) healthy(i int) bool {
	return w.servers[i].frozen == frozenNot && w.counts(i) && !w.servers[i].noticed() && !w.exhausted(i)
}

// quiet reports whether no change of the members is under way or asked for.
func (w *World) quiet() bool {
	for _, n := range w.changes {
		if w.ops[n].outcome == outcomeOpen {
			return false
		}
	}
	committed := w.ghost.configurations
	last := committed[len(committed)-1]
	if last.configuration.Old != nil || last.configuration.Next != nil {
		return false
	}
	for i := 0; i < w.n; i++ {
		s := &w.servers[i]
		if s.up && s.core.Status().Changing {
			return false
		}
		if n := len(s.disk.configurations); n > 0 && s.disk.configurations[n-1].index > last.index {
			return false
		}
	}
	return true
}

// freeze chooses a minority of the voters, and what stays wrong with each of them. Voters that have
// lost their disk count towards the minority.
func (w *World) freeze() {
	if !w.quiet() {
		return
	}
	members, voters, sick := w.ghost.settled.Members, 0, int64(0)
	for i := range members {
		if members[i].Role == raft.Voter {
			voters++
			if w.lost(&members[i]) {
				sick--
			}
		}
	}
	sick = below(w.luck.draw(luckFreeze, 0, 0, 0), max(int64(voters-1)/2+sick+1, 0))
	for n := uint64(1); sick > 0 && n < 1000; n++ {
		h := w.luck.draw(luckFreeze, 0, 0, n)
		i := int(below(h, int64(w.n)))
		if leader := w.leading(); leader >= 0 && mix(h)%4 == 0 {
			i = leader
		}
		if w.healthy(i) && !w.bears(i) && memberOf(w.ghost.settled, w.servers[i].id).Role == raft.Voter {
			w.freezeServer(i, frozenState(1+below(mix(h+1), int64(numFrozen)-1)))
			sick--
		}
	}
}

// frozenNames are the names of these states in a trace.
var frozenNames = [...]string{
	frozenDown: "crash for good", frozenOff: "isolate for good", frozenDeaf: "deaf for good", frozenDumb: "dumb for good",
	frozenMachine: "stop the state machine for good",
	frozenDisk:    "stall for good", frozenPause: "pause for good",
}

// freezeServer makes something wrong with a server that isn't mended any more.
func (w *World) freezeServer(i int, state frozenState) {
	s := &w.servers[i]
	s.frozen = state
	if w.trace != nil {
		until := int64(0)
		if state == frozenDisk || state == frozenPause || state == frozenMachine {
			until = never
		}
		w.trace.fault(w, frozenNames[state], i, until)
	}
	switch state {
	case frozenDown:
		w.step(Event{Op: OpCrash, Server: int8(i)}, nil)
	case frozenPause:
		s.paused = never
	}
	for j := 0; j < w.n; j++ {
		if j == i {
			continue
		}
		if state == frozenOff || state == frozenDeaf {
			w.step(Event{Op: OpCut, Server: int8(i), Peer: int8(j)}, nil)
		}
		if state == frozenOff || state == frozenDumb {
			w.step(Event{Op: OpCut, Server: int8(j), Peer: int8(i)}, nil)
		}
	}
}
