package wal

import (
	"errors"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"github.com/e17579a5/raft/wal/vfs"
)

// reserveSize is how large the reserve must be to give so much room.
func reserveSize(room int64) int64 {
	return (room*4/3 + room/16 + pageSize + pageSize - 1) &^ (pageSize - 1)
}

// A reserve is the file RESERVE, or BALLAST. Only the goroutine that has received the spare changes
// it.
type reserve struct {
	name   string
	file   vfs.File // while it is being filled
	size   int64    // how far it is filled and synced
	wanted int64    // how far it is to be filled
	base   int64    // how much of that isn't for the heads of groups; of the reserve
	told   atomic.Int64
	// short says that the disk had no room when the reserve or the spare was to be filled last.
	short atomic.Bool
	// head is about what a head takes, and what a record takes beside its entries.
	head atomic.Int64
}

// Reserve says how much room is needed: raft.Start tells it so that a command of the largest size
// fits beside the reserve. The log gets hold of as much as the disk has room for. A full disk is no
// error; the log gets the rest when there is room.
func (l *Log) Reserve(bytes uint64) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	size := reserveSize(int64(min(bytes, mostRoom)))
	sp := <-l.spare
	l.reserve.base, l.reserve.wanted = max(l.reserve.base, size), max(l.reserve.wanted, size)
	l.spare <- sp
	err := l.fillWhole()
	l.keeper.signal()
	return err
}

// fillWhole fills the reserve, as far as the disk has room.
func (l *Log) fillWhole() error {
	for {
		more, err := l.fillReserve()
		if isFull(err) {
			l.reserve.short.Store(true)
			return nil
		}
		if err != nil || !more {
			return err
		}
	}
}

// findReserves finds the reserve and the ballast that an earlier life has left.
func (l *Log) findReserves(names []string) error {
	l.reserve.name, l.ballast.name = l.path(reserveName), l.path(ballastName)
	l.reserve.base = reserveSize(roomFor(l.options.SegmentSize))
	l.reserve.wanted = l.reserve.base
	l.ballast.wanted = ballastSize(0, l.options.SegmentSize)
	for _, name := range names {
		for _, r := range []*reserve{&l.reserve, &l.ballast} {
			if l.path(name) != r.name {
				continue
			}
			if err := l.findReserve(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// findReserve finds out how large a file is. That may be in the page cache alone. If the disk has no
// room for it, the file is filled anew when there is room.
func (l *Log) findReserve(r *reserve) error {
	file, err := l.fs.Open(r.name)
	if err != nil {
		return err
	}
	size, err := file.Size()
	if err == nil {
		if err = file.Sync(); isFull(err) {
			size, err = 0, nil
		}
	}
	r.owns(size)
	return errors.Join(err, file.Close())
}

// completeReserve fills the reserve when the log was opened. The log goes on without it, too.
func (l *Log) completeReserve() {
	l.measure()
	err := l.fillWhole()
	if err == nil && l.ballast.size == 0 {
		_, err = l.fillBallast() // creates it
		if err == nil {
			_, err = l.fillBallast()
		}
		if isFull(err) {
			l.reserve.short.Store(true)
			err = nil
		}
	}
	if err != nil {
		l.tell(slog.LevelWarn, "wal: reserve not prepared", err)
	}
}

// fillReserve takes one step in filling the reserve. It says whether there is more to do. A segment
// that the log doesn't need becomes the reserve as it is.
func (l *Log) fillReserve() (more bool, err error) {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	l.reserveForHeads()
	r := &l.reserve
	if r.size < r.wanted {
		if s := l.oldestGarbage(func(s *segment) bool { return s.size >= r.wanted }); s != nil {
			if err := r.close(); err != nil {
				return false, err
			}
			if err := l.dispose(s, func() error { return l.fs.Rename(s.name, r.name) }); err != nil {
				return false, err
			}
			r.owns(s.size)
			return true, nil
		}
	}
	return l.fillReserved(r)
}

// reserveForHeads lets the reserve be so large that there is room beside the heads of all groups, which the
// next segment has to hold. It makes it larger than that, since groups come one after the other. The caller
// has received the spare.
func (l *Log) reserveForHeads() {
	l.mu.Lock()
	heads := l.groups.heads
	l.mu.Unlock()
	r := &l.reserve
	if needed := 4 * heads; needed > r.base/16 && r.base+needed > r.wanted {
		r.wanted = min((r.base+2*needed)&^(pageSize-1), maxOffset)
	}
}

// fillReserved takes one step in filling the reserve or the ballast. The caller has received the spare.
func (l *Log) fillReserved(r *reserve) (more bool, err error) {
	if r.size >= r.wanted {
		return false, r.close()
	}
	if r.file == nil {
		r.file, err = l.openFile(l.fs.Create, r.name)
		if errors.Is(err, fs.ErrExist) {
			r.file, err = l.openFile(l.fs.Open, r.name)
		}
		if err != nil {
			return false, err
		}
		return true, l.syncDir()
	}
	n := min(fillChunk, r.wanted-r.size)
	if err := fillPart(r.file, r.size, n); err != nil {
		return false, err
	}
	r.owns(r.size + n)
	return true, nil
}

// fillPart fills n bytes of a file with zeros, from the offset at on, and syncs it.
func fillPart(file vfs.File, at, n int64) error {
	for end := at + n; at < end; {
		k := min(end-at, int64(len(zeros)))
		if _, err := file.WriteAt(zeros[:k], at); err != nil {
			return err
		}
		at += k
	}
	return file.Sync()
}

// owns notes how large it is.
func (r *reserve) owns(size int64) {
	r.size = size
	r.told.Store(size)
}

// close closes the file, so that it can get another name.
func (r *reserve) close() error {
	file := r.file
	if file == nil {
		return nil
	}
	r.file = nil
	return file.Close()
}
