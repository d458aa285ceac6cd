package raft_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A journal is a state machine that keeps the commands that it has applied. The result of a command
// is how many there are.
type journal struct {
	mu       sync.Mutex
	commands []string
	before   func(command string) // see whileApplying
	saving   func() error         // see whileSaving
	writing  func() error         // see whileWriting
	restored int                  // how often it was restored
}

// whileApplying has a function called with each command before it is applied.
func (j *journal) whileApplying(f func(command string)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.before = f
}

// whileSaving has a function called by each Snapshot.
func (j *journal) whileSaving(f func() error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.saving = f
}

// whileWriting has a function called while each snapshot is written.
func (j *journal) whileWriting(f func() error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writing = f
}

func (j *journal) Apply(entries []raft.Entry, results [][]byte) {
	for i, e := range entries {
		j.mu.Lock()
		before := j.before
		j.mu.Unlock()
		if before != nil {
			before(string(e.Data))
		}
		j.mu.Lock()
		j.commands = append(j.commands, string(e.Data))
		results[i] = fmt.Append(nil, len(j.commands))
		j.mu.Unlock()
	}
}

// A page is a journal's snapshot.
type page struct {
	text    []byte
	writing func() error
}

func (p *page) WriteTo(w io.Writer) (int64, error) {
	half := len(p.text) / 2
	n, err := w.Write(p.text[:half])
	if err == nil && p.writing != nil {
		err = p.writing()
	}
	if err != nil {
		return int64(n), err
	}
	m, err := w.Write(p.text[half:])
	return int64(n + m), err
}

func (j *journal) Snapshot() (io.WriterTo, error) {
	j.mu.Lock()
	saving := j.saving
	j.mu.Unlock()
	if saving != nil {
		if err := saving(); err != nil {
			return nil, err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	text, err := json.Marshal(j.commands)
	return &page{text: text, writing: j.writing}, err
}

func (j *journal) Restore(r io.Reader) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.restored++
	return json.NewDecoder(r).Decode(&j.commands)
}

// applied returns the commands applied so far.
func (j *journal) applied() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.commands...)
}

// A disk is a storage in memory whose writes can fail and hang.
type disk struct {
	*memory.Storage
	mu   sync.Mutex
	fail error         // what every Write returns
	hang chan struct{} // what every Write waits for, if not nil

	failed int // how many Writes have failed
}

func (d *disk) Write(w raft.Write) error {
	d.mu.Lock()
	fail, hang := d.fail, d.hang
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if p, ok := fail.(panicError); ok {
		panic(p.error)
	}
	if fail != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failed++
		return fail
	}
	return d.Storage.Write(w)
}

func (d *disk) set(fail error, hang chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail, d.hang = fail, hang
}

// A cluster is a few nodes on one network in memory, in a bubble. Time passes only while all of
// them wait.
type cluster struct {
	t        *testing.T
	network  *memory.Network
	ids      []raft.ServerID
	nodes    map[raft.ServerID]*raft.Node
	machines map[raft.ServerID]*journal
	disks    map[raft.ServerID]*disk
	adjust   func(*raft.Config) // applied to each config before a start

	transport *saboteur // the transport of server a, in some tests
}

const electionTimeout = time.Second

// newCluster makes servers a, b, c, …, without starting them.
func newCluster(t *testing.T, n int, faults memory.Faults) *cluster {
	c := &cluster{
		t: t, network: memory.NewNetwork(memory.Options{Seed: 1, Faults: faults}), nodes: map[raft.ServerID]*raft.Node{},
		machines: map[raft.ServerID]*journal{}, disks: map[raft.ServerID]*disk{}, adjust: func(*raft.Config) {},
	}
	for i := range n {
		id := raft.ServerID(rune('a' + i))
		c.ids = append(c.ids, id)
		c.disks[id] = &disk{Storage: memory.NewStorage()}
	}
	return c
}

// startCluster makes servers and starts them.
func startCluster(t *testing.T, n int, faults memory.Faults) *cluster {
	c := newCluster(t, n, faults)
	for _, id := range c.ids {
		c.start(id)
	}
	return c
}

