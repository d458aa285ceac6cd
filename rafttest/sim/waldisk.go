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

// A walDisk is what a server has of a real log: all of it, or the part of its group. A Write of the log
// runs to its end at once, but the file system defers its syncs. The write has really happened
// when the last of its syncs is done, and that is when the simulated disk gets to it. If the power
// fails before, all of the write, a part of it, or nothing may be left.
//
// Beside it the world keeps what must be durable (see disk): a write takes effect there when it is
// reported. Whenever the log, or the group in it, is opened, the two are compared.
type walDisk struct {
	*realLog
	shared  bool         // the log is that of all groups of a process
	storage raft.Storage // nil while the server is down
	issued  []issued     // for each write in the server's queue; the process has those of a shared log
	// unreported are the writes that were in the queue when the last process ended. The first few
	// of them, all, or none may be in the log.
	unreported []*raft.Write
}

// An issued is a write that has run against the file system.
type issued struct {
	syncs int64 // the write has really happened when so many syncs are done
	err   error
}

// imaged returns an independent copy. That of a shared log is its process's business.
func (d *walDisk) imaged() *walDisk {
	n := &walDisk{shared: d.shared, unreported: d.unreported}
	if !d.shared {
		n.realLog = d.realLog.imaged()
	}
	return n
}

// ownLog returns the real log that a server has alone, or nil.
func (s *server) ownLog() *walDisk {
	if d := s.disk.wal; d != nil && !d.shared {
		return d
	}
	return nil
}

// write runs a write against the file system. Its outcome is reported later, when the disk gets to
// it.
func (d *walDisk) write(w *raft.Write) {
	err := d.log.Write(*w)
	d.issued = append(d.issued, issued{d.fs.Issued(), err})
}

// settle performs the syncs of the oldest n writes and returns n. If one of these writes has
// failed, settle stops there and returns the number of writes before it.
func (d *walDisk) settle(n int64) int64 {
	for i := range d.issued[:n] {
		d.fs.Settle(d.issued[i].syncs)
		if d.issued[i].err != nil {
			n = int64(i)
			break
		}
	}
	if n > 0 {
		d.issued = d.issued[:copy(d.issued, d.issued[n:])]
	}
	return n
}

// anchor lets a log that has nothing to write prove, now and then, that its last write is durable.
func (w *World) anchor(s *server, number raft.WriteNumber) {
	h := w.luck.draw(luckAnchor, w.index(s), 0, uint64(s.life)<<24|uint64(number))
	if len(s.writes) == 0 && h%anchorEvery == 0 {
		// An error makes all later writes fail, and they report it.
		_ = s.disk.wal.log.Anchor()
	}
}

// load returns what a server starts from. It returns false if the log can't be opened; the server
// then stays down.
func (w *World) load(i int, cut int64) (raft.Saved, bool) {
	s := &w.servers[i]
	if w.params.WAL == 0 {
		s.disk.stored = nil // no write has named these
		w.openRoom(s.disk)
		if s.disk.spoiled {
			s.disk.fallBack()
		}
		return s.disk.saved(), true
	}
	if w.hosts != nil {
		return w.loadGroup(i)
	}
	replaced := len(s.disks) - 1
	if s.disk.wal == nil {
		s.disk.wal = &walDisk{realLog: newRealLog(w.luck.draw(luckDisk, i, replaced, 0))}
	}
	d := s.disk.wal
	if s.rotten {
		cut = 0 // see crashLog
	}
	w.stats.Opened++
	salt := w.luck.draw(luckDisk, i, replaced, 1) | 1
	if err := d.open(w.params.Segment, salt, cut, func(*wal.Log) error { return nil }); err != nil {
		w.notOpened(i, cut, err)
		return raft.Saved{}, false
	}
	d.storage = d.log
	saved, err := d.log.Load()
	if err == nil {
		err = w.recover(s, &saved)
	}
	if err != nil {
		w.fail(Recovery, i, "%v", err)
		return saved, false
	}
	return saved, true
}

