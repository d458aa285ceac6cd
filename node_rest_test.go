package raft_test

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// startNode starts a node. At the end of the test it closes the node, and requires that the node
// has given back whatever it counts, and closed whatever it has opened.
func startNode(t *testing.T, config raft.Config) (*raft.Node, error) {
	open := &openings{counts: map[string]int{}}
	config.Storage = &countedStorage{config.Storage, open}
	config.Transport = &countedTransport{config.Transport, open}
	node, err := raft.Start(config)
	if err != nil {
		require.Empty(t, open.left(), "%s didn't start", config.ID)
		return nil, err
	}
	t.Cleanup(func() {
		_ = node.Close(context.Background()) // the test has looked at the error, if it matters
		require.NoError(t, node.AtRest(), "of %s, which is closed", config.ID)
		require.Empty(t, open.left(), "of %s, which is closed", config.ID)
	})
	return node, nil
}

// openings counts what is open.
type openings struct {
	mu     sync.Mutex
	counts map[string]int
}

func (l *openings) add(what string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what] += n
	if l.counts[what] == 0 {
		delete(l.counts, what)
	}
}

// left returns what is open.
func (l *openings) left() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := map[string]int{}
	for what, n := range l.counts {
		left[what] = n
	}
	return left
}

// once returns a function that counts one thing less, once.
func (l *openings) once(what string) func() {
	l.add(what, 1)
	return sync.OnceFunc(func() { l.add(what, -1) })
}

// A countedStorage counts the snapshots that are being read and written. The methods that a storage
// may have are those of the storage within it, and so it is with transports.
type countedStorage struct {
	raft.Storage
	open *openings
}

func (s *countedStorage) MaxWrite() int {
	if limited, ok := s.Storage.(interface{ MaxWrite() int }); ok {
		return limited.MaxWrite()
	}
	return math.MaxInt
}

func (s *countedStorage) Trouble() error {
	if teller, ok := s.Storage.(interface{ Trouble() error }); ok {
		return teller.Trouble()
	}
	return nil
}

// Room says what the storage within says.
func (s *countedStorage) Room() uint64 {
	if roomy, ok := s.Storage.(interface{ Room() uint64 }); ok {
		return roomy.Room()
	}
	return math.MaxUint64
}

func (s *countedStorage) Reserve(bytes uint64) error {
	if storage, ok := s.Storage.(interface{ Reserve(uint64) error }); ok {
		return storage.Reserve(bytes)
	}
	return nil
}

func (s *countedStorage) Waiting() error {
	if teller, ok := s.Storage.(interface{ Waiting() error }); ok {
		return teller.Waiting()
	}
	return nil
}

func (s *countedStorage) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	w, err := s.Storage.CreateSnapshot(meta)
	if err != nil {
		return nil, err
	}
	return &countedWriter{w, s.open.once("snapshots that are written")}, nil
}

func (s *countedStorage) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := s.Storage.OpenSnapshot()
	if err != nil {
		return meta, nil, err
	}
	return meta, &countedReader{r, s.open.once("snapshots that are read")}, nil
}

type countedWriter struct {
	raft.SnapshotWriter
	done func()
}

func (w *countedWriter) Commit() error {
	w.done()
	return w.SnapshotWriter.Commit()
}

func (w *countedWriter) Abort() error {
	w.done()
	return w.SnapshotWriter.Abort()
}

type countedReader struct {
	io.ReadCloser
	done func()
}

func (r *countedReader) Close() error {
	r.done()
	return r.ReadCloser.Close()
}

// A countedTransport counts the streams that were opened here, and those that came.
type countedTransport struct {
	raft.Transport
	open *openings
}

func (c *countedTransport) MaxMessage() int {
	if limited, ok := c.Transport.(interface{ MaxMessage() int }); ok {
		return limited.MaxMessage()
	}
	return math.MaxInt
}

func (c *countedTransport) SetKeys(keys []wire.ClusterKey) {
	if prover, ok := c.Transport.(interface{ SetKeys([]wire.ClusterKey) }); ok {
		prover.SetKeys(keys)
	}
}

func (c *countedTransport) CheckAddress(address string) error {
	if checker, ok := c.Transport.(interface{ CheckAddress(string) error }); ok {
		return checker.CheckAddress(address)
	}
	return nil
}

func (c *countedTransport) Start(self raft.Server, handler raft.Handler) error {
	return c.Transport.Start(self, &countedHandler{handler, c.open})
}

func (c *countedTransport) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	s, err := c.Transport.OpenStream(ctx, to)
	if err != nil {
		return nil, err
	}
	return &countedStream{s, c.open.once("streams that were opened")}, nil
}

