package raft_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A tallyMachine is one whose state is small, whatever its log is. It counts commands.
type tallyMachine struct {
	mu    sync.Mutex
	count uint64
	size  int                                 // of its snapshot, beyond the count
	write func(w io.Writer) error             // called while a snapshot is written; nil for nothing
	takes func(group *tallyMachine, n uint64) // called when a snapshot is captured; nil for nothing
}

func (m *tallyMachine) Apply(entries []raft.Entry, _ [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count += uint64(len(entries))
}

func (m *tallyMachine) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.takes != nil {
		m.takes(m, m.count)
	}
	return &tallyCapture{m, binary.BigEndian.AppendUint64(nil, m.count)}, nil
}

func (m *tallyMachine) Restore(r io.Reader) error {
	all, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.count = binary.BigEndian.Uint64(all)
	}
	return err
}

func (m *tallyMachine) counted() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// A tallyCapture is a captured count.
type tallyCapture struct {
	of    *tallyMachine
	count []byte
}

func (c *tallyCapture) WriteTo(w io.Writer) (int64, error) {
	if c.of.write != nil {
		if err := c.of.write(w); err != nil {
			return 0, err
		}
	}
	n, err := w.Write(append(c.count, make([]byte, c.of.size)...))
	return int64(n), err
}

// tallies are the machines of all groups of hosts.
type tallies struct {
	mu    sync.Mutex
	of    map[raft.ServerID]map[raft.GroupID]*tallyMachine
	adapt func(id raft.ServerID, group raft.GroupID, m *tallyMachine)
	taken []raft.GroupID // in this order, at the first server
}

func (a *tallies) config(id raft.ServerID, group raft.GroupID, c *raft.Config) {
	m := &tallyMachine{takes: func(*tallyMachine, uint64) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if id == "a" {
			a.taken = append(a.taken, group)
		}
	}}
	if a.adapt != nil {
		a.adapt(id, group, m)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[raft.ServerID]map[raft.GroupID]*tallyMachine{}
	}
	if a.of[id] == nil {
		a.of[id] = map[raft.GroupID]*tallyMachine{}
	}
	a.of[id][group] = m
	c.Machine = m
}

// took returns which groups have taken snapshots at the first server since the last call.
func (a *tallies) took() []raft.GroupID {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.taken
	a.taken = nil
	return taken
}

// stored returns how many bytes of logs the disk of a host holds.
func (h *hosts) stored(id raft.ServerID) (bytes uint64) {
	disk := h.disks[id].Reopen()
	defer func() { h.disks[id] = disk }()
	groups, err := disk.Groups()
	require.NoError(h.t, err)
	for _, group := range groups {
		storage, err := disk.Group(group)
		require.NoError(h.t, err)
		saved, err := storage.Load()
		require.NoError(h.t, err)
		bytes += saved.KeptBytes + saved.LogBytes
	}
	return bytes
}

// The logs of all groups together stay within the bound, whichever groups write, and however little each
// of them does. What is in no group's log any more is in its snapshot.
func TestLogsOfAHostAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, groups, size = 64 << 10, 12, 1000
		machines := &tallies{}
		h := newHostsOf(t, 3, func(c *raft.HostConfig) { c.LogBytes = limit }, machines.config)
		proposed := map[raft.GroupID]uint64{}
		write := func(group raft.GroupID, n int) {
			for range n {
				h.propose("a", group, string(make([]byte, size)))
				proposed[group]++
				synctest.Wait() // the snapshots that are taken meanwhile are there
				for id, host := range h.running {
					require.LessOrEqual(t, host.Status().LogBytes, uint64(limit+limit/8), "of %s", id)
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		name := func(i int) raft.GroupID { return raft.GroupID(fmt.Sprint("g", i)) }
		for round := range 10 { // all of them, unevenly
			for i := range groups {
				write(name(i), (i+round)%4)
			}
		}
		for i := range groups { // and one after the other, each of which is idle afterwards
			write(name(i), 30)
		}
		time.Sleep(time.Minute)
		for id, host := range h.running {
			s := host.Status()
			require.LessOrEqual(t, s.LogBytes, uint64(limit+limit/8), "of %s", id)
			require.Zero(t, s.Taking+s.ToTake)
		}
		require.Greater(t, len(machines.took()), groups)
		h.close()
		for _, s := range h.servers {
			require.LessOrEqual(t, h.stored(s.ID), uint64(limit+limit/8), "of %s", s.ID)
			h.start(s.ID)
		}
		defer h.close()
		for i := range groups {
			node, err := h.running["b"].Group(name(i))
			require.NoError(t, err)
			require.NoError(t, node.Read(t.Context()))
			require.Equal(t, proposed[name(i)], machines.of["b"][name(i)].counted())
		}
	})
}

