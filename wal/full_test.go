package wal_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

var fullDisks = flag.Int("full-disks", 1, "how often TestFullDisks fills the disks of one, two and all three servers, and how many runs of TestSimulatedFullDisks there are")

// A roll is a state machine that knows which numbers it was given, and how often.
type roll struct {
	mu   sync.Mutex
	Seen map[uint64]int
}

func (m *roll) Apply(entries []raft.Entry, _ [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		m.Seen[binary.LittleEndian.Uint64(entries[i].Data)]++
	}
}

func (m *roll) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, err := json.Marshal(m.Seen)
	return writerTo(text), err
}

func (m *roll) Restore(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Seen = map[uint64]int{}
	return json.NewDecoder(r).Decode(&m.Seen)
}

// seen returns how often the state machine was given each number.
func (m *roll) seen() map[uint64]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.Seen)
}

type writerTo []byte

func (b writerTo) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}

// A smallDisk is a server's own. Its log is the only thing on it, but for what fill puts there.
type smallDisk interface {
	// at is where the log is; a nil file system is the real one.
	at() (folder string, fs vfs.FS)
	// fill takes what room is left, and free gives back all that fill has taken.
	fill(t *testing.T)
	free(t *testing.T)
	// holds lists what is on it.
	holds() string
}

// fullServers is how many servers there are, and fullClients how many clients load them.
const (
	fullServers = 3
	fullClients = 12
)

// A brimful is three servers under load, whose disks are brimful and given room again.
type brimful struct {
	segment  int64 // the size of a segment
	command  int   // the size of a command
	faults   memory.Faults
	disks    [fullServers]smallDisk
	nodes    [fullServers]*raft.Node
	machines [fullServers]*roll
	number   atomic.Uint64
	refused  atomic.Int64 // because the disks are full
	shown    int          // in how many trials servers were full
	mu       sync.Mutex
	done     map[uint64]bool // the commands that were acknowledged
}

// run fills the disks of one, two and all three servers, so many times, and returns how long it took at
// worst until commands were taken again.
func (f *brimful) run(t *testing.T, times int) (worst time.Duration) {
	f.done = map[uint64]bool{}
	f.start(t)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range fullClients {
		clients.Go(func() { f.load(t, f.nodes[i%fullServers], stop) })
	}
	for trial := range times {
		for count := 1; count <= fullServers; count++ {
			worst = max(worst, f.trial(t, trial, count))
		}
		if trial%10 == 9 {
			t.Logf("%d commands acknowledged after %d trials; at worst %v", f.acknowledged(), fullServers*(trial+1), worst)
		}
	}
	close(stop)
	clients.Wait()
	f.compare(t)
	for _, node := range f.nodes {
		require.NoError(t, node.Close(t.Context()))
	}
	return worst
}

