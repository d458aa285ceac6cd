package rafttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// CheckHosts checks a state machine as Check does in its second part, with real hosts in the place of
// simulated servers: three hosts serve several groups, and each group has copies of the state machine of
// its own. Hosts crash and are shut down, networks part and lose messages, leaderships move, and groups
// are closed and started again, while clients propose commands and read in each group. For each group
// these things must hold:
//
//   - All copies have applied the same entries at the same indexes, with the results that they have when
//     a copy to which nothing else happens applies them one by one; and the snapshots are equal in the end.
//   - What was acknowledged is there, once, with its result. What was refused isn't there. What has an
//     unknown outcome is there at most once.
//   - A command comes behind all that was acknowledged before it was proposed, and a read sees it.
//   - Invariant holds after each batch.
//
// Each run is a subtest with a seed in its name. The seed makes up the commands and the faults; goroutines
// run as they will, so it repeats a failure mostly, and not always. With -short there are fewer runs. A
// call of the state machine that hangs fails the test as in a Cluster.
func CheckHosts(t *testing.T, p Property) {
	t.Helper()
	if p.Machine == nil && p.Store == nil || p.Command == nil {
		t.Fatal("rafttest: CheckHosts needs a Machine or a Store, and a generator of Commands")
	}
	runs := hostRuns
	if testing.Short() {
		runs = hostRuns / 4
	}
	for seed := range runs {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newHostRun(t, &p, uint64(seed)).run()
			})
		})
	}
}

// hostRuns is how many runs CheckHosts makes, hostFaults how many faults there are in one, and
// hostClients how many clients each group has.
const (
	hostRuns    = 12
	hostFaults  = 40
	hostClients = 3
)

// A hostRun is one run of CheckHosts.
type hostRun struct {
	t        testing.TB
	property *Property
	luck     *rand.Rand
	seed     uint64
	commands [][]byte
	cluster  *Cluster[*checkedCopy]
	groups   []*checkedGroup
}

// A checkedStore is where the durable machine of a group at one server keeps its state. open says that
// it holds something.
type checkedStore struct {
	Store
	open bool
}

func newHostRun(t *testing.T, p *Property, seed uint64) *hostRun {
	r := &hostRun{t: t, property: p, luck: rand.New(rand.NewPCG(seed, 7)), seed: seed}
	r.commands = rapid.SliceOfN(p.Command, 1, maxCommands).Example(int(seed))
	var names []raft.GroupID
	for i := range 2 + r.luck.IntN(4) {
		group := raft.GroupID(fmt.Sprint("group ", i))
		names = append(names, group)
		r.groups = append(r.groups, &checkedGroup{run: r, id: group, entries: map[raft.Index]checkedEntry{}, acknowledged: map[raft.Index]bool{}, stores: map[int]*checkedStore{}})
	}
	r.cluster = NewCluster(t, 3, func() *checkedCopy { return new(checkedCopy) }, ClusterOptions{
		Network: memory.Options{Seed: seed}, Groups: names,
		GroupConfig: func(server int, group raft.GroupID, config *raft.Config) { r.configure(server, group, config) },
	})
	return r
}

// configure gives a copy of a group its state machine.
func (r *hostRun) configure(server int, group raft.GroupID, config *raft.Config) {
	var of *checkedGroup
	for _, g := range r.groups {
		if g.id == group {
			of = g
		}
	}
	config.SnapshotMinBytes = 256 // so that there are snapshots
	copied := config.Machine.(*checkedCopy)
	copied.group, copied.at = of, raft.ServerID(rune('a'+server))
	if r.property.Store == nil {
		copied.inner = r.property.Machine()
	} else {
		copied.inner, config.Durable = of.open(server)
	}
	if copied.inner == nil {
		of.fail("server %s has got no state machine", copied.at)
		config.Machine = nil // so it isn't started
	}
}

// open opens the store of the group at a server.
func (g *checkedGroup) open(server int) (raft.StateMachine, *raft.DurableMachine) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stores[server]
	if s == nil {
		s = &checkedStore{Store: g.run.property.Store()}
		g.stores[server] = s
	} else if s.open {
		s.Crash() // also after an end in good order: it is what releases the store
	}
	machine, durable, err := s.Open()
	if err != nil {
		g.fail("the store of server %c can't be opened: %v", 'a'+server, err)
		return nil, nil
	}
	s.open = true
	return machine, &durable
}