// The group with the largest log takes its snapshot first, and those that have little take none.
func TestLargestLogTakesItsSnapshotFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 64 << 10
		machines := &tallies{}
		h := newHostsOf(t, 1, func(c *raft.HostConfig) { c.LogBytes = limit }, machines.config)
		defer h.close()
		write := func(group raft.GroupID, n int) {
			for range n {
				h.propose("a", group, string(make([]byte, 1000)))
			}
		}
		write("small", 10)
		write("middle", 20)
		write("large", 30)
		synctest.Wait()
		require.Empty(t, machines.took())
		write("small", 7)
		synctest.Wait()
		require.Equal(t, []raft.GroupID{"large"}, machines.took())
		time.Sleep(time.Minute)
		require.Empty(t, machines.took(), "one was enough, and what it kept before its snapshot was forgotten")
		require.Less(t, h.running["a"].Status().LogBytes, uint64(limit))
		write("small", 40)
		synctest.Wait()
		require.Subset(t, []raft.GroupID{"small"}, machines.took())
		require.Less(t, h.running["a"].Status().LogBytes, uint64(limit+limit/8))
	})
}

// A snapshot that costs more than the log which it lets go of isn't taken: the bound is larger where
// snapshots are.
func TestSnapshotsStayInProportionToTheLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, state = 64 << 10, 40 << 10
		machines := &tallies{adapt: func(_ raft.ServerID, group raft.GroupID, m *tallyMachine) {
			if group == "heavy" {
				m.size = state
			}
		}}
		h := newHostsOf(t, 1, func(c *raft.HostConfig) { c.LogBytes = limit }, func(id raft.ServerID, group raft.GroupID, c *raft.Config) {
			machines.config(id, group, c)
			c.SnapshotFactor = 2
		})
		defer h.close()
		write := func(group raft.GroupID, n int) {
			for range n {
				h.propose("a", group, string(make([]byte, 1000)))
			}
			synctest.Wait()
		}
		write("light", 1)
		write("heavy", 70)
		require.Equal(t, []raft.GroupID{"heavy"}, machines.took(), "its first one: nobody knows how large it will be")
		write("heavy", 50) // less than its snapshot is worth
		write("light", 15)
		require.Empty(t, machines.took())
		require.Greater(t, h.running["a"].Status().LogBytes, uint64(limit))
		write("light", 90)
		require.Subset(t, []raft.GroupID{"light"}, machines.took())
		require.Less(t, h.running["a"].Status().LogBytes, uint64(4*state+limit/4), "twice what both snapshots are worth")
	})
}

// A group that is alone in its host keeps to its own limits, as one that stands alone does.
func TestGroupAloneKeepsItsOwnLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines := &tallies{}
		h := newHostsOf(t, 1, func(c *raft.HostConfig) { c.LogBytes = 10 << 10 }, func(id raft.ServerID, group raft.GroupID, c *raft.Config) {
			machines.config(id, group, c)
			c.SnapshotMinBytes = 50 << 10
		})
		defer h.close()
		write := func(group raft.GroupID, n int) {
			for range n {
				h.propose("a", group, string(make([]byte, 1000)))
			}
			synctest.Wait()
		}
		write("g", 40)
		require.Empty(t, machines.took())
		write("g", 20)
		require.Equal(t, []raft.GroupID{"g"}, machines.took())
		time.Sleep(time.Minute)
		write("g", 10)
		require.Greater(t, h.running["a"].Status().LogBytes, uint64(50<<10), "and what it keeps before its snapshot")
		write("other", 1)
		time.Sleep(time.Minute)
		require.Less(t, h.running["a"].Status().LogBytes, uint64(20<<10), "it isn't alone any more")
	})
}

