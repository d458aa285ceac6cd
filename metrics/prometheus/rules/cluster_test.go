package rules

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	raftprom "github.com/e17579a5/raft/metrics/prometheus"
)

// interval is how often the servers are scraped, and the rules evaluated.
const interval = 5 * time.Second

// A cluster is servers that suffer faults in virtual time while their metrics are scraped.
type cluster struct {
	t       *testing.T
	network *memory.Network
	// join returns the transport of a server; that of network unless a scenario sets it.
	pipes   *pipes // nil unless the servers talk by package tcp
	join    func(id raft.ServerID) raft.Transport
	adjust  func(c *raft.Config) // unless nil, changes the config of a server before it starts
	servers []*server
	native  *scrapes
	classic *scrapes
}

// A server is one server in all its lives.
type server struct {
	id      raft.ServerID
	disk    *disk
	machine *machine
	node    *raft.Node
	counts  *raftprom.Metrics
	metrics *client.Registry // nil while it is down
	loop    *gate            // holds up the loop
}

// A gate lets everybody through unless it holds them up, for a while or until it is opened.
type gate struct{ held atomic.Pointer[held] }

type held struct {
	pause time.Duration // 0 stands for until it is opened
	open  chan struct{}
}

func (g *gate) pass() {
	switch h := g.held.Load(); {
	case h == nil:
	case h.pause > 0:
		time.Sleep(h.pause) // in the bubble's time
	default:
		<-h.open
	}
}

func (g *gate) slow(pause time.Duration) { g.held.Store(&held{pause: pause}) }
func (g *gate) shut()                    { g.held.Store(&held{open: make(chan struct{})}) }

func (g *gate) open() {
	if h := g.held.Swap(nil); h != nil && h.open != nil {
		close(h.open)
	}
}

// A disk is a storage in memory that can be slow, hang, fail, or say that it will.
type disk struct {
	*memory.Storage
	gate    *gate
	fails   *atomic.Pointer[error]
	trouble *atomic.Pointer[error]
	waits   *atomic.Pointer[error]
}

func newDisk(s *memory.Storage) *disk {
	return &disk{s, &gate{}, &atomic.Pointer[error]{}, &atomic.Pointer[error]{}, &atomic.Pointer[error]{}}
}

func (d *disk) Write(w raft.Write) error {
	d.gate.pass()
	if err := d.fails.Load(); err != nil {
		return *err
	}
	return d.Storage.Write(w)
}

func (d *disk) Trouble() error {
	if err := d.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *disk) Waiting() error {
	if err := d.waits.Load(); err != nil {
		return *err
	}
	return d.Storage.Waiting()
}

// A machine keeps the number of its commands, and as many bytes as they have. Its results are those
// numbers.
type machine struct {
	gate *gate

	mu      sync.Mutex
	applied uint64
	ballast int // bytes in a snapshot
	lies    bool
	panics  bool
	broken  error // of Snapshot
	held    *gate // which a snapshot passes while it is written; nil for none
}

func (m *machine) Apply(entries []raft.Entry, results [][]byte) {
	m.gate.pass()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.panics {
		panic("a bug")
	}
	for i := range entries {
		m.applied++
		m.ballast += len(entries[i].Data)
		results[i] = fmt.Append(nil, m.applied)
		if m.lies {
			results[i] = []byte("something else")
		}
	}
}

func (m *machine) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := append(fmt.Appendf(nil, "%d ", m.applied), bytes.Repeat([]byte("x"), m.ballast)...)
	return heldSnapshot{bytes.NewReader(text), m.held}, m.broken
}

// A heldSnapshot waits before it is written.
type heldSnapshot struct {
	*bytes.Reader
	held *gate
}

func (s heldSnapshot) WriteTo(w io.Writer) (int64, error) {
	if s.held != nil {
		s.held.pass()
	}
	return s.Reader.WriteTo(w)
}

func (m *machine) Restore(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.ballast = len(text)
	_, err = fmt.Sscan(string(text), &m.applied)
	return err
}

func (m *machine) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// newCluster returns servers that haven't started.
func newCluster(t *testing.T, servers int) *cluster {
	c := &cluster{t: t, network: memory.NewNetwork(memory.Options{}), native: newScrapes(false), classic: newScrapes(true)}
	c.join = c.network.Join
	for i := range servers {
		c.servers = append(c.servers, &server{id: raft.ServerID(rune('a' + i)), disk: newDisk(memory.NewStorage()), loop: &gate{}})
	}
	return c
}