// config returns the config that a server starts with.
func (c *cluster) config(id raft.ServerID) raft.Config {
	config := raft.Config{
		ID: id, Machine: c.machines[id], Storage: c.disks[id], Transport: c.network.Join(id),
		Heartbeat: electionTimeout / 10, ElectionTimeout: electionTimeout, Seed: uint64(id[0]),
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, other := range c.ids {
		config.Bootstrap = append(config.Bootstrap, raft.Server{ID: other, Address: "at " + string(other)})
	}
	c.adjust(&config)
	return config
}

// start starts a server, or starts it again, with an empty state machine.
func (c *cluster) start(id raft.ServerID) *raft.Node {
	c.machines[id] = &journal{}
	c.disks[id] = &disk{Storage: c.disks[id].Reopen()}
	node, err := startNode(c.t, c.config(id))
	require.NoError(c.t, err)
	c.nodes[id] = node
	return node
}

// close closes a server.
func (c *cluster) close(id raft.ServerID) {
	require.NoError(c.t, c.nodes[id].Close(c.t.Context()))
}

// leader waits until the servers agree on a leader. It returns the leader and the other servers.
// The servers in without are left out.
func (c *cluster) leader(without ...raft.ServerID) (leader *raft.Node, others []*raft.Node) {
	for range 100 {
		leader, others = nil, nil
		agreed, asked := 0, 0
		for _, id := range c.ids {
			if contains(without, id) {
				continue
			}
			status := c.nodes[id].Status()
			if asked++; status.Role == "leader" {
				leader = c.nodes[id]
			} else {
				others = append(others, c.nodes[id])
			}
			for _, other := range c.ids {
				if !contains(without, other) && c.nodes[other].Status().Leader == status.Leader && status.Leader != "" {
					agreed++
				}
			}
		}
		if leader != nil && agreed == asked*asked {
			return leader, others
		}
		time.Sleep(electionTimeout / 10)
	}
	require.Fail(c.t, "no leader")
	return nil, nil
}

func contains(ids []raft.ServerID, id raft.ServerID) bool {
	for _, other := range ids {
		if other == id {
			return true
		}
	}
	return false
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestNodeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		for i := range 3 {
			result, err := c.nodes["a"].Propose(t.Context(), fmt.Append(nil, "command ", i))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i+1), string(result))
			require.NoError(t, c.nodes["a"].Read(t.Context()))
		}
		status := c.nodes["a"].Status()
		require.Equal(t, "leader", status.Role)
		require.Equal(t, status.Last, status.Applied)
		c.close("a")
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, []string{"command 0", "command 1", "command 2"}, c.machines["a"].applied())
	})
}

func TestNodesAnswerAtEveryServer(t *testing.T) {
	for name, faults := range map[string]memory.Faults{
		"perfect network": {},
		"slow network":    {MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond},
		"bad network":     {MaxDelay: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.1, Reorder: 0.2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := startCluster(t, 3, faults)
				want := 0
				for round := range 10 {
					for _, id := range c.ids {
						want++
						result, err := c.nodes[id].Propose(within(t, time.Minute), fmt.Appendf(nil, "%s %d", id, round))
						require.NoError(t, err)
						require.Equal(t, fmt.Sprint(want), string(result))
						for _, reader := range c.ids {
							require.NoError(t, c.nodes[reader].Read(within(t, time.Minute)))
							require.Len(t, c.machines[reader].applied(), want, "a read sees what was acknowledged before")
						}
					}
				}
			})
		})
	}
}

// No caller waits for the next heartbeat, also not at a follower whose state machine is slow.
func TestCallersDontWaitForHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = time.Millisecond
		c := startCluster(t, 3, memory.Faults{})
		leader, followers := c.leader()
		for _, id := range c.ids {
			c.machines[id].whileApplying(func(string) { time.Sleep(slow) })
		}
		for i, node := range append(followers, leader) {
			start := time.Now()
			_, err := leader.Propose(t.Context(), []byte("before"))
			require.NoError(t, err)
			require.NoError(t, node.Read(t.Context()))
			_, err = node.Propose(t.Context(), []byte("at this server"))
			require.NoError(t, err)
			require.Less(t, time.Since(start), electionTimeout/10, "a heartbeat's interval, at server %d", i)
			time.Sleep(electionTimeout / 20)
			status := node.Status()
			require.Equal(t, status.Commit, status.Applied, "who asks hears of all that was applied")
		}
	})
}
