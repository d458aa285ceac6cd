package rafttest_test

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
)

// A cramped storage is one in memory that knows its room, with flaws in the methods that are set.
type cramped struct {
	*memory.Storage
	room    func() uint64
	waiting func() error
	write   func(raft.Write) error
	open    func() (raft.SnapshotMeta, io.ReadCloser, error)
}

func (c *cramped) Room() uint64 {
	if c.room != nil {
		return c.room()
	}
	return c.Storage.Room()
}

func (c *cramped) Waiting() error {
	if c.waiting != nil {
		return c.waiting()
	}
	return c.Storage.Waiting()
}

func (c *cramped) Write(w raft.Write) error {
	if c.write != nil {
		return c.write(w)
	}
	return c.Storage.Write(w)
}

func (c *cramped) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	if c.open != nil {
		return c.open()
	}
	return c.Storage.OpenSnapshot()
}

// crampedDisk returns a disk whose storages have a flaw.
func crampedDisk(flaw func(*cramped)) func() rafttest.Disk {
	return func() rafttest.Disk {
		disk := rafttest.MemoryDisk()
		open := disk.Open
		disk.Open = func() (raft.Storage, error) {
			storage, err := open()
			if err != nil {
				return nil, err
			}
			c := &cramped{Storage: storage.(*memory.Storage)}
			flaw(c)
			return c, nil
		}
		return disk
	}
}

// mute hides everything of a storage but its room.
type mute struct {
	raft.Storage
	room func() uint64
}

func (m mute) Room() uint64 { return m.room() }

// Each rule about room convicts a storage that breaks it, and the storage in memory none.
func TestStorageConvictsOfRoom(t *testing.T) {
	require.NoError(t, rafttest.TestStorage(crampedDisk(func(*cramped) {})))
	size := func(w *raft.Write) (bytes uint64) {
		for i := range w.Entries {
			bytes += uint64(w.Entries[i].Size())
		}
		return bytes
	}
	for name, c := range map[string]struct {
		flaw func(*cramped)
		want string
	}{
		"fails instead of waiting": {func(c *cramped) {
			c.write = func(w raft.Write) error {
				if size(&w) > c.Storage.Room() {
					return errors.New("no space left on device")
				}
				return c.Storage.Write(w)
			}
		}, "a Write for which there was no room at first failed: no space left on device"},
		"doesn't say that it waits": {func(c *cramped) {
			c.waiting = func() error { return nil }
		}, "a Write for which there is no room waits, and Waiting returns nil"},
		"always says that it waits": {func(c *cramped) {
			c.waiting = func() error { return errors.New("something") }
		}, "Waiting returns something, though no Write waits"},
		"takes more than it says": {func(c *cramped) {
			taken := uint64(0)
			c.room = func() uint64 { return c.Storage.Room() - min(taken, c.Storage.Room()) }
			c.write = func(w raft.Write) error { taken += size(&w); return c.Storage.Write(w) }
		}, "a Write with one entry, which counts for 1096 bytes, leaves room for "},
		"never has less room": {func(c *cramped) {
			c.room = func() uint64 { return 1 << 20 }
			c.write = func(w raft.Write) error { c.Storage.SetSize(1 << 40); return c.Storage.Write(w) }
		}, "1,000 entries of 1,000 bytes fit into 100,000 bytes: Room doesn't get less"},
		"acknowledges what Close ends": {func(c *cramped) {
			c.write = func(w raft.Write) error {
				if err := c.Storage.Write(w); !errors.Is(err, fs.ErrClosed) || len(w.Entries) == 0 || len(w.Entries[0].Data) < 20_000 {
					return err
				}
				return nil
			}
		}, "storage: close while full: "},
		"loses a snapshot when there is no room": {func(c *cramped) {
			c.open = func() (raft.SnapshotMeta, io.ReadCloser, error) {
				if c.Storage.Room() < 2000 {
					return raft.SnapshotMeta{}, nil, raft.ErrNoSnapshot
				}
				return c.Storage.OpenSnapshot()
			}
		}, "storage: snapshot while full: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := rafttest.TestStorage(crampedDisk(c.flaw))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// A storage that knows its room must also say when a Write waits for room.
func TestStorageConvictsOfRoomWithoutWaiting(t *testing.T) {
	err := rafttest.TestStorage(func() rafttest.Disk {
		disk := rafttest.MemoryDisk()
		open := disk.Open
		disk.Open = func() (raft.Storage, error) {
			storage, err := open()
			if err != nil {
				return nil, err
			}
			return mute{storage, storage.(*memory.Storage).Room}, nil
		}
		return disk
	})
	require.ErrorContains(t, err, "the storage has a method Room, and no method Waiting")
}
