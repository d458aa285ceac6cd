package rules

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A scenario is a fault, with the alerts that it fires: these and no others, whether histograms are
// native or classic.
type scenario struct {
	servers int // 3 unless it says otherwise
	alerts  []string
	prepare func(c *cluster) // before the servers start; may be nil
	run     func(t *testing.T, c *cluster)
	hosts   func(t *testing.T, c *cluster) // in the place of run, and of the cluster's own servers
}

// errBroken is what a disk or a state machine says.
var errBroken = errors.New("broken")

func TestScenarios(t *testing.T) {
	rules := shipped(t)
	engine := newEngine()
	defer engine.Close()
	var mu sync.Mutex
	fired, moved, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	t.Run("all", func(t *testing.T) {
		for name, s := range scenarios {
			t.Run(name, func(t *testing.T) {
				c := s.perform(t)
				want := set(s.alerts...)
				require.Equal(t, want, c.native.firing(t, engine, rules), "native histograms")
				require.Equal(t, want, c.classic.firing(t, engine, rules), "classic histograms")
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(fired, want)
				maps.Copy(moved, c.native.moved)
				maps.Copy(names, c.native.names)
			})
		}
	})
	if t.Failed() || len(fired) == 0 {
		return
	}
	for _, rule := range rules {
		require.True(t, fired[rule.Alert], "no scenario fires %s", rule.Alert)
	}
	var still []string
	for name := range names {
		if !moved[name] {
			still = append(still, name)
		}
	}
	require.Empty(t, slices.Sorted(slices.Values(still)), "no scenario changes these")
	requireSameNames(t, names)
}

// perform runs a scenario in a bubble of virtual time.
func (s *scenario) perform(t *testing.T) (c *cluster) {
	synctest.Test(t, func(t *testing.T) {
		c = newCluster(t, max(s.servers, 3))
		if s.hosts != nil {
			s.hosts(t, c)
			return
		}
		if s.prepare != nil {
			s.prepare(c)
		}
		c.start()
		defer c.close()
		c.leader()
		c.pass(10 * time.Second)
		s.run(t, c)
	})
	return c
}

