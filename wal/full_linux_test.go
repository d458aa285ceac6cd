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
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

var (
	fullDisks     = flag.Int("full-disks", 1, "how often TestFullDisks fills the disks of one, two and all three servers")
	fullDisksExt4 = flag.Bool("full-disks-ext4", false, "TestFullDisks takes ext4 on loop devices, not tmpfs")
)

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

// A full disk's servers, each with a file system of 64 MiB.
const (
	fullServers = 3
	fullClients = 12
	fullCommand = 8 << 10
)

// A brimful is three servers under load, whose disks are brimful and given room again.
type brimful struct {
	folders  [fullServers]string
	nodes    [fullServers]*raft.Node
	machines [fullServers]*roll
	number   atomic.Uint64
	refused  atomic.Int64 // because the disks are full
	shown    int          // in how many trials servers were full
	mu       sync.Mutex
	done     map[uint64]bool // the commands that were acknowledged
}

// TestFullDisks fills the disks of one, two and all three servers to the last byte, with the servers
// under load, and gives them room again. Nothing that was acknowledged is lost, no server ends, and
// commands are taken again by themselves, soon.
//
//	go test ./wal -run TestFullDisks -v -full-disks 20
func TestFullDisks(t *testing.T) {
	if os.Geteuid() != 0 || *fullDisks == 0 {
		t.Skip("it takes the right to mount a file system")
	}
	f := &brimful{done: map[uint64]bool{}}
	for i := range f.folders {
		f.folders[i] = mountSmall(t)
	}
	f.start(t)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range fullClients {
		clients.Go(func() { f.load(t, f.nodes[i%fullServers], stop) })
	}
	worst := time.Duration(0)
	for trial := range *fullDisks {
		for count := 1; count <= fullServers; count++ {
			took := f.trial(t, trial, count)
			worst = max(worst, took)
		}
		if trial%10 == 9 {
			t.Logf("%d commands acknowledged after %d trials; at worst %v", f.acknowledged(), fullServers*(trial+1), worst)
		}
	}
	close(stop)
	clients.Wait()
	f.compare(t)
	t.Logf("%d commands acknowledged, %d refused; servers were full in %d of %d trials; at worst %v until commands were taken again",
		len(f.done), f.refused.Load(), f.shown, fullServers**fullDisks, worst)
	require.Positive(t, f.shown)
	require.Less(t, worst, 10*time.Second)
	for _, node := range f.nodes {
		require.NoError(t, node.Close(t.Context()))
	}
}

// mountSmall mounts an empty file system of 64 MiB, and returns where it is.
func mountSmall(t *testing.T) string {
	folder := filepath.Join(t.TempDir(), "mounted")
	require.NoError(t, os.Mkdir(folder, 0o700))
	arguments := []string{"-t", "tmpfs", "-o", "size=64m", "none", folder}
	if *fullDisksExt4 {
		image := folder + ".ext4"
		require.NoError(t, os.WriteFile(image, nil, 0o600))
		require.NoError(t, os.Truncate(image, 64<<20))
		run(t, "mkfs.ext4", "-q", "-m", "0", image)
		arguments = []string{"-o", "loop", image, folder}
	}
	if out, err := exec.Command("mount", arguments...).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() { run(t, "umount", "--lazy", folder) })
	return folder
}

// start starts the servers.
func (f *brimful) start(t *testing.T) {
	network := memory.NewNetwork(memory.Options{})
	var all []raft.Server
	for i := range f.nodes {
		all = append(all, raft.Server{ID: raft.ServerID(fmt.Sprint("s", i)), Address: fmt.Sprint("s", i)})
	}
	for i := range f.nodes {
		log, err := wal.Open(filepath.Join(f.folders[i], "log"), wal.Options{SegmentSize: 4 << 20, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		f.machines[i] = &roll{Seen: map[uint64]int{}}
		f.nodes[i], err = raft.Start(raft.Config{
			ID: all[i].ID, Address: all[i].Address, Machine: f.machines[i], Storage: log, Transport: network.Join(all[i].ID), Bootstrap: all,
			Heartbeat: 50 * time.Millisecond, ElectionTimeout: 500 * time.Millisecond, ReserveBytes: 2 << 20, MaxCommandBytes: 64 << 10,
			SnapshotMinBytes: 4 << 20, SnapshotRetainBytes: 8 << 20, Logger: slog.New(slog.DiscardHandler),
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
		command := make([]byte, fullCommand)
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
	var fillers []string
	refused := f.refused.Load()
	for i := range count {
		name := filepath.Join(f.folders[(trial+i)%fullServers], "filler")
		fillers = append(fillers, name)
	}
	shows := func() bool {
		full := 0
		for _, name := range fillers {
			fillToTheBrim(t, name) // also what was freed meanwhile
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
	for late := time.Now().Add(3 * time.Second); !shows() && time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
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
	for _, name := range fillers {
		require.NoError(t, os.Remove(name))
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
			for _, folder := range f.folders {
				files, _ := exec.Command("ls", "-lAR", "--time-style=full-iso", folder).Output()
				room, _ := exec.Command("df", "-k", folder).Output()
				t.Logf("%s\n%s", files, room)
			}
			require.Fail(t, fmt.Sprintf(what, arguments...))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// fillToTheBrim lets a file take all that is left of its file system.
func fillToTheBrim(t *testing.T, name string) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			size /= 2
		}
	}
	if err := file.Sync(); err != nil {
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	require.NoError(t, file.Close())
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
