package raft_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A readDisk notes which groups read entries, in order.
type readDisk struct {
	*memory.Storage
	mu    sync.Mutex
	read  []raft.GroupID
	bytes int // of snapshots that were read
	open  int // snapshots that are being read
}

func (d *readDisk) Group(group raft.GroupID) (raft.Storage, error) {
	storage, err := d.Storage.Group(group)
	return &readGroup{storage, d, group}, err
}

// taken returns what was read since the last call.
func (d *readDisk) taken() []raft.GroupID {
	d.mu.Lock()
	defer d.mu.Unlock()
	read := d.read
	d.read = nil
	return read
}

type readGroup struct {
	raft.Storage
	disk  *readDisk
	group raft.GroupID
}

func (g *readGroup) Entries(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	g.disk.mu.Lock()
	g.disk.read = append(g.disk.read, g.group)
	g.disk.mu.Unlock()
	return g.Storage.Entries(after, last, maxBytes)
}

func (g *readGroup) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	meta, reader, err := g.Storage.OpenSnapshot()
	if err == nil {
		g.disk.mu.Lock()
		g.disk.open++
		g.disk.mu.Unlock()
	}
	return meta, &readSnapshot{reader, g.disk}, err
}

type readSnapshot struct {
	io.ReadCloser
	disk *readDisk
}

func (s *readSnapshot) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.disk.bytes += n
	return n, err
}

func (s *readSnapshot) Close() error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.disk.open--
	return s.ReadCloser.Close()
}

// snapshots returns how many bytes of snapshots were read, and how many are being read.
func (d *readDisk) snapshots() (bytes, open int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes, d.open
}

// The logs of a host's groups are read one after the other, each of them once in a pass, and then none for
// a while. The groups take no turns for that.
func TestHostReadsGroupsInTurn(t *testing.T) {
	for rate, reads := range map[int]bool{0: true, -1: false} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &readDisk{Storage: memory.NewStorage()}
				servers := []raft.Server{{ID: "a"}}
				var turns atomic.Int32
				trace := &raft.Trace{Turn: func(raft.TurnTrace) { turns.Add(1) }}
				host, err := raft.StartHost(raft.HostConfig{
					ID: "a", Storage: disk, Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
					ScrubBytesPerSecond: rate, ElectionTimeout: 2 * time.Second,
					Group: func(raft.GroupID) raft.Config {
						return raft.Config{Machine: &journal{}, Bootstrap: servers, Trace: trace}
					},
				})
				require.NoError(t, err)
				defer func() { require.NoError(t, host.Close(context.Background())) }()
				for _, group := range []raft.GroupID{"c", "a", "b"} {
					node, err := host.Group(group)
					require.NoError(t, err)
					_, err = node.Propose(t.Context(), []byte("x"))
					require.NoError(t, err)
				}
				disk.taken()
				time.Sleep(time.Second)
				turns.Store(0)
				want := []raft.GroupID(nil)
				if reads {
					want = []raft.GroupID{"a", "b", "c"}
				}
				time.Sleep(9 * time.Second)
				require.Equal(t, want, disk.taken())
				time.Sleep(100 * time.Second)
				require.Empty(t, disk.taken(), "60 election timeouts between two passes")
				time.Sleep(20 * time.Second)
				require.Equal(t, want, disk.taken())
				require.Zero(t, turns.Load())
			})
		})
	}
}

// What a disk loses of a group at rest is found and repaired, though nobody reads it.
func TestHostFindsWhatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHostsOf(t, 3, nil, func(_ raft.ServerID, _ raft.GroupID, c *raft.Config) { c.TailBytes = 1 })
		defer h.close()
		for i := range 20 {
			h.propose("a", "sound", "x")
			h.propose("a", "lossy", fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		storage, err := h.disks["b"].Group("lossy")
		require.NoError(t, err)
		storage.(*memory.Storage).Damage(7, 9)
		_, err = storage.Entries(6, 7, 1)
		require.Error(t, err)
		time.Sleep(2 * time.Minute)
		entries, err := storage.Entries(6, 9, 1<<20)
		require.NoError(t, err)
		require.Len(t, entries, 3)
		passes := h.running["b"].Status().Scrubs
		require.Positive(t, passes)
		time.Sleep(2 * time.Minute)
		require.Greater(t, h.running["b"].Status().Scrubs, passes, "it goes on")
	})
}

// A host reads at the rate that it was given, also a snapshot. A node that is closed meanwhile doesn't wait
// for that, and nothing stays open.
func TestHostReadsAtItsRate(t *testing.T) {
	for _, ends := range []string{"node", "host"} {
		t.Run(ends, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rate = 256 << 10
				disk := &readDisk{Storage: memory.NewStorage()}
				host, err := raft.StartHost(raft.HostConfig{
					ID: "a", Storage: disk, Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
					ScrubBytesPerSecond: rate,
					Group: func(raft.GroupID) raft.Config {
						return raft.Config{Machine: &journal{}, Bootstrap: []raft.Server{{ID: "a"}}, MaxCommandBytes: 1 << 20}
					},
				})
				require.NoError(t, err)
				node, err := host.Group("g")
				require.NoError(t, err)
				for range 16 {
					_, err = node.Propose(t.Context(), []byte(strings.Repeat("x", 512<<10)))
					require.NoError(t, err)
				}
				_, err = node.Snapshot(t.Context())
				require.NoError(t, err)
				before, open := disk.snapshots()
				for i := 0; i < 100 && open == 0; i++ { // the log comes first
					time.Sleep(time.Second)
					before, open = disk.snapshots()
				}
				time.Sleep(20 * time.Second)
				after, open := disk.snapshots()
				require.InDelta(t, 20*rate, after-before, 2*rate) // a batch at each end
				require.Equal(t, 1, open)

				began := time.Now()
				if ends == "node" {
					require.NoError(t, node.Close(t.Context()))
				} else {
					require.NoError(t, host.Close(t.Context()))
				}
				require.Less(t, time.Since(began), 100*time.Millisecond)
				_, open = disk.snapshots()
				require.Zero(t, open)
				require.NoError(t, host.Close(t.Context()))
			})
		})
	}
}
