package sim

import (
	"bytes"

	"github.com/e17579a5/raft"
)

// swap goes on with a clone of a core, which must be equal to it, and lets the original do something else: what
// they share must not change.
func (w *World) swap(i int) {
	s := &w.servers[i]
	old := s.core
	s.core = old.Clone()
	name := func(id raft.ServerID) byte { return byte(serverOf(id)) }
	if !bytes.Equal(old.AppendState(nil, name), s.core.AppendState(nil, name)) {
		w.fail(CoreCheck, i, "a clone differs from its original")
		return
	}
	var e raft.Effects
	old.Propose(w.local(s), []byte("disturbed"))
	old.Read(w.local(s))
	old.Drain(&e)
	for range 3 {
		old.Tick(old.Deadline())
		old.Propose(w.local(s), []byte("disturbed"))
		old.Drain(&e)
		if e.Write.Number != 0 {
			old.Persisted(w.local(s), e.Write.Number)
		}
	}
}
