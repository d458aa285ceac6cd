package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// The disk of a process may be a real log (Params.WAL), which all of its groups share, as those of a
// raft.Host do:
//
//	a batch     all writes that have gathered are one call of WriteGroups, when the write begins. What
//	            the call wrote has really happened when its last sync is done, and that is when the write
//	            ends
//	a crash     ends the process, and so the one log. Of each group's part of a batch that hasn't ended,
//	            the first few writes, all, or none may be left, whatever is left of those of the others
//	a failure   of one group alone closes its storage. The batch goes on
//	a removal   is RemoveGroup. If the power fails before its last sync is done, the group may be there as
//	            it was, and is removed again before anything is started. Once the last sync is done, nothing
//	            of it is ever found
//	a start     of the process opens the log, and counts the start in the group ""; that of a group loads
//	            the group
//
// What is found is compared then: the groups that there are, the start in the group "", and each group
// that is loaded with what must be durable of it (see World.recover).

// A hostLog is what a process has of a real log.
type hostLog struct {
	real *realLog // nil in a run without real logs
	// tried are the starts that attempts to open the log have begun to write.
	tried  []uint64
	wrote  int64 // the batch has really happened when so many syncs are done
	failed error // of the batch
	ending [MaxGroups]*ending
	disks  int // how many the process has had before
	// refusable says that the log may be refused as a whole, because of what has changed on the disk.
	refusable bool
}

// An ending is a group that is being removed from a log.
type ending struct {
	disk  *disk // what was there of the group before
	hit   bool  // and may have been damaged
	syncs int64 // it has gone when so many syncs are done; 0 if it must be removed again
}

// opens opens the log of a process that starts, and writes the start down. If that isn't possible, it
// plans another attempt.
func (h *Hosts) opens(i int, cut int64) bool {
	p := &h.processes[i]
	salt := h.luck.draw(luckDisk, i+1, 0x80|p.disks, 1) | 1
	if p.real == nil {
		p.real = newRealLog(h.luck.draw(luckDisk, i+1, 0x80|p.disks, 0))
	}
	if h.anyRotten(i) {
		cut = 0 // see endsLog
	}
	h.worlds[0].stats.Opened++
	err := p.real.open(h.params.Segment, salt, cut, func(log *wal.Log) error {
		if err := h.findsGroups(i, log); err != nil {
			return err
		}
		return h.findsStart(i, log)
	})
	if err != nil {
		h.notOpened(i, cut, err)
		return false
	}
	p.durable, p.tried = p.tried[len(p.tried)-1], nil
	p.ending = [MaxGroups]*ending{}
	return true
}

// anyRotten reports whether a byte of the disk of a process has changed.
func (h *Hosts) anyRotten(i int) bool {
	return slices.ContainsFunc(h.worlds, func(w *World) bool { return w.servers[i].rotten })
}

// findsStart looks at the start of a process that its log has, and writes the next one.
func (h *Hosts) findsStart(i int, log *wal.Log) error {
	p := &h.processes[i]
	saved, err := log.Load()
	if err != nil {
		return err
	}
	state := saved.State
	if saved.Last > 0 || state.Term > 0 || state.Start != p.durable && !slices.Contains(p.tried, state.Start) {
		return fmt.Errorf("the log has start %s of the process, durable is %s, and %d others were tried", wire.ShowStart(state.Start), wire.ShowStart(p.durable), len(p.tried))
	}
	p.durable = state.Start
	state.Server, state.Incarnation = p.id, raft.Incarnation(p.disks+1)
	state.Start = wire.NextStart(state.Start, uint32(h.draw(luckStart, i)))
	p.tried = append(p.tried, state.Start)
	return log.Write(raft.Write{Number: 1, State: state})
}

// findsGroups compares the groups that a log has with those that it must have. Those that are still
// there though they were being removed are removed again.
func (h *Hosts) findsGroups(i int, log *wal.Log) error {
	p := &h.processes[i]
	ids, err := log.Groups()
	if err != nil {
		return err
	}
	for _, w := range h.worlds {
		s, id := &w.servers[i], groupID(w.group)
		stored := slices.Contains(ids, id)
		must := s.disk.state != (raft.DurableState{})
		may := must || s.disk.wal != nil && len(s.disk.wal.unreported) > 0
		switch e := p.ending[w.group]; {
		case stored && e != nil:
			if err := e.remove(log, id); err != nil {
				return err
			}
		case stored && !may:
			w.fail(RemovedStaysAway, i, "the log holds something of group %d, and nothing of it must be there", w.group)
		case must && !stored && !s.hit():
			return fmt.Errorf("the log holds nothing of group %d", w.group)
		}
	}
	for _, id := range ids {
		if id != "" && (len(id) != 2 || int(id[1]-'0') >= len(h.worlds)) {
			return fmt.Errorf("the log holds a group %q, which nobody has written", id)
		}
	}
	return nil
}

