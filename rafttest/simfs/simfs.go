// Package simfs is a file system in memory that fails as real ones do, and the same way each time.
// It remembers what was not synced. At a power cut, each such write is kept, lost, or torn between
// sectors, and each change of a directory is kept or lost. A test can make calls fail. A failed
// sync forgets what it should have written. The disk can fill up, and bytes can rot.
//
// Luck is no stream of random numbers. Each decision is a hash of the seed and of what is decided
// ("the third write to the second file, at the first power cut, its fifth sector"). So removing one
// call from a run doesn't change the decisions about the other calls. There is no clock and no
// other randomness.
package simfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/e17579a5/raft/wal/vfs"
)

// SectorSize is the number of bytes that a power cut keeps or loses together.
const SectorSize = 512

// ErrPower is the error of every call after PowerOffAfter has cut the power. Files that were open
// at a Kill, Cut or Lose return it for ever.
var ErrPower = errors.New("simfs: the power failed")

// ErrFull is the error of a write for which the disk has no room. It wraps syscall.ENOSPC.
var ErrFull = fmt.Errorf("simfs: %w", syscall.ENOSPC)

// An Op is what a Call does.
type Op string

// The Ops, one for each method of vfs.FS and vfs.File
const (
	OpMkdirAll Op = "mkdir"
	OpCreate   Op = "create"
	OpOpen     Op = "open"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpList     Op = "list"
	OpSyncDir  Op = "syncdir"
	OpLock     Op = "lock"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpTruncate Op = "truncate"
	OpSize     Op = "size"
	OpSync     Op = "sync"
	OpClose    Op = "close"
)

// A Call is one call to the file system or a file.
type Call struct {
	Number int // of this call among all calls, from 1
	Op     Op
	Name   string // of the file or directory; for a rename, the old name
	To     string // for a rename, the new name
	Offset int64  // for a truncation, the new length
	Length int    // in bytes, for a read or a write
}

// String returns the call without its number. It shortens paths to their last element.
func (c Call) String() string {
	s := string(c.Op) + " " + filepath.Base(c.Name)
	switch c.Op {
	case OpRename:
		s += " " + filepath.Base(c.To)
	case OpRead, OpWrite:
		s += fmt.Sprintf(" %d+%d", c.Offset, c.Length)
	case OpTruncate:
		s += fmt.Sprintf(" %d", c.Offset)
	}
	return s
}

// FS is the file system. It implements vfs.FS. Several goroutines may use it at once; the same
// calls in the same order give the same results.
type FS struct {
	mu       sync.Mutex
	seed     uint64
	calls    int
	hook     func(Call) error
	capacity int64 // bytes in all files; 0 means no limit
	deferred bool

	dirs  map[string]bool
	names map[string]*inode // as a process sees them
	disk  map[string]*inode // as a power cut would leave them
	locks map[string]bool
	// journal holds the changes that aren't durable yet, and the deferred syncs, in the order of
	// the calls.
	journal []change
	inodes  uint64 // number of files created so far
	changes uint64 // number of changes of directories so far

	life    uint64 // rises when all processes die; files opened in an earlier life are dead
	cuts    uint64 // number of power cuts, kills and failed syncs so far
	issued  int64  // number of syncs deferred so far
	settled int64  // number of deferred syncs done so far
	losses  Losses
	reused  [][]byte // buffers of changes
}

var _ vfs.FS = (*FS)(nil)

// An inode is a file, independent of its names.
type inode struct {
	number uint64
	data   []byte // as a process sees it: the page cache
	disk   []byte // what is durable
	writes uint64 // number of writes so far
	open   int    // number of open handles
	// replaced says that the content was exchanged (Replace).
	replaced bool
}

// New returns an empty file system whose luck follows from the seed.
func New(seed uint64) *FS {
	return &FS{
		seed: seed, dirs: map[string]bool{"/": true, ".": true},
		names: map[string]*inode{}, disk: map[string]*inode{}, locks: map[string]bool{},
	}
}

// OnCall sets a function that sees each call before it is done and that can make it fail. The
// function must not use the file system.
func (f *FS) OnCall(hook func(Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// FailAt makes the call with this number fail with err, and no other call. It replaces the function
// of OnCall.
func (f *FS) FailAt(number int, err error) {
	f.OnCall(func(c Call) error {
		if c.Number == number {
			return err
		}
		return nil
	})
}

// PowerOffAfter makes every call after the one with this number fail with ErrPower. Cut then
// decides what is left, and turns the power on again. PowerOffAfter replaces the function of
// OnCall.
func (f *FS) PowerOffAfter(number int) {
	f.OnCall(func(c Call) error {
		if c.Number > number {
			return ErrPower
		}
		return nil
	})
}

// SetCapacity limits the number of bytes in all files; 0 means no limit. A write beyond the limit
// is cut short and returns ErrFull.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// Calls returns the number of calls so far.
func (f *FS) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Used returns the number of bytes in all files.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used()
}

func (f *FS) used() int64 {
	n := int64(0)
	for _, node := range f.names {
		n += int64(len(node.data))
	}
	return n
}

// Names returns the paths of all files, sorted.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.names))
}

// Bytes returns a copy of the content of a file, as a process sees it. It returns nil if there is
// no such file.
func (f *FS) Bytes(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if node := f.names[clean(name)]; node != nil {
		return slices.Clone(node.data)
	}
	return nil
}

// Size returns how many bytes a file has, as a process sees it, or 0 if there is no such file.
func (f *FS) Size(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if node := f.names[clean(name)]; node != nil {
		return len(node.data)
	}
	return 0
}

