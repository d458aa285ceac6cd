package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/e17579a5/raft/wal/vfs"
)

// slowSync is how much longer each sync takes on a slow disk.
const slowSync = 400 * time.Millisecond

// errDead is the error of every call of a process that was killed. No process hears it.
var errDead = errors.New("raftlab: the process was killed")

// A disk is what a server keeps its files on. It outlives the server's processes, each of which has
// a mount of its own. Its faults act on all calls from then on, whichever process makes them:
//
//   - stuck: no call returns until the fault ends;
//   - slow: each sync takes slowSync longer;
//   - full: no file grows, and what is removed makes no room, since somebody else takes it at once;
//   - failing: the next sync fails with EIO, and the fault ends by that.
type disk struct {
	files vfs.FS

	stuck, paused gate // paused: the process stands still, and so do its calls
	slow, full    atomic.Bool
	failing       atomic.Bool

	mu     sync.Mutex
	places []place // where commands were written last, the newest at the end
}

// A place is where the bytes of a command are.
type place struct {
	file   string
	offset int64
}

// maxPlaces bounds how many places a disk remembers.
const maxPlaces = 1024

// remember notes where commands stand in what was written.
func (d *disk) remember(file string, written []byte, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at := 0; ; {
		i := bytes.Index(written[at:], commandMark)
		if i < 0 {
			return
		}
		at += i + len(commandMark)
		if len(d.places) == maxPlaces {
			d.places = append(d.places[:0], d.places[maxPlaces/2:]...)
		}
		d.places = append(d.places, place{file, offset + int64(at)})
	}
}

// forget forgets all places: the files are gone, or are other ones.
func (d *disk) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places = nil
}

// rot flips bits in as many commands of the log, behind the log's back. Of those that it remembers it
// takes some from the older half to the newest, so that they are behind the last snapshot. It returns
// how many bytes it changed, which is less where files have been removed since.
func (d *disk) rot(commands int) (changed int, err error) {
	d.mu.Lock()
	places := bytesOf(d.places, commands)
	d.mu.Unlock()
	for _, p := range places {
		file, err := d.files.Open(p.file)
		if err != nil {
			continue // the log has forgotten it
		}
		var b [1]byte
		_, err = file.ReadAt(b[:], p.offset)
		if err == nil {
			b[0] ^= 0x55
			_, err = file.WriteAt(b[:], p.offset)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return changed, fmt.Errorf("rot %s: %w", p.file, err)
		}
		changed++
	}
	return changed, nil
}

// bytesOf picks some places, evenly from the newer half.
func bytesOf(places []place, some int) (picked []place) {
	newer := places[len(places)/2:]
	for i := range min(some, len(newer)) {
		picked = append(picked, newer[i*len(newer)/min(some, len(newer))])
	}
	return picked
}

// A mount is the disk as one process sees it. When the process is killed, its calls are over: what
// was written before stays, and its files are closed and its locks released, as an operating system
// does it.
type mount struct {
	disk   *disk
	dead   chan struct{}
	ending sync.Once

	mu    sync.Mutex
	ended bool
	calls sync.WaitGroup // those that are inside the file system
	open  map[io.Closer]struct{}
}

func (d *disk) mount() *mount {
	return &mount{disk: d, dead: make(chan struct{}), open: map[io.Closer]struct{}{}}
}

// kill ends the process's part: its calls fail from now on. It returns when none is inside the file
// system any more, and nothing is open or locked. So does a second call.
func (m *mount) kill() {
	m.ending.Do(func() {
		m.mu.Lock()
		m.ended = true
		m.mu.Unlock()
		close(m.dead)
		m.calls.Wait()
		for c := range m.open {
			_ = c.Close() // what a killed process has open is closed by nobody who listens
		}
	})
}

// call performs a call of the process, when the disk lets it.
func (m *mount) call(do func() error) error {
	if !pass(m.dead, &m.disk.stuck, &m.disk.paused) {
		return errDead
	}
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return errDead
	}
	m.calls.Add(1)
	m.mu.Unlock()
	defer m.calls.Done()
	return do()
}

// sync performs a sync, with the faults that syncs have.
func (m *mount) sync(do func() error) error {
	if m.disk.slow.Load() {
		slowly := time.NewTimer(slowSync)
		defer slowly.Stop()
		select {
		case <-slowly.C:
		case <-m.dead:
		}
	}
	return m.call(func() error {
		if m.disk.failing.CompareAndSwap(true, false) {
			return fmt.Errorf("raftlab: the disk fails: %w", syscall.EIO)
		}
		return do()
	})
}