// remove looks at a group that was being removed when the process ended, and removes it again.
func (e *ending) remove(log *wal.Log, id raft.GroupID) error {
	storage, err := log.Group(id)
	if err == nil {
		e.disk.wal.storage = storage
		var saved raft.Saved
		if saved, err = storage.Load(); err == nil {
			_, _, _, err = e.disk.compare(&saved, e.hit)
		}
		if err == nil {
			err = storage.Close()
		}
	}
	if err != nil && !errors.Is(err, raft.ErrCorrupt) {
		return fmt.Errorf("group %q, which was being removed: %w", id, err)
	}
	return log.RemoveGroup(id)
}

// notOpened deals with the log of a process that couldn't be opened.
func (h *Hosts) notOpened(i int, cut int64, err error) {
	p, stats := &h.processes[i], &h.worlds[0].stats
	p.real.countFailures(stats)
	switch p.real.refused(err, cut, h.mayRefuse(i), h.draw(luckKeep, i)) {
	case refusedPower:
		stats.CutOpening++
	case refusedCorrupt:
		stats.Corrupt++
		h.replaces(i)
	case refusedFull:
		stats.Full++
		if p.durable > 0 && !p.real.begun && !(h.anyRotten(i) && strings.Contains(err.Error(), "ANCHOR")) { // a file that was cut short needs room
			h.fail(Recovery, nil, i, "a log that exists can't be opened because the disk is full: %v", err)
			return
		}
	case refusedUnknown:
		h.fail(Recovery, nil, i, "%v", err)
		return
	}
	h.tells(i, "isn't started: %v", err)
	h.queue.push(item{at: h.now + 1 + spread(h.draw(luckRestart, i), h.params.DownTime), what: itemRestart, a: int8(i)})
}

// replaces replaces the rotten disk of a process by an empty one.
func (h *Hosts) replaces(i int) {
	p := &h.processes[i]
	h.tells(i, "gets another disk")
	p.disks++
	p.durable, p.images = 0, p.images[:0]
	p.hostLog = hostLog{disks: p.disks}
	h.all(func(w *World) { w.replace(i) })
}

// loadGroup loads a group from the log of its process. It returns false if the group can't be loaded;
// the server then stays down.
func (w *World) loadGroup(i int) (saved raft.Saved, ok bool) {
	s, h := &w.servers[i], w.hosts
	p := &h.processes[i]
	if p.failed != nil {
		w.planStart(i) // the process is about to end
		return saved, false
	}
	h.endsRemoval(i, w.group)
	if s.disk.wal == nil {
		s.disk.wal = &walDisk{shared: true}
	}
	d := s.disk.wal
	d.realLog = p.real
	storage, err := p.real.log.Group(groupID(w.group))
	if err == nil {
		d.storage = storage
		saved, err = storage.Load()
	}
	if errors.Is(err, raft.ErrCorrupt) && h.mayLose(w, i) {
		h.refuses(w, i, err)
		return saved, false
	}
	if err == nil && s.disk.state == (raft.DurableState{}) && len(d.unreported) == 0 && (saved.Last > 0 || saved.State != (raft.DurableState{})) {
		w.fail(RemovedStaysAway, i, "group %d begins with entries up to %d in term %d, and must begin with nothing", w.group, saved.Last, saved.State.Term)
		return saved, false
	}
	if err == nil {
		err = w.recover(s, &saved)
	}
	if err != nil {
		w.fail(Recovery, i, "%v", err)
		return saved, false
	}
	return saved, true
}

// refuses deals with a group that the log of a process refuses, since it is damaged: the group is given
// up there. If not even that is possible, since its name is lost, the process gets another disk.
func (h *Hosts) refuses(w *World, i int, why error) {
	p := &h.processes[i]
	w.stats.Corrupt++
	w.note("not started: " + why.Error())
	err := p.real.log.RemoveGroup(groupID(w.group))
	switch {
	case errors.Is(err, raft.ErrCorrupt):
		h.ends(i, 1)
		h.replaces(i)
	case err != nil:
		h.diskFails(i, err)
	default:
		p.real.fs.Settle(p.real.fs.Issued())
		w.replace(i)
		w.planStart(i)
	}
}

// closeGroup releases what a server that has ended had open of a shared log.
func (w *World) closeGroup(s *server) {
	d := s.disk.wal
	if w.hosts.processes[w.index(s)].up {
		w.discard(s)
		if err := d.storage.Close(); err != nil {
			w.fail(Recovery, w.index(s), "its group can't be closed: %v", err)
		}
	}
	d.storage = nil
}