// Rot flips the bits of mask in one byte of a file, in the page cache and on the disk. It reports
// whether the file has such a byte.
func (f *FS) Rot(name string, offset int64, mask byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[clean(name)]
	if node == nil || offset >= int64(len(node.data)) {
		return false
	}
	node.data[offset] ^= mask
	if offset < int64(len(node.disk)) {
		node.disk[offset] ^= mask
	}
	return true
}

// Overwrite replaces bytes of a file, in the page cache and on the disk, as if another history had
// left them there. It reports whether the file is long enough, and otherwise does nothing.
func (f *FS) Overwrite(name string, offset int64, with []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[clean(name)]
	end := offset + int64(len(with))
	if node == nil || end > int64(len(node.data)) || end > int64(len(node.disk)) {
		return false
	}
	copy(node.data[offset:], with)
	copy(node.disk[offset:], with)
	return true
}

// Replace gives a file another content, in the page cache and on the disk: a part of what it was, or
// that of another file. It reports whether there is such a file. Writes to the file that aren't synced
// may still reach the disk (see Flush).
func (f *FS) Replace(name string, content []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[clean(name)]
	if node == nil {
		return false
	}
	node.data, node.disk, node.replaced = slices.Clone(content), slices.Clone(content), true
	return true
}

// Replaced reports whether any file is there whose content was replaced, under whatever name.
func (f *FS) Replaced() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, node := range f.names {
		if node.replaced {
			return true
		}
	}
	return false
}

// clean returns the one name that stands for all spellings of a path.
func clean(name string) string { return filepath.Clean(name) }

// call counts a call and asks the function of OnCall whether it fails.
func (f *FS) call(c Call) error {
	f.calls++
	c.Number = f.calls
	if f.hook != nil {
		if err := f.hook(c); err != nil {
			return &fs.PathError{Op: string(c.Op), Path: c.Name, Err: err}
		}
	}
	return nil
}

func notThere(op Op, name string) error {
	return &fs.PathError{Op: string(op), Path: name, Err: fs.ErrNotExist}
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = clean(dir)
	if err := f.call(Call{Op: OpMkdirAll, Name: dir}); err != nil {
		return err
	}
	for d := dir; !f.dirs[d]; d = filepath.Dir(d) {
		f.dirs[d] = true
	}
	return nil
}

// Create implements vfs.FS.
func (f *FS) Create(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = clean(name)
	if err := f.call(Call{Op: OpCreate, Name: name}); err != nil {
		return nil, err
	}
	if !f.dirs[filepath.Dir(name)] {
		return nil, notThere(OpCreate, name)
	}
	if f.names[name] != nil {
		return nil, &fs.PathError{Op: string(OpCreate), Path: name, Err: fs.ErrExist}
	}
	f.inodes++
	node := &inode{number: f.inodes}
	f.names[name] = node
	f.record(change{kind: linked, node: node, name: name})
	return f.file(name, node), nil
}

func (f *FS) file(name string, node *inode) *file {
	node.open++
	return &file{fs: f, node: node, name: name, life: f.life}
}

// Open implements vfs.FS.
func (f *FS) Open(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = clean(name)
	if err := f.call(Call{Op: OpOpen, Name: name}); err != nil {
		return nil, err
	}
	node := f.names[name]
	if node == nil {
		return nil, notThere(OpOpen, name)
	}
	return f.file(name, node), nil
}

// Rename implements vfs.FS. It refuses to rename an open file, as some operating systems do.
func (f *FS) Rename(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldName, newName = clean(oldName), clean(newName)
	if err := f.call(Call{Op: OpRename, Name: oldName, To: newName}); err != nil {
		return err
	}
	node := f.names[oldName]
	if node == nil {
		return notThere(OpRename, oldName)
	}
	if node.open > 0 {
		return &fs.PathError{Op: string(OpRename), Path: oldName, Err: errors.New("the file is open")}
	}
	delete(f.names, oldName)
	f.names[newName] = node
	f.record(change{kind: renamed, node: node, name: newName, old: oldName})
	return nil
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = clean(name)
	if err := f.call(Call{Op: OpRemove, Name: name}); err != nil {
		return err
	}
	node := f.names[name]
	if node == nil {
		return notThere(OpRemove, name)
	}
	delete(f.names, name)
	f.record(change{kind: unlinked, node: node, name: name})
	return nil
}

// List implements vfs.FS.
func (f *FS) List(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = clean(dir)
	if err := f.call(Call{Op: OpList, Name: dir}); err != nil {
		return nil, err
	}
	if !f.dirs[dir] {
		return nil, notThere(OpList, dir)
	}
	var names []string
	for name := range f.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names, nil
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = clean(dir)
	if err := f.call(Call{Op: OpSyncDir, Name: dir}); err != nil {
		return err
	}
	f.barrier(change{kind: syncedDir, name: dir})
	return nil
}

// Lock implements vfs.FS. A lock ends with its process, at Kill, Cut or Lose.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = clean(name)
	if err := f.call(Call{Op: OpLock, Name: name}); err != nil {
		return nil, err
	}
	if !f.dirs[filepath.Dir(name)] {
		return nil, notThere(OpLock, name)
	}
	if f.locks[name] {
		return nil, &fs.PathError{Op: string(OpLock), Path: name, Err: vfs.ErrLocked}
	}
	f.locks[name] = true
	return &lock{fs: f, name: name, life: f.life}, nil
}

// A lock is a lock of FS.Lock that a process of one life holds.
type lock struct {
	fs   *FS
	name string
	life uint64
}

// Close implements io.Closer. It does nothing if the process has died.
func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.life == l.fs.life {
		delete(l.fs.locks, l.name)
	}
	return nil
}
