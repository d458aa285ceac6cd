package sim

import "github.com/e17579a5/raft"

// A server that doesn't lead has no more than WindowBytes of commands on their way to the leader.
// The others wait at that server, and whoever calls elsewhere meanwhile goes before them: each time
// that one of them may leave, the leader's log may have filled up anew. So it isn't known when a
// command that has to wait like this must be answered before it may leave. The simulator follows
// the window from outside. It knows which commands are answered, but not which have been seen in the
// log: that it learns when the next one leaves.

// offers are the commands of callers at one server that have no answer yet.
type offers struct {
	away   int64   // the bytes of those that have left, or might have
	behind []int32 // the operations that have to wait, in the order of their numbers
}

// offer notes that a command was called for at a server, and expects its answer unless it has to
// wait. At the leader none has to.
func (w *World) offer(s *server, operation int32) {
	o := &w.ops[operation]
	f := &s.offers
	if s.status.role != leads && (len(f.behind) > 0 || !w.fits(f, o)) {
		f.behind = append(f.behind, operation)
		return
	}
	f.away += o.size
	w.expect(s, o)
}

// fits reports whether a command may leave.
func (w *World) fits(f *offers, o *operation) bool {
	return f.away == 0 || f.away+o.size <= w.params.WindowBytes
}

// leave notes that the first of the commands that had to wait may leave.
func (w *World) leave(s *server) {
	f := &s.offers
	o := &w.ops[f.behind[0]]
	f.behind = f.behind[:copy(f.behind, f.behind[1:])]
	f.away += o.size
	w.expect(s, o)
}

// forwarded notes that commands leave for the leader.
func (w *World) forwarded(s *server, commands []raft.Entry) {
	for j := range commands {
		number := commands[j].Number
		for len(s.offers.behind) > 0 && w.ops[s.offers.behind[0]].number <= number {
			w.leave(s)
		}
	}
}

// offerEnds notes that a command is answered, and that others may leave for that.
func (w *World) offerEnds(s *server, o *operation) {
	f := &s.offers
	waited := false
	for j, operation := range f.behind {
		if &w.ops[operation] == o {
			f.behind, waited = append(f.behind[:j], f.behind[j+1:]...), true
			break
		}
	}
	if !waited {
		f.away -= o.size
	}
	for len(f.behind) > 0 && w.fits(f, &w.ops[f.behind[0]]) {
		w.leave(s)
	}
}
