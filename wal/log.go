package wal

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/logbook"
	"github.com/e17579a5/raft/wal/vfs"
)

// A Log is a raft.Storage in a directory. Open makes one. Its methods may be called from several
// goroutines at once.
type Log struct {
	group   // that of the group ""
	dir     string
	options Options
	fs      vfs.FS
	salt    uint64
	opens   uint64 // how often the log was opened, this time included
	lock    io.Closer
	patient bool                                // it waits for file descriptors; not before it is open
	synced  func(took time.Duration, err error) // nil if nobody wants to know
	book    *logbook.Book                       // nil when nothing is logged

	// Whoever writes holds busy, by sending to it: Write, Anchor, Close. It guards the fields from
	// here to wakeAt.
	busy    chan struct{}
	active  *segment
	change  change
	shared  shared // what WriteGroups uses again
	trail   trail
	buf     []byte
	prelude []byte
	target  int64           // size of the next segment
	credit  int             // how many bytes may be moved beside records, for those that were written
	givesUp <-chan struct{} // closed when whoever waits for room is to give up; nil for never
	// Once the active segment ends at wakeAt or behind it, more of the next segment is to be
	// filled.
	wakeAt uint32

	// spare holds the segment after the active one, which the keeper fills. The goroutine that has
	// received it owns it; only that goroutine may dispose of garbage.
	spare chan *spare
	// reserve is the file that becomes the next segment when the disk is full, and ballast the one
	// that becomes the next snapshot.
	reserve, ballast reserve
	goal             atomic.Int64  // how far the spare is to be filled, in bytes
	begun            atomic.Uint64 // the segment whose head is durable, if it is the active one

	anchor anchor

	// mu guards the fields below it. It is never held during a call to the file system. Only a
	// goroutine that also holds busy changes the contents and the segments; it may therefore read
	// them without mu, except the stretches: a reader that finds damage changes those.
	mu       sync.Mutex
	groups   groups
	tip      tip
	prepared prepared
	segments []*segment // all that are needed, in order; the last one is the active one
	garbage  []*segment // the segments before those, which are not removed yet
	untidy   bool       // there may be something to remove
	files    snapshotFiles
	loaded   bool
	failed   error // of the first write that failed; all later writes fail with it
	closed   bool
	waiting  error // what the log waits for, if it does
	// calls is how many calls are under way, of Entries and others, that Close waits for.
	calls   int
	drained chan struct{} // closed when Close has begun and the last of them has returned

	closing   chan struct{} // closed when Close has been called
	closeOnce sync.Once
	keeper    keeper
	ready     ready
	filler    filler
	disk      *disk // nil with Options.Inline
}

// A tip is where the log ends, as far as it is synced.
type tip struct {
	place place
	chain uint32
}

// A prepared is the last segment whose name is durable, and how large it is, as far as that is
// durable.
type prepared struct {
	number uint64
	size   int64
}

var _ raft.Storage = (*Log)(nil)

// newLog returns a log that isn't open yet.
func newLog(dir string, options Options) *Log {
	l := &Log{
		dir: dir, options: options, fs: options.FS, salt: options.Salt,
		busy: make(chan struct{}, 1), spare: make(chan *spare, 1),
		drained: make(chan struct{}), closing: make(chan struct{}),
	}
	l.group.log = l
	l.groups = groups{numbered: make(map[uint64]*group), named: make(map[raft.GroupID]*group), next: 1}
	l.anchor.busy = make(chan struct{}, 1)
	l.files.open, l.files.found = make(map[vfs.File]struct{}), make(map[uint64][]uint64)
	return l
}

// Load returns what is stored. It can be called once: a second call fails, because the log may
// have changed since. After Close it fails with fs.ErrClosed.
func (l *Log) Load() (raft.Saved, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return raft.Saved{}, errClosed
	}
	if l.loaded {
		return raft.Saved{}, errors.New("wal: the log was loaded already")
	}
	l.loaded = true
	return l.state(), nil
}

// enter begins a call that Close waits for; leave ends it.
func (l *Log) enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	l.calls++
	return nil
}

// leave ends a call that enter has begun.
func (l *Log) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	if l.closed && l.calls == 0 {
		close(l.drained)
	}
}

// Close says in the anchor where the log ends, unless something has failed before, and releases everything. It waits for calls that are
// under way, but for a Write that waits for a file descriptor or for room: that fails with
// fs.ErrClosed, as do calls that come later. A second Close does nothing.
func (l *Log) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
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
	l.keeper.stop()
	l.stopFiller()
	err := l.writeAnchor(anchoring{sync: true, closed: true})
	l.closeFiles()
	if e := l.lock.Close(); err == nil {
		err = e
	}
	l.closeBook()
	return err
}

// Trouble returns the error with which the next Write will fail, because something failed that no
// caller was waiting for: the anchor, which proves that the last batch was synced. It is nil while
// writes go on, and after Close.
func (l *Log) Trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	return l.failed
}

// tell logs a problem that is no error of a call.
func (l *Log) tell(level slog.Level, text string, err error, attrs ...slog.Attr) {
	if l.book == nil {
		return
	}
	l.book.Put(logbook.Line{
		Level: level, Text: text, Attrs: append(attrs, slog.Any("err", err)), Kind: logbook.Kind(err, nil),
	})
}

// indexAttr names an index in the log's lines.
func indexAttr(name string, index raft.Index) slog.Attr { return slog.Uint64(name, uint64(index)) }

// closeBook waits until the lines that were told are written, or for a Logger that blocks up to
// logbook.Patience.
func (l *Log) closeBook() {
	if l.book == nil {
		return
	}
	patience := time.NewTimer(logbook.Patience)
	defer patience.Stop()
	l.book.Close(patience.C)
}

// closeFiles closes the files, which nobody uses any more. Errors don't matter here: everything
// that was promised is synced.
func (l *Log) closeFiles() {
	l.files.closeAll()
	if l.anchor.file != nil {
		l.anchor.file.Close()
	}
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
	l.reserve.close()
	l.ballast.close()
}