func (c *cluster) start() {
	for i := range c.servers {
		c.restart(i)
	}
	c.scrape()
}

// restart starts a server with what its disk holds.
func (c *cluster) restart(i int) {
	s := c.servers[i]
	s.disk = newDisk(s.disk.Reopen())
	s.machine = &machine{gate: &gate{}}
	config := raft.Config{
		ID: s.id, Machine: s.machine, Storage: s.disk, Transport: c.join(s.id), Seed: uint64(i + 1),
		Logger: slog.New(slog.DiscardHandler), Trace: &raft.Trace{Turn: func(raft.TurnTrace) { s.loop.pass() }},
	}
	for _, other := range c.servers {
		config.Bootstrap = append(config.Bootstrap, raft.Server{ID: other.id, Address: string(other.id)})
	}
	s.counts = raftprom.New(s.id, raftprom.Options{})
	if c.adjust != nil {
		c.adjust(&config)
	}
	s.counts.Instrument(&config)
	node, err := raft.Start(config)
	require.NoError(c.t, err)
	s.counts.Attach(node)
	s.node, s.metrics = node, client.NewPedanticRegistry()
	s.metrics.MustRegister(s.counts)
}

// stop closes a server; at once, if it is to look like a crash.
func (c *cluster) stop(i int, ctx context.Context) {
	s := c.servers[i]
	s.loop.open()
	s.disk.gate.open()
	s.machine.gate.open()
	s.metrics = nil
	require.NoError(c.t, s.node.Close(ctx))
}

// crash stops a server that hands over nothing.
func (c *cluster) crash(i int) {
	c.network.Isolate(c.servers[i].id)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	c.servers[i].metrics = nil
	_ = c.servers[i].node.Close(now)
	<-c.servers[i].node.Done()
}

// close stops all servers that run.
func (c *cluster) close() {
	for i, s := range c.servers {
		if s.metrics != nil {
			s.metrics = nil
			s.loop.open()
			s.disk.gate.open()
			s.machine.gate.open()
			now, cancel := context.WithCancel(context.Background())
			cancel()
			_ = c.servers[i].node.Close(now)
		}
	}
	for _, s := range c.servers {
		_ = s.node.Close(context.Background())
	}
}

// scrape scrapes all servers that are up.
func (c *cluster) scrape() {
	var up []*client.Registry
	for _, s := range c.servers {
		if s.metrics != nil {
			up = append(up, s.metrics)
		}
	}
	now := time.Now()
	c.native.scrape(c.t, now, up)
	c.classic.scrape(c.t, now, up)
}

// pass lets time pass, and scrapes meanwhile.
func (c *cluster) pass(span time.Duration) {
	for ; span > 0; span -= interval {
		time.Sleep(interval) // in the bubble's time
		c.scrape()
	}
}

// load proposes commands at a server, per second, until the returned function is called.
func (c *cluster) load(i, perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	node := c.servers[i].node
	all.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			for range perSecond {
				all.Go(func() {
					_, _ = node.Propose(context.Background(), []byte("a command"))
				})
			}
		}
	})
	return func() {
		cancel()
		all.Wait()
	}
}

// propose proposes commands at a server, a batch at a time.
func (c *cluster) propose(i, commands int) {
	var all sync.WaitGroup
	for range commands {
		all.Go(func() {
			_, err := c.servers[i].node.Propose(context.Background(), []byte("a command"))
			require.NoError(c.t, err)
		})
	}
	all.Wait()
}

// leader waits for a leader that is ready, and returns its number and those of the others.
func (c *cluster) leader() (leader int, others []int) {
	for range 1000 {
		leader = slices.IndexFunc(c.servers, func(s *server) bool { return s.metrics != nil && s.node.Leadership().Ready })
		if leader >= 0 {
			break
		}
		time.Sleep(100 * time.Millisecond) // in the bubble's time
	}
	require.GreaterOrEqual(c.t, leader, 0, "no leader")
	for i := range c.servers {
		if i != leader {
			others = append(others, i)
		}
	}
	return leader, others
}
