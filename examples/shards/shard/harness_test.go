package shard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
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
func newStore(t testing.TB, servers, shards int, faults memory.Faults) *store {
	s := &store{
		t: t, network: memory.NewNetwork(memory.Options{Faults: faults}), shards: shards,
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

// end ends a server in good order.
func (s *store) end(id raft.ServerID) { require.NoError(s.t, s.take(id).closeWithin(time.Minute)) }

// crash ends a server as kill -9 does: nothing that it has not yet written or sent is.
func (s *store) crash(id raft.ServerID) {
	host := s.take(id)
	s.network.Isolate(id)
	s.disks[id] = s.disks[id].Reopen() // takes the disk from the host
	_ = host.closeWithin(time.Minute)  // it may say that the disk is gone
	s.network.Heal()
}

// take returns a server that runs, and lets nobody find it any more.
func (s *store) take(id raft.ServerID) *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := s.hosts[id]
	delete(s.hosts, id)
	return host
}

// running returns the servers that run, in their order.
func (s *store) running() (hosts []*Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.hosts)) {
		hosts = append(hosts, s.hosts[id])
	}
	return hosts
}

func (h *Host) closeWithin(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return h.Close(ctx)
}

// close ends all servers.
func (s *store) close() {
	for _, host := range s.running() {
		s.end(host.options.Self.ID)
	}
}

// await waits until the table is as it should be, on all servers.
func (s *store) await(holds func(*Table) bool) {
	s.t.Helper()
	for late := time.Now().Add(time.Minute); slices.ContainsFunc(s.running(), func(h *Host) bool { return !holds(h.Table()) }); time.Sleep(10 * time.Millisecond) {
		require.True(s.t, time.Now().Before(late), "%s", encode(s.running()[0].Table()))
	}
}

// propose proposes a command for a shard, at a server that has it, until its outcome is known. An error says
// that it isn't.
func (s *store) propose(ctx context.Context, shard int, command string) error {
	for ; ; time.Sleep(10 * time.Millisecond) {
		for _, host := range s.running() {
			node, _, ok := host.Local(shard)
			if !ok {
				continue
			}
			if _, err := node.Propose(ctx, []byte(command)); err == nil || !errors.Is(err, raft.ErrNotApplied) || ctx.Err() != nil {
				return err
			}
		}
	}
}

// check requires that every shard is where the table says, and nowhere else, with this content.
func (s *store) check(want map[int][]string) {
	s.t.Helper()
	t := s.running()[0].Table()
	for shard := range t.Shards {
		for _, host := range s.running() {
			id := host.options.Self.ID
			node, machine, ok := host.Local(shard)
			require.Equal(s.t, slices.Contains(t.Shards[shard].Members, id), ok)
			if !ok {
				continue
			}
			require.NoError(s.t, node.Read(s.t.Context()))
			require.ElementsMatch(s.t, want[shard], machine.(*journal).all(), "shard %d at %s", shard, id)
			require.True(s.t, sameMembers(node.Status().Members, t.Shards[shard].Members), "shard %d at %s", shard, id)
		}
	}
	time.Sleep(time.Second)
	for _, host := range s.running() {
		for group := range host.raft.Groups() {
			if shard, ok := number(group); ok {
				require.Contains(s.t, t.Shards[shard].Members, host.options.Self.ID, "it still has shard %d", shard)
			}
		}
	}
}
