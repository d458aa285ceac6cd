package raft_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// hosts are servers of many groups, in memory.
type hosts struct {
	t       *testing.T
	network *memory.Network
	servers []raft.Server
	running map[raft.ServerID]*raft.Host
	disks   map[raft.ServerID]*memory.Storage

	sent map[wire.Kind]int // the messages that were sent, by all hosts
	// adapt changes what a host is made of, and adaptGroup what a group is made of; nil for nothing.
	adapt      func(*raft.HostConfig)
	adaptGroup func(raft.ServerID, raft.GroupID, *raft.Config)

	mu       sync.Mutex
	machines map[raft.ServerID]map[raft.GroupID]*journal
	unknown  map[raft.GroupID]bool // groups that HostConfig.Group doesn't know
}

func newHosts(t *testing.T, n int) *hosts { return newHostsOf(t, n, nil, nil) }

func newHostsOf(t *testing.T, n int, adapt func(*raft.HostConfig), adaptGroup func(raft.ServerID, raft.GroupID, *raft.Config)) *hosts {
	h := &hosts{
		adapt: adapt, adaptGroup: adaptGroup,
		t: t, network: memory.NewNetwork(memory.Options{}), running: map[raft.ServerID]*raft.Host{}, disks: map[raft.ServerID]*memory.Storage{},
		machines: map[raft.ServerID]map[raft.GroupID]*journal{}, unknown: map[raft.GroupID]bool{}, sent: map[wire.Kind]int{},
	}
	for _, id := range []raft.ServerID{"a", "b", "c", "d", "e"}[:n] {
		h.servers = append(h.servers, raft.Server{ID: id, Address: string(id)})
	}
	for _, s := range h.servers {
		h.disks[s.ID] = memory.NewStorage()
		h.start(s.ID)
	}
	return h
}

// A counted transport counts what is sent.
type counted struct {
	raft.Transport
	hosts *hosts
}

func (c *counted) Send(m wire.Message) {
	c.hosts.mu.Lock()
	c.hosts.sent[m.Kind()]++
	c.hosts.mu.Unlock()
	c.Transport.Send(m)
}

// sending returns what all hosts send in a while.
func (h *hosts) sending(d time.Duration) map[wire.Kind]int {
	h.mu.Lock()
	clear(h.sent)
	h.mu.Unlock()
	time.Sleep(d)
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.sent)
}

// start starts a host on its disk.
func (h *hosts) start(id raft.ServerID) {
	h.disks[id] = h.disks[id].Reopen()
	h.mu.Lock()
	h.machines[id] = map[raft.GroupID]*journal{}
	h.mu.Unlock()
	config := raft.HostConfig{
		ID: id, Address: string(id), Storage: h.disks[id], Transport: &counted{h.network.Join(id), h}, Logger: slog.New(slog.DiscardHandler),
		Group: func(group raft.GroupID) raft.Config {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.unknown[group] {
				return raft.Config{}
			}
			m := &journal{}
			h.machines[id][group] = m
			c := raft.Config{Machine: m, Bootstrap: h.servers}
			if h.adaptGroup != nil {
				h.adaptGroup(id, group, &c)
			}
			return c
		},
	}
	if h.adapt != nil {
		h.adapt(&config)
	}
	host, err := raft.StartHost(config)
	require.NoError(h.t, err)
	h.running[id] = host
}

// close closes all hosts.
func (h *hosts) close() {
	for _, s := range h.servers {
		if host := h.running[s.ID]; host != nil {
			require.NoError(h.t, host.Close(context.Background()))
		}
	}
}

func (h *hosts) machine(id raft.ServerID, group raft.GroupID) *journal {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.machines[id][group]
}

// propose proposes a command at a host.
func (h *hosts) propose(id raft.ServerID, group raft.GroupID, command string) {
	node, err := h.running[id].Group(group)
	require.NoError(h.t, err)
	_, err = node.Propose(h.t.Context(), []byte(command))
	require.NoError(h.t, err)
}

// Groups have logs, leaders and machines of their own. A group that one host begins spreads to the
// others by itself, and comes back with its state.
func TestHostsServeManyGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		const groups = 20
		for i := range groups {
			h.propose("a", raft.GroupID(fmt.Sprint("g", i)), fmt.Sprint("first ", i))
		}
		for i := range groups {
			h.propose("b", raft.GroupID(fmt.Sprint("g", i)), fmt.Sprint("second ", i))
		}
		time.Sleep(time.Second)
		for i := range groups {
			group := raft.GroupID(fmt.Sprint("g", i))
			for _, s := range h.servers {
				require.Equal(t, []string{fmt.Sprint("first ", i), fmt.Sprint("second ", i)}, h.machine(s.ID, group).applied())
			}
		}
		require.NoError(t, h.running["b"].Close(t.Context()))
		h.start("b")
		for i := range groups {
			group := raft.GroupID(fmt.Sprint("g", i))
			node, err := h.running["b"].Group(group)
			require.NoError(t, err)
			require.NoError(t, node.Read(t.Context()))
			require.Equal(t, []string{fmt.Sprint("first ", i), fmt.Sprint("second ", i)}, h.machine("b", group).applied())
		}
	})
}

