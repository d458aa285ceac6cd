package raft_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// small makes the nodes of a cluster take snapshots all the time.
func small(config *raft.Config) {
	config.SnapshotMinBytes, config.SnapshotFactor, config.TailBytes = 2000, 1, 1
}

// proposeMany proposes commands of a hundred bytes and returns them.
func proposeMany(t *testing.T, node *raft.Node, name string, count int) []string {
	t.Helper()
	var commands []string
	for i := range count {
		command := fmt.Sprintf("%s %d %s", name, i, strings.Repeat("x", 100))
		_, err := node.Propose(within(t, time.Minute), []byte(command))
		require.NoError(t, err)
		commands = append(commands, command)
	}
	return commands
}

func TestSnapshotsBoundTheLogAndAStartGoesOnFromOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, raft.Faults{})
		c.adjust = small
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "command", 500)
		synctest.Wait()
		status := c.nodes["a"].Status()
		require.Greater(t, status.Snapshot, raft.Index(0))
		require.Less(t, status.Last-status.Snapshot, raft.Index(500), "most of the log is covered")
		_, err := c.disks["a"].Entries(0, 1, 1)
		require.ErrorIs(t, err, raft.ErrCompacted, "and gone")
		_, err = c.disks["a"].Entries(status.Snapshot-1, status.Snapshot, 1)
		require.NoError(t, err, "but for what lies behind the snapshot before")
		c.close("a")

		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, c.machines["a"].applied())
		require.Equal(t, 1, c.machines["a"].restored)
		commands = append(commands, proposeMany(t, c.nodes["a"], "more", 300)...)
		require.Equal(t, commands, c.machines["a"].applied())
	})
}

func TestSnapshotOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, raft.Faults{})
		for _, id := range c.ids {
			c.start(id)
		}
		leader, others := c.leader()
		proposeMany(t, others[0], "command", 3)
		for _, node := range []*raft.Node{leader, others[0], others[1]} {
			require.NoError(t, node.Read(t.Context()))
			index, err := node.Snapshot(t.Context())
			require.NoError(t, err)
			require.Equal(t, node.Status().Applied, index)
			require.Equal(t, index, node.Status().Snapshot)
			again, err := node.Snapshot(t.Context())
			require.NoError(t, err)
			require.Equal(t, index, again, "it covers all")
		}
		meta, reader, err := c.disks["a"].OpenSnapshot()
		require.NoError(t, err)
		require.Len(t, meta.Configuration.Members, 3)
		require.EqualValues(t, 1, meta.ConfigurationIndex)
		require.NoError(t, reader.Close())

		c.close("a")
		_, err = c.nodes["a"].Snapshot(t.Context())
		require.ErrorIs(t, err, raft.ErrClosed)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.nodes["b"].Snapshot(ended)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestSnapshotOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, raft.Faults{Cut: true})
		_, err := c.nodes["a"].Snapshot(t.Context())
		require.ErrorIs(t, err, raft.ErrNoSnapshot)
	})
}

// A snapshot that can't be taken is the caller's to know, and nobody else's: the log stays, and applying goes on.
func TestFailingSnapshotIsReportedAndTriedAgain(t *testing.T) {
	broken := errors.New("no room in the notebook")
	for name, breakIt := range map[string]func(c *cluster, err error){
		"capturing": func(c *cluster, err error) {
			c.machines["a"].saving = func() error { return err }
		},
		"writing": func(c *cluster, err error) {
			c.machines["a"].writing = func() error { return err }
		},
		"panicking": func(c *cluster, err error) {
			c.machines["a"].writing = func() error {
				if err != nil {
					panic(err)
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, raft.Faults{})
				c.adjust = small
				c.start("a")
				set := func(err error) {
					c.machines["a"].mu.Lock()
					defer c.machines["a"].mu.Unlock()
					breakIt(c, err)
				}
				set(broken)
				commands := proposeMany(t, c.nodes["a"], "command", 100)
				_, err := c.nodes["a"].Snapshot(t.Context())
				require.ErrorIs(t, err, broken)
				require.NoError(t, c.nodes["a"].Err())
				require.Zero(t, c.nodes["a"].Status().Snapshot)
				_, _, err = c.disks["a"].OpenSnapshot()
				require.ErrorIs(t, err, raft.ErrNoSnapshot)
				_, err = c.disks["a"].Entries(0, 1, 1)
				require.NoError(t, err, "the log is as it was")
				set(nil)
				time.Sleep(11 * electionTimeout)
				require.Equal(t, c.nodes["a"].Status().Last, c.nodes["a"].Status().Snapshot, "tried again without being asked")
				require.Equal(t, commands, c.machines["a"].applied())
			})
		})
	}
}

func TestApplyGoesOnWhileASnapshotIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, raft.Faults{})
		hang := make(chan struct{})
		c.machines["a"].writing = func() error { <-hang; return nil }
		commands := proposeMany(t, c.nodes["a"], "before", 5)
		taken := make(chan raft.Index, 1)
		go func() {
			index, err := c.nodes["a"].Snapshot(t.Context())
			require.NoError(t, err)
			taken <- index
		}()
		synctest.Wait()
		commands = append(commands, proposeMany(t, c.nodes["a"], "meanwhile", 5)...)
		require.Empty(t, taken)
		close(hang)
		index := <-taken
		require.Less(t, index, c.nodes["a"].Status().Applied)
		_, reader, err := c.disks["a"].OpenSnapshot()
		require.NoError(t, err)
		text, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Contains(t, string(text), "before 4")
		require.NotContains(t, string(text), "meanwhile", "it holds the state at its index, not a later one")
		c.close("a")
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, c.machines["a"].applied())
	})
}

// A fragile transport breaks each stream after so many bytes.
type fragile struct {
	raft.Transport
	mu      sync.Mutex
	after   int // bytes; 0 for never
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
		return 0, errors.New("broken") // the network notices only when a goroutine of its own gets to it
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

// away makes a cluster of three of which c has been away while the others compacted their logs, with a snapshot of
// some bytes. It returns what was applied.
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
		faults raft.Faults
		after  int
		rate   int
	}{
		"in one piece":     {},
		"in many pieces":   {after: 100 << 10},
		"at a rate":        {rate: 200 << 10},
		"on a bad network": {faults: raft.Faults{MaxDelay: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.1, Reorder: 0.2}, after: 300 << 10},
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
					sent += transport.bytes
					streams += transport.streams
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

// What is done with snapshots is traced: also each of the streams that it took; and which one is the current one is an event.
func TestSnapshotsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		var mu sync.Mutex
		told := map[raft.ServerID][]raft.SnapshotTrace{}
		c := newCluster(t, 3, raft.Faults{})
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
		c := newCluster(t, 3, raft.Faults{})
		for _, id := range c.ids {
			c.start(id)
		}
		leader, others := c.leader()
		cut := others[0].Status().ID
		c.network.Cut(leader.Status().ID, cut) // it forwards, and hears nothing of what becomes of it
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

// A full disk is one on which a snapshot has no room.
type full struct {
	*disk
	mu   sync.Mutex
	full bool
}

var errFull = errors.New("no space left on device")

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
		c := newCluster(t, 3, raft.Faults{})
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
				c := newCluster(t, 3, raft.Faults{})
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

func TestCloseWhileASnapshotIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, raft.Faults{})
		proposeMany(t, c.nodes["a"], "command", 3)
		hang := make(chan struct{})
		c.machines["a"].writing = func() error { <-hang; return nil }
		taken := make(chan error, 1)
		go func() {
			_, err := c.nodes["a"].Snapshot(t.Context())
			taken <- err
		}()
		synctest.Wait()
		require.ErrorIs(t, c.nodes["a"].Close(within(t, time.Second)), context.DeadlineExceeded, "the state machine is still writing")
		require.ErrorIs(t, <-taken, raft.ErrClosed, "but nobody waits for it")
		close(hang)
		require.NoError(t, c.nodes["a"].Close(t.Context()))
	})
}

// A ledger is a journal that keeps its own durable state: as of the last save that was durable.
type ledger struct {
	journal
	mu      sync.Mutex
	index   raft.Index
	beside  []byte
	page    []string
	latest  []byte // what Save was given beside the state
	batches int
	lag     bool // saves don't become durable
}

func (l *ledger) durable() *raft.DurableMachine {
	return &raft.DurableMachine{
		Load: func() (raft.Index, []byte, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.journal.mu.Lock()
			defer l.journal.mu.Unlock()
			l.commands, l.latest = append([]string(nil), l.page...), l.beside
			return l.index, l.beside, nil
		},
		Save: func(applied raft.Index, beside []byte) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.batches++
			if beside != nil {
				l.latest = append([]byte(nil), beside...)
			}
			if !l.lag {
				l.index, l.beside, l.page = applied, l.latest, l.journal.applied()
			}
			return nil
		},
	}
}

func TestDurableMachineGoesOnWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, raft.Faults{})
		machine := &ledger{}
		c.adjust = func(config *raft.Config) { config.Machine, config.Durable = machine, machine.durable() }
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "command", 5)
		_, err := c.nodes["a"].Snapshot(t.Context())
		require.NoError(t, err)
		id, err := c.nodes["a"].OpenSession(t.Context())
		require.NoError(t, err)
		sent := raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}
		first, err := c.nodes["a"].ProposeInSession(t.Context(), sent, []byte("in a session"))
		require.NoError(t, err)
		commands = append(commands, "in a session")
		c.close("a")

		saves := machine.batches
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, machine.applied())
		require.Zero(t, machine.restored, "its state is newer than the snapshot")
		require.LessOrEqual(t, machine.batches, saves+1, "nothing but the entry of the new term was applied")
		again, err := c.nodes["a"].ProposeInSession(t.Context(), sent, []byte("in a session"))
		require.NoError(t, err)
		require.Equal(t, first, again, "what it has kept beside its state knows the command")
		require.Equal(t, commands, machine.applied())

		machine.mu.Lock()
		machine.lag = true
		machine.mu.Unlock()
		commands = append(commands, proposeMany(t, c.nodes["a"], "lagging", 5)...)
		c.close("a")
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, machine.applied(), "what it had not kept is applied again, from the log")
		require.Zero(t, machine.restored)
		c.close("a")

		machine.mu.Lock()
		machine.index = 1000
		machine.mu.Unlock()
		c.disks["a"] = &disk{MemoryStorage: c.disks["a"].Reopen()}
		_, err = raft.Start(c.config("a"))
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, "the state machine has applied index 1000, but the log ends at")
	})
}

func TestDurableMachineThatFellBehindIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, raft.Faults{})
		machine := &ledger{lag: true}
		c.adjust = func(config *raft.Config) {
			config.Machine, config.Durable = machine, machine.durable()
			config.SnapshotMinBytes, config.SnapshotFactor, config.TailBytes = 2000, 1, 1
		}
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "command", 300)
		synctest.Wait()
		c.close("a")
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, machine.applied())
		require.Equal(t, 1, machine.restored, "the log doesn't go back so far")
	})
}

// A moldy disk is one whose snapshot is damaged.
type moldy struct {
	*raft.MemoryStorage
	mu    sync.Mutex
	moldy raft.Index // the snapshot of this index can't be read
}

func (m *moldy) set(index raft.Index) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moldy = index
}

// Write lets another snapshot take the place of the damaged one.
func (m *moldy) Write(w raft.Write) error {
	if w.Snapshot != nil {
		m.set(0)
	}
	return m.MemoryStorage.Write(w)
}

func (m *moldy) Load() (raft.Saved, error) {
	saved, err := m.MemoryStorage.Load()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moldy != 0 && saved.Snapshot.Index == m.moldy {
		saved.SnapshotDamage = fmt.Errorf("the snapshot is moldy: %w", raft.ErrCorrupt)
	}
	return saved, err
}

func (m *moldy) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	meta, reader, err := m.MemoryStorage.OpenSnapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && m.moldy == meta.Index {
		return meta, io.NopCloser(io.MultiReader(io.LimitReader(reader, 10), brokenReader{})), nil
	}
	return meta, reader, err
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, raft.ErrCorrupt }

