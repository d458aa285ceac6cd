package raft_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
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
	mu   sync.Mutex
	read []raft.GroupID
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

// The groups of a host read their logs one after the other, each of them once in a pass, and then they
// rest.
func TestHostReadsGroupsInTurn(t *testing.T) {
	for rate, reads := range map[int]bool{0: true, -1: false} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &readDisk{Storage: memory.NewStorage()}
				servers := []raft.Server{{ID: "a"}}
				host, err := raft.StartHost(raft.HostConfig{
					ID: "a", Storage: disk, Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
					ScrubBytesPerSecond: rate, ElectionTimeout: 2 * time.Second,
					Group: func(raft.GroupID) raft.Config { return raft.Config{Machine: &journal{}, Bootstrap: servers} },
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
				want := []raft.GroupID(nil)
				if reads {
					want = []raft.GroupID{"a", "b", "c"}
				}
				time.Sleep(10 * time.Second)
				require.Equal(t, want, disk.taken())
				time.Sleep(100 * time.Second)
				require.Empty(t, disk.taken(), "60 election timeouts between two passes")
				time.Sleep(20 * time.Second)
				require.Equal(t, want, disk.taken())
			})
		})
	}
}