// writesGroups hands a batch to the log of a process.
func (h *Hosts) writesGroups(i int) {
	p := &h.processes[i]
	var writes []raft.GroupWrite
	for _, w := range h.worlds {
		from := p.landed[w.group]
		for _, write := range w.servers[i].writes[from : from+p.batch[w.group]] {
			writes = append(writes, raft.GroupWrite{Group: groupID(w.group), Write: *write})
		}
	}
	refused, err := p.real.log.WriteGroups(writes)
	p.wrote, p.failed = p.real.fs.Issued(), err
	for _, w := range h.worlds {
		if err := refused[groupID(w.group)]; err != nil {
			w.fail(Recovery, i, "the log refuses a write: %v", err)
		}
	}
}

// wrote ends the batch that a log was handed. It reports whether all of it is durable. Otherwise the
// process has ended.
func (h *Hosts) wrote(i int) bool {
	p := &h.processes[i]
	p.real.fs.Settle(p.wrote)
	if p.failed != nil {
		h.diskFails(i, p.failed)
		return false
	}
	return true
}

// rests lets the log of a process that has nothing to write prove, now and then, that its last write is
// durable, or move what is needed out of its oldest segment.
func (h *Hosts) rests(i int) {
	p := &h.processes[i]
	if p.real == nil || !p.up || p.batch != nil {
		return
	}
	// An error makes all later writes fail, and they report it.
	switch h.draw(luckAnchor, i) % (2 * anchorEvery) {
	case 0, 1:
		_ = p.real.log.Anchor()
	case 2:
		_, _ = p.real.log.Clean()
	}
}

// endsBatch ends the batch that a log was handed, without telling anybody yet (reports).
func (h *Hosts) endsBatch(i int) {
	p := &h.processes[i]
	if p.real == nil || p.batch == nil || !h.wrote(i) {
		return
	}
	for g, n := range p.batch {
		p.landed[g] += n
	}
	p.batch = nil
}

// reports tells groups what is durable of what they have written, after all that was planned is lost.
func (h *Hosts) reports(i int) {
	for _, w := range h.worlds {
		if s := &w.servers[i]; s.up && h.processes[i].landed[w.group] > 0 {
			w.queue.push(item{at: h.now, what: itemWrite, a: int8(i), life: s.life})
		}
		h.endsRemoval(i, w.group)
	}
}

// diskFails ends a process whose disk has failed.
func (h *Hosts) diskFails(i int, err error) {
	switch {
	case errors.Is(err, simfs.ErrFull):
		h.worlds[0].stats.Full++
	case !errors.Is(err, errDisk):
		h.fail(Recovery, nil, i, "the log fails though its disk doesn't: %v", err)
		return
	}
	h.tells(i, "stops: %v", err)
	h.ends(i, 1)
}

// endsLog ends the log of a process that has ended. luck decides what becomes of what isn't durable
// (see OpCrash).
func (h *Hosts) endsLog(i int, luck int64) {
	p, stats := &h.processes[i], &h.worlds[0].stats
	p.real.countFailures(stats)
	if h.anyRotten(i) {
		luck = min(luck, 1) // as in crashLog
	}
	stats.Torn += p.real.dies(luck, h.draw(luckKeep, i))
	for _, e := range p.ending {
		if e != nil {
			e.syncs = 0
		}
	}
}

// removesStored removes a group from the log of a process. Of a process that is down, it is removed
// when the log is opened.
func (h *Hosts) removesStored(w *World, i int, was *ending) {
	p := &h.processes[i]
	if p.real == nil {
		return
	}
	if p.ending[w.group] == nil {
		if was.disk.wal == nil {
			return // nothing was ever stored
		}
		p.ending[w.group] = was
	}
	if !p.up {
		return
	}
	if err := p.real.log.RemoveGroup(groupID(w.group)); err != nil {
		h.diskFails(i, err)
		return
	}
	p.ending[w.group].syncs = p.real.fs.Issued()
	h.queue.push(item{at: h.now + 1 + below(h.draw(luckStore, i), h.params.Heartbeat), what: itemRemoved, a: int8(i), life: p.life, n: int64(w.group)})
}

// endsRemoval lets a group that is being removed from a process be gone.
func (h *Hosts) endsRemoval(i, group int) {
	p := &h.processes[i]
	if e := p.ending[group]; e != nil && p.up && p.real != nil {
		p.real.fs.Settle(e.syncs)
		p.ending[group] = nil
	}
}