func TestDamagedSnapshotIsReplacedByTheLeadersOrAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, raft.Faults{})
		disks := map[raft.ServerID]*moldy{}
		c.adjust = func(config *raft.Config) {
			disks[config.ID] = &moldy{MemoryStorage: c.disks[config.ID].MemoryStorage}
			config.Storage = disks[config.ID]
		}
		for _, id := range c.ids {
			c.start(id)
		}
		var commands []string
		for range 2 {
			commands = append(commands, proposeMany(t, c.nodes["a"], "command", 3)...)
			for _, id := range c.ids {
				require.NoError(t, c.nodes[id].Read(t.Context()))
				_, err := c.nodes[id].Snapshot(t.Context())
				require.NoError(t, err)
			}
		}
		leader, others := c.leader()
		lost := others[0].Status().ID
		snapshot := others[0].Status().Snapshot

		// A follower whose snapshot is damaged gets the leader's, though its log lacks nothing.
		c.close(lost)
		c.disks[lost] = &disk{MemoryStorage: c.disks[lost].Reopen()}
		c.adjust = func(config *raft.Config) {
			disks[config.ID] = &moldy{MemoryStorage: c.disks[config.ID].MemoryStorage, moldy: snapshot}
			config.Storage = disks[config.ID]
		}
		c.machines[lost] = &journal{}
		node, err := raft.Start(c.config(lost))
		require.NoError(t, err)
		c.nodes[lost] = node
		t.Cleanup(func() { _ = node.Close(context.Background()) })
		commands = append(commands, proposeMany(t, leader, "meanwhile", 1)...)
		require.NoError(t, node.Read(within(t, time.Minute)))
		require.Equal(t, commands, c.machines[lost].applied())
		require.Equal(t, 1, c.machines[lost].restored)

		// A leader that finds its own damaged takes another one to send.
		away := others[1].Status().ID
		c.network.Isolate(away)
		for range 2 {
			commands = append(commands, proposeMany(t, leader, "without one", 2)...)
			_, err := leader.Snapshot(t.Context())
			require.NoError(t, err)
		}
		damaged := leader.Status().Snapshot
		disks[leader.Status().ID].set(damaged)
		c.network.Heal()
		require.NoError(t, c.nodes[away].Read(within(t, time.Minute)))
		require.Equal(t, commands, c.machines[away].applied())
		require.Equal(t, leader.Status().Snapshot, damaged, "of the same index")
		_, reader, err := disks[leader.Status().ID].OpenSnapshot()
		require.NoError(t, err)
		_, err = io.ReadAll(reader)
		require.NoError(t, err, "but intact")
	})
}

func TestOnlyVoterWithADamagedSnapshotDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, raft.Faults{})
		c.adjust = small
		c.start("a")
		proposeMany(t, c.nodes["a"], "command", 300)
		synctest.Wait()
		c.close("a")
		storage := &moldy{MemoryStorage: c.disks["a"].Reopen()}
		storage.set(c.nodes["a"].Status().Snapshot)
		config := c.config("a")
		config.Storage = storage
		_, err := raft.Start(config)
		require.ErrorIs(t, err, raft.ErrCorrupt)
		require.ErrorContains(t, err, "no other server to get one from")
	})
}

func TestSnapshotThatCannotBeRestoredStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, raft.Faults{})
		c.adjust = small
		c.start("a")
		proposeMany(t, c.nodes["a"], "command", 300)
		synctest.Wait()
		c.close("a")
		storage := &moldy{MemoryStorage: c.disks["a"].Reopen()}
		config := c.config("a")
		config.Storage = &late{storage, c.nodes["a"].Status().Snapshot}
		node, err := raft.Start(config)
		require.NoError(t, err)
		requireStopped(t, node, raft.ErrCorrupt)
	})
}

// A late disk notices the damage only when the snapshot is read.
type late struct {
	*moldy
	at raft.Index
}

func (l *late) Load() (raft.Saved, error) {
	saved, err := l.MemoryStorage.Load()
	l.set(l.at)
	return saved, err
}

// A stream that begins with anything but a header that was sent by who opened it is closed, whatever it says.
func TestStreamsOfStrangersAreClosed(t *testing.T) {
	header := raft.AppendMessage(nil, &raft.Message{Kind: raft.SnapshotStream, From: "b", To: "a", Term: 1, Size: 1})
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
				c := startCluster(t, 1, raft.Faults{})
				require.NoError(t, c.nodes["a"].Read(t.Context()))
				stranger := c.network.Join("z")
				require.NoError(t, stranger.Start(raft.Server{ID: "z"}, deaf{}))
				defer func() { require.NoError(t, stranger.Close()) }()
				stranger.SetServers([]raft.Server{{ID: "a", Address: "at a"}})
				stream, err := stranger.OpenStream(t.Context(), "a")
				require.NoError(t, err)
				_, _ = stream.Write(sent) // it may be closed already
				_ = stream.Close()
				synctest.Wait()
				_, err = stream.Write(make([]byte, 1))
				require.Error(t, err)
				_, err = c.nodes["a"].Propose(t.Context(), []byte("x"))
				require.NoError(t, err)
				require.Zero(t, c.nodes["a"].Status().Snapshot)
			})
		})
	}
}

// Deaf is a handler that hears nothing.
type deaf struct{}

func (deaf) Receive(raft.Message)                    {}
func (deaf) Stream(_ raft.ServerID, s io.ReadCloser) { _ = s.Close() }
func (deaf) Lost(raft.ServerID)                      {}
