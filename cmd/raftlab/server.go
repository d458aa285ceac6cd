package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// Sizes of a server's files and of its settings, in bytes. They are small, so that snapshots are
// taken, the log is forgotten, and a full disk is full within seconds.
const (
	segmentSize      = 1 << 20
	aheadBytes       = 2 << 20
	snapshotMinBytes = 1 << 20
	reserveBytes     = 128 << 10
	maxCommandBytes  = 4 << 10
	scrubRate        = 16 << 20
)

// The states of a server's process.
const (
	stateStarting = "starting" // what is on its disk is being read
	stateRunning  = "running"
	statePaused   = "paused"
	stateDown     = "down"    // it was killed or closed, or couldn't start
	stateStopped  = "stopped" // its node has ended by itself, because of a failure
)

// A server is one server of the cluster: a disk, and the processes that run on it, one after the
// other. A process is a raft node with its log, its transport and its state machine, in the lab's
// own process.
type server struct {
	id     raft.ServerID
	lab    *lab
	folder string
	disk   *disk
	frozen *gate // shut while the process stands still

	acting sync.Mutex // held by whoever ends a process in order to start another one

	mu   sync.Mutex
	life *life       // the newest process; nil before the first
	why  error       // why there is no process, or why its node has stopped
	last raft.Status // what its node has said last
	over bool        // no process is started any more
}

// A life is one process.
type life struct {
	mount   *mount
	dead    chan struct{} // closed when it is killed
	gone    chan struct{} // closed when everything is released
	machine *registers

	// The server's lock guards these.
	state    string
	node     *raft.Node
	listener *listener
	since    time.Time // of the state
}

// errOver says that a server was removed, or that the lab ends.
var errOver = errors.New("it is no longer there")

// errRuns says that a server has a process already.
var errRuns = errors.New("it runs already")

// serve implements host.
func (s *server) serve() (*raft.Node, *registers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil || s.life.state != stateRunning && s.life.state != statePaused {
		return nil, nil
	}
	return s.life.node, s.life.machine
}

// state returns the state of the process and since when it is that.
func (s *server) state() (state string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		return stateDown, time.Time{}
	}
	return s.life.state, s.life.since
}

// start starts a process. It returns at once; the server is starting until its log is read. A
// founder is given the list of all founders.
func (s *server) start(founders []raft.Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errOver
	}
	before := s.life
	if before != nil && before.state != stateDown && before.state != stateStopped {
		return errRuns
	}
	l := &life{
		mount: s.disk.mount(), dead: make(chan struct{}), gone: make(chan struct{}),
		machine: &registers{}, state: stateStarting, since: time.Now(),
	}
	s.life, s.why = l, nil
	go func() {
		if before != nil {
			<-before.gone
		}
		node, err := s.open(l, founders)
		s.opened(l, node, err)
	}()
	return nil
}

// open starts the node of a process. Before, it copies the folder, so that it can be put back.
func (s *server) open(l *life, founders []raft.Server) (*raft.Node, error) {
	if err := keepCopy(s.folder, s.older()); err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler) // the page shows what there is to know
	store, err := wal.Open(s.folder, wal.Options{FS: l.mount, SegmentSize: segmentSize, Ahead: aheadBytes, Logger: quiet})
	if err != nil {
		return nil, err
	}
	transport, err := tcp.Listen(string(s.id), tcp.Options{
		Logger: quiet,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return s.lab.network.dial(ctx, s.id, l.dead, address)
		},
		Listen: func(string) (net.Listener, error) { return s.listen(l) },
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return raft.Start(raft.Config{
		ID: s.id, Address: string(s.id), Machine: l.machine, Storage: store, Transport: transport,
		Bootstrap: founders, Heartbeat: s.lab.settings.heartbeat, ElectionTimeout: s.lab.settings.election,
		MaxCommandBytes: maxCommandBytes, SnapshotMinBytes: snapshotMinBytes, ReserveBytes: reserveBytes,
		ScrubBytesPerSecond: scrubRate, Logger: quiet,
		Trace: &raft.Trace{
			// A process that stands still takes no turn. Its clock goes on, as that of a stopped
			// process does, and so it finds afterwards how late it is.
			Turn: func(raft.TurnTrace) { pass(l.dead, s.frozen) },
			Sent: func(m wire.Message) { s.lab.network.line(s.id, m.To).note(m.Kind().String()) },
		},
	})
}

// listen makes the process reachable, unless it was killed.
func (s *server) listen(l *life) (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-l.dead:
		return nil, errDead
	default:
	}
	made, err := s.lab.network.listen(s.id)
	if err != nil {
		return nil, err
	}
	l.listener = made
	return made, nil
}

// opened takes what open has returned.
func (s *server) opened(l *life, node *raft.Node, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-l.dead: // killed while it started
		if node != nil {
			go l.release(node)
			return
		}
		l.mount.kill()
		close(l.gone)
		return
	default:
	}
	if err != nil {
		l.state, l.since, s.why = stateDown, time.Now(), err
		l.mount.kill()
		close(l.gone)
		s.lab.tell(troubleEvent, s.id, "can't start: "+reason(err))
		return
	}
	l.node, l.state, l.since = node, stateRunning, time.Now()
	go s.watch(l, node)
}

