package raft_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A fragile transport breaks each stream after a number of bytes.
type fragile struct {
	raft.Transport
	mu      sync.Mutex
	after   int // that number; 0 for never
	streams int
	bytes   int
}

func (f *fragile) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	f.mu.Lock()
	f.streams++
	f.mu.Unlock()
	ctx, cut := context.WithCancel(ctx)
	w, err := f.Transport.OpenStream(ctx, to)
	if err != nil {
		cut()
		return nil, err
	}
	return &fragileStream{WriteCloser: w, of: f, cut: cut}, nil
}

type fragileStream struct {
	io.WriteCloser
	of    *fragile
	cut   func()
	bytes int
}

func (s *fragileStream) Write(b []byte) (int, error) {
	if s.of.after > 0 && s.bytes >= s.of.after {
		// The network notices only later, when a goroutine of its own gets to it.
		return 0, errors.New("broken")
	}
	n, err := s.WriteCloser.Write(b)
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.bytes += n
	s.of.bytes += n
	if s.of.after > 0 && s.bytes >= s.of.after {
		s.cut()
	}
	return n, err
}

func (s *fragileStream) Close() error {
	defer s.cut()
	return s.WriteCloser.Close()
}

// away makes a cluster of three. c is away while the others compact their logs, and their snapshot
// has size bytes. It returns the commands that were applied.
func away(t *testing.T, c *cluster, size int) []string {
	t.Helper()
	for _, id := range c.ids {
		c.start(id)
	}
	commands := proposeMany(t, c.nodes["c"], "before", 3)
	c.close("c")
	large := strings.Repeat("large ", size/6)
	leader, _ := c.leader("c")
	for range 3 {
		_, err := leader.Propose(within(t, time.Minute), []byte(large))
		require.NoError(t, err)
		commands = append(commands, large)
		large = "small"
		for _, id := range []raft.ServerID{"a", "b"} {
			require.NoError(t, c.nodes[id].Read(t.Context()))
			_, err := c.nodes[id].Snapshot(t.Context())
			require.NoError(t, err)
		}
	}
	return commands
}

func TestServerThatWasAwayGetsASnapshot(t *testing.T) {
	for name, test := range map[string]struct {
		faults memory.Faults
		after  int
		rate   int
	}{
		"in one piece":     {},
		"in many pieces":   {after: 100 << 10},
		"at a rate":        {rate: 200 << 10},
		"on a bad network": {faults: memory.Faults{MaxDelay: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.1, Reorder: 0.2}, after: 300 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 1 << 20
				transports := map[raft.ServerID]*fragile{}
				c := newCluster(t, 3, test.faults)
				c.adjust = func(config *raft.Config) {
					transports[config.ID] = &fragile{Transport: config.Transport, after: test.after}
					config.Transport, config.SnapshotBytesPerSecond = transports[config.ID], test.rate
				}
				commands := away(t, c, size)
				term := c.nodes["a"].Status().Term
				start := time.Now()
				c.start("c")
				require.NoError(t, c.nodes["c"].Read(within(t, time.Hour)))
				require.Equal(t, commands, c.machines["c"].applied())
				require.Equal(t, 1, c.machines["c"].restored)
				require.Equal(t, term, c.nodes["c"].Status().Term, "no election on the way")
				sent, streams := 0, 0
				for _, transport := range transports {
					transport.mu.Lock()
					sent += transport.bytes
					streams += transport.streams
					transport.mu.Unlock()
				}
				require.Less(t, sent, size+size/2, "what had come wasn't sent again, but for what was on its way")
				if test.after > 0 {
					require.GreaterOrEqual(t, streams, 3)
				} else {
					require.Equal(t, 1, streams)
				}
				if test.rate > 0 {
					require.Greater(t, time.Since(start), time.Second*size/time.Duration(test.rate)-time.Second)
				}
				commands = append(commands, proposeMany(t, c.nodes["c"], "after", 3)...)
				require.Equal(t, commands, c.machines["c"].applied())
				c.close("c")
				c.start("c")
				require.NoError(t, c.nodes["c"].Read(t.Context()))
				require.Equal(t, commands, c.machines["c"].applied(), "it is durable")
			})
		})
	}
}

