package wal

import (
	"errors"
	"io/fs"
	"runtime"
	"syscall"

	"github.com/e17579a5/raft/wal/vfs"
)

// fillChunk is how much of a spare is written between two syncs: little enough that a Write which
// comes meanwhile doesn't wait long for the disk.
const fillChunk = int64(len(zeros))

// firstSegmentSize is the size of the first segment of a log, which can't be prepared beforehand. The
// next ones grow by half, up to Options.SegmentSize: the more they grew, the more would be filled for each byte that is used.
const firstSegmentSize = 1 << 20

// A spare is the segment after the active one while it is being prepared. Writing to blocks that were
// written before spares a sync the journal of the file system, which allocating them alone doesn't.
type spare struct {
	number uint64
	file   vfs.File // nil while there is none
	size   int64    // up to where it is filled and synced
	target int64    // up to where it is to be filled
}

// newSpare returns what comes after segment s: larger by half.
func (l *Log) newSpare(s *segment) *spare {
	larger := max(l.target, s.size) * 3 / 2
	l.target = min(l.options.SegmentSize, (larger+pageSize-1)&^(pageSize-1))
	return &spare{number: s.number + 1, target: l.target}
}

// createSpare creates the file of a spare and makes its name durable. Without a head it isn't part
// of the log, whatever it holds.
func (l *Log) createSpare(sp *spare) error {
	name := l.path(fileName(sp.number, segmentSuffix))
	file, err := l.fs.Create(name)
	if errors.Is(err, fs.ErrExist) {
		file, err = l.fs.Open(name) // of an earlier attempt
	}
	if err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		file.Close()
		return err
	}
	sp.file, sp.size = file, 0
	return nil
}

// fillSpare takes one step towards the goal, and says whether there is more to do.
func (l *Log) fillSpare() (more bool, err error) {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	if sp.size >= min(l.goal.Load(), sp.target) {
		return false, nil
	}
	return true, l.prepare(sp)
}

// isFull says whether an error means that the disk has no room.
func isFull(err error) bool {
	const windowsDiskFull = syscall.Errno(112)
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		runtime.GOOS == "windows" && errors.Is(err, windowsDiskFull)
}

// finishSpare makes a spare ready for use, with room for need bytes at least. The keeper has done that
// already, unless the disk is too slow for it, or full: then a smaller one will do.
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

// prepare takes one step in preparing a spare.
func (l *Log) prepare(sp *spare) error {
	if sp.file == nil {
		if recycled, err := l.recycle(sp); recycled || err != nil {
			return err
		}
		return l.createSpare(sp)
	}
	n := min(fillChunk, sp.target-sp.size)
	if _, err := sp.file.WriteAt(zeros[:n], sp.size); err != nil {
		return err
	}
	if err := sp.file.Sync(); err != nil {
		return err
	}
	sp.size += n
	return nil
}

// enough is how much of a spare is prepared at least before it is used.
func (sp *spare) enough() int64 { return sp.target / 4 }

// recycles says whether a segment may become the spare: a disk that has no time to prepare larger ones is not to prepare any.
func (sp *spare) recycles(s *segment) bool { return s.size >= sp.enough() }

// recycle makes the oldest segment of the garbage the spare, as large as it is.
func (l *Log) recycle(sp *spare) (bool, error) {
	s := l.oldestGarbage(sp.recycles)
	if s == nil {
		return false, nil
	}
	name := l.path(fileName(sp.number, segmentSuffix))
	if err := l.dispose(s, func() error { return l.fs.Rename(s.name, name) }); err != nil {
		return false, err
	}
	file, err := l.fs.Open(name)
	if err != nil {
		return false, err
	}
	sp.file, sp.size, sp.target = file, s.size, s.size
	return true, nil
}

// maxGarbage is how many segments of full size may stay that aren't needed, or as many bytes of smaller ones, to become spares.
// Snapshots free some now and none then, while spares are needed evenly.
const maxGarbage = 2

// removeGarbage removes the oldest segment that isn't needed, except those that may become spares,
// and says whether there was one.
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

// oldestGarbage returns the oldest segment of the garbage, if it suits and nobody reads it.
func (l *Log) oldestGarbage(suits func(*segment) bool) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck || len(l.garbage) == 0 || l.garbage[0].readers > 0 || !suits(l.garbage[0]) {
		return nil
	}
	return l.garbage[0]
}

// dispose takes the oldest segment out of the garbage and, by calling away, its name out of the directory.
// The caller has received the spare, so that nobody else disposes of anything. The directory is synced
// after each: were they to vanish in another order than their own, a crash could leave a gap, which is
// refused. When that sync fails, it isn't known any more what a crash would leave, and no other segment is
// disposed of before the next Open.
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
	err := l.fs.SyncDir(l.dir)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.garbage = l.garbage[1:]
	l.stuck = err != nil
	return err
}

// wantSpare asks for more of the spare as the active segment fills up: it is complete when three
// quarters of that are used.
func (l *Log) wantSpare() bool {
	s := l.active
	if s.end < l.wakeAt {
		return false
	}
	l.goal.Store(fillChunk + l.target*int64(s.end)/s.size*4/3)
	l.wakeAt = s.end + uint32(s.size/64)
	return true
}