// A group that has ended counts no more, and one that comes back counts again.
func TestLogsOfGroupsThatEndCountNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines := &tallies{}
		h := newHostsOf(t, 1, func(c *raft.HostConfig) { c.LogBytes = 16 << 20 }, machines.config)
		defer h.close()
		for range 30 {
			h.propose("a", "g", string(make([]byte, 1000)))
			h.propose("a", "h", string(make([]byte, 1000)))
		}
		synctest.Wait()
		h.propose("a", "g", string(make([]byte, 1<<20))) // enough to be told
		h.propose("a", "h", string(make([]byte, 1<<20)))
		time.Sleep(time.Second)
		host := h.running["a"]
		for i, want := range []bool{true, false, true} {
			if i == 1 {
				node, err := host.Group("g")
				require.NoError(t, err)
				require.NoError(t, node.Close(context.Background()))
			} else if i == 2 {
				_, err := host.Group("g")
				require.NoError(t, err)
				h.propose("a", "g", string(make([]byte, 1<<20)))
				time.Sleep(time.Second)
			}
			bytes := host.Status().LogBytes
			require.Equal(t, want, bytes > 2<<20, "%d bytes in step %d", bytes, i)
		}
	})
}

// A held storage says which groups hold up its log.
type held struct {
	raft.SharedStorage
	holders func() []raft.Holder
	of      map[raft.GroupID]raft.Storage
}

func (s *held) Holders() []raft.Holder { return s.holders() }

func (s *held) Group(group raft.GroupID) (raft.Storage, error) {
	storage, err := s.SharedStorage.Group(group)
	s.of[group] = storage
	return storage, err
}

// While much is written, the groups that hold up the storage's log shorten theirs, as far as that is worth
// it. While nothing is, the storage isn't asked.
func TestGroupsThatHoldUpTheLogShortenTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines := &tallies{}
		var asked atomic.Int32
		storage := &held{of: map[raft.GroupID]raft.Storage{}, holders: func() []raft.Holder {
			asked.Add(1)
			return []raft.Holder{{Group: "idle", Bytes: 1}, {Group: "tiny", Bytes: 1}, {Group: "gone", Bytes: 1}, {Group: "head"}, {Group: "fifth", Bytes: 1}}
		}}
		h := newHostsOf(t, 1, func(c *raft.HostConfig) { storage.SharedStorage, c.Storage = c.Storage, storage }, machines.config)
		defer h.close()
		for _, group := range []raft.GroupID{"idle", "head", "fifth", "other"} {
			for range 10 {
				h.propose("a", group, string(make([]byte, 1000)))
			}
		}
		h.propose("a", "tiny", "1")
		node, err := h.running["a"].Group("tiny")
		require.NoError(t, err)
		_, err = node.Snapshot(t.Context())
		require.NoError(t, err)
		machines.took()
		write := func() {
			for range 33 {
				h.propose("a", "busy", string(make([]byte, 1<<20)))
			}
			synctest.Wait()
		}
		write()
		require.EqualValues(t, 1, asked.Load())
		require.Equal(t, []raft.GroupID{"idle"}, machines.took())
		_, err = storage.of["idle"].Entries(0, 1, 1)
		require.NoError(t, err)
		write()
		_, err = storage.of["idle"].Entries(0, 1, 1)
		require.ErrorIs(t, err, raft.ErrCompacted, "what it kept before its snapshot is gone")
		require.NotContains(t, machines.took(), raft.GroupID("idle"))
		require.EqualValues(t, 2, asked.Load())
		time.Sleep(time.Hour)
		require.EqualValues(t, 2, asked.Load())
	})
}

// A log that couldn't be shortened when it was its turn is shortened as soon as it can be.
func TestLogThatCouldNotBeShortenedComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 64 << 10
		var fails atomic.Int32
		machines := &tallies{adapt: func(_ raft.ServerID, group raft.GroupID, m *tallyMachine) {
			m.write = func(io.Writer) error {
				if group == "large" && fails.Add(1) <= 2 {
					return io.ErrUnexpectedEOF
				}
				return nil
			}
		}}
		h := newHostsOf(t, 1, func(c *raft.HostConfig) { c.LogBytes = limit }, machines.config)
		defer h.close()
		for i := range 5 {
			h.propose("a", raft.GroupID(fmt.Sprint("small", i)), string(make([]byte, 1000)))
		}
		for range 70 {
			h.propose("a", "large", string(make([]byte, 1000)))
		}
		synctest.Wait()
		require.Greater(t, h.running["a"].Status().LogBytes, uint64(limit))
		time.Sleep(time.Minute)
		require.Less(t, h.running["a"].Status().LogBytes, uint64(limit/4))
		require.EqualValues(t, 3, fails.Load())
		require.Equal(t, []raft.GroupID{"large", "large", "large"}, machines.took(), "those with little log take none meanwhile")
	})
}
