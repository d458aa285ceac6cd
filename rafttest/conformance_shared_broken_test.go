package rafttest_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// A flawedShared behaves like the shared storage within it, except for the methods that are set.
type flawedShared struct {
	raft.SharedStorage
	groups func() ([]raft.GroupID, error)
	group  func(raft.GroupID) (raft.Storage, error)
	write  func([]raft.GroupWrite) (map[raft.GroupID]error, error)
	remove func(raft.GroupID) error
}

func (f *flawedShared) Groups() ([]raft.GroupID, error) {
	if f.groups != nil {
		return f.groups()
	}
	return f.SharedStorage.Groups()
}

func (f *flawedShared) Group(group raft.GroupID) (raft.Storage, error) {
	if f.group != nil {
		return f.group(group)
	}
	return f.SharedStorage.Group(group)
}

func (f *flawedShared) WriteGroups(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	if f.write != nil {
		return f.write(writes)
	}
	return f.SharedStorage.WriteGroups(writes)
}

func (f *flawedShared) RemoveGroup(group raft.GroupID) error {
	if f.remove != nil {
		return f.remove(group)
	}
	return f.SharedStorage.RemoveGroup(group)
}

// TestSharedStorageConvicts demands that each broken rule is found, and named.
func TestSharedStorageConvicts(t *testing.T) {
	for rule, flaw := range map[string]func(f *flawedShared){
		"groups: ": func(f *flawedShared) {
			f.groups = func() ([]raft.GroupID, error) {
				groups, err := f.SharedStorage.Groups()
				slices.Reverse(groups)
				return groups, err
			}
		},
		"several writes of a group: ": func(f *flawedShared) {
			f.write = func(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
				last := map[raft.GroupID]raft.GroupWrite{}
				for _, w := range writes {
					last[w.Group] = w
				}
				writes = nil
				for _, w := range last {
					writes = append(writes, w)
				}
				return f.SharedStorage.WriteGroups(writes)
			}
		},
		"refused write: ": func(f *flawedShared) {
			f.write = func(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
				_, err := f.SharedStorage.WriteGroups(writes)
				return nil, err
			}
		},
		"closed group: ": func(f *flawedShared) {
			f.group = func(group raft.GroupID) (raft.Storage, error) {
				storage, err := f.SharedStorage.Group(group)
				return &flawed{Storage: storage, close: f.SharedStorage.Close}, err
			}
		},
		"removed group: ": func(f *flawedShared) {
			f.remove = func(raft.GroupID) error { return nil }
		},
		"random writes of groups: ": func(f *flawedShared) {
			f.group = func(group raft.GroupID) (raft.Storage, error) {
				return f.SharedStorage.Group(raft.GroupID("a" + string(group[:min(len(group), 1)]))) // others share one
			}
		},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			err := rafttest.TestSharedStorage(func() rafttest.SharedDisk {
				disk := rafttest.MemorySharedDisk()
				open := disk.Open
				disk.Open = func() (raft.SharedStorage, error) {
					storage, err := open()
					f := &flawedShared{SharedStorage: storage}
					flaw(f)
					return f, err
				}
				return disk
			})
			require.ErrorContains(t, err, "rafttest: shared storage: "+rule)
		})
	}
}
