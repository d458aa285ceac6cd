package raft_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A nowhere is a disk for groups that are never started again. It keeps nothing, so it takes no memory.
type nowhere struct{}

func (nowhere) Groups() ([]raft.GroupID, error)          { return nil, nil }
func (nowhere) Group(raft.GroupID) (raft.Storage, error) { return nowhere{}, nil }
func (nowhere) RemoveGroup(raft.GroupID) error           { return nil }
func (nowhere) Close() error                             { return nil }
func (nowhere) Load() (raft.Saved, error)                { return raft.Saved{}, nil }
func (nowhere) Write(raft.Write) error                   { return nil }
func (nowhere) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	return raft.SnapshotMeta{}, nil, raft.ErrNoSnapshot
}

func (nowhere) WriteGroups([]raft.GroupWrite) (map[raft.GroupID]error, error) { return nil, nil }

func (nowhere) Entries(raft.Index, raft.Index, int) ([]raft.Entry, error) {
	return nil, raft.ErrCompacted
}

func (nowhere) CreateSnapshot(raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	return nil, raft.ErrNoSnapshot
}

// heapInUse returns how many bytes are in use, after everything is collected that can be.
func heapInUse() uint64 {
	for range 3 { // what pools hold is free after the second time
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestIdleGroupsTakeLittleMemory measures what a group takes at each host in which nothing happens,
// without its machine and its storage. A command doesn't change that for long.
func TestIdleGroupsTakeLittleMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	const groups, most = 2000, 6144
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(memory.Options{})
		servers := []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"}}
		var hosts []*raft.Host
		for _, s := range servers {
			host, err := raft.StartHost(raft.HostConfig{
				ID: s.ID, Address: s.Address, Storage: nowhere{}, Transport: network.Join(s.ID),
				Logger: slog.New(slog.DiscardHandler), ScrubBytesPerSecond: -1,
				Group: func(raft.GroupID) raft.Config { return raft.Config{Machine: &nothing{}, Bootstrap: servers} },
			})
			require.NoError(t, err)
			defer func() { require.NoError(t, host.Close(context.Background())) }()
			hosts = append(hosts, host)
		}
		before := heapInUse()
		name := func(i int) raft.GroupID { return raft.GroupID(fmt.Sprintf("group-%04d", i)) }
		for i := range groups {
			_, err := hosts[i%len(hosts)].Group(name(i))
			require.NoError(t, err)
		}
		perGroup := func() int {
			time.Sleep(2 * time.Minute) // also what was logged lately is forgotten
			return int(heapInUse()-before) / groups / len(hosts)
		}
		founded := perGroup()
		require.LessOrEqual(t, founded, most)

		for i := range groups {
			node, err := hosts[i%len(hosts)].Group(name(i))
			require.NoError(t, err)
			for range 10 {
				_, err = node.Propose(t.Context(), make([]byte, 128))
				require.NoError(t, err)
			}
		}
		used := perGroup()
		t.Logf("%d bytes a group that was founded, %d bytes one that was used", founded, used)
		require.LessOrEqual(t, used, most)
		runtime.KeepAlive(hosts)
	})
}