// start starts the servers.
func (f *brimful) start(t *testing.T) {
	network := memory.NewNetwork(memory.Options{Faults: f.faults})
	var all []raft.Server
	for i := range f.nodes {
		all = append(all, raft.Server{ID: raft.ServerID(fmt.Sprint("s", i)), Address: fmt.Sprint("s", i)})
	}
	for i := range f.nodes {
		folder, fs := f.disks[i].at()
		log, err := wal.Open(folder, wal.Options{SegmentSize: f.segment, FS: fs, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		f.machines[i] = &roll{Seen: map[uint64]int{}}
		f.nodes[i], err = raft.Start(raft.Config{
			ID: all[i].ID, Address: all[i].Address, Machine: f.machines[i], Storage: log, Transport: network.Join(all[i].ID), Bootstrap: all,
			Heartbeat: 50 * time.Millisecond, ElectionTimeout: 500 * time.Millisecond,
			ReserveBytes: int(f.segment / 2), MaxCommandBytes: 8 * f.command,
			SnapshotMinBytes: int(f.segment), SnapshotRetainBytes: int(2 * f.segment), Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
	}
}

// load proposes one command after the other.
func (f *brimful) load(t *testing.T, node *raft.Node, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		command := make([]byte, f.command)
		number := f.number.Add(1)
		binary.LittleEndian.PutUint64(command, number)
		switch _, err := node.Propose(t.Context(), command); {
		case err == nil:
			f.mu.Lock()
			f.done[number] = true
			f.mu.Unlock()
		case errors.Is(err, raft.ErrFull):
			f.refused.Add(1)
			time.Sleep(5 * time.Millisecond)
		default:
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// trial fills the disks of some servers, waits until that shows, and gives them room again. It
// returns how long it took from then on until commands were taken again.
func (f *brimful) trial(t *testing.T, trial, count int) time.Duration {
	refused := f.refused.Load()
	shows := func() bool {
		full := 0
		for i := range count {
			f.disks[(trial+i)%fullServers].fill(t) // also what was freed meanwhile
		}
		for i := range count {
			if f.nodes[(trial+i)%fullServers].Status().FullFor > 0 {
				full++
			}
		}
		if count == 1 {
			return full == 1
		}
		return full >= 2 && f.refused.Load() > refused // nothing is written any more that could fill a third one
	}
	// A log whose snapshots find room may live on its own files for long.
	patience := 3 * time.Second
	if f.shown == 0 && count == fullServers {
		patience = time.Minute // at the latest all of them are
	}
	for late := time.Now().Add(patience); !shows() && time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		for _, node := range f.nodes {
			require.NoError(t, node.Err())
		}
	}
	if shows() {
		f.shown++
	}
	for range 30 {
		time.Sleep(10 * time.Millisecond)
		shows()
	}
	for i := range count {
		f.disks[(trial+i)%fullServers].free(t)
	}
	began := time.Now()
	before := f.acknowledged()
	f.await(t, func() bool { return f.acknowledged() > before+fullClients }, "trial %d: no command is taken again", trial)
	took := time.Since(began)
	f.await(t, func() bool {
		for _, node := range f.nodes {
			if s := node.Status(); s.FullFor > 0 || s.Disk.Waits != nil {
				return false
			}
		}
		return true
	}, "trial %d: a disk that has room again counts as full", trial)
	for _, node := range f.nodes {
		require.NoError(t, node.Err())
	}
	return took
}

// acknowledged returns how many commands were acknowledged.
func (f *brimful) acknowledged() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.done)
}

// await waits until something holds.
func (f *brimful) await(t *testing.T, holds func() bool, what string, arguments ...any) {
	late := time.Now().Add(time.Minute)
	for !holds() {
		for _, node := range f.nodes {
			require.NoError(t, node.Err())
		}
		if time.Now().After(late) {
			for _, node := range f.nodes {
				s := node.Status()
				t.Logf("%s: %s, room %d, full for %v, disk %+v, snapshots %v", s.ID, s.Role, s.Room, s.FullFor, s.Disk, s.SnapshotTrouble)
			}
			for _, disk := range f.disks {
				t.Log(disk.holds())
			}
			require.Fail(t, fmt.Sprintf(what, arguments...))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// compare demands that each server was given each command that was acknowledged, and none twice.
func (f *brimful) compare(t *testing.T) {
	f.await(t, func() bool {
		first := f.nodes[0].Status().Applied
		for _, node := range f.nodes {
			if s := node.Status(); s.Applied != first || s.Commit != s.Last {
				return false
			}
		}
		return true
	}, "the servers have applied different entries")
	for i, machine := range f.machines {
		seen := machine.seen()
		for number := range f.done {
			require.Equal(t, 1, seen[number], "command %d at server %d", number, i)
		}
		for number, times := range seen {
			require.Equal(t, 1, times, "command %d at server %d", number, i)
		}
	}
}

// A simulatedDisk is a file system in memory.
type simulatedDisk struct {
	*simfs.FS
	luck *rand.Rand
	size int64
}

func (d *simulatedDisk) at() (string, vfs.FS) { return dir, d.FS }

// fill may leave a little that is of no use.
func (d *simulatedDisk) fill(*testing.T) { d.SetCapacity(d.Used() + d.luck.Int64N(100)) }
func (d *simulatedDisk) free(*testing.T) { d.SetCapacity(d.size) }

func (d *simulatedDisk) holds() string {
	text := fmt.Sprintf("%d of %d bytes:", d.Used(), d.size)
	for _, name := range d.Names() {
		text += fmt.Sprintf(" %s %d", name, len(d.Bytes(name)))
	}
	return text
}

// TestSimulatedFullDisks does what TestFullDisks does on small disks in memory, and with a clock that
// stands still while anything happens. So all that it waits for must come within a second or so,
// however slow the machine is.
func TestSimulatedFullDisks(t *testing.T) {
	worst, shown := time.Duration(0), 0
	for seed := range *fullDisks {
		synctest.Test(t, func(t *testing.T) {
			luck := rand.New(rand.NewPCG(uint64(seed), 1))
			f := &brimful{segment: 64 << 10, command: 128, faults: memory.Faults{MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond}}
			for i := range f.disks {
				disk := &simulatedDisk{FS: simfs.New(uint64(seed)), luck: luck, size: 32 * f.segment}
				disk.free(t)
				f.disks[i] = disk
			}
			took := f.run(t, 1)
			worst, shown = max(worst, took), shown+f.shown
			require.Less(t, took, 2*time.Second, "seed %d", seed)
		})
	}
	t.Logf("servers were full in %d of %d trials; at worst %v until commands were taken again", shown, fullServers**fullDisks, worst)
	require.Positive(t, shown)
}