// run lets clients work while faults happen, and then demands that all is well.
func (r *hostRun) run() {
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for _, g := range r.groups {
		for i := range hostClients {
			luck := rand.New(rand.NewPCG(r.seed, uint64(len(g.id)+i)<<8))
			clients.Go(func() { g.client(ctx, luck) })
		}
	}
	for range hostFaults {
		r.suffer()
		time.Sleep(time.Duration(r.luck.IntN(1500)) * time.Millisecond)
	}
	r.recover()
	time.Sleep(5 * time.Second)
	stop()
	clients.Wait()
	for _, g := range r.groups {
		r.cluster.Group(g.id).Converge()
		g.replay()
		g.judge()
	}
	r.cluster.Close()
	for _, g := range r.groups {
		for _, s := range g.stores {
			if s.open {
				s.Crash() // it releases what it holds
			}
		}
	}
}

// suffer lets one thing happen.
func (r *hostRun) suffer() {
	c, server := r.cluster, r.luck.IntN(3)
	running := len(c.Running())
	up := func() bool {
		for _, i := range c.Running() {
			if i == server {
				return true
			}
		}
		return false
	}()
	g := c.Group(r.groups[r.luck.IntN(len(r.groups))].id)
	switch r.luck.IntN(9) {
	case 0:
		c.Isolate(server)
	case 1, 2:
		c.Heal()
		c.Network.SetFaults(memory.Faults{})
	case 3:
		c.Network.SetFaults(memory.Faults{Loss: 0.05, MaxDelay: 30 * time.Millisecond, Duplicate: 0.02})
	case 4:
		if up && running > 1 {
			c.Crash(server)
		}
	case 5:
		if up && running > 2 {
			c.Shutdown(server)
		}
	case 6:
		if !up {
			c.Restart(server)
		}
	case 7:
		if up {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = g.Node(server).TransferLeadership(ctx, "") // it may not lead
			cancel()
		}
	case 8:
		if up {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_ = g.Node(server).Close(ctx) // an error of the storage would stop the host
			cancel()
			g.StartGroup(server)
		}
	}
}

// recover ends all faults.
func (r *hostRun) recover() {
	r.cluster.Heal()
	r.cluster.Network.SetFaults(memory.Faults{})
	for server := range r.cluster.Len() {
		if r.cluster.servers[server].down {
			r.cluster.Restart(server)
		}
	}
}

// A checkedGroup is what is known of one group.
type checkedGroup struct {
	run *hostRun
	id  raft.GroupID

	mu           sync.Mutex
	stores       map[int]*checkedStore       // by server
	entries      map[raft.Index]checkedEntry // that some copy has applied
	acknowledged map[raft.Index]bool
	newest       raft.Index // of those that were acknowledged
	calls        []checkedCall
	failed       bool
}

// A checkedEntry is an entry as a copy has applied it.
type checkedEntry struct {
	entry  raft.Entry
	result []byte
	by     raft.ServerID
}

// A checkedCall is a command that was proposed.
type checkedCall struct {
	command []byte
	index   raft.Index // 0 if it wasn't acknowledged
	result  []byte
	unknown bool // whether it may have been applied
}

// fail says what is wrong, once for each group.
func (g *checkedGroup) fail(format string, arguments ...any) {
	if !g.failed {
		g.failed = true
		g.run.t.Errorf("rafttest: %s: %s", g.id, fmt.Sprintf(format, arguments...))
	}
}

// client proposes commands and reads, at any server, until ctx ends.
func (g *checkedGroup) client(ctx context.Context, luck *rand.Rand) {
	view := g.run.cluster.Group(g.id)
	for ctx.Err() == nil {
		time.Sleep(time.Duration(luck.IntN(200)) * time.Millisecond)
		node := view.Node(luck.IntN(3))
		one, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if luck.IntN(4) == 0 {
			g.read(one, node)
		} else {
			g.propose(one, node, g.run.commands[luck.IntN(len(g.run.commands))])
		}
		cancel()
	}
}

func (g *checkedGroup) acknowledgedUpTo() raft.Index {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newest
}

func (g *checkedGroup) propose(ctx context.Context, node *raft.Node, command []byte) {
	var told raft.CallTrace
	before := g.acknowledgedUpTo()
	result, err := node.Propose(raft.FollowCall(ctx, &told), command)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.calls = append(g.calls, checkedCall{command: command, unknown: errors.Is(err, raft.ErrOutcomeUnknown)})
		return
	}
	if told.Index <= before {
		g.fail("a command was applied at index %d, though one at %d was acknowledged before it was proposed", told.Index, before)
	}
	if g.acknowledged[told.Index] {
		g.fail("two commands were acknowledged at index %d", told.Index)
	}
	g.acknowledged[told.Index] = true
	g.newest = max(g.newest, told.Index)
	g.calls = append(g.calls, checkedCall{command: command, index: told.Index, result: result})
}

func (g *checkedGroup) read(ctx context.Context, node *raft.Node) {
	var told raft.CallTrace
	before := g.acknowledgedUpTo()
	if node.Read(raft.FollowCall(ctx, &told)) == nil && told.Index < before {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.fail("a read saw the state at index %d, though a command at %d was acknowledged before", told.Index, before)
	}
}
