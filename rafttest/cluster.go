package rafttest

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// ClusterOptions are the settings of a Cluster. The zero value is a good choice.
type ClusterOptions struct {
	// Network says what the network does to messages from the start. With its zero value messages
	// arrive at once.
	Network memory.Options

	// Disk returns the disk of a server. It is called once for each server. A server that is
	// started again finds on its disk what it has left there. If Disk is nil, every server has a
	// MemoryDisk: a write is durable when it returns, and a crash loses nothing of it. On a SimDisk
	// a crash loses what was not synced.
	Disk func(server int) Disk

	// Config, when not nil, may change the config of a server. It is called each time before the
	// server starts.
	Config func(server int, config *raft.Config)

	// Groups, when not empty, make each server a raft.Host, which serves these groups. The Cluster's
	// methods then concern the first of them, and Cluster.Group is about another one. Crashes,
	// restarts and cuts hit a server with all its groups. Config and Disk aren't used; these are
	// used instead:
	Groups []raft.GroupID
	// GroupConfig, when not nil, may change the config of a group at a server. It is called each time
	// before the group starts there, never twice at the same time.
	GroupConfig func(server int, group raft.GroupID, config *raft.Config)
	// HostConfig, when not nil, may change the config of a host, but not its Group. It is called each
	// time before the host starts.
	HostConfig func(server int, config *raft.HostConfig)
	// SharedDisk returns the disk of a host, as Disk that of a server. If it is nil, every host has a
	// MemorySharedDisk.
	SharedDisk func(server int) SharedDisk
}

// A Cluster is a number of servers in one process: real nodes over a memory.Network, each with a
// state machine of type M. It is for tests of a whole service in a testing/synctest bubble, where
// time jumps ahead when every goroutine waits:
//
//	synctest.Test(t, func(t *testing.T) {
//		c := rafttest.NewCluster(t, 3, newMachine, rafttest.ClusterOptions{})
//		…
//	})
//
// A call of a state machine that hasn't returned within a minute of the bubble's time hangs. It
// fails the test by its name, and its server crashes, so that nobody waits for it any more. (No time
// passes in a bubble while a call waits for a mutex: then the test's own -timeout shows it.)
//
// With ClusterOptions.Groups the servers are hosts of many groups, each with a state machine of type M
// at each server.
//
// Servers are numbered from 0. The raft.ServerID of server 0 is "a". Only the goroutine of the test
// may use a Cluster, with three exceptions: other goroutines may call ID, Node and Machine at any
// time.
type Cluster[M raft.StateMachine] struct {
	// Network connects the servers. A test can tell it to lose, delay, repeat and reorder messages.
	Network *memory.Network

	t          testing.TB
	newMachine func() M
	options    ClusterOptions
	group      raft.GroupID // "" for a cluster of nodes
	servers    []*clusterServer[M]
	*clusterState
}

// A clusterState is what the views of a cluster on its groups have in common.
type clusterState struct {
	election time.Duration // the longest election timeout
	closed   bool
	making   sync.Mutex // what the test gave is asked for one machine or config at a time
}

// A clusterServer is one server in all its lives.
type clusterServer[M raft.StateMachine] struct {
	raft.Server
	number int
	disk   Disk                           // of a node
	shared SharedDisk                     // of a host
	life   atomic.Pointer[clusterLife[M]] // the latest life
	down   bool                           // the latest life has ended

	mu   sync.Mutex
	away map[raft.GroupID]bool // the groups of a host that were removed
}

// maxServers bounds the servers of a Cluster: their names are the letters from a to z.
const maxServers = 26

// patience is the time, in election timeouts, for which a test waits for a cluster.
const patience = 100

// NewCluster starts 1 to 26 servers, which found a cluster. They are closed when the test ends,
// unless Close was called before.
func NewCluster[M raft.StateMachine](t testing.TB, servers int, newMachine func() M, options ClusterOptions) *Cluster[M] {
	t.Helper()
	if servers < 1 || servers > maxServers {
		t.Fatalf("rafttest: a cluster of %d servers, not from 1 to %d", servers, maxServers)
	}
	c := &Cluster[M]{
		Network: memory.NewNetwork(options.Network), t: t, newMachine: newMachine, options: options, clusterState: &clusterState{election: time.Second},
	}
	if len(options.Groups) > 0 {
		c.group = options.Groups[0]
	}
	for i := range servers {
		c.servers = append(c.servers, c.newServer(i))
	}
	t.Cleanup(c.Close)
	for i := range c.servers {
		c.Restart(i)
	}
	return c
}

