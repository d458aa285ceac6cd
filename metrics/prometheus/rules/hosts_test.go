package rules

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	raftprom "github.com/e17579a5/raft/metrics/prometheus"
)

// hosts are three servers of many groups, in a cluster that has no other servers.
type hosts struct {
	*cluster
	all []*groupServer
}

// A groupServer is a host with its disk and its state machines.
type groupServer struct {
	*server
	storage  *hostDisk
	host     *raft.Host
	mu       sync.Mutex // the host asks for several groups at once
	machines map[raft.GroupID]*machine
}

// machine returns the state machine of a group.
func (s *groupServer) machine(group raft.GroupID) *machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machines[group]
}

// A hostDisk is a shared storage that can hang.
type hostDisk struct {
	*memory.Storage
	gate *gate
}

func (d *hostDisk) WriteGroups(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	d.gate.pass()
	return d.Storage.WriteGroups(writes)
}

// startHosts starts three hosts without groups.
func startHosts(c *cluster) *hosts {
	h := &hosts{cluster: c}
	for i := range c.servers {
		s := &groupServer{server: c.servers[i], storage: &hostDisk{memory.NewStorage(), &gate{}}}
		h.all = append(h.all, s)
		h.restart(i)
	}
	c.scrape()
	return h
}

// restart starts a host with what its disk holds.
func (h *hosts) restart(i int) {
	s := h.all[i]
	s.storage = &hostDisk{s.storage.Reopen(), &gate{}}
	s.machines = map[raft.GroupID]*machine{}
	config := raft.HostConfig{
		ID: s.id, Address: string(s.id), Storage: s.storage, Transport: h.join(s.id), Logger: slog.New(slog.DiscardHandler),
		Group: func(group raft.GroupID) raft.Config {
			m := &machine{gate: &gate{}}
			s.mu.Lock()
			s.machines[group] = m
			s.mu.Unlock()
			config := raft.Config{Machine: m}
			for _, other := range h.servers {
				config.Bootstrap = append(config.Bootstrap, raft.Server{ID: other.id, Address: string(other.id)})
			}
			if group == "of nobody" {
				config.Bootstrap = nil
			}
			return config
		},
	}
	s.counts = raftprom.New(s.id, raftprom.Options{Groups: []raft.GroupID{"g0"}})
	s.counts.InstrumentHost(&config)
	host, err := raft.StartHost(config)
	require.NoError(h.t, err)
	s.counts.AttachHost(host)
	s.host, s.metrics = host, client.NewPedanticRegistry()
	s.metrics.MustRegister(s.counts)
}

// stop closes a host.
func (h *hosts) stop(i int) {
	h.all[i].metrics = nil
	require.NoError(h.t, h.all[i].host.Close(context.Background()))
}

func (h *hosts) close() {
	for i, s := range h.all {
		s.storage.gate.open()
		for _, m := range s.machines {
			m.gate.open()
		}
		if s.metrics != nil {
			h.stop(i)
		}
	}
}

// node returns the node of a group.
func (h *hosts) node(i int, group raft.GroupID) *raft.Node {
	node, err := h.all[i].host.Group(group)
	require.NoError(h.t, err)
	return node
}

// propose proposes a command in each of so many groups.
func (h *hosts) propose(i, groups int) {
	for g := range groups {
		_, err := h.node(i, raft.GroupID(fmt.Sprint("g", g))).Propose(context.Background(), []byte("a command"))
		require.NoError(h.t, err)
	}
}

// hostGroups is how many groups the hosts have in a scenario.
const hostGroups = 30

// withHosts returns a scenario of hosts.
func withHosts(alerts []string, run func(t *testing.T, h *hosts)) scenario {
	return scenario{alerts: alerts, hosts: func(t *testing.T, c *cluster) {
		h := startHosts(c)
		defer h.close()
		h.propose(0, hostGroups)
		c.pass(10 * time.Second)
		run(t, h)
	}}
}

// The scenarios of hosts join the others.
func init() {
	scenarios["hosts: all is well"] = withHosts(nil, func(_ *testing.T, h *hosts) {
		for i := range h.all { // a new version is rolled out
			h.propose(0, hostGroups)
			h.stop(i)
			h.pass(5 * time.Second)
			h.restart(i)
			h.pass(time.Minute)
		}
		h.pass(10 * time.Minute)
	})
	scenarios["hosts: a process is cut off"] = withHosts([]string{"RaftProcessAbsent", "RaftGroupsLeaderless"}, func(_ *testing.T, h *hosts) {
		h.network.Isolate("c")
		h.pass(2 * time.Minute)
		h.network.Heal()
		h.pass(time.Minute)
	})
	scenarios["hosts: leaders change again and again"] = withHosts([]string{"RaftLeaderChanges"}, func(t *testing.T, h *hosts) {
		for range 8 {
			for g := range hostGroups {
				node := h.node(0, raft.GroupID(fmt.Sprint("g", g)))
				if other := node.Leadership().Leader; other != "a" {
					_ = h.node(int(other[0]-'a'), raft.GroupID(fmt.Sprint("g", g))).TransferLeadership(t.Context(), "a")
				} else {
					_ = node.TransferLeadership(t.Context(), "b")
				}
			}
			h.pass(20 * time.Second)
		}
	})
	scenarios["hosts: a group fails"] = withHosts([]string{"RaftGroupsFailed"}, func(_ *testing.T, h *hosts) {
		m := h.all[1].machine("g1")
		m.set(func() { m.panics = true })
		h.propose(0, hostGroups)
		h.pass(time.Minute)
	})
	scenarios["hosts: a group of nobody"] = withHosts([]string{"RaftGroupsTakeNoPart"}, func(_ *testing.T, h *hosts) {
		h.node(0, "of nobody")
		h.pass(2 * time.Minute)
	})
	scenarios["hosts: the state machine of a group hangs"] = withHosts([]string{"RaftGroupsBehind"}, func(_ *testing.T, h *hosts) {
		for i := range h.all {
			h.all[i].machine("g0").gate.shut()
		}
		for range 1500 {
			go func() { _, _ = h.node(0, "g0").Propose(context.Background(), []byte("a command")) }()
		}
		h.pass(2 * time.Minute)
		for i := range h.all {
			h.all[i].machine("g0").gate.open()
		}
		h.pass(time.Minute)
	})
	scenarios["hosts: a snapshot takes its time"] = withHosts(nil, func(_ *testing.T, h *hosts) {
		m, held := h.all[1].machine("g1"), &gate{}
		held.shut()
		m.set(func() { m.held = held })
		go func() { _, _ = h.node(1, "g1").Snapshot(context.Background()) }()
		h.pass(30 * time.Second)
		held.open()
		h.pass(time.Minute)
	})
	scenarios["hosts: a disk hangs"] = withHosts([]string{"RaftDiskStalled"}, func(_ *testing.T, h *hosts) {
		h.all[2].storage.gate.shut()
		h.propose(0, hostGroups)
		h.pass(time.Minute)
		h.all[2].storage.gate.open()
		h.pass(time.Minute)
	})
}
