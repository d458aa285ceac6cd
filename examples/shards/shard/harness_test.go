package shard

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A journal is a state machine that remembers its commands.
type journal struct {
	mu       sync.Mutex
	commands []string
}

func (j *journal) Apply(entries []raft.Entry, results [][]byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range entries {
		j.commands = append(j.commands, string(entries[i].Data))
		results[i] = entries[i].Data
	}
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.commands)
}

func (j *journal) Snapshot() (io.WriterTo, error) {
	return bytes.NewReader([]byte(strings.Join(j.all(), "\n"))), nil
}

func (j *journal) Restore(r io.Reader) error {
	text, err := io.ReadAll(r)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.commands = slices.DeleteFunc(strings.Split(string(text), "\n"), func(s string) bool { return s == "" })
	return err
}

// A store is a sharded store of journals, in memory.
type store struct {
	t        testing.TB
	network  *memory.Network
	founders []raft.Server
	shards   int
	disks    map[raft.ServerID]*memory.Storage

	mu    sync.Mutex
	hosts map[raft.ServerID]*Host
}

// newStore founds a store on servers a, b and so on.
func newStore(t testing.TB, servers, shards int) *store {
	s := &store{
		t: t, network: memory.NewNetwork(memory.Options{}), shards: shards,
		disks: map[raft.ServerID]*memory.Storage{}, hosts: map[raft.ServerID]*Host{},
	}
	for i := range servers {
		id := raft.ServerID(rune('a' + i))
		s.founders = append(s.founders, raft.Server{ID: id, Address: string(id)})
	}
	for _, f := range s.founders {
		s.start(f.ID)
	}
	return s
}

// start starts a server on its disk. One that is no founder waits to be registered.
func (s *store) start(id raft.ServerID) {
	s.t.Helper()
	var founders []raft.Server
	if slices.ContainsFunc(s.founders, func(f raft.Server) bool { return f.ID == id }) {
		founders = s.founders
	}
	if s.disks[id] == nil {
		s.disks[id] = memory.NewStorage()
	}
	s.disks[id] = s.disks[id].Reopen()
	host, err := Start(Options{
		Self: s.server(id), Founders: founders, Shards: s.shards, Moves: 4, Storage: s.disks[id], Transport: s.network.Join(id),
		Group:  func(int) raft.Config { return raft.Config{Machine: &journal{}} },
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[id] = host
}

func (s *store) server(id raft.ServerID) Server {
	return Server{ID: id, Address: string(id), Client: "client-" + string(id)}
}

// end ends a server.
func (s *store) end(id raft.ServerID) {
	s.t.Helper()
	s.mu.Lock()
	host := s.hosts[id]
	delete(s.hosts, id)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(s.t, host.Close(ctx))
}

// crash ends a server as kill -9 does: nobody hears from it any more.
func (s *store) crash(id raft.ServerID) {
	s.t.Helper()
	s.network.Isolate(id)
	s.disks[id] = s.disks[id].Reopen() // the old one is closed, and takes no more writes
	disk := s.disks[id]
	s.end2(id)
	s.disks[id] = disk
	s.network.Heal()
}

// end2 ends a server that may fail meanwhile.
func (s *store) end2(id raft.ServerID) {
	s.mu.Lock()
	host := s.hosts[id]
	delete(s.hosts, id)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = host.Close(ctx) // its disk was taken away
}

// close ends all servers.
func (s *store) close() {
	for id := range s.hosts {
		s.end(id)
	}
}

// any returns a server that runs.
func (s *store) any() *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range "abcdefgh" {
		if host := s.hosts[raft.ServerID(f)]; host != nil {
			return host
		}
	}
	s.t.Fatal("no server runs")
	return nil
}

// await waits until the table is as it should be, on all servers.
func (s *store) await(holds func(*Table) bool) {
	s.t.Helper()
	for late := time.Now().Add(10 * time.Minute); ; {
		good := true
		s.mu.Lock()
		for _, host := range s.hosts {
			good = good && holds(host.Table())
		}
		s.mu.Unlock()
		if good {
			return
		}
		require.True(s.t, time.Now().Before(late), "%s", encode(s.any().Table()))
		time.Sleep(50 * time.Millisecond)
	}
}

// propose proposes a command for a shard, wherever it is served.
func (s *store) propose(ctx context.Context, shard int, command string) error {
	for ctx.Err() == nil {
		for _, id := range "abcdefgh" {
			s.mu.Lock()
			host := s.hosts[raft.ServerID(id)]
			s.mu.Unlock()
			if host == nil {
				continue
			}
			node, _, ok := host.Local(shard)
			if !ok {
				continue
			}
			if _, err := node.Propose(ctx, []byte(command)); err == nil {
				return nil
			} else if !isNotApplied(err) {
				return err
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// check requires that every shard is where the table says, and nowhere else, with this content.
func (s *store) check(want map[int][]string) {
	s.t.Helper()
	t := s.any().Table()
	for shard := range t.Shards {
		for id, host := range s.hosts {
			node, machine, ok := host.Local(shard)
			require.Equal(s.t, slices.Contains(t.Shards[shard].Members, id), ok)
			if !ok {
				continue
			}
			require.NoError(s.t, node.Read(s.t.Context()))
			require.ElementsMatch(s.t, want[shard], machine.(*journal).all(), "shard %d at %s", shard, id)
		}
	}
	time.Sleep(time.Second)
	for id, host := range s.hosts {
		for group := range host.raft.Groups() {
			if shard, ok := number(group); ok {
				require.Contains(s.t, t.Shards[shard].Members, id, fmt.Sprintf("%s still has shard %d", id, shard))
			}
		}
	}
}

func isNotApplied(err error) bool { return strings.Contains(err.Error(), raft.ErrNotApplied.Error()) }
