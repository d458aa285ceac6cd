package sim

// A frozenState is what is wrong for good with a server after the faults have ended for the others.
type frozenState uint8

const (
	frozenNot frozenState = iota
	frozenDown
	frozenOff     // it neither hears nor is heard
	frozenDeaf    // it is heard
	frozenDumb    // it hears
	frozenDisk    // its disk neither writes nor reads
	frozenPause   // its process stands still
	frozenMachine // its state machine does

	numFrozen
)

// healthy says whether a server is one of those that must make progress.
func (s *server) healthy() bool { return !s.wiped && s.frozen == frozenNot }

// freeze chooses a minority of the servers, as large as the wiped ones allow at most, and what is wrong with each.
func (w *World) freeze() {
	sick := int64((w.n - 1) / 2)
	for i := 0; i < w.n; i++ {
		if w.servers[i].wiped || w.servers[i].rotten || w.servers[i].disk.lost() {
			sick--
		}
	}
	sick = below(w.luck.draw(luckFreeze, 0, 0, 0), sick+1)
	for n := uint64(1); sick > 0; n++ {
		h := w.luck.draw(luckFreeze, 0, 0, n)
		i := int(below(h, int64(w.n)))
		if leader := w.leading(); leader >= 0 && mix(h)%4 == 0 {
			i = leader
		}
		if w.servers[i].healthy() {
			w.freezeServer(i, frozenState(1+below(mix(h+1), int64(numFrozen)-1)))
			sick--
		}
	}
}

// frozenNames are what a trace calls them.
var frozenNames = [...]string{
	frozenDown: "crash for good", frozenOff: "isolate for good", frozenDeaf: "deaf for good", frozenDumb: "dumb for good",
	frozenMachine: "stop the state machine for good",
	frozenDisk:    "stall for good", frozenPause: "pause for good",
}

// freezeServer lets something be wrong with a server for good.
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
