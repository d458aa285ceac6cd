package sim

import (
	"bytes"

	"github.com/e17579a5/raft"
)

// swap replaces the core of a server by its clone, which must be equal to it, and makes the original do something
// else. The two may share memory, but the clone must not change by that.
func (w *World) swap(i int, clone *raft.Core) {
	s := &w.servers[i]
	old := s.core
	s.core = clone
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
