package sim

import (
	"errors"

	"github.com/e17579a5/raft"
)

// errGivenUp is why a client gives up.
var errGivenUp = errors.New("given up")

// start starts a server from what its disk holds. Under a real log, the power fails while that is opened, as cut says (OpStart).
func (w *World) start(i int, cut int64) bool {
	s := &w.servers[i]
	if s.up {
		return false
	}
	w.forget(s)
	saved, ok := w.load(i, cut)
	if !ok {
		return true
	}
	s.life++
	config := w.params.config(i)
	config.ID, config.Address = s.id, s.address
	config.Saved = saved
	generation := len(s.disks) - 1
	config.Incarnation = w.incarnation(i)
	// Where members change, who starts anew on an empty disk must not be one of those who could found another cluster.
	founds := i < int(w.params.Servers) && (generation == 0 || w.params.ChangeTime == 0) && !w.orphaned()
	for j := 0; j < int(w.params.Servers) && founds; j++ {
		id := w.servers[j].id
		config.Bootstrap = append(config.Bootstrap, raft.Server{ID: id, Address: string(id)})
	}
	config.Seed = w.luck.draw(luckSeed, i, 0, uint64(s.life))
	config.Now = w.local(s)
	config.DurableMachine, config.MachineApplied = w.params.Durable != 0, s.kept.index
	s.level = w.levelOf(i)
	config.Level = s.level
	config.CompareResults = w.params.Compare != 0
	core, err := raft.NewCore(config)
	if err != nil {
		w.fail(Starts, i, "%v", err)
		return true
	}
	s.core, s.up = core, true
	if w.inherited > 0 && w.trace != nil {
		w.trace.reload(w, w.trace.current())
	}
	s.start = core.Origin().Start
	if want := s.disk.state.Start + 1; s.start != want {
		w.fail(WritesInOrder, i, "start %d follows start %d", s.start, want-1)
		return true
	}
	for uint64(len(s.starts[generation])) <= s.start {
		s.starts[generation] = append(s.starts[generation], lifeOps{})
	}
	// A start that was never durable is repeated: nothing of the one before can have left the server.
	s.starts[generation][s.start] = lifeOps{}
	s.replica.inner, s.replica.command = w.machine(), 0
	s.applier = raft.NewApplier(&s.replica, core.Origin())
	if config.CompareResults {
		s.applier.CompareResults()
	}
	w.resume(i)
	s.view = append(s.view[:0], s.disk.slots...)
	s.configurations = append(s.configurations[:0], s.disk.configurations...)
	s.status = s.look()
	if s.life > 1 {
		w.stats.Restarts++
	}
	if s.status.term < s.disk.state.Term {
		w.fail(Cursors, i, "starts in term %d, durable is %d", s.status.term, s.disk.state.Term)
	}
	w.observe(i)
	w.drain(i)
	return true
}

// incarnation returns that of a server's present disk, if it was empty at the first start.
func (w *World) incarnation(i int) raft.Incarnation {
	return raft.Incarnation(w.luck.draw(luckIncarnation, i, 0, uint64(len(w.servers[i].disks)-1)) | 1)
}

// crash ends a process. The oldest n of its queued writes have reached the disk.
func (w *World) crash(i int, n int64) bool {
	s := &w.servers[i]
	if !s.up {
		return false
	}
	kept := min(n&0xff, int64(len(s.writes)))
	if s.disk.wal != nil {
		kept = s.disk.wal.settle(kept)
	}
	for _, write := range s.writes[:kept] {
		s.disk.perform(write)
	}
	w.stats.Crashes++
	if s.disk.wal != nil {
		w.crashLog(s, s.writes[kept:], n>>8)
	} else {
		w.stats.Lost += len(s.writes) - int(kept)
	}
	w.ended(i)
	return true
}

// ended forgets a process that has ended. Its callers get no answers.
func (w *World) ended(i int) {
	s := &w.servers[i]
	for j := range w.ops {
		if o := &w.ops[j]; o.started && o.outcome == outcomeOpen && int(o.server) == i && o.life == s.life {
			o.outcome = outcomeGone
		}
	}
	w.forget(s)
}

// wipe replaces a server's disk by an empty one. Its cluster doesn't count the new one, until it is told to.
func (w *World) wipe(i int) bool {
	s := &w.servers[i]
	if !w.expendable(i) {
		return false
	}
	if s.up {
		w.crash(i, 0)
	}
	s.giveDisk()
	w.stats.Wipes++
	return true
}
