package sim

import (
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// errGivenUp is the error with which a client gives up.
var errGivenUp = errors.New("given up")

// start starts a server from what its disk holds. On a real log, cut says whether the power fails
// while the log is opened (see OpStart).
func (w *World) start(i int, cut int64) bool {
	s := &w.servers[i]
	if s.up || w.hosts != nil && !w.hosts.processes[i].up {
		return false
	}
	w.forget(s)
	saved, ok := w.load(i, cut)
	if !ok {
		return true
	}
	if saved.Snapshot.Index > 0 {
		w.notes("has the snapshot of index %d", saved.Snapshot.Index)
	}
	s.life++
	config := w.params.config(i)
	config.ID, config.Address = s.id, s.address
	config.Saved = saved
	generation := len(s.disks) - 1
	config.Incarnation = w.incarnation(i)
	config.Bootstrap = w.founders(i)
	config.Seed = w.luck.draw(luckSeed, i, 0, uint64(s.life))
	config.StartLuck = w.startLuck(i)
	config.KeyLuck = w.keyLuck(i)
	config.Now = w.local(s)
	w.openMachine(i)
	if w.violation != nil {
		return true
	}
	s.level = w.levelOf(i)
	config.Level, config.Coalesced = s.level, w.hosts != nil
	config.CompareResults = w.params.Compare != 0
	core := w.newCore(i, &config)
	if w.violation != nil {
		return true
	}
	s.core, s.up = core, true
	s.learnsLost(saved.Lost...)
	if w.inherited > 0 && w.trace != nil {
		w.trace.reload(w, w.trace.current())
	}
	s.start = core.Origin().Start
	w.asksFrom(i)
	if !w.checkStart(i) {
		return true
	}
	s.starts[generation] = append(s.starts[generation], lifeOps{start: s.start})
	if s.disk.back {
		s.backStarts = append(s.backStarts, s.start)
	}
	s.applier = raft.NewApplier(&s.replica, core.Origin())
	if config.CompareResults {
		s.applier.CompareResults()
	}
	w.tellRoom(s)
	w.resume(i)
	s.view = append(s.view[:0], s.disk.slots...)
	s.configurations = append(s.configurations[:0], s.disk.configurations...)
	s.status = s.look()
	if s.life > 1 {
		w.stats.Restarts++
	}
	w.joins(i)
	w.observe(i)
	w.drain(i)
	w.endTurn(i)
	return true
}

// startLuck returns the luck that is in the number of a server's present start.
func (w *World) startLuck(i int) uint32 {
	return uint32(w.luck.draw(luckStart, i, 0, uint64(w.servers[i].life)))
}

// checkStart checks that a core that has just started follows what its disk holds. It reports
// whether the server can go on with it.
func (w *World) checkStart(i int) bool {
	s := &w.servers[i]
	durable := &s.disk.state
	if s.start != wire.NextStart(durable.Start, w.startLuck(i)) {
		w.fail(WritesInOrder, i, "start %#x follows start %#x", s.start, durable.Start)
		return false
	}
	if term := s.look().term; term < durable.Term {
		w.fail(Cursors, i, "starts in term %d, durable is %d", term, durable.Term)
	}
	return true
}

// founders returns the servers that a server may found the cluster with, or none.
func (w *World) founders(i int) []raft.Server {
	// If members change, a server that starts on a new, empty disk must not be one of the founders:
	// those could found another cluster.
	if i >= int(w.params.Servers) || w.servers[i].wiped() && w.params.ChangeTime != 0 || w.orphaned() {
		return nil
	}
	var all []raft.Server
	for j := range int(w.params.Servers) {
		id := w.servers[j].id
		all = append(all, raft.Server{ID: id, Address: string(id)})
	}
	return all
}

// incarnation returns the incarnation of a server's present disk, if the disk was empty at its
// first start.
func (w *World) incarnation(i int) raft.Incarnation {
	return raft.Incarnation(w.luck.draw(luckIncarnation, i, 0, uint64(len(w.servers[i].disks)-1)) | 1)
}

// crash ends a process. n says which of its queued writes have reached the disk (see OpCrash).
func (w *World) crash(i int, n int64) bool {
	s := &w.servers[i]
	if !s.up {
		return false
	}
	kept := min(n&0xff, int64(len(s.writes)))
	if d := s.ownLog(); d != nil {
		kept = d.settle(kept)
	}
	left := s.writes[kept:]
	if w.hosts != nil {
		kept, left = w.hosts.keeps(w, i, kept)
	}
	for at, write := range s.writes[:kept] {
		if !s.disk.fits(write) {
			kept = int64(at)
			break
		}
		w.checkRepairs(i, write)
		w.noteStored(s, write)
		s.disk.perform(write)
	}
	w.stats.Crashes++
	if s.disk.wal != nil {
		w.crashLog(s, left, n>>8)
	} else {
		w.stats.Lost += len(s.writes) - int(kept)
	}
	w.ended(i)
	return true
}

// halts ends a server by itself. Of one whose process goes on, the disk keeps what it was given.
func (w *World) halts(i int) {
	if w.hosts != nil {
		w.crash(i, 0)
	} else {
		w.ended(i)
	}
}

// ended forgets a process that has ended. Its callers get no answers.
func (w *World) ended(i int) {
	w.cutPower(i)
	w.leaves(i)
	s := &w.servers[i]
	for j := range w.ops {
		if o := &w.ops[j]; o.started && o.outcome == outcomeOpen && int(o.server) == i && o.life == s.life {
			o.outcome = outcomeGone
		}
	}
	w.forget(s)
}

// wipe replaces a server's disk by an empty one. The cluster doesn't count the new disk until a
// change tells it to.
func (w *World) wipe(i int) bool {
	s := &w.servers[i]
	if !w.expendable(i) {
		return false
	}
	if s.up {
		w.crash(i, 0)
	}
	was := &ending{disk: s.disk, hit: s.hit()}
	s.giveDisk()
	w.stats.Wipes++
	if w.hosts != nil {
		w.hosts.removesStored(w, i, was)
	}
	return true
}
