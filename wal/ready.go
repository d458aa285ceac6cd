package wal

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft/wal/vfs"
)

// A log that has been in use writes into old segments. A new one has none: it would write each byte
// twice, as a zero in the next segment and then as what it is, and sync both, while callers wait for
// the same disk. So it fills files beforehand, while nobody waits (see filler). A file that is ready
// becomes the next segment by a rename, like an old segment.
//
// Until then it has a name of its own, and isn't part of the log. The next Open takes it over.
type ready struct {
	// files are the complete ones, under Log.mu. Whoever has received the spare takes them away.
	files []readyFile
	// enough is how large a file must be, at least, to become the next segment (see spare.enough).
	enough atomic.Int64
	off    atomic.Bool // the disk was full: no more files are made

	// The filler alone uses the fields below, and Close when the filler has ended.
	made uint64    // the largest number in the name of a file so far
	left []uint64  // numbers of files that an earlier process has left
	next readyFile // the one that is being filled; its name is empty when there is none
	file vfs.File  // its file, filled up to filled
	// filled is how far the file is filled and synced, in bytes.
	filled int64
	step   int64 // how many bytes are filled at a time
}

// A readyFile is a file that is filled with zeros, or will be.
type readyFile struct {
	name string
	size int64
}

// readyFiles is how many files are ready at most. They are many and small, so that the first of them
// are soon free to be used again.
const readyFiles = 8

// How many bytes are filled between two syncs: so few that they take the disk for a few milliseconds.
const (
	minReadyStep = 256 << 10
	maxReadyStep = 4 << 20
	quickStep    = 2 * time.Millisecond // a step that was quicker is followed by one of twice the size
	slowStep     = 8 * time.Millisecond // and one that was slower by one of half the size
)

// readySize is the size of the files that are made ready, in bytes. It is 0 if there are to be none.
func (o *Options) readySize() int64 {
	size := min(o.Ahead/readyFiles, o.SegmentSize) &^ (pageSize - 1)
	if o.Inline || size < MinSegmentSize {
		return 0
	}
	return size
}

// lacksReady says whether another file is to be made ready. Old segments that will be used again
// count like files that are ready. A file that is too small to become the next segment is of no use.
func (l *Log) lacksReady() bool {
	size := l.options.readySize()
	if size == 0 || size < l.ready.enough.Load() || l.ready.off.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := int64(len(l.ready.files)) * size
	for _, s := range l.garbage {
		bytes += s.size
	}
	return bytes+size <= readyFiles*size
}

// makeReady takes one step: it begins a file, or fills a part of one and syncs it. It says whether a
// file has become ready. After an error nothing is left of the file.
func (l *Log) makeReady() (done bool, err error) {
	r := &l.ready
	defer func() {
		if err != nil {
			l.giveUpReady()
		}
	}()
	if r.next.name == "" {
		r.made++
		r.next = readyFile{l.path(fileName(r.made, readySuffix)), l.options.readySize()}
		r.filled, r.step = 0, minReadyStep
		r.file, err = l.fs.Create(r.next.name)
		return false, err
	}
	n := min(r.step, r.next.size-r.filled)
	begin := time.Now()
	for end := r.filled + n; r.filled < end; {
		n, err := r.file.WriteAt(zeros[:min(int64(len(zeros)), end-r.filled)], r.filled)
		if err != nil {
			return false, err
		}
		r.filled += int64(n)
	}
	if err := r.file.Sync(); err != nil {
		return false, err
	}
	r.step = nextStep(r.step, time.Since(begin))
	if r.filled < r.next.size {
		return false, nil
	}
	file := r.file
	r.file = nil
	if err := file.Close(); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.files = append(r.files, r.next)
	r.next = readyFile{}
	return true, nil
}

// adoptReady takes over the files that an earlier process has made ready. It removes those that are
// of no use: incomplete ones, and those of another size. A file that doesn't begin with zeros was
// never ready; it is left alone.
func (l *Log) adoptReady() error {
	r := &l.ready
	for _, number := range r.left {
		r.made = max(r.made, number)
		f := readyFile{l.path(fileName(number, readySuffix)), l.options.readySize()}
		size, blank, err := l.examine(f.name)
		switch {
		case err != nil:
			return err
		case !blank:
		case f.size > 0 && size == f.size && len(r.files) < readyFiles && l.disk.reserve(size):
			r.files = append(r.files, f)
		default:
			if err := l.fs.Remove(f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// examine returns the size of a file, and whether it begins with zeros, as far as a preamble goes.
// It syncs the file, since the process that has filled it may have died before it did.
func (l *Log) examine(name string) (size int64, blank bool, err error) {
	file, err := l.fs.Open(name)
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	if size, err = file.Size(); err != nil {
		return 0, false, err
	}
	var b [preambleSize]byte
	if _, err := file.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	return size, b == [preambleSize]byte{}, file.Sync()
}

// nextStep returns how many bytes the next step fills, when the last one has taken this long.
func nextStep(step int64, took time.Duration) int64 {
	switch {
	case took < quickStep:
		return min(2*step, maxReadyStep)
	case took > slowStep:
		return max(step/2, minReadyStep)
	}
	return step
}

// giveUpReady removes the file that is being filled. If that fails, the next Open does it.
func (l *Log) giveUpReady() {
	r := &l.ready
	if r.next.name == "" {
		return
	}
	if r.file != nil {
		r.file.Close()
	}
	_ = l.fs.Remove(r.next.name)
	l.disk.release(r.next.size)
	r.next, r.file = readyFile{}, nil
}

// dropReady removes all files that are ready. It says whether there were any.
func (l *Log) dropReady() bool {
	l.mu.Lock()
	files := l.ready.files
	l.ready.files = nil
	l.mu.Unlock()
	for _, f := range files {
		_ = l.fs.Remove(f.name)
		l.disk.release(f.size)
	}
	return len(files) > 0
}

// grow writes to a file that becomes longer by it. When the disk is full, files that are ready
// make room, and until the next Open no other ones are made.
func (l *Log) grow(file vfs.File, b []byte, at int64) error {
	_, err := file.WriteAt(b, at)
	if !isFull(err) {
		return err
	}
	l.ready.off.Store(true)
	if l.dropReady() {
		_, err = file.WriteAt(b, at)
	}
	return err
}

// hasReady says whether a file is ready that may become this spare.
func (l *Log) hasReady(sp *spare) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fitsReady(sp)
}

// fitsReady is hasReady for a caller that holds mu.
func (l *Log) fitsReady(sp *spare) bool {
	return len(l.ready.files) > 0 && l.ready.files[0].size >= sp.enough()
}

// takeReady takes a file that may become this spare, if one is ready.
func (l *Log) takeReady(sp *spare) (f readyFile, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.fitsReady(sp) {
		return f, false
	}
	f = l.ready.files[0]
	l.ready.files = l.ready.files[1:]
	l.disk.release(f.size)
	return f, true
}

// useReady makes a file that was ready the spare. The file is synced. Its name is durable when the
// directory is; before that a power cut leaves no spare, or this one.
func (l *Log) useReady(sp *spare, f readyFile) error {
	name := l.path(fileName(sp.number, segmentSuffix))
	if err := l.fs.Rename(f.name, name); err != nil {
		return errors.Join(err, l.fs.Remove(f.name))
	}
	if err := l.syncNames(); err != nil {
		return err
	}
	file, err := l.openFile(l.fs.Open, name)
	if err != nil {
		return err
	}
	sp.file, sp.size, sp.target = file, f.size, f.size
	l.note(sp)
	return nil
}
