package memory

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A disk is what the storages of all groups share. mu guards everything that they have.
type disk struct {
	mu      sync.Mutex
	changed sync.Cond // the room, or closed
	closed  bool
	waiting bool // a write waits for room
	size    uint64
	groups  map[raft.GroupID]*contents // of the groups that were asked for, stored or not
}

var (
	_ raft.Storage       = (*Storage)(nil)
	_ raft.SharedStorage = (*Storage)(nil)
)

// NewStorage returns a storage that holds nothing yet.
func NewStorage() *Storage {
	return newStorage(make(map[raft.GroupID]*contents), math.MaxUint64)
}

func newStorage(groups map[raft.GroupID]*contents, size uint64) *Storage {
	d := &disk{groups: groups, size: size}
	d.changed.L = &d.mu
	return &Storage{disk: d, whole: true, data: d.contents("")}
}

// Reopen closes the storage, and returns another one with the same contents, those of all groups. A
// snapshot that no Write has named is gone, as a temporary file would be.
func (s *Storage) Reopen() *Storage {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.close()
	for _, c := range s.groups {
		c.written, c.failed = nil, nil
	}
	return newStorage(s.groups, s.size)
}

// contents returns what a group has.
func (d *disk) contents(group raft.GroupID) *contents {
	c := d.groups[group]
	if c == nil {
		c = &contents{first: 1, origins: []raft.Origin{{}}}
		d.groups[group] = c
	}
	return c
}

// Groups implements raft.SharedStorage.
func (s *Storage) Groups() ([]raft.GroupID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return nil, errStorageClosed
	}
	var stored []raft.GroupID
	for _, group := range slices.Sorted(maps.Keys(s.groups)) {
		if s.groups[group].stored {
			stored = append(stored, group)
		}
	}
	return stored, nil
}

// Group implements raft.SharedStorage.
func (s *Storage) Group(group raft.GroupID) (raft.Storage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return nil, errStorageClosed
	}
	if err := checkName(group); err != nil {
		return nil, err
	}
	return &Storage{disk: s.disk, group: group, data: s.contents(group)}, nil
}

// checkName refuses a name that is too long.
func checkName(group raft.GroupID) error {
	if len(group) > wire.MaxGroupID {
		return fmt.Errorf("memory: the name of a group has %d bytes, more than %d", len(group), wire.MaxGroupID)
	}
	return nil
}

// WriteGroups implements raft.SharedStorage. Nothing fails but a write that breaks the contract, and
// what comes after it in its group.
func (s *Storage) WriteGroups(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.awaitRoom(s, writes) {
		return nil, errStorageClosed
	}
	refused := make(map[raft.GroupID]error)
	for i := range writes {
		w := &writes[i]
		err := checkName(w.Group)
		if err == nil {
			err = s.write(w)
		}
		if err != nil {
			refused[w.Group] = err
		}
	}
	return refused, nil
}

// errRootStays is what RemoveGroup says of the group "".
var errRootStays = errors.New(`memory: the group "" can't be removed: it ends with the storage`)

// RemoveGroup implements raft.SharedStorage. The group "" can't be removed.
func (s *Storage) RemoveGroup(group raft.GroupID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone() {
		return errStorageClosed
	}
	if group == "" {
		return errRootStays
	}
	delete(s.groups, group)
	return nil
}

// Close implements raft.Storage and raft.SharedStorage: it closes the storages of all groups, if this
// one is no group's alone.
func (s *Storage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.whole {
		s.disk.close()
	}
	s.changed.Broadcast()
	return nil
}

// gone says whether the storage was closed, alone or with all.
func (s *Storage) gone() bool { return s.closed || s.disk.closed }

// close ends the storages of all groups, and a write that waits.
func (d *disk) close() {
	d.closed = true
	d.changed.Broadcast()
}
