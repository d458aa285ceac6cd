package wal

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// errRootStays is what RemoveGroup says of the group "".
var errRootStays = errors.New(`wal: the group "" can't be removed: the log is its own`)

var _ raft.SharedStorage = (*Log)(nil)

// A member is the storage of one group of a log.
type member struct {
	group   *group
	closing chan struct{} // closed when Close has been called

	// Log.mu guards these.
	loaded  bool
	closed  bool
	calls   int           // how many are under way
	drained chan struct{} // closed when Close has begun and the last call has returned
}

// A gate lets calls in until it is closed: a Log, or a member.
type gate interface {
	enter() error
	leave()
}

// checkName refuses a name that is too long.
func checkName(id raft.GroupID) error {
	if len(id) > wire.MaxGroupID {
		return fmt.Errorf("the name of a group has %d bytes, more than %d", len(id), wire.MaxGroupID)
	}
	return nil
}

// Groups returns the groups of which something is stored, those among them that can't be loaded too.
// The group "" is one if it has a state. A group whose name was lost isn't among them: then
// Group fails for each name that isn't known. See raft.SharedStorage.
func (l *Log) Groups() ([]raft.GroupID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	var ids []raft.GroupID
	for _, g := range l.groups.numbered {
		if g.id != "" {
			ids = append(ids, g.id)
		}
	}
	if l.contents.durable != (raft.DurableState{}) || l.contents.last > 0 {
		ids = append(ids, "")
	}
	slices.Sort(ids)
	return ids, nil
}

// Group returns the storage of a group. It fails with an error that is raft.ErrCorrupt if the group's
// part of the log is damaged so that its identity isn't known, or if that may be so. Of the group ""
// there is one storage only: Group("") and the Log itself are the same, but for Close. See
// raft.SharedStorage.
func (l *Log) Group(id raft.GroupID) (raft.Storage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	g, err := l.groupNamed(id)
	if err == nil {
		err = g.refused
	}
	if err == nil && g.open != nil {
		err = fmt.Errorf("group %q is open already", id)
	}
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	g.failed = nil
	g.open = &member{group: g, closing: make(chan struct{}), drained: make(chan struct{})}
	return g.open, nil
}

// enter begins a call that Close waits for, both that of the member and that of the log.
func (m *member) enter() error {
	l := m.group.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || m.closed {
		return errClosed
	}
	l.calls++
	m.calls++
	return nil
}

// leave ends a call that enter has begun.
func (m *member) leave() {
	l := m.group.log
	l.leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	m.calls--
	if m.closed && m.calls == 0 {
		close(m.drained)
	}
}

// Load implements raft.Storage. It chooses the snapshot of the group, and reads that to its end.
func (m *member) Load() (raft.Saved, error) {
	if err := m.enter(); err != nil {
		return raft.Saved{}, err
	}
	defer m.leave()
	g, l := m.group, m.group.log
	l.mu.Lock()
	loaded := m.loaded
	m.loaded = true
	l.mu.Unlock()
	if loaded {
		return raft.Saved{}, fmt.Errorf("wal: group %q was loaded already", g.id)
	}
	return g.load()
}

// Write implements raft.Storage. Close ends its wait for room, or for a file descriptor.
func (m *member) Write(w raft.Write) error {
	l := m.group.log
	select {
	case l.busy <- struct{}{}:
	case <-m.closing:
		return errClosed
	}
	defer func() { <-l.busy }()
	if err := m.enter(); err != nil {
		return err
	}
	defer m.leave()
	l.mu.Lock()
	failed := l.failed
	l.mu.Unlock()
	if failed != nil {
		return failed
	}
	l.givesUp = m.closing
	defer func() { l.givesUp = nil }()
	return l.writeOf(m.group, w)
}

// Entries implements raft.Storage.
func (m *member) Entries(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	return m.group.entries(m, after, last, maxBytes)
}

// CreateSnapshot implements raft.Storage.
func (m *member) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	return m.group.createSnapshot(m, meta)
}

// OpenSnapshot implements raft.Storage.
func (m *member) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	return m.group.openSnapshot(m)
}

// Room is that of the log, which all groups share.
func (m *member) Room() uint64 { return m.group.log.Room() }

// Reserve is that of the log, which all groups share.
func (m *member) Reserve(bytes uint64) error { return m.group.log.Reserve(bytes) }

// Waiting is that of the log, which all groups share.
func (m *member) Waiting() error { return m.group.log.Waiting() }

// Trouble is that of the log, which all groups share.
func (m *member) Trouble() error { return m.group.log.Trouble() }

// MaxWrite is that of the log, which all groups share.
func (m *member) MaxWrite() int { return m.group.log.MaxWrite() }

// Close implements raft.Storage: it ends the storage of this group alone. Then the group may be asked
// for again.
func (m *member) Close() error {
	l := m.group.log
	l.mu.Lock()
	if m.closed {
		l.mu.Unlock()
		return nil
	}
	m.closed = true
	close(m.closing)
	idle := m.calls == 0
	l.mu.Unlock()
	if !idle {
		<-m.drained
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.group.open == m {
		m.group.open = nil
	}
	if _, stored := l.groups.numbered[m.group.number]; !stored && m.group.id != "" && l.groups.named[m.group.id] == m.group {
		delete(l.groups.named, m.group.id) // nothing is known of it
	}
	return nil
}

// load finds out what Load returns: it looks for the snapshot of the group.
func (g *group) load() (raft.Saved, error) {
	l := g.log
	if g.root() {
		l.mu.Lock()
		defer l.mu.Unlock()
		return g.state(), nil // Open has chosen its snapshot
	}
	l.mu.Lock()
	files := l.files.found[g.number]
	delete(l.files.found, g.number)
	for _, ref := range g.snapshots.stored {
		files = append(files, ref.file)
	}
	g.snapshots.stored = nil
	l.mu.Unlock()
	slices.Sort(files)
	stale, damage, err := g.chooseSnapshot(slices.Compact(files))
	if err != nil {
		return raft.Saved{}, fmt.Errorf("wal: load group %q: %w", g.id, err)
	}
	l.removeSnapshots(stale)
	l.mu.Lock()
	defer l.mu.Unlock()
	g.snapshots.damage = damage
	return g.state(), nil
}

// snapshotFiles returns the numbers of the files with snapshots of the group.
func (g *group) snapshotFiles() []uint64 {
	l := g.log
	l.mu.Lock()
	defer l.mu.Unlock()
	files := make(map[uint64]bool)
	for _, file := range l.files.found[g.number] {
		files[file] = true
	}
	delete(l.files.found, g.number)
	for _, ref := range append(slices.Clip(g.snapshots.stored), g.contents.snapshot) {
		if ref.file > 0 {
			files[ref.file] = true
		}
	}
	g.snapshots.stored = nil
	return slices.Sorted(maps.Keys(files))
}