// release closes the node of a process that was killed: it hands its leadership to nobody, since
// neither its network nor its disk does anything any more.
func (l *life) release(node *raft.Node) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = node.Close(now)
	_ = node.Close(context.Background()) // the errors are those of a dead disk
	l.mount.kill()                       // it was begun before, and may not have ended: the next process needs the lock
	close(l.gone)
}

// watch tells what the node knows, until it has stopped. A node that fails ends by itself, and so
// does its process then.
func (s *server) watch(l *life, node *raft.Node) {
	s.lab.listen(s, node)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.state != stateRunning && l.state != statePaused {
		return // it was killed or closed
	}
	l.state, l.since, s.why = stateStopped, time.Now(), node.Err()
	s.lab.tell(troubleEvent, s.id, "has stopped: "+reason(s.why))
	s.bury(l)
	go l.release(node)
}

// bury takes the network and the disk away from a process. The server's lock is held.
func (s *server) bury(l *life) {
	close(l.dead)
	if l.listener != nil {
		go l.listener.kill()
	}
	go l.mount.kill()
	s.frozen.set(false)
	s.disk.paused.set(false)
}

// errNotRunning says that a server has no process.
var errNotRunning = errors.New("it doesn't run")

// kill ends the process at once, as SIGKILL does: what it had written before is in its files, and
// nothing that it does from then on has an effect.
func (s *server) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.life
	if l == nil || l.state == stateDown || l.state == stateStopped {
		return errNotRunning
	}
	l.state, l.since = stateDown, time.Now()
	s.bury(l)
	if l.node != nil {
		go l.release(l.node)
	}
	return nil
}

// closePatience is how long a server that is closed has for that.
const closePatience = 5 * time.Second

// close ends the process as it should be ended: a leader hands over first.
func (s *server) close() error {
	s.mu.Lock()
	l := s.life
	if l == nil || l.state != stateRunning {
		s.mu.Unlock()
		return errNotRunning
	}
	l.state, l.since = stateDown, time.Now()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	err := l.node.Close(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bury(l)
	go l.release(l.node)
	return err
}

// pause stops the process as SIGSTOP does, or lets it go on: it takes no turn, its disk and its
// network do nothing for it, and its clock goes on. Other processes in the lab's own process can't
// be stopped by a signal, so this is done to each of its parts. Not stopped are the callers, whose
// calls end by their contexts.
func (s *server) pause(stop bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.life
	if l == nil || l.state != stateRunning && l.state != statePaused {
		return errNotRunning
	}
	s.frozen.set(stop)
	s.disk.paused.set(stop)
	l.state, l.since = stateRunning, time.Now()
	if stop {
		l.state = statePaused
	}
	return nil
}

// ensureDown kills the process, if there is one, and waits until it is gone.
func (s *server) ensureDown() {
	_ = s.kill() // there may be none
	s.mu.Lock()
	l := s.life
	s.mu.Unlock()
	if l != nil {
		<-l.gone
	}
}

// retire ends the process, if there is one, and lets no other one be started.
func (s *server) retire() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.ensureDown()
}

// restart kills the process, if there is one, and starts another one.
func (s *server) restart() error {
	s.acting.Lock()
	defer s.acting.Unlock()
	s.ensureDown()
	return s.start(nil)
}

// older is the name of the folder's copy.
func (s *server) older() string { return s.folder + ".older" }

// lose destroys the disk, and starts a process on an empty one without faults.
func (s *server) lose() error {
	s.acting.Lock()
	defer s.acting.Unlock()
	s.ensureDown()
	if err := os.RemoveAll(s.folder); err != nil {
		return err
	}
	s.renewDisk()
	return s.start(nil)
}

// renewDisk ends the faults of the disk, and forgets what was on it.
func (s *server) renewDisk() {
	s.disk.forget()
	s.disk.heal()
}

// putBack puts the disk back to what it was when the present process, or the last one, was started,
// and starts a process on it.
func (s *server) putBack() error {
	if _, err := os.Stat(s.older()); errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no older copy of its disk yet: one is made each time it is started again")
	}
	s.acting.Lock()
	defer s.acting.Unlock()
	s.ensureDown()
	if err := os.RemoveAll(s.folder); err != nil {
		return err
	}
	if err := os.CopyFS(s.folder, os.DirFS(s.older())); err != nil {
		return err
	}
	s.renewDisk()
	return s.start(nil)
}

// keepCopy replaces a copy of a folder by one of what is there now. Where nothing is, the copy stays.
func keepCopy(folder, copied string) error {
	if files, err := os.ReadDir(folder); errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		return nil
	}
	if err := os.RemoveAll(copied); err != nil {
		return err
	}
	return os.CopyFS(copied, os.DirFS(folder))
}

// newServer makes a server without a process, on an empty disk.
func (b *lab) newServer(id raft.ServerID) *server {
	return &server{
		id: id, lab: b, folder: filepath.Join(b.folder, string(id)), frozen: b.network.freezer(id),
		disk: &disk{files: osFiles},
	}
}