// While nothing happens, processes say two things to each other in each interval, however many groups
// they serve, and the groups keep their leaders. Whoever asks then is served at once.
func TestIdleGroupsSendNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		const groups = 50
		leaders := map[raft.GroupID]raft.Leadership{}
		for i := range groups {
			h.propose("a", raft.GroupID(fmt.Sprint("g", i)), "1")
		}
		time.Sleep(10 * time.Second)
		for group, node := range h.running["a"].Groups() {
			leaders[group] = node.Leadership()
		}
		require.Len(t, leaders, groups)
		sent := h.sending(time.Minute)
		require.Equal(t, []wire.Kind{wire.KindProcessHeartbeat}, slices.Collect(maps.Keys(sent)))
		require.InDelta(t, 3*2*600, sent[wire.KindProcessHeartbeat], 3*60)
		for group, node := range h.running["a"].Groups() {
			require.Equal(t, leaders[group], node.Leadership())
		}
		for i := range groups {
			since := time.Now()
			node, err := h.running["b"].Group(raft.GroupID(fmt.Sprint("g", i)))
			require.NoError(t, err)
			require.NoError(t, node.Read(t.Context()))
			_, err = node.Propose(t.Context(), []byte("2"))
			require.NoError(t, err)
			require.Less(t, time.Since(since), 10*time.Millisecond)
		}
		require.NoError(t, h.running["c"].Close(t.Context()))
		h.start("c")
		time.Sleep(10 * time.Second)
		sent = h.sending(10 * time.Second)
		require.Equal(t, []wire.Kind{wire.KindProcessHeartbeat}, slices.Collect(maps.Keys(sent)), "also after a process has started anew")
	})
}

// A host that is closed while callers use it owes none of them an answer: each command was applied, or is
// known not to be.
func TestClosedHostOwesNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		h.network.SetFaults(memory.Faults{MinDelay: time.Millisecond, MaxDelay: 3 * time.Millisecond})
		const groups = 20
		for i := range groups {
			h.propose("a", raft.GroupID(fmt.Sprint("g", i)), "1")
		}
		time.Sleep(time.Second)
		for _, id := range []raft.ServerID{"b", "c"} {
			var all sync.WaitGroup
			applied := 0
			for i := range groups {
				node, err := h.running[id].Group(raft.GroupID(fmt.Sprint("g", i)))
				require.NoError(t, err)
				for range 3 {
					all.Go(func() {
						for {
							_, err := node.Propose(t.Context(), []byte("2"))
							if err != nil {
								require.ErrorIs(t, err, raft.ErrNotApplied)
								require.ErrorIs(t, err, raft.ErrClosed)
								return
							}
							h.mu.Lock()
							applied++
							h.mu.Unlock()
						}
					})
				}
			}
			time.Sleep(100 * time.Millisecond)
			since := time.Now()
			require.NoError(t, h.running[id].Close(t.Context()))
			require.Less(t, time.Since(since), 500*time.Millisecond)
			all.Wait()
			require.Greater(t, applied, groups)
			h.start(id)
			time.Sleep(time.Second)
		}
	})
}

// What happens to one group ends that group alone.
func TestGroupFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 1)
		defer h.close()
		h.propose("a", "well", "1")
		h.propose("a", "ill", "1")
		h.machine("a", "ill").whileApplying(func(string) { panic("ill") })
		ill, err := h.running["a"].Group("ill")
		require.NoError(t, err)
		_, err = ill.Propose(t.Context(), []byte("2"))
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		<-ill.Done()
		var panicked *raft.PanicError
		require.ErrorAs(t, ill.Err(), &panicked)
		h.propose("a", "well", "2")
		require.NoError(t, h.running["a"].Err())

		h.propose("a", "ill", "3") // it is started anew
		require.Equal(t, []string{"1", "2", "3"}, h.machine("a", "ill").applied())
	})
}

// A group that was removed doesn't come back, and neither does one that nobody here knows.
func TestRemovedGroupStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		h.propose("a", "g", "1")
		h.propose("a", "kept", "1")
		h.mu.Lock()
		h.unknown["g"] = true
		h.mu.Unlock()
		require.NoError(t, h.running["a"].Remove(t.Context(), "g"))
		time.Sleep(time.Minute)
		_, err := h.running["a"].Group("g")
		require.ErrorIs(t, err, raft.ErrConfig)
		groups, err := h.disks["a"].Groups()
		require.NoError(t, err)
		require.Equal(t, []raft.GroupID{"", "kept"}, groups, "the first one is the host's own")
		var names []raft.GroupID
		for group := range h.running["a"].Groups() {
			names = append(names, group)
		}
		require.Equal(t, []raft.GroupID{"kept"}, names)
		h.mu.Lock()
		h.unknown["g"] = false
		h.mu.Unlock()
		time.Sleep(time.Minute) // the others still speak of it
		require.Empty(t, h.machine("a", "g").applied(), "it is a stranger: its disk is another one")
	})
}