// keep remembers what the process has open.
func (m *mount) keep(c io.Closer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open[c] = struct{}{}
}

// drop forgets what the process has closed.
func (m *mount) drop(c io.Closer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.open, c)
}

func (m *mount) MkdirAll(dir string) error {
	return m.call(func() error { return m.disk.files.MkdirAll(dir) })
}

func (m *mount) Create(name string) (vfs.File, error) { return m.file(name, m.disk.files.Create) }

func (m *mount) Open(name string) (vfs.File, error) { return m.file(name, m.disk.files.Open) }

func (m *mount) file(name string, open func(string) (vfs.File, error)) (f vfs.File, err error) {
	err = m.call(func() error {
		opened, err := open(name)
		if err == nil {
			m.keep(opened)
			f = &mountedFile{File: opened, mount: m, name: name}
		}
		return err
	})
	return f, err
}

func (m *mount) Rename(oldName, newName string) error {
	return m.call(func() error { return m.disk.files.Rename(oldName, newName) })
}

func (m *mount) Remove(name string) error {
	return m.call(func() error { return m.disk.files.Remove(name) })
}

func (m *mount) List(dir string) (names []string, err error) {
	err = m.call(func() (err error) { names, err = m.disk.files.List(dir); return err })
	return names, err
}

func (m *mount) SyncDir(dir string) error {
	return m.sync(func() error { return m.disk.files.SyncDir(dir) })
}

func (m *mount) Lock(name string) (lock io.Closer, err error) {
	err = m.call(func() error {
		held, err := m.disk.files.Lock(name)
		if err == nil {
			m.keep(held)
			lock = &mountedLock{held, m}
		}
		return err
	})
	return lock, err
}

// A mountedLock is a lock that a process holds.
type mountedLock struct {
	held  io.Closer
	mount *mount
}

func (l *mountedLock) Close() error {
	return l.mount.call(func() error { l.mount.drop(l.held); return l.held.Close() })
}

// A mountedFile is a file that a process has open.
type mountedFile struct {
	vfs.File
	mount *mount
	name  string
}

func (f *mountedFile) ReadAt(b []byte, offset int64) (n int, err error) {
	err = f.mount.call(func() (err error) { n, err = f.File.ReadAt(b, offset); return err })
	return n, err
}

func (f *mountedFile) WriteAt(b []byte, offset int64) (n int, err error) {
	err = f.mount.call(func() (err error) { n, err = f.write(b, offset); return err })
	return n, err
}

// write writes, on a full disk only over what the file holds already.
func (f *mountedFile) write(b []byte, offset int64) (n int, err error) {
	full := error(nil)
	if f.mount.disk.full.Load() {
		size, err := f.File.Size()
		if err != nil {
			return 0, err
		}
		if room := max(size-offset, 0); room < int64(len(b)) {
			b, full = b[:room], fmt.Errorf("raftlab: the disk is full: %w", syscall.ENOSPC)
		}
	}
	if len(b) > 0 {
		n, err = f.File.WriteAt(b, offset)
	}
	f.mount.disk.remember(f.name, b[:n], offset)
	return n, errors.Join(err, full)
}

func (f *mountedFile) Truncate(size int64) error {
	return f.mount.call(func() error { return f.File.Truncate(size) })
}

func (f *mountedFile) Size() (size int64, err error) {
	err = f.mount.call(func() (err error) { size, err = f.File.Size(); return err })
	return size, err
}

func (f *mountedFile) Sync() error { return f.mount.sync(f.File.Sync) }

func (f *mountedFile) Close() error {
	return f.mount.call(func() error { f.mount.drop(f.File); return f.File.Close() })
}

// heal ends the faults of the disk. What has rotted stays so.
func (d *disk) heal() {
	d.stuck.set(false)
	d.slow.Store(false)
	d.full.Store(false)
	d.failing.Store(false)
}

// faults returns the names of the faults that the disk has.
func (d *disk) faults() []string {
	names := []string{}
	for _, f := range []struct {
		name string
		has  bool
	}{{"stuck", d.stuck.isShut()}, {"slow", d.slow.Load()}, {"full", d.full.Load()}, {"failing", d.failing.Load()}} {
		if f.has {
			names = append(names, f.name)
		}
	}
	return names
}