// newServer returns a server that hasn't started.
func (c *Cluster[M]) newServer(i int) *clusterServer[M] {
	id := raft.ServerID(rune('a' + i))
	s := &clusterServer[M]{Server: raft.Server{ID: id, Address: string(id)}, number: i, down: true, away: map[raft.GroupID]bool{}}
	switch o := &c.options; {
	case len(o.Groups) > 0 && o.SharedDisk != nil:
		s.shared = o.SharedDisk(i)
	case len(o.Groups) > 0:
		s.shared = MemorySharedDisk()
	case o.Disk != nil:
		s.disk = o.Disk(i)
	default:
		s.disk = MemoryDisk()
	}
	return s
}

// Len returns the number of servers, running or not.
func (c *Cluster[M]) Len() int { return len(c.servers) }

// ID returns the ID of a server.
func (c *Cluster[M]) ID(server int) raft.ServerID { return c.servers[server].Server.ID }

// Node returns the node of a server. For a server that is down it returns the node that the server
// had last, and for a group that was closed or removed there, that of its last life.
func (c *Cluster[M]) Node(server int) *raft.Node {
	return c.servers[server].life.Load().member(c.group).node
}

// Machine returns the state machine of a server's node. The node applies commands to it as long as
// the node runs.
func (c *Cluster[M]) Machine(server int) M {
	return c.servers[server].life.Load().member(c.group).machine
}

// Running returns the numbers of the servers that are not down, in ascending order.
func (c *Cluster[M]) Running() []int {
	var running []int
	for i, s := range c.servers {
		if !s.down {
			running = append(running, i)
		}
	}
	return running
}

// Restart starts a server that is down, with what its disk holds and with a new state machine.
func (c *Cluster[M]) Restart(server int) {
	c.t.Helper()
	s := c.servers[server]
	if !s.down {
		c.t.Fatalf("rafttest: server %s runs already", s.ID)
	}
	life := &clusterLife[M]{power: &power{Transport: c.Network.Join(s.ID)}, members: map[raft.GroupID]clusterMember[M]{}}
	start := c.startNode
	if c.group != "" {
		start = c.startHost
	}
	if err := start(s, life); err != nil {
		c.t.Fatalf("rafttest: start server %s: %v", s.ID, err)
	}
	s.life.Store(life)
	s.down = false
}

// mixSeed returns the seed of a server. It differs for every server and is never 0.
func mixSeed(seed uint64, server int) uint64 { return seed*2654435761 + uint64(server) + 1 }

// Crash ends a server at once, as a power cut does. Nothing that the server sends from now on
// arrives, and callers that wait for it get an error. Its disk keeps what was durable (see
// ClusterOptions.Disk).
func (c *Cluster[M]) Crash(server int) {
	c.t.Helper()
	s := c.servers[server]
	if s.down {
		c.t.Fatalf("rafttest: server %s is down already", s.ID)
	}
	s.life.Load().power.off.Store(true)
	crash := s.disk.Crash
	if c.group != "" {
		crash = s.shared.Crash
	}
	if crash != nil {
		crash()
	}
	closeNow(s.life.Load().runs)
	// The storage of a server that lost its power is dead, so an error from closing it doesn't
	// count.
	if err := c.end(s); err != nil && crash == nil {
		c.t.Errorf("rafttest: close server %s: %v", s.ID, err)
	}
}

// Shutdown closes the node of a server, as a service does that is stopped in an orderly way.
func (c *Cluster[M]) Shutdown(server int) {
	c.t.Helper()
	s := c.servers[server]
	if s.down {
		c.t.Fatalf("rafttest: server %s is down already", s.ID)
	}
	failure := s.life.Load().failure()
	if err := c.end(s); err != nil || failure != nil {
		c.t.Errorf("rafttest: close server %s: %v (it had stopped: %v)", s.ID, err, failure)
	}
}

// end closes a node and waits until everything that the node held is released.
func (c *Cluster[M]) end(s *clusterServer[M]) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.wait())
	defer cancel()
	s.down = true
	return s.life.Load().runs.Close(ctx)
}

// wait returns for how long a test waits for the cluster.
func (c *Cluster[M]) wait() time.Duration { return patience * c.election }