// A disk that fails ends the host, and nothing else does.
func TestDiskEndsTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 1)
		h.propose("a", "g", "1")
		require.NoError(t, h.disks["a"].Close())
		node, err := h.running["a"].Group("g")
		require.NoError(t, err)
		_, err = node.Propose(t.Context(), []byte("2"))
		require.ErrorIs(t, err, raft.ErrStopped)
		<-h.running["a"].Done()
		require.Error(t, h.running["a"].Err())
		_, err = h.running["a"].Group("g")
		require.ErrorIs(t, err, raft.ErrStopped)
		require.NoError(t, h.running["a"].Close(t.Context()))
	})
}

// What is wrong with the heartbeats of all groups ends the host, whoever comes upon it first: a turn of a
// group or the timer. Nobody waits for it in vain.
func TestBrokenHeartbeatsEndTheHost(t *testing.T) {
	for _, byTurn := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := newHosts(t, 3)
			defer h.close()
			h.propose("a", "g", "1")
			time.Sleep(time.Second)
			if !byTurn { // by the timer alone, then
				h.network.Isolate("a")
				time.Sleep(10 * time.Millisecond)
			}
			raft.BreakHeartbeats(h.running["a"])
			if byTurn {
				node, err := h.running["a"].Group("g")
				require.NoError(t, err)
				_, err = node.Propose(t.Context(), []byte("2"))
				require.ErrorIs(t, err, raft.ErrStopped)
			}
			select {
			case <-h.running["a"].Done():
			case <-time.After(time.Minute):
				t.Fatal("the host goes on")
			}
			var panicked *raft.PanicError
			require.ErrorAs(t, h.running["a"].Err(), &panicked)
			require.Equal(t, "heartbeats", panicked.Where)
			_, err := h.running["a"].Group("g")
			require.ErrorIs(t, err, raft.ErrStopped)
			h.propose("b", "g", "3")
		})
	}
}

// A host whose config can't be used doesn't start, and gives back what it was given.
func TestHostConfigIsChecked(t *testing.T) {
	machine := raft.Config{Machine: &journal{}}
	for name, spoil := range map[string]func(*raft.HostConfig){
		"no ID":        func(c *raft.HostConfig) { c.ID = "" },
		"no Storage":   func(c *raft.HostConfig) { c.Storage = nil },
		"no Transport": func(c *raft.HostConfig) { c.Transport = nil },
		"no Group":     func(c *raft.HostConfig) { c.Group = nil },
	} {
		config := raft.HostConfig{
			ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
			Group: func(raft.GroupID) raft.Config { return machine },
		}
		spoil(&config)
		_, err := raft.StartHost(config)
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, name)
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 1)
		defer h.close()
		for name, config := range map[string]raft.Config{
			"Storage": {Machine: &journal{}, Storage: memory.NewStorage()},
			"Logger":  {Machine: &journal{}, Logger: slog.New(slog.DiscardHandler)},
			"ID":      {Machine: &journal{}, ID: "b"},
		} {
			host, err := raft.StartHost(raft.HostConfig{
				ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
				Group: func(raft.GroupID) raft.Config { return config },
			})
			require.NoError(t, err)
			_, err = host.Group("g")
			require.ErrorIs(t, err, raft.ErrConfig)
			require.ErrorContains(t, err, name)
			require.NoError(t, host.Close(t.Context()))
		}
	})
}

// A group that begins at one server is founded at once: the first of its servers campaigns as soon as it
// hears of the group, and the others are there when it asks them. The leaders are spread over the
// servers.
func TestNewGroupsLeadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		const groups = 60
		since := time.Now()
		for i := range groups {
			_, err := h.running["a"].Group(raft.GroupID(fmt.Sprint("g", i)))
			require.NoError(t, err)
		}
		time.Sleep(20 * time.Millisecond)
		led := map[raft.ServerID]int{}
		for _, node := range h.running["a"].Groups() {
			led[node.Leadership().Leader]++
		}
		require.Zero(t, led[""], "after %v", time.Since(since))
		require.Len(t, led, 3)
		for _, n := range led {
			require.Greater(t, n, groups/6)
		}
	})
}

// A group that is asked for something more often than processes say that they live keeps its leader.
func TestBusyGroupKeepsItsLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		h.propose("a", "g", "1")
		node, err := h.running["a"].Group("g")
		require.NoError(t, err)
		led := node.Leadership()
		for _, pause := range []time.Duration{10, 30, 60, 90, 99, 100, 101, 110, 150} {
			for range 100 {
				h.propose("a", "g", "2")
				time.Sleep(pause * time.Millisecond)
			}
			require.Equal(t, led, node.Leadership(), "a command in %v ms", int(pause))
		}
	})
}
