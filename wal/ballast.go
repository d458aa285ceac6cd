package wal

import "errors"

// The ballast is a file that is larger than the last snapshot by half. When the disk has no room for
// the next one, the next one is written into it: without a snapshot nothing of the log can be
// forgotten, and a log that has filled the disk by itself would be stuck. A snapshot that is removed
// while the disk is full becomes the ballast, since others could take what it gives back.

// minBallast is the least size of the ballast: for a first snapshot.
const minBallast = 1 << 20

// ballastSize returns how large the ballast is to be when the last snapshot has so many bytes.
func ballastSize(snapshot, segmentSize int64) int64 {
	size := max(snapshot+snapshot/2, min(minBallast, segmentSize/16))
	return (size + pageSize - 1) &^ (pageSize - 1)
}

// stored notes how large a snapshot is that was stored.
func (l *Log) stored(size int64) {
	sp := <-l.spare
	l.ballast.wanted = ballastSize(size, l.options.SegmentSize)
	l.spare <- sp
	l.mu.Lock()
	l.untidy = true
	l.mu.Unlock()
}

// fillBallast takes one step in filling the ballast.
func (l *Log) fillBallast() (more bool, err error) {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	return l.fillReserved(&l.ballast)
}

// takeBallast puts the ballast in the place of the snapshot's file, with what was written so far. It
// returns false if there is no ballast that is larger, or if that fails.
func (w *snapshotWriter) takeBallast() bool {
	l := w.log
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	l.reserve.short.Store(true)
	size := l.ballast.size
	if w.ballast > 0 || size <= w.at || l.ballast.close() != nil {
		return false
	}
	file, err := l.fs.Open(l.ballast.name)
	if err != nil {
		return false
	}
	b := make([]byte, min(w.at, fillChunk))
	for at := int64(0); at < w.at && err == nil; at += int64(len(b)) {
		b = b[:min(w.at-at, int64(len(b)))]
		if _, err = w.file.ReadAt(b, at); err == nil {
			_, err = file.WriteAt(b, at)
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return false
	}
	if err := l.closeFile(w.file); err != nil {
		return false
	}
	name := w.name + temporary
	renamed := l.fs.Rename(l.ballast.name, name)
	if renamed == nil {
		l.ballast.owns(0)
		w.ballast, w.synced = size, 0
	}
	if file, err = l.fs.Open(name); err != nil {
		return false // the file is closed, and says so
	}
	w.file = file
	l.mu.Lock()
	l.files.open[file] = struct{}{}
	l.mu.Unlock()
	l.keeper.signal()
	return renamed == nil
}

// cutBallast makes a file that was the ballast as long as the snapshot. The file may be longer than
// what was known to be owned of it.
func (w *snapshotWriter) cutBallast() error {
	if w.ballast == 0 {
		return nil
	}
	size, err := w.file.Size()
	if err != nil || size == w.at {
		return err
	}
	return w.file.Truncate(w.at)
}

// returnBallast makes a snapshot that wasn't completed the ballast again. It returns false if that
// can't be done, or if there is another ballast.
func (l *Log) returnBallast(name string, size int64) bool {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	if l.ballast.size >= size || l.ballast.close() != nil || l.fs.Rename(name, l.ballast.name) != nil {
		return false
	}
	return l.findReserve(&l.ballast) == nil
}

// retire removes a snapshot, or makes it the ballast if the disk is full. The caller has received
// the spare.
func (l *Log) retire(name string) error {
	r := &l.ballast
	if l.reserve.short.Load() && r.size < r.wanted && l.unread() {
		file, err := l.fs.Open(name)
		if err != nil {
			return err
		}
		size, err := file.Size()
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		if size > r.size {
			if err := r.close(); err != nil {
				return err
			}
			if err := l.fs.Rename(name, r.name); err != nil {
				return err
			}
			r.owns(size)
			return nil
		}
	}
	return l.fs.Remove(name)
}

// unread says whether nobody reads a snapshot. Whoever begins to read one later gets the current one.
func (l *Log) unread() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files.opening == 0 && len(l.files.open) == 0
}

// sweepWithSpare removes the snapshots that aren't needed.
func (l *Log) sweepWithSpare() error {
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	return l.sweepSnapshots()
}

// shorten gives back so many bytes of a file that was filled beforehand, or all of it.
func (l *Log) shorten(r *reserve, bytes int64) error {
	file, err := l.fs.Open(r.name)
	if err != nil {
		return err
	}
	size := max(r.size-bytes, 0)
	if err = file.Truncate(size); err == nil {
		r.owns(size)
	}
	return errors.Join(err, file.Close())
}