// Leader waits until one server leads and a majority agrees on it, and returns its number. It fails
// the test if that takes more than 100 election timeouts.
func (c *Cluster[M]) Leader() int {
	c.t.Helper()
	leader := -1
	c.await("a leader", func() bool {
		votes := map[raft.ServerID]int{}
		var term raft.Term
		statuses := map[int]raft.Status{}
		for _, i := range c.taking() {
			statuses[i] = c.Node(i).Status()
			term = max(term, statuses[i].Term)
		}
		for _, status := range statuses {
			if status.Term == term && status.Leader != "" {
				votes[status.Leader]++
			}
		}
		for i, status := range statuses {
			if status.Role == "leader" && status.Term == term && 2*votes[status.ID] > len(c.servers) {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

// Converge waits until all servers that run have applied the same commands. It fails the test if
// that takes more than 100 election timeouts, or if the snapshots of their state machines differ
// then. Nothing may be proposed meanwhile.
func (c *Cluster[M]) Converge() {
	c.t.Helper()
	c.await("equal logs", func() bool {
		var applied []raft.Index
		for _, i := range c.taking() {
			status := c.Node(i).Status()
			if status.Applied != status.Last || status.Leader == "" {
				return false
			}
			applied = append(applied, status.Applied)
		}
		return len(slices.Compact(applied)) <= 1
	})
	var first []byte
	for n, i := range c.taking() {
		w := newWatch()
		var snapshot []byte
		if err := w.run(func() { snapshot = state(watchMachine(c.Machine(i), w.caller())) }); err != nil {
			c.t.Fatalf("rafttest: server %s: %v", c.ID(i), err)
		}
		if n == 0 {
			first = snapshot
		} else if !bytes.Equal(first, snapshot) {
			c.t.Fatalf("rafttest: servers %s and %s have applied the same commands, but their snapshots differ from byte %d on: %s and %s",
				c.ID(c.taking()[0]), c.ID(i), differAt(first, snapshot), describeBytes(first), describeBytes(snapshot))
		}
	}
}

// await waits until a condition holds and fails the test if that takes too long. what names the
// condition.
func (c *Cluster[M]) await(what string, is func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(c.wait())
	defer deadline.Stop()
	each := time.NewTicker(10 * time.Millisecond)
	defer each.Stop()
	for !is() {
		select {
		case <-each.C:
		case <-deadline.C:
			c.t.Fatalf("rafttest: waited for %s for %v:%s", what, c.wait(), c.describe())
		}
	}
}

// describe says what each server is doing.
func (c *Cluster[M]) describe() string {
	var b strings.Builder
	for _, s := range c.servers {
		if s.down {
			fmt.Fprintf(&b, "\n\t%s: down", s.ID)
			continue
		}
		node := c.Node(s.number)
		status := node.Status()
		fmt.Fprintf(&b, "\n\t%s: %s of term %d, leader %q, applied %d, commit %d, stable %d, last %d, stopped by %v",
			s.ID, status.Role, status.Term, status.Leader, status.Applied, status.Commit, status.Stable, status.Last, node.Err())
	}
	return b.String()
}

// Isolate cuts a server off from all others.
func (c *Cluster[M]) Isolate(server int) { c.Partition([]int{server}, c.others(server)) }

func (c *Cluster[M]) others(server int) []int {
	var others []int
	for i := range c.servers {
		if i != server {
			others = append(others, i)
		}
	}
	return others
}

// Partition cuts all connections from one of the groups to another. A server in no group keeps all
// its connections.
func (c *Cluster[M]) Partition(groups ...[]int) {
	var named [][]raft.ServerID
	for _, group := range groups {
		var ids []raft.ServerID
		for _, i := range group {
			ids = append(ids, c.ID(i))
		}
		named = append(named, ids)
	}
	c.Network.Partition(named...)
}

// Heal mends every cut. It leaves the other faults of the Network as they are.
func (c *Cluster[M]) Heal() { c.Network.Heal() }

// Close closes all servers. It fails the test if a node had stopped by itself, if one doesn't end,
// or if a goroutine is left behind. A second call does nothing.
func (c *Cluster[M]) Close() {
	c.t.Helper()
	if c.closed {
		return
	}
	c.closed = true
	for _, i := range c.Running() {
		c.Shutdown(i)
	}
	if left := goroutinesOfNodes(); left != "" {
		c.t.Errorf("rafttest: goroutines are left after all nodes were closed:\n%s", left)
	}
}

// goroutinesOfNodes returns the stacks of the goroutines that nodes, storages or transports of this
// module have started in the bubble of the caller. Outside of a bubble it returns "": there, such
// goroutines may belong to another test.
func goroutinesOfNodes() string {
	if bubble, _ := goroutines(); bubble == "" {
		return ""
	}
	synctest.Wait() // goroutines that are about to end, end
	bubble, stacks := goroutines()
	var left []string
	for _, stack := range stacks {
		if bubbleOf(stack) == bubble && ofNode.MatchString(stack) {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

var ofNode = regexp.MustCompile(`created by github\.com/e17579a5/raft(/wal|/tcp)?\.`)

// goroutines returns the bubble of this goroutine, or "", and the stacks of all other goroutines.
func goroutines() (bubble string, stacks []string) {
	text := make([]byte, 1<<20)
	text = text[:runtime.Stack(text, true)]
	stacks = strings.Split(string(text), "\n\n")
	return bubbleOf(stacks[0]), stacks[1:]
}

// bubbleOf returns the number of the bubble that the first line of a goroutine's stack names, or
// "".
func bubbleOf(stack string) string {
	head, _, _ := strings.Cut(stack, "\n")
	_, bubble, _ := strings.Cut(head, "synctest bubble ")
	number, _, _ := strings.Cut(bubble, "]")
	if _, err := strconv.Atoi(number); err != nil {
		return ""
	}
	return number
}