type countedStream struct {
	io.WriteCloser
	done func()
}

func (s *countedStream) Close() error {
	s.done()
	return s.WriteCloser.Close()
}

type countedHandler struct {
	raft.Handler
	open *openings
}

func (h *countedHandler) Stream(from raft.ServerID, stream io.ReadCloser) {
	h.Handler.Stream(from, &countedReader{stream, h.open.once("streams that came")})
}

// A snapshot that has come in part is thrown away when the node closes.
func TestCloseBetweenTwoPartsOfASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.SnapshotBytesPerSecond = 100 << 10 }
		away(t, c, 1<<20)
		node := c.start("c")
		for node.Status().Receiving == nil || node.Status().Receiving.Done == 0 {
			time.Sleep(electionTimeout / 10)
		}
		c.network.Isolate("c") // the stream breaks, and nobody goes on with it
		time.Sleep(electionTimeout)
		c.close("c")
		require.NoError(t, node.AtRest())
	})
}

// crowd asks for more than the limits allow, while a server is away until it needs a snapshot. It
// returns how many calls were refused.
func crowd(t *testing.T, c *cluster, away raft.ServerID) (overloaded int) {
	ended := make(chan error, 2000)
	calls := 0
	ask := func(call func(context.Context, *raft.Node) error) {
		patience := time.Minute
		if calls%2 == 0 {
			patience = time.Duration(calls%9) * electionTimeout / 10
		}
		ctx, node := within(t, patience), c.nodes[c.ids[calls%3]]
		calls++
		go func() { ended <- call(ctx, node) }()
	}
	for range 900 {
		ask(func(ctx context.Context, n *raft.Node) error {
			_, err := n.Propose(ctx, make([]byte, 300))
			return err
		})
	}
	for range 20 {
		ask(func(ctx context.Context, n *raft.Node) error { return n.Read(ctx) })
		ask(func(ctx context.Context, n *raft.Node) error { return n.LeaseRead(ctx) })
		ask(func(ctx context.Context, n *raft.Node) error {
			_, err := n.Snapshot(ctx)
			return err
		})
		ask(func(ctx context.Context, n *raft.Node) error {
			_, err := n.AddLearner(ctx, reached("d"))
			return err
		})
	}
	time.Sleep(electionTimeout / 5)
	c.network.Isolate(away)
	time.Sleep(3 * electionTimeout)
	for range 2 { // so that it needs a snapshot
		leader, _ := c.leader(away)
		_, err := leader.Propose(within(t, time.Minute), []byte("meanwhile"))
		require.NoError(t, err)
		_, err = leader.Snapshot(within(t, time.Minute))
		require.NoError(t, err)
	}
	c.network.Heal()
	for range calls {
		if errors.Is(<-ended, raft.ErrOverloaded) {
			overloaded++
		}
	}
	return overloaded
}

// Each limit is reached, and more is asked for: of callers, of bytes of theirs, of bytes that aren't
// committed or applied, of windows, of the log that a laggard needs. Half of the callers give up,
// links are cut, and a server is away. When all of that is over, nothing is left of it anywhere.
func TestNothingIsLeftAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{MaxDelay: 5 * time.Millisecond, Loss: 0.05, Duplicate: 0.05, Reorder: 0.2})
		c.adjust = func(config *raft.Config) {
			config.MaxPending, config.MaxPendingBytes = 200, 40_000
			config.WindowBytes, config.MaxAppendBytes, config.TailBytes = 4000, 2000, 3000
			config.MaxUncommittedBytes, config.MaxUnappliedBytes = 10_000, 10_000
			config.SnapshotMinBytes, config.SnapshotFactor = 20_000, 1
		}
		for _, id := range c.ids {
			c.start(id)
			c.machines[id].whileWriting(func() error { time.Sleep(electionTimeout / 2); return nil })
		}
		c.leader()
		overloaded := 0
		for round := range 6 {
			overloaded += crowd(t, c, c.ids[round%3])
		}
		require.Positive(t, overloaded, "a limit was passed")
		c.network.SetFaults(memory.Faults{})
		leader, _ := c.leader()
		_, err := leader.Propose(within(t, time.Minute), []byte("the last one"))
		require.NoError(t, err)
		time.Sleep(20 * electionTimeout)
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Idle())
			_, err := c.nodes[id].Snapshot(t.Context())
			require.NoError(t, err)
		}
		time.Sleep(electionTimeout)
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Idle())
			_, err := c.disks[id].Entries(0, 1, 1)
			require.ErrorIs(t, err, raft.ErrCompacted, "the log that a laggard needed is forgotten")
		}
	})
}
