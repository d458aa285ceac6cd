package wal

import (
	"errors"
	"io/fs"
	"runtime"
	"syscall"

	"github.com/e17579a5/raft/wal/vfs"
)

// fillChunk is how many bytes of a spare are written between two syncs: few enough that a Write at
// the same time doesn't wait long for the disk.
const fillChunk = int64(len(zeros))

// firstSegmentSize is the size in bytes of the first segment of a log, which nobody can prepare
// beforehand. Each next segment is larger by half, up to Options.SegmentSize. If they grew faster,
// more zeros would be written for each byte that is used. From youngSegmentSize on, a segment is no
// larger than a quarter of the log: the sooner its first segments are free to be used again, the
// fewer new ones it needs.
const (
	firstSegmentSize = 1 << 20
	youngSegmentSize = 16 << 20
	headShare        = 16
	// leastShare is headShare where that would take more than Options.SegmentSize. With smaller segments,
	// the cleaner would write little but heads, and never come to an end.
	leastShare = 4
)

// A spare is the segment after the active one, while it is being prepared. It is filled with zeros,
// since a sync of blocks that were written before does without the journal of the file system. A
// sync of blocks that are only allocated needs the journal.
type spare struct {
	number uint64
	file   vfs.File // nil while there is no file
	size   int64    // how far the file is filled and synced
	target int64    // how far it is to be filled
	least  int64    // how large it must be, for the heads of all groups
}

// newSpare returns the spare after segment s. It is to be larger by half, unless that is too much for
// the log, and no smaller than it was to be before. The heads of all groups take a sixteenth of it at
// most; if Options.SegmentSize is too small for that, a quarter.
func (l *Log) newSpare(s *segment) *spare {
	all := int64(0)
	for _, other := range l.segments {
		all += other.size
	}
	larger := max(l.target, headShare*l.groups.heads, min(s.size*3/2, max(all/4, youngSegmentSize)))
	whole := func(size int64) int64 { return (size + pageSize - 1) &^ (pageSize - 1) }
	least := min(whole(leastShare*l.groups.heads), MaxSegmentSize)
	l.target = max(min(l.options.SegmentSize, whole(larger)), least)
	sp := &spare{number: s.number + 1, target: l.target, least: least}
	l.ready.enough.Store(sp.enough())
	return sp
}

// createSpare creates the file of a spare and makes its name durable. As long as the file has no
// head, it isn't part of the log, whatever it holds.
func (l *Log) createSpare(sp *spare) error {
	name := l.path(fileName(sp.number, segmentSuffix))
	file, err := l.openFile(l.fs.Create, name)
	if errors.Is(err, fs.ErrExist) {
		file, err = l.openFile(l.fs.Open, name) // an earlier attempt has left it
	}
	if err != nil {
		return err
	}
	if err := l.syncNames(); err != nil {
		file.Close()
		return err
	}
	sp.file, sp.size = file, 0
	l.note(sp)
	return nil
}

// note notes how far a spare is durable, for the anchor.
func (l *Log) note(sp *spare) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prepared = prepared{sp.number, sp.size}
}

// fillSpare takes one step towards the goal. It says whether there may be more to do.
func (l *Log) fillSpare() (more bool, err error) {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	if sp.size >= sp.enough() && (l.hasReady(sp) || l.oldestGarbage(sp.recycles) != nil) {
		sp.target = sp.size // it will do, since the next one needs no filling
	}
	// As long as the head of the active segment isn't durable, a power cut may leave it without one: then
	// no file may be there that would be the segment behind it.
	if sp.size < min(l.goal.Load(), sp.target) || sp.file == nil && l.begun.Load() == sp.number-1 && l.hasReady(sp) {
		return true, l.prepare(sp)
	}
	if sp.file == nil || sp.size < sp.target || l.anchor.named.Load() >= sp.number {
		return false, nil
	}
	// The anchor names the spare before it is used: here, where nobody waits for it.
	l.keepAnchor(anchoring{sync: true})
	return false, nil
}

// isFull says whether an error means that the disk has no room left.
func isFull(err error) bool {
	const windowsDiskFull = syscall.Errno(112)
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		runtime.GOOS == "windows" && errors.Is(err, windowsDiskFull)
}