// notOpened deals with a log that couldn't be opened: because the power failed, because its disk
// failed, or because the disk was found rotten.
func (w *World) notOpened(i int, cut int64, err error) {
	s := &w.servers[i]
	d := s.disk.wal
	d.countFailures(&w.stats)
	switch d.refused(err, cut, s.rotten, mix(uint64(w.luck)^uint64(cut)<<8^uint64(i))) {
	case refusedPower:
		w.stats.CutOpening++
	case refusedCorrupt:
		w.stats.Corrupt++
		w.replace(i)
	case refusedFull:
		w.stats.Full++
		if s.disk.state.Start > 0 && !(s.rotten && strings.Contains(err.Error(), "ANCHOR")) { // a file that was cut short needs room
			w.fail(Recovery, i, "a log that exists can't be opened because the disk is full: %v", err)
			return
		}
	case refusedUnknown:
		w.fail(Recovery, i, "%v", err)
		return
	}
	w.note("not started: " + err.Error())
	w.planStart(i)
}

// replace replaces a rotten disk by an empty one. The cluster doesn't know the server with the new
// disk.
func (w *World) replace(i int) {
	s := &w.servers[i]
	s.giveDisk()
	w.stats.Wipes++
}

// recover compares a log that was opened to what must be in it. From then on, what the log holds is
// what is durable.
func (w *World) recover(s *server, saved *raft.Saved) error {
	d := s.disk.wal
	recovered, survived, lost, err := s.disk.compare(saved, s.hit())
	if err != nil {
		return err
	}
	w.stats.Survived += survived
	w.stats.Lost += len(d.unreported) - survived
	w.hash = mix(w.hash ^ uint64(survived)<<32 ^ uint64(saved.Last))
	if len(d.unreported) > 0 {
		w.note(fmt.Sprintf("recovers %d of %d unreported writes", survived, len(d.unreported)))
	}
	d.unreported = nil
	recovered.wal, recovered.stored = d, nil
	*s.disk = *recovered
	clear(s.disk.gone)
	w.rotFound(s, saved.Lost...)
	w.rotFound(s, lost...)
	if w.trace != nil {
		w.trace.reload(w, w.trace.current())
	}
	return nil
}

// compare reads the log of a disk, and compares it to what must be there: all that is durable, and the
// first few of the writes that weren't reported. It returns the disk as the log has it, and how many
// of these writes are there. hit says that the log may have been damaged. What was damaged since the log
// was opened shows only when it is read: these entries are lost.
func (d *disk) compare(saved *raft.Saved, hit bool) (recovered *disk, survived int, lost []wire.Range, err error) {
	var found []raft.Entry
	for after := saved.Base; after < saved.Last; {
		entries, err := d.wal.storage.Entries(after, saved.Last, 1<<20)
		var damage *raft.DamagedError
		switch {
		case hit && errors.As(err, &damage) && damage.Lost.First == after+1 && (d.wal.shared || names(saved.Lost, damage.Lost)):
			after = damage.Lost.Last
			lost = append(lost, damage.Lost)
		case err != nil:
			return nil, 0, nil, err
		}
		for j := range entries {
			if after++; entries[j].Index != after {
				return nil, 0, nil, fmt.Errorf("entry %d is in the place of entry %d", entries[j].Index, after)
			}
		}
		found = append(found, entries...)
	}
	want := d.clone()
	for n := 0; ; n++ {
		if now := want.recovered(saved, found, hit); now != nil {
			recovered, survived = now, n
		}
		if n == len(d.wal.unreported) {
			break
		}
		want.perform(d.wal.unreported[n])
	}
	if recovered == nil {
		return nil, 0, nil, fmt.Errorf("the log holds entries %d to %d behind a snapshot at %d, term %d, vote %q and start %d, which is none of the %d states that are "+
			"possible; reported were %d entries behind a snapshot at %d, term %d, vote %q and start %d", saved.Base+1, saved.Last, saved.Snapshot.Index,
			saved.State.Term, saved.State.Vote, saved.State.Start, len(d.wal.unreported)+1, d.last(), d.current.index(), d.state.Term, d.state.Vote, d.state.Start)
	}
	return recovered, survived, lost, recovered.differs(saved)
}

// recovered compares a disk to what was loaded from a log, and to the entries that were read from
// it. If they agree, it returns the disk as the log has it; otherwise it returns nil. The log may
// begin one entry later than it was compacted to. On a rotten disk, the snapshot may be the one
// before, and the log may have lost its end.
func (d *disk) recovered(saved *raft.Saved, found []raft.Entry, rotten bool) *disk {
	n := d.clone()
	if rotten && n.previous != nil && n.previous.index() == saved.Snapshot.Index {
		n.fallBack()
		// The log knew the term of the entry there only from the damaged snapshot.
		n.base = min(n.base, n.current.index())
	}
	if n.state != saved.State || n.last() != saved.Last || n.current.index() != saved.Snapshot.Index || saved.Base < n.base || saved.Base > n.base+1 {
		return nil
	}
	n.base = saved.Base
	for i := range found {
		var before slot
		if index := found[i].Index; index > 1 {
			before = n.slots[index-2]
		}
		if n.slots[found[i].Index-1] != before.next(&found[i]) {
			return nil
		}
	}
	return n
}

