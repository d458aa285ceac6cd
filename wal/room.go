package wal

import (
	"time"

	"github.com/e17579a5/raft/wire"
)

// The log's room is what it owns: files that were filled beforehand, so that nobody else can take
// what they take. These are the rest of the active segment, the spare, and the reserve. The reserve
// is a file like a spare without a number. It becomes the next segment when the spare has no room
// for a record, and the disk has none for the spare:
//
//	active segment   ├────── records ──────┼── rest ──┤
//	spare            ├── filled ──┼ ─ ─ to be filled ─ ─ ┤   as far as the disk has room
//	reserve          ├──────── filled ────────┤              made good as soon as it has
//
// A record lies in one segment. So the room is the largest of the three, and not their sum: then
// writes of so many bytes fit, whatever their sizes are, and the room gets smaller by no more than
// each of them takes.
//
// What counts for one byte of an entry (raft.Entry.Size) takes less than 4/3 bytes of a segment,
// unless each entry is small and a write for itself. The bound is for writes as they come.

// defaultReserve is the least room that a log keeps for what isn't refused when disks are full: it
// is that of raft.Config.ReserveBytes.
const defaultReserve = 8 << 20

// roomFor is the room that a log wants to own, if nobody says another one (Reserve): twice the
// reserve, so that the disk isn't taken for a full one, and something for commands.
func roomFor(segmentSize int64) int64 {
	reserve := min(defaultReserve, segmentSize/8)
	return 2*reserve + reserve/4 + reserve/8 + min(pageSize, segmentSize/16)
}

// roomPause is how often the log looks whether a disk that was full has room again.
const roomPause = 200 * time.Millisecond

// mostRoom is the most room that can be asked for. It is more than a command of the largest size
// takes, and a reserve for it has only offsets that a segment can have.
const mostRoom = wire.MaxCommandSize + 256<<20

// Room returns for how many bytes of entries the log has room that nobody else can take. See
// raft.Storage.
func (l *Log) Room() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segments[len(l.segments)-1]
	beside := l.reserve.head.Load() + 2*l.groups.heads
	room := s.size - int64(s.end) - beside
	if l.prepared.number > s.number {
		room = max(room, l.prepared.size-2*beside)
	}
	room = max(room, min(l.reserve.told.Load(), maxOffset)-2*beside, 0)
	return uint64(room / 4 * 3)
}

// measure finds out about how many bytes a record takes beside its entries: the state, the snapshot,
// terms and configurations, and once more what the witness says of them.
func (l *Log) measure() {
	c := l.checkpoint()
	l.reserve.head.Store(2*int64(len(c.append(nil))) + 512)
}

// changed looks at the room after a change that is durable.
func (l *Log) changed(c *change) error {
	if c.flags&(changesState|changesSnapshot|changesCompacted) != 0 || len(c.configurations) > 0 {
		l.measure()
	}
	if c.flags&changesCompacted != 0 {
		return l.leaveCovered()
	}
	return nil
}

// syncSpare syncs the spare that an earlier life has left: how large it is may be in the page cache
// alone, and its head will say it. If the disk has no room for it, it is filled anew.
func (l *Log) syncSpare() error {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	if sp.file == nil {
		return nil
	}
	err := sp.file.Sync()
	if isFull(err) {
		sp.size, err = 0, nil
	}
	return err
}

// fillNext takes one step in filling the reserve, then the spare, then the ballast. If the disk is full, it gives
// back first what the log doesn't need any more.
func (l *Log) fillNext() (more bool, err error) {
	if more, err = l.fillReserve(); err == nil && !more {
		more, err = l.fillSpare()
	}
	if err == nil && !more {
		more, err = l.fillBallast()
	}
	l.reserve.short.Store(isFull(err))
	if !isFull(err) {
		return more, err
	}
	if l.ready.off.Store(true); l.dropReady() {
		return true, nil
	}
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	gave, e := l.giveBack(sp, 0)
	if e != nil && !isFull(e) {
		return false, e
	}
	if gave {
		return true, nil
	}
	return false, err
}

// giveBack makes use of what the log doesn't need any more, on a disk that is full: snapshots are
// removed, and a segment takes the place of a spare that is smaller, or is removed. It says whether
// there was any such thing, and so whether it makes sense to try again. The spare is to have room
// for need bytes.
func (l *Log) giveBack(sp *spare, need int64) (bool, error) {
	if removed, err := l.sweptSnapshots(); removed || err != nil {
		return removed, err
	}
	s := l.oldestGarbage(func(*segment) bool { return true })
	if s == nil {
		return false, nil
	}
	if s.size > sp.size && s.size >= need {
		return true, l.exchange(sp, s.size, func(name string) error {
			return l.dispose(s, func() error { return l.fs.Rename(s.name, name) })
		})
	}
	return true, l.dispose(s, func() error { return l.fs.Remove(s.name) })
}