// The trace tells what is done with snapshots, each stream of a transfer included. An event tells
// which snapshot is the current one.
func TestSnapshotsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		var mu sync.Mutex
		told := map[raft.ServerID][]raft.SnapshotTrace{}
		c := newCluster(t, 3, memory.Faults{})
		c.adjust = func(config *raft.Config) {
			id := config.ID
			config.Transport = &fragile{Transport: config.Transport, after: 300 << 10}
			config.Trace = &raft.Trace{Snapshot: func(s raft.SnapshotTrace) {
				mu.Lock()
				defer mu.Unlock()
				told[id] = append(told[id], s)
			}}
		}
		away(t, c, size)
		leader, _ := c.leader("c")
		c.start("c")
		require.NoError(t, c.nodes["c"].Read(within(t, time.Hour)))
		status := c.nodes["c"].Status()

		var current raft.CurrentSnapshot
		for event := range c.nodes["c"].Events(t.Context()) {
			if e, ok := event.(raft.CurrentSnapshot); ok {
				current = e
				break
			}
		}
		require.Equal(t, status.Snapshot, current.Index)
		require.True(t, current.Received)
		require.Greater(t, current.Bytes, uint64(size))

		for _, id := range c.ids {
			c.close(id)
		}
		kinds := map[string]int{}
		for _, s := range told[leader.Status().ID] {
			kinds[s.Kind]++
		}
		require.Equal(t, 3, kinds["taken"])
		require.GreaterOrEqual(t, kinds["sent"], 3)

		received := told["c"]
		last := received[len(received)-1]
		require.Equal(t, raft.SnapshotTrace{Kind: "restored", Index: current.Index, Took: last.Took}, last)
		at := uint64(0)
		for i, s := range received[:len(received)-1] {
			require.Equal(t, "received", s.Kind)
			require.Equal(t, leader.Status().ID, s.Peer)
			require.Equal(t, current.Index, s.Index)
			require.Equal(t, at, s.Offset, "it goes on where it was broken")
			require.Equal(t, i == len(received)-2, s.Err == nil)
			at += s.Bytes
		}
		require.Equal(t, current.Bytes, at)
	})
}

func TestProposalOverWhichASnapshotIsInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		for _, id := range c.ids {
			c.start(id)
		}
		leader, others := c.leader()
		cut := others[0].Status().ID
		// The follower forwards the command, and doesn't hear what becomes of it.
		c.network.Cut(leader.Status().ID, cut)
		proposed := propose(t.Context(), others[0], "jumped over")
		synctest.Wait()
		for range 3 {
			proposeMany(t, leader, "command", 2)
			for _, node := range []*raft.Node{leader, others[1]} {
				_, err := node.Snapshot(t.Context())
				require.NoError(t, err)
			}
		}
		c.network.Heal()
		got := <-proposed
		require.ErrorIs(t, got.err, raft.ErrOutcomeUnknown)
		require.ErrorIs(t, got.err, raft.ErrSnapshotInstalled)
		require.Contains(t, c.machines[cut].applied(), "jumped over", "it was applied, but its result is lost")
	})
}

// A full disk is one that has no room for a snapshot.
type full struct {
	*disk
	mu   sync.Mutex
	full bool
}

func (f *full) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	w, err := f.disk.CreateSnapshot(meta)
	return &fullWriter{w, f}, err
}

type fullWriter struct {
	raft.SnapshotWriter
	on *full
}

func (w *fullWriter) Write(b []byte) (int, error) {
	w.on.mu.Lock()
	defer w.on.mu.Unlock()
	if w.on.full {
		return 0, errFull
	}
	return w.SnapshotWriter.Write(b)
}

func TestReceiverWithAFullDiskTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		storage := &full{full: true}
		c.adjust = func(config *raft.Config) {
			if config.ID == "c" {
				storage.disk = c.disks["c"]
				config.Storage = storage
			}
		}
		commands := away(t, c, 200<<10)
		c.start("c")
		time.Sleep(30 * electionTimeout)
		require.NoError(t, c.nodes["c"].Err(), "no room for a snapshot is no failure of the node")
		require.NotContains(t, c.machines["c"].applied(), "small")
		storage.mu.Lock()
		storage.full = false
		storage.mu.Unlock()
		require.NoError(t, c.nodes["c"].Read(within(t, time.Minute)))
		require.Equal(t, commands, c.machines["c"].applied())
	})
}

func TestCloseWhileASnapshotIsOnItsWay(t *testing.T) {
	for _, closing := range []string{"leader", "receiver"} {
		t.Run(closing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, memory.Faults{})
				c.adjust = func(config *raft.Config) { config.SnapshotBytesPerSecond = 10 << 10 }
				commands := away(t, c, 200<<10)
				c.start("c")
				leader, others := c.leader("c")
				time.Sleep(5 * time.Second)
				if closing == "leader" {
					require.NoError(t, leader.Close(t.Context()))
				} else {
					c.close("c")
					c.start("c")
				}
				_ = others
				require.NoError(t, c.nodes["c"].Read(within(t, time.Hour)))
				require.Equal(t, commands, c.machines["c"].applied())
			})
		})
	}
}

// A stream must begin with a header that comes from the server that opened it. Any other stream is
// closed, whatever it says.
func TestStreamsOfStrangersAreClosed(t *testing.T) {
	head := wire.SnapshotStream{SnapshotRequest: wire.SnapshotRequest{Bytes: 1}}.Message().In(wire.Envelope{From: "b", To: "a", Term: 1})
	header := wire.AppendMessage(nil, &head)
	long := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	for name, sent := range map[string][]byte{
		"nothing":            {},
		"half a length":      {1, 0},
		"no length":          long(0),
		"a length of a lie":  long(1 << 31),
		"less than it says":  append(long(100), "less"...),
		"no message":         append(long(4), "what"...),
		"somebody else's":    append(long(uint32(len(header))), header...),
		"not asked for":      append(long(uint32(len(header))), bytes.ReplaceAll(header, []byte("b"), []byte("z"))...),
		"a byte more inside": append(long(uint32(len(header))+1), append(header, 0)...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				c := newCluster(t, 1, memory.Faults{})
				c.adjust = func(config *raft.Config) { config.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
				c.start("a")
				require.NoError(t, c.nodes["a"].Read(t.Context()))
				stranger := c.network.Join("z")
				require.NoError(t, stranger.Start(raft.Server{ID: "z"}, deaf{}))
				defer func() { require.NoError(t, stranger.Close()) }()
				stranger.SetServers([]raft.Server{{ID: "a", Address: "at a"}})
				stream, err := stranger.OpenStream(t.Context(), "a")
				require.NoError(t, err)
				_, _ = stream.Write(sent) // the receiver may have closed the stream already
				_ = stream.Close()
				synctest.Wait()
				_, err = stream.Write(make([]byte, 1))
				require.Error(t, err)
				_, err = c.nodes["a"].Propose(t.Context(), []byte("x"))
				require.NoError(t, err)
				require.Zero(t, c.nodes["a"].Status().Snapshot)
				c.close("a")
				require.NotContains(t, log.String(), "err=<nil>", "the reason is told")
				for line := range strings.Lines(log.String()) {
					require.Equal(t, strings.Contains(line, "stream refused"), strings.Contains(line, " err="), line)
				}
			})
		})
	}
}

// A deaf handler ignores whatever it gets.
type deaf struct{}

func (deaf) Receive(wire.Message) {}

func (deaf) Stream(_ raft.ServerID, s io.ReadCloser) { _ = s.Close() }

func (deaf) Lost(raft.ServerID) {}