// names reports whether a range is part of another one of some ranges.
func names(ranges []wire.Range, part wire.Range) bool {
	return slices.ContainsFunc(ranges, func(r wire.Range) bool { return r.First <= part.First && r.Last >= part.Last })
}

// differs returns an error if a log's summary of itself doesn't agree with its entries.
func (d *disk) differs(saved *raft.Saved) error {
	want := d.saved()
	if saved.Last != want.Last || saved.BaseTerm != want.BaseTerm || !slices.Equal(saved.Runs, want.Runs) {
		return fmt.Errorf("the log says that it begins after term %d and ends at %d with terms %v, but its entries say %d, %d and %v",
			saved.BaseTerm, saved.Last, saved.Runs, want.BaseTerm, want.Last, want.Runs)
	}
	if saved.Snapshot.Term != want.Snapshot.Term || saved.SnapshotBytes != want.SnapshotBytes && saved.SnapshotDamage == nil {
		return fmt.Errorf("the log says that its snapshot is of term %d with %d bytes, but it is of term %d with %d",
			saved.Snapshot.Term, saved.SnapshotBytes, want.Snapshot.Term, want.SnapshotBytes)
	}
	same := func(a, b raft.Entry) bool { return chainEntry(0, &a) == chainEntry(0, &b) }
	if !slices.EqualFunc(saved.Configurations, want.Configurations, same) {
		return fmt.Errorf("the log says that it holds %d configurations, but it holds %d, or others", len(saved.Configurations), len(want.Configurations))
	}
	return nil
}

// crashLog ends the process that has a log open. writes are the writes that weren't reported. luck
// decides what becomes of them (see OpCrash). A process that has a log for several groups ends it
// itself.
func (w *World) crashLog(s *server, writes []*raft.Write, luck int64) {
	d := s.disk.wal
	d.unreported = slices.Clone(writes)
	if d.shared {
		w.closeGroup(s)
		return
	}
	d.storage = nil
	d.countFailures(&w.stats)
	if s.rotten {
		// A torn write might hide a rotten byte. Only the proofs that were durable before are sure
		// to be there.
		luck = min(luck, 1)
	}
	w.stats.Torn += d.dies(luck, mix(uint64(w.luck)^uint64(luck)<<8^uint64(w.index(s))))
	d.issued = d.issued[:0]
}

// diskFails ends a server whose disk has failed. The server stops at once and acknowledges nothing
// more.
func (w *World) diskFails(s *server, err error) {
	i := w.index(s)
	rotten := (s.hit() || s.disk.spoiled) && errors.Is(err, raft.ErrCorrupt)
	if !rotten && !errors.Is(err, errDisk) && !errors.Is(err, simfs.ErrFull) {
		w.fail(Recovery, i, "the log fails though its disk doesn't: %v", err)
		return
	}
	if errors.Is(err, simfs.ErrFull) {
		w.stats.Full++
	}
	w.note("stops: " + err.Error())
	if s.ownLog() != nil {
		w.crashLog(s, s.writes, 1)
	}
	w.halts(i)
	w.planStart(i)
}

// diskSuffers lets something happen to a disk. It reports whether it did.
func (w *World) diskSuffers(s *server, e *Event) bool {
	if e.Op == OpSpoil {
		return w.spoil(s)
	}
	d := s.disk.wal
	if d == nil {
		switch e.Op {
		case OpFill:
			return w.fill(s, e.N)
		case OpFree:
			return w.fill(s, never)
		}
		return false
	}
	if d.shared {
		return false // what happens to it happens to the process
	}
	switch e.Op {
	case OpFailWrite, OpFailSync:
		if s.rotten {
			return false // see crashLog
		}
		d.fails(e.Op, e.N)
	case OpFill:
		d.fill(e.N)
	case OpFree:
		d.free()
	case OpRot:
		return w.rot(s, uint64(e.N))
	}
	return true
}

// note adds a text about a disk to the current step of a trace.
func (w *World) note(text string) {
	if w.trace != nil {
		if s := w.trace.current(); s != nil {
			s.Effects = append(s.Effects, text)
		}
	}
}
