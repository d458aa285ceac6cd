package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
	"time"

	"github.com/e17579a5/raft/wal/vfs"
)

// A process that has no file descriptor left gets one later, when it has closed a connection, say. A
// disk that is full has room later, too (room.go).
// While the log needs its next file, nothing that goes into that file was promised. So the log
// waits, and says so, instead of failing for good. It tries again after minPause, and then less and
// less often, up to every maxPause.
const (
	minPause = 5 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

// Waiting returns why the log waits, for a file descriptor or for room, or nil while it doesn't wait.
// See raft.Storage.
func (l *Log) Waiting() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// setWaiting notes what the log waits for, and logs it when that begins and ends.
func (l *Log) setWaiting(reason error) {
	l.mu.Lock()
	was := l.waiting
	l.waiting = reason
	l.mu.Unlock()
	switch {
	case was == nil && reason != nil:
		l.tell(slog.LevelWarn, "wal: waits for "+lacking(reason), reason)
	case was != nil && reason == nil:
		l.tell(slog.LevelWarn, "wal: waits no longer for "+lacking(was), was)
	}
}

// lacking names what the log waits for.
func lacking(reason error) string {
	if isFull(reason) {
		return "room on the disk"
	}
	return "a file descriptor"
}

// needsFile says whether an error means that there is no file descriptor left, in the process or in
// the system.
func needsFile(err error) bool {
	const windowsTooManyFiles = syscall.Errno(4)
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		runtime.GOOS == "windows" && errors.Is(err, windowsTooManyFiles)
}

// patiently calls try until it doesn't fail for want of a file descriptor, or Close is called.
func (l *Log) patiently(try func() error) error {
	err := try()
	if !l.patient || !needsFile(err) {
		return err
	}
	defer l.setWaiting(nil)
	timer := time.NewTimer(minPause)
	defer timer.Stop()
	for pause := minPause; ; timer.Reset(pause) {
		l.setWaiting(err)
		select {
		case <-timer.C:
		case <-l.closing:
			return errClosed
		}
		if err = try(); !needsFile(err) {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

// openFile opens or creates the file of a segment by a method of the file system, patiently.
func (l *Log) openFile(by func(string) (vfs.File, error), name string) (file vfs.File, err error) {
	err = l.patiently(func() error {
		file, err = by(name)
		return err
	})
	return file, err
}

// syncNames syncs the folder when a file has got the name of a segment, or has lost it. If that fails,
// nothing is written any more. The disk may never get to know the name, even if a later sync succeeds;
// and it may get to know of the changes to come, but not of this one.
func (l *Log) syncNames() error {
	err := l.syncDir()
	if err == nil || errors.Is(err, errClosed) {
		return err
	}
	return l.fail(fmt.Errorf("wal: sync the names of segments: %w", err))
}

// syncDir syncs the folder, patiently: to open a folder takes a file descriptor too.
func (l *Log) syncDir() error {
	return l.patiently(func() error { return l.fs.SyncDir(l.dir) })
}
