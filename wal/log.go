package wal

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal/vfs"
)

// A Log is a raft.Storage in a directory. Open makes one.
type Log struct {
	dir     string
	options Options
	fs      vfs.FS
	salt    uint64
	opens   uint64 // how often the log was opened, this time included
	lock    io.Closer
	saved   raft.Saved // for Load

	// busy is held, by sending to it, by the one who writes: Write, a mark, Close. It guards what follows.
	busy   chan struct{}
	active *segment
	change change
	buf    []byte
	target int64  // size of the next segment
	wakeAt uint32 // from this end of the active segment on, more of the next one is to be filled

	// spare holds the segment after the active one, which the keeper fills; who received it, owns it, and
	// may dispose of garbage.
	spare chan *spare
	goal  atomic.Int64 // up to where the spare is to be filled

	// mu guards what follows. It is never held during a call to the file system. The contents and the
	// segments are changed only by who also holds busy, who may therefore read them without mu.
	mu        sync.Mutex
	contents  contents
	segments  []*segment // all that are needed, in order; the last one is the active one
	garbage   []*segment // those before them, not removed yet
	untidy    bool       // there may be something to remove
	stuck     bool       // a directory sync failed: nothing is removed any more
	snapshots snapshots
	loaded    bool
	failed    error // of a write; all later ones fail with it
	closed    bool
	calls     int           // of Entries and the like that are under way
	drained   chan struct{} // closed when the last of them has returned after Close began

	keeper keeper
}

var _ raft.Storage = (*Log)(nil)

// Load returns what was found by Open. It is called once; a second call fails, since the log may have
// changed.
func (l *Log) Load() (raft.Saved, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return raft.Saved{}, errClosed
	}
	if l.loaded {
		return raft.Saved{}, errors.New("wal: the log was loaded already")
	}
	saved := l.saved
	l.loaded, l.saved = true, raft.Saved{}
	return saved, nil
}

// enter begins a call that Close waits for, and leave ends it.
func (l *Log) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	l.calls++
	return nil
}

func (l *Log) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	if l.closed && l.calls == 0 {
		close(l.drained)
	}
}

// Close marks the last batch as synced and releases everything.
func (l *Log) Close() error {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	idle := l.calls == 0
	l.mu.Unlock()
	if !idle {
		<-l.drained
	}
	err := l.writeMark()
	l.keeper.stop()
	l.closeFiles()
	if e := l.lock.Close(); err == nil {
		err = e
	}
	return err
}

// closeFiles closes the files. There is nobody left who uses them. What was promised is synced; so there is
// nothing that an error of theirs could tell.
func (l *Log) closeFiles() {
	l.snapshots.closeAll()
	for _, s := range l.garbage {
		if s.file != nil {
			s.file.Close()
		}
	}
	for _, s := range l.segments {
		s.file.Close()
	}
	if sp := <-l.spare; sp.file != nil {
		sp.file.Close()
	}
}