// finishSpare makes a spare ready for use. It has room for need bytes then, unless need exceeds its
// target: in that case the file is filled further (lengthen). Most times the keeper has prepared all
// of it. If the disk is too slow for that, or full, a smaller spare will do.
func (l *Log) finishSpare(sp *spare, need int64) error {
	enough := max(need, sp.enough())
	for sp.size < min(enough, sp.target) {
		err := l.prepare(sp)
		if err != nil && (sp.file == nil || sp.size < need) {
			return err
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// prepare takes one step in preparing a spare: it finds a file, or fills one chunk.
func (l *Log) prepare(sp *spare) error {
	if sp.file == nil {
		if recycled, err := l.recycle(sp); recycled || err != nil {
			return err
		}
		return l.createSpare(sp)
	}
	n := min(fillChunk, sp.target-sp.size)
	if err := l.grow(sp.file, zeros[:n], sp.size); err != nil {
		return err
	}
	if err := sp.file.Sync(); err != nil {
		return err
	}
	sp.size += n
	l.note(sp)
	return nil
}

// enough is how many bytes of a spare are prepared, at least, before it is used.
func (sp *spare) enough() int64 { return max(sp.target/4, sp.least) }

// recycles says whether a segment is large enough to become the spare. It need not be as large as a
// new one: a disk that has no time to prepare larger segments shouldn't have to prepare any.
func (sp *spare) recycles(s *segment) bool { return s.size >= sp.enough() }

// recycle makes a file that is ready the spare, or the oldest segment of the garbage, and leaves its
// size as it is.
func (l *Log) recycle(sp *spare) (bool, error) {
	if f, ok := l.takeReady(sp); ok {
		return true, l.useReady(sp, f)
	}
	s := l.oldestGarbage(sp.recycles)
	if s == nil {
		return false, nil
	}
	name := l.path(fileName(sp.number, segmentSuffix))
	if err := l.dispose(s, func() error { return l.fs.Rename(s.name, name) }); err != nil {
		return false, err
	}
	file, err := l.openFile(l.fs.Open, name)
	if err != nil {
		return false, err
	}
	sp.file, sp.size, sp.target = file, s.size, s.size
	l.note(sp)
	return true, nil
}

// maxGarbage is how many segments of full size, or as many bytes of smaller ones, may stay to
// become spares although the log doesn't need them. Snapshots free many segments at once and then
// none for a while, but spares are needed evenly.
const maxGarbage = 2

// removeGarbage removes the oldest segment that isn't needed, unless it may become a spare. It says
// whether it has removed one.
func (l *Log) removeGarbage() (bool, error) {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	s := l.oldestGarbage(func(s *segment) bool {
		bytes := int64(0)
		for _, other := range l.garbage {
			bytes += other.size
		}
		return bytes > maxGarbage*l.options.SegmentSize || !sp.recycles(s)
	})
	if s == nil {
		return false, nil
	}
	return true, l.dispose(s, func() error { return l.fs.Remove(s.name) })
}

// oldestGarbage returns the oldest segment of the garbage, or nil if it doesn't suit or somebody
// reads it.
func (l *Log) oldestGarbage(suits func(*segment) bool) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil || len(l.garbage) == 0 || l.garbage[0].readers > 0 || !suits(l.garbage[0]) {
		return nil
	}
	return l.garbage[0]
}

// dispose takes the oldest segment out of the garbage, and its name out of the directory by calling
// away. The caller has received the spare, so nobody else disposes of anything at the same time.
//
// The directory is synced after each segment. Otherwise a crash could make segments vanish in
// another order than their own, and leave a gap, with which the log would be refused. When that
// sync fails, nobody knows any more what a crash would leave. Then no other segment is disposed of.
func (l *Log) dispose(s *segment, away func() error) error {
	if s.file != nil {
		file := s.file
		s.file = nil
		if err := file.Close(); err != nil {
			return err
		}
	}
	if err := away(); err != nil {
		return err
	}
	err := l.syncNames()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.garbage = l.garbage[1:]
	return err
}

// wantSpare asks for more of the spare as the active segment fills up. The spare is to be complete
// when three quarters of the active segment are used. wantSpare says whether it has asked.
func (l *Log) wantSpare() bool {
	s := l.active
	if s.end < l.wakeAt {
		return false
	}
	l.goal.Store(fillChunk + l.target*int64(s.end)/s.size*4/3)
	l.wakeAt = s.end + uint32(s.size/64)
	return true
}
