package wal

import (
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft/wal/vfs"
)

// A filler makes files ready (see ready) in a goroutine that runs only while there are some to make.
// It works while the disk is at rest: when no log of this process has written to the same file system
// for a while, and until one does. So a Write waits for one step at most, and only the first Write
// after a rest. A log that is closed soon after it was opened fills nothing.
type filler struct {
	mu      sync.Mutex
	done    chan struct{} // closed when the goroutine has ended; nil if there was none
	running bool
	failed  time.Time // when filling failed last
}

const (
	// restAfter is how long no log has written when the disk counts as being at rest. While it doesn't
	// come to rest, it is looked at less and less often, up to every maxRestAfter.
	restAfter    = 50 * time.Millisecond
	maxRestAfter = time.Second
	// turnPause is how long a filler waits when another one has the disk.
	turnPause = 2 * time.Millisecond
	// failurePause is how long nothing is filled after it has failed; most often the disk is full.
	failurePause = time.Minute
)

// startFiller starts the goroutine, unless it runs or has nothing to do.
func (l *Log) startFiller() {
	f := &l.filler
	if l.disk == nil || !l.lacksReady() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running || !f.failed.IsZero() && time.Since(f.failed) < failurePause {
		return
	}
	if l.isClosing() {
		return
	}
	f.running, f.done = true, make(chan struct{})
	go func() {
		defer close(f.done)
		err := l.fillAhead()
		if err != nil {
			l.tell(slog.LevelWarn, "wal: no file filled beforehand", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running = false
		if err != nil {
			f.failed = time.Now()
		}
	}()
}

// isClosing says whether Close has been called.
func (l *Log) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// stopFiller waits for the goroutine, which ends after one step at the latest, and removes the file
// that it hasn't completed. Close has closed l.closing.
func (l *Log) stopFiller() {
	if l.disk == nil {
		return
	}
	l.filler.mu.Lock()
	done := l.filler.done
	l.filler.mu.Unlock()
	if done != nil {
		<-done
	}
	l.giveUpReady()
	l.leaveDisk()
}

// leaveDisk ends the log's part in what is kept ready. Its files stay.
func (l *Log) leaveDisk() {
	if l.disk == nil {
		return
	}
	for _, f := range l.ready.files {
		l.disk.release(f.size)
	}
	l.ready.files = nil
	l.disk.leave(l.fs)
	l.disk = nil
}

// fillAhead makes files ready until there are enough, the log is closed, or something fails. When
// the disk is full, all of them are given up.
func (l *Log) fillAhead() error {
	err := l.fillWhileIdle()
	if isFull(err) {
		l.ready.off.Store(true)
		l.dropReady()
	}
	if l.ready.off.Load() {
		l.giveUpReady()
	}
	return err
}

// fillWhileIdle takes steps, with pauses while the disk isn't at rest.
func (l *Log) fillWhileIdle() error {
	timer := time.NewTimer(restAfter)
	defer timer.Stop()
	defer l.disk.turns.leave(l)
	seen, rest := l.disk.writes.Load(), restAfter
	for l.lacksReady() {
		select {
		case <-timer.C:
		case <-l.closing:
			return nil
		}
		if l.isClosing() {
			return nil
		}
		pause := time.Duration(0)
		if now := l.disk.writes.Load(); now != seen {
			l.disk.turns.leave(l)
			rest = min(2*rest, maxRestAfter)
			seen, pause = now, rest
		} else if l.disk.turns.take(l) {
			more, done, err := l.fillStep()
			if err != nil || !more {
				return err
			}
			rest = restAfter / 2
			if done {
				l.disk.turns.leave(l) // the other logs get a file, too
			}
		} else {
			pause = turnPause
		}
		timer.Reset(pause)
	}
	return nil
}

// fillStep takes one step. It returns whether there may be another one: not if the logs of the disk
// have made as much ready as they may; and whether a file is done. The caller has the disk's turn.
func (l *Log) fillStep() (more, done bool, err error) {
	if l.ready.next.name == "" && !l.disk.reserve(l.options.readySize()) {
		return false, false, nil
	}
	done, err = l.makeReady()
	if done {
		l.keeper.signal() // it may become the spare
	}
	return true, done, err
}

// MaxAhead is how many bytes the logs of a process that are on one file system keep ready together,
// in files that are filled beforehand. A log for which nothing is left fills its next segment while
// it writes.
const MaxAhead = 512 << 20

// A disk is what the logs of a process that are on one file system share. It has no channels: the
// logs of one file system may be in different bubbles of testing/synctest.
type disk struct {
	logs   int           // under disks.mu
	turns  turns         // of the fillers
	writes atomic.Uint64 // batches of all logs
	ahead  atomic.Int64  // bytes of files that are ready or will be, at most MaxAhead
}

// turns are the logs that fill files. The first one fills, until a file is done, and the others wait in the order
// in which they came.
type turns struct {
	mu   sync.Mutex
	logs []*Log
}

// take says whether it is a log's turn, which waits for that from now on.
func (t *turns) take(l *Log) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.logs, l) {
		t.logs = append(t.logs, l)
	}
	return t.logs[0] == l
}

// leave ends the turn of a log, or its waiting.
func (t *turns) leave(l *Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logs = slices.DeleteFunc(t.logs, func(other *Log) bool { return other == l })
}

// disks are the file systems on which there are logs.
var disks = struct {
	mu sync.Mutex
	of map[vfs.FS]*disk
}{of: make(map[vfs.FS]*disk)}

// joinDisk returns the disk of a file system. A file system that can't be compared has a disk for
// each log.
func joinDisk(fs vfs.FS) *disk {
	if !reflect.ValueOf(fs).Comparable() {
		return new(disk)
	}
	disks.mu.Lock()
	defer disks.mu.Unlock()
	d := disks.of[fs]
	if d == nil {
		d = new(disk)
		disks.of[fs] = d
	}
	d.logs++
	return d
}

// leave takes a log away from a disk.
func (d *disk) leave(fs vfs.FS) {
	if !reflect.ValueOf(fs).Comparable() {
		return
	}
	disks.mu.Lock()
	defer disks.mu.Unlock()
	if d.logs--; d.logs == 0 {
		delete(disks.of, fs)
	}
}

// reserve takes bytes of what the logs may make ready together, if so many are left.
func (d *disk) reserve(bytes int64) bool {
	if d.ahead.Add(bytes) > MaxAhead {
		d.ahead.Add(-bytes)
		return false
	}
	return true
}

func (d *disk) release(bytes int64) { d.ahead.Add(-bytes) }