// sweptSnapshots removes the snapshots that aren't needed, and says whether there were any.
func (l *Log) sweptSnapshots() (bool, error) {
	l.mu.Lock()
	before := len(l.snapshots.stored)
	l.mu.Unlock()
	err := l.sweepSnapshots()
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.snapshots.stored) < before, err
}

// exchange puts another file in the place of the spare's: take gives it the name of the spare, and
// makes that durable. Until the spare has a head, it isn't part of the log, whatever it holds.
func (l *Log) exchange(sp *spare, size int64, take func(name string) error) error {
	if file := sp.file; file != nil {
		sp.file = nil
		if err := file.Close(); err != nil {
			sp.size = 0
			return err
		}
	}
	name := l.path(fileName(sp.number, segmentSuffix))
	if err := take(name); err != nil {
		sp.size = 0
		return err
	}
	file, err := l.openFile(l.fs.Open, name)
	if err != nil {
		sp.size = 0
		return err
	}
	sp.file, sp.size, sp.target = file, size, size
	l.note(sp)
	return nil
}

// makeRoom makes the spare ready for use, with room for need bytes. If the disk is full, the reserve
// takes the place of the spare. If even that is too small, makeRoom waits for room. Nothing has
// changed then: what was to be written wasn't promised. While it waits, the keeper may have the
// spare.
func (l *Log) makeRoom(sp *spare, need int64) error {
	err := l.tryRoom(sp, need)
	if !l.patient || !isFull(err) {
		return err
	}
	defer l.setWaiting(nil)
	timer := time.NewTimer(minPause)
	defer timer.Stop()
	for pause := minPause; ; timer.Reset(pause) {
		l.setWaiting(err)
		l.spare <- sp
		closed := false
		select {
		case <-timer.C:
		case <-l.closing:
			closed = true
		case <-l.givesUp:
			closed = true
		}
		<-l.spare // it is sp: only Write exchanges it, and this is the one Write
		if closed {
			return errClosed
		}
		if err = l.tryRoom(sp, need); !isFull(err) {
			return err
		}
		pause = min(2*pause, roomPause)
	}
}

// tryRoom is makeRoom without the wait.
func (l *Log) tryRoom(sp *spare, need int64) error {
	for {
		err := l.finishSpare(sp, need)
		if err == nil && sp.size < need {
			err = l.lengthen(sp, need)
		}
		if !isFull(err) {
			return err
		}
		l.reserve.short.Store(true)
		if l.reserve.size >= need && l.reserve.size > sp.size {
			return l.useReserve(sp)
		}
		if gave, e := l.giveBack(sp, need); e != nil {
			return e
		} else if !gave {
			return err
		}
	}
}

// lengthen fills a spare beyond what it was to be, for a record that is larger.
func (l *Log) lengthen(sp *spare, need int64) error {
	if err := fillPart(sp.file, sp.size, need-sp.size); err != nil {
		return err
	}
	sp.size = need
	l.note(sp)
	return nil
}

// useReserve puts the reserve in the place of the spare.
func (l *Log) useReserve(sp *spare) error {
	if err := l.reserve.close(); err != nil {
		return err
	}
	size := min(l.reserve.size, maxOffset)
	return l.exchange(sp, size, func(name string) error {
		if err := l.fs.Rename(l.reserve.name, name); err != nil {
			return err
		}
		l.reserve.owns(0)
		return l.syncNames()
	})
}

// leaveCovered begins the next segment if nothing in the active one is needed any more, most of that
// is used, and the disk is full. Then the active one can be used again: otherwise a compaction on a
// full disk would free nothing, since segments go as a whole.
func (l *Log) leaveCovered() error {
	s := l.active
	if !l.reserve.short.Load() || int64(s.end) < s.size/2 || l.needs(s) || len(l.groups.numbered) > 0 {
		return nil
	}
	sp := <-l.spare
	least := 3*l.reserve.head.Load() + pageSize
	ready := sp.size >= least || l.reserve.size >= least
	l.spare <- sp
	if !ready {
		return nil
	}
	if err := l.begin(int(l.reserve.head.Load())); err != nil {
		return err
	}
	if err := l.syncHead(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropUnneeded()
	return nil
}

// needs says whether anything is read from a segment or from those before it.
func (l *Log) needs(s *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) > 1 {
		return true
	}
	for i := range l.contents.stretches {
		if l.contents.stretches[i].segment == s {
			return true
		}
	}
	return false
}

// syncHead syncs the head of a segment that has just begun.
func (l *Log) syncHead() error {
	s := l.active
	if err := s.file.Sync(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.synced = s.end
	l.tip = tip{place{s.number, s.end}, s.chain}
	return nil
}