var scenarios = map[string]scenario{
	"all is well": {run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		stop := c.load(leader, 50)
		c.pass(2 * time.Minute)
		require.NoError(t, c.servers[others[0]].node.Read(t.Context()))
		stop()
		for i := range c.servers { // a new version is rolled out
			c.stop(i, t.Context())
			c.pass(5 * time.Second)
			c.restart(i)
			c.leader()
			c.pass(time.Minute)
		}
		c.pass(10 * time.Minute)
	}},
	"leaders change again and again": {alerts: []string{"RaftLeaderChanges"}, run: func(t *testing.T, c *cluster) {
		for range 8 {
			leader, others := c.leader()
			require.NoError(t, c.servers[leader].node.TransferLeadership(t.Context(), c.servers[others[0]].id))
			c.pass(20 * time.Second)
		}
	}},
	"a hand-over takes its time": {run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		c.network.SetLinkFaults(c.servers[leader].id, c.servers[others[0]].id, memory.Faults{MinDelay: 400 * time.Millisecond, MaxDelay: 400 * time.Millisecond})
		done := make(chan error, 1)
		go func() { done <- c.servers[leader].node.TransferLeadership(t.Context(), c.servers[others[0]].id) }()
		time.Sleep(100 * time.Millisecond) // in the bubble's time
		c.scrape()
		<-done
	}},
	"a follower is cut off": {alerts: []string{"RaftPeerSilent", "RaftNoLeader"}, run: func(t *testing.T, c *cluster) {
		_, others := c.leader()
		c.network.Isolate(c.servers[others[0]].id)
		c.pass(time.Minute)
		c.network.Heal()
		c.pass(time.Minute)
	}},
	"a follower crashes and is far behind": {alerts: []string{"RaftPeerSilent", "RaftPeerLags"}, run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		c.crash(others[0])
		c.propose(leader, 1500)
		c.pass(2 * time.Minute)
		c.network.Heal()
		c.restart(others[0])
		c.pass(time.Minute)
	}},
	"no majority is there": {alerts: []string{"RaftNoLeader", "RaftCallsWait"}, run: func(t *testing.T, c *cluster) {
		_, others := c.leader()
		c.network.Partition([]raft.ServerID{"a"}, []raft.ServerID{"b"}, []raft.ServerID{"c"})
		ctx, cancel := context.WithCancel(t.Context())
		waits := make(chan error, 1)
		go func() { waits <- c.servers[others[0]].node.Read(ctx) }()
		c.pass(time.Minute)
		cancel()
		require.Error(t, <-waits)
		c.network.Heal()
		c.pass(time.Minute)
	}},
	"commands end before they are applied": {alerts: []string{"RaftOutcomesUnknown"}, run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		for _, i := range others {
			c.network.SetLinkFaults(c.servers[leader].id, c.servers[i].id, memory.Faults{MinDelay: 100 * time.Millisecond, MaxDelay: 100 * time.Millisecond})
		}
		for range 12 {
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				_, err := c.servers[leader].node.Propose(ctx, []byte("late"))
				require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
				cancel()
			}
			c.pass(5 * time.Second)
		}
	}},
	"a write fails": {alerts: []string{"RaftStopped", "RaftPeerSilent"}, run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		c.servers[others[0]].disk.fails.Store(&errBroken)
		c.propose(leader, 1)
		c.pass(time.Minute)
	}},
	"a storage is about to fail": {alerts: []string{"RaftStorageTrouble"}, run: func(t *testing.T, c *cluster) {
		c.servers[0].disk.trouble.Store(&errBroken)
		c.pass(30 * time.Second)
	}},
	"a node stands still": {alerts: []string{"RaftStuck", "RaftPeerSilent"}, run: func(t *testing.T, c *cluster) {
		_, others := c.leader()
		c.servers[others[0]].loop.shut()
		c.pass(2 * time.Minute)
		c.servers[others[0]].loop.open()
		c.pass(time.Minute)
	}},
	"a server comes back without its disk": {alerts: []string{"RaftTakesNoPart", "RaftPeerTakesNoPart", "RaftPeerSilent"}, run: func(t *testing.T, c *cluster) {
		_, others := c.leader()
		c.propose(others[1], 10)
		c.stop(others[0], t.Context())
		c.servers[others[0]].disk = newDisk(memory.NewStorage())
		c.restart(others[0])
		c.pass(3 * time.Minute)
	}},
	"a state machine goes astray": {
		alerts:  []string{"RaftDiverged"},
		prepare: func(c *cluster) { c.adjust = func(config *raft.Config) { config.CompareResults = true } },
		run: func(t *testing.T, c *cluster) {
			leader, others := c.leader()
			astray := c.servers[others[0]].machine
			astray.set(func() { astray.lies = true })
			c.propose(leader, 200)
			for _, s := range c.servers {
				_, err := s.node.Snapshot(t.Context())
				require.NoError(t, err)
			}
			c.pass(time.Minute)
		},
	},
	"a disk is slow": {alerts: []string{"RaftWritesSlow"}, run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		c.servers[others[0]].disk.gate.slow(400 * time.Millisecond)
		stop := c.load(leader, 5)
		c.pass(4 * time.Minute)
		stop()
	}},
	"a disk stands still": {alerts: []string{"RaftDiskStalled"}, run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		c.servers[others[0]].disk.gate.shut()
		c.propose(leader, 10)
		c.pass(20 * time.Second)
		c.servers[others[0]].disk.gate.open()
		c.pass(5 * time.Second)
	}},
	"disks are full": {
		alerts: []string{"RaftDiskFull", "RaftRoomLow", "RaftSnapshotTrouble"}, // no snapshot has room
		prepare: func(c *cluster) {
			c.adjust = func(config *raft.Config) { config.ReserveBytes = 2000 }
			for _, s := range c.servers {
				s.disk.SetSize(20_000)
			}
		},
		run: func(t *testing.T, c *cluster) {
			leader, _ := c.leader()
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_, err := c.servers[leader].node.Propose(ctx, make([]byte, 400))
				cancel()
				if err != nil {
					require.ErrorIs(t, err, raft.ErrFull)
					break
				}
			}
			c.pass(2 * time.Minute)
			for _, s := range c.servers {
				s.disk.SetSize(1 << 30)
			}
			c.pass(time.Minute)
		},
	},
	"a log waits for room": {
		alerts: []string{"RaftDiskStalled"},
		run: func(t *testing.T, c *cluster) {
			leader, others := c.leader()
			disk := c.servers[others[0]].disk
			disk.gate.shut()
			disk.waits.Store(&errBroken)
			c.propose(leader, 10)
			c.pass(20 * time.Second)
			disk.gate.open()
			disk.waits.Store(nil)
			c.pass(5 * time.Second)
		},
	},
	"entries are lost on one disk": {run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		c.propose(leader, 100)
		c.pass(10 * time.Second)
		at := c.servers[others[0]]
		c.stop(others[0], t.Context())
		at.disk.Damage(10, 20)
		c.network.Isolate(at.id)
		c.restart(others[0])
		c.scrape()
		c.network.Heal()
		c.pass(30 * time.Second)
	}},
	"entries are lost on all disks": {alerts: []string{"RaftEntriesLost", "RaftNoLeader", "RaftLeaderChanges"}, run: func(t *testing.T, c *cluster) {
		leader, _ := c.leader()
		c.propose(leader, 100)
		c.pass(10 * time.Second)
		for i, s := range c.servers {
			c.stop(i, t.Context())
			s.disk.Damage(10, 20)
		}
		for i := range c.servers {
			c.restart(i)
		}
		c.pass(2 * time.Minute)
	}},
	"no snapshot can be taken": {alerts: []string{"RaftSnapshotTrouble"}, run: func(t *testing.T, c *cluster) {
		m := c.servers[0].machine
		m.set(func() { m.broken = errBroken })
		c.propose(0, 10)
		_, err := c.servers[0].node.Snapshot(t.Context())
		require.ErrorIs(t, err, errBroken)
		c.pass(2 * time.Minute)
	}},
	"a server gets a snapshot": {
		alerts: []string{"RaftPeerSilent"},
		prepare: func(c *cluster) {
			c.adjust = func(config *raft.Config) {
				config.SnapshotBytesPerSecond, config.TailBytes, config.WindowMessages = 50_000, 1, 1
			}
		},
		run: snapshotIsSent,
	},
	"a state machine stands still": {alerts: []string{"RaftMachineStalled", "RaftApplyBehind"}, run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		c.servers[others[0]].machine.gate.shut()
		c.propose(leader, 1)
		c.propose(leader, 1500)
		c.pass(2 * time.Minute)
		c.servers[others[0]].machine.gate.open()
		c.pass(time.Minute)
	}},
	"callers ask for too much": {
		alerts:  []string{"RaftOverloaded"},
		prepare: func(c *cluster) { c.adjust = func(config *raft.Config) { config.MaxPending = 5 } },
		run: func(t *testing.T, c *cluster) {
			leader, others := c.leader()
			for _, i := range others {
				c.network.SetLinkFaults(c.servers[leader].id, c.servers[i].id, memory.Faults{MinDelay: 50 * time.Millisecond, MaxDelay: 50 * time.Millisecond})
			}
			stop := c.load(leader, 20)
			c.pass(time.Minute)
			stop()
		},
	},
	"a stranger sends messages": {alerts: []string{"RaftMessagesRefused"}, run: func(t *testing.T, c *cluster) {
		stranger := c.network.Join("z")
		require.NoError(t, stranger.Start(raft.Server{ID: "z", Address: "z"}, nobody{}))
		defer stranger.Close()
		s := c.servers[0].node.Status()
		stranger.Send(wire.Heartbeat{}.Message().In(wire.Envelope{From: "z", To: "a", Term: s.Term, Cluster: s.Cluster}))
		c.pass(time.Minute)
	}},
	"a loop is too slow for its messages": {
		alerts: []string{"RaftInboxDrops"},
		prepare: func(c *cluster) {
			c.adjust = func(config *raft.Config) { config.MaxInboxMessages, config.MaxAppendBytes = 4, 1 }
		},
		run: func(t *testing.T, c *cluster) {
			leader, others := c.leader()
			c.servers[others[0]].loop.slow(100 * time.Millisecond)
			stop := c.load(leader, 200)
			c.pass(time.Minute)
			stop()
			c.servers[others[0]].loop.open()
		},
	},
	"logs on disk": {
		prepare: func(c *cluster) {
			c.adjust = func(config *raft.Config) {
				i := slices.IndexFunc(c.servers, func(s *server) bool { return s.id == config.ID })
				log, err := wal.Open(c.t.TempDir(), wal.Options{Ahead: -1, Logger: config.Logger, Synced: c.servers[i].counts.Synced})
				require.NoError(c.t, err)
				config.Storage = log
			}
		},
		run: func(t *testing.T, c *cluster) {
			leader, _ := c.leader()
			stop := c.load(leader, 2)
			c.pass(10 * time.Second)
			stop()
		},
	},
	"a leader's lease": {
		prepare: func(c *cluster) { c.adjust = func(config *raft.Config) { config.MaxLease = time.Second } },
		run: func(t *testing.T, c *cluster) {
			leader, _ := c.leader()
			require.NoError(t, c.servers[leader].node.LeaseRead(t.Context()))
			c.pass(30 * time.Second)
		},
	},
	"what waits for a quorum": {run: func(t *testing.T, c *cluster) {
		leader, others := c.leader()
		for _, i := range others {
			c.network.Cut(c.servers[i].id, c.servers[leader].id)
		}
		done := make(chan struct{})
		go func() { c.propose(leader, 20); close(done) }()
		time.Sleep(300 * time.Millisecond) // in the bubble's time
		c.scrape()
		c.network.Heal()
		<-done
	}},
	"connections break": {
		alerts:  []string{"RaftDisconnected", "RaftPeerSilent", "RaftNoLeader"},
		prepare: overPipes,
		run:     connectionsBreak,
	},
}

// snapshotIsSent lets a server miss so much that it gets a snapshot, a slow one.
func snapshotIsSent(t *testing.T, c *cluster) {
	leader, others := c.leader()
	for _, s := range c.servers {
		s.machine.set(func() { s.machine.ballast = 1 << 20 })
	}
	c.crash(others[0])
	for range 3 { // the log is forgotten behind the snapshot before the last
		c.propose(leader, 100)
		for _, i := range []int{leader, others[1]} {
			_, err := c.servers[i].node.Snapshot(t.Context())
			require.NoError(t, err)
		}
		c.pass(10 * time.Second)
	}
	c.network.Heal()
	c.restart(others[0])
	c.pass(2 * time.Minute)
	require.Equal(t, c.servers[leader].node.Status().Applied, c.servers[others[0]].node.Status().Applied)
}

// nobody is the handler of a transport that only sends.
type nobody struct{ raft.Handler }

func (nobody) Receive(wire.Message) {}
func (nobody) Lost(raft.ServerID)   {}
