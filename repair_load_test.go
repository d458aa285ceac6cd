package raft_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
	"github.com/e17579a5/raft/wire"
)

var (
	repairLog     = flag.Int("repair-log", 0, "how many MiB of log TestRepairUnderLoad damages; 0 skips it")
	repairPlaces  = flag.Int("repair-places", 1000, "how many entries TestRepairUnderLoad damages")
	repairCommand = flag.Int("repair-command", 4<<10, "the size of the commands in TestRepairUnderLoad")
	repairClients = flag.Int("repair-clients", 16, "how many callers TestRepairUnderLoad has")
)

// A counter is a state machine that counts its commands.
type counter struct{ commands atomic.Int64 }

func (c *counter) Apply(entries []raft.Entry, _ [][]byte) { c.commands.Add(int64(len(entries))) }

func (c *counter) Snapshot() (io.WriterTo, error) { return bytes.NewBuffer(nil), nil }

func (c *counter) Restore(io.Reader) error { return nil }

// A real server has its log in a folder, and talks over TCP.
type realServer struct {
	raft.Server
	folder  string
	log     *wal.Log
	node    *raft.Node
	machine *counter
}

// realServers are three of them.
type realServers [3]*realServer

// listing returns them as they are named at the founding.
func (r *realServers) listing() (servers []raft.Server) {
	for _, s := range r {
		servers = append(servers, s.Server)
	}
	return servers
}

// open opens the log of a server.
func (s *realServer) open(t *testing.T, fs vfs.FS) {
	var err error
	s.log, err = wal.Open(s.folder, wal.Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
}

// start starts a server whose log is open.
func (r *realServers) start(t *testing.T, s *realServer) {
	transport, err := tcp.Listen(s.Address, tcp.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s.Address, s.machine = transport.Addr().String(), &counter{}
	s.node, err = startNode(t, raft.Config{
		ID: s.ID, Machine: s.machine, Storage: s.log, Transport: transport, Bootstrap: r.listing(),
		SnapshotMinBytes: 1<<31 - 1, // the log stays
		Logger:           slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
}

// found founds a cluster, and closes it again.
func (r *realServers) found(t *testing.T) {
	for i := range r {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
		require.NoError(t, err)
		r[i] = &realServer{folder: t.TempDir()}
		r[i].ID, r[i].Address = raft.ServerID(rune('a'+i)), transport.Addr().String()
		require.NoError(t, transport.Close())
	}
	for _, s := range r {
		s.open(t, vfs.OS)
		r.start(t, s)
	}
	for _, s := range r {
		require.NoError(t, s.node.Read(within(t, time.Minute)))
	}
	for _, s := range r {
		require.NoError(t, s.node.Close(t.Context()))
	}
}

// unsynced is a file system that doesn't sync: a log is made fast.
type unsynced struct{ vfs.FS }

type unsyncedFile struct{ vfs.File }

func (f unsynced) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return unsyncedFile{file}, err
}

func (f unsynced) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return unsyncedFile{file}, err
}

func (unsyncedFile) Sync() error { return nil }

// rest syncs the files of a server, and lets its log fill files beforehand, as one in use has them.
func (s *realServer) rest(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(s.folder, "*"))
	require.NoError(t, err)
	for _, name := range names {
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(t, err)
		require.NoError(t, file.Sync())
		require.NoError(t, file.Close())
	}
	s.open(t, vfs.OS)
	for bytes := int64(0); bytes < wal.DefaultAhead; time.Sleep(10 * time.Millisecond) {
		ready, err := filepath.Glob(filepath.Join(s.folder, "*.ready"))
		require.NoError(t, err)
		bytes = 0
		for _, name := range ready {
			if info, err := os.Stat(name); err == nil {
				bytes += info.Size()
			}
		}
	}
	require.NoError(t, s.log.Close())
}

// mark stands at the beginning of each command that fill writes, before its number.
const mark = "a command that is to be found: "

// fill appends many commands to the logs of all servers, as if a leader had sent them.
func (r *realServers) fill(t *testing.T, commands, size int) {
	last, term := raft.Index(0), raft.Term(0)
	for _, s := range r {
		s.open(t, unsynced{vfs.OS})
		saved, err := s.log.Load()
		require.NoError(t, err)
		last = max(last, saved.Last)
		term = saved.Runs[len(saved.Runs)-1].Term
		require.NoError(t, s.log.Close())
	}
	for _, s := range r {
		s.open(t, unsynced{vfs.OS})
		saved, err := s.log.Load()
		require.NoError(t, err)
		require.Equal(t, last, saved.Last, "all have it when the cluster is founded")
		const batch = 64
		for n := 0; n < commands; n += batch {
			entries := make([]raft.Entry, batch)
			for i := range entries {
				entries[i] = raft.Entry{
					Index: last + raft.Index(n+i+1), Term: term, Kind: wire.EntryCommand, Number: uint64(n + i + 1),
					Origin: raft.Origin{Server: "x", Start: 1}, Data: make([]byte, size),
				}
				binary.LittleEndian.PutUint64(entries[i].Data[copy(entries[i].Data, mark):], uint64(n+i))
			}
			require.NoError(t, s.log.Write(raft.Write{State: saved.State, Entries: entries}))
		}
		require.NoError(t, s.log.Close())
	}
}

// spoil damages every so manieth command in a folder, and returns how many these are.
func spoil(t *testing.T, folder string, every int) (spoilt int) {
	names, err := filepath.Glob(filepath.Join(folder, "*.wal"))
	require.NoError(t, err)
	for _, name := range names {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(t, err)
		for at := 0; ; at += len(mark) {
			found := bytes.Index(content[at:], []byte(mark))
			if found < 0 {
				break
			}
			at += found
			if n := binary.LittleEndian.Uint64(content[at+len(mark):]); n%uint64(every) == uint64(every/2) {
				_, err := file.WriteAt([]byte{^content[at]}, int64(at))
				require.NoError(t, err)
				spoilt++
			}
		}
		require.NoError(t, file.Close())
	}
	return spoilt
}

// load proposes commands, one after the other, until stop is closed.
func (s *realServer) load(t *testing.T, stop chan struct{}, done *atomic.Int64) {
	command := make([]byte, 1<<10)
	for {
		select {
		case <-stop:
			return
		default:
		}
		if _, err := s.node.Propose(t.Context(), command); err != nil {
			t.Error(err)
			return
		}
		done.Add(1)
	}
}

// What is lost at many places of a large log is soon back, while the cluster has much else to do.
//
//	go test -run TestRepairUnderLoad -v -repair-log 1024 .
func TestRepairUnderLoad(t *testing.T) {
	if *repairLog == 0 {
		t.Skip("it writes a large log")
	}
	var servers realServers
	servers.found(t)
	count := *repairLog << 20 / *repairCommand
	servers.fill(t, count, *repairCommand)
	damaged := servers[2]
	spoilt := spoil(t, damaged.folder, count / *repairPlaces)
	require.GreaterOrEqual(t, spoilt, *repairPlaces)
	for _, s := range servers {
		s.rest(t)
	}
	for _, s := range servers[:2] {
		s.open(t, vfs.OS)
		servers.start(t, s)
	}
	for _, s := range servers[:2] {
		require.NoError(t, s.node.Read(within(t, time.Minute)))
	}
	var clients sync.WaitGroup
	var done atomic.Int64
	stop := make(chan struct{})
	for i := range *repairClients {
		clients.Go(func() { servers[i%2].load(t, stop, &done) })
	}
	time.Sleep(time.Second)
	rate := done.Load()

	begun := time.Now()
	damaged.open(t, vfs.OS)
	opened := time.Now()
	servers.start(t, damaged)
	require.Len(t, damaged.node.Status().Damage.Lost, spoilt)
	before := done.Load()
	for damaged.node.Status().Damage != nil {
		time.Sleep(time.Millisecond)
	}
	took := time.Since(opened)
	during := float64(done.Load()-before) / took.Seconds()
	require.NoError(t, damaged.node.Read(within(t, time.Minute)))
	t.Logf("%d places of %d MiB were back after %v, opened in %v, applied after %v; %d commands a second before, %.0f meanwhile",
		spoilt, *repairLog, took, opened.Sub(begun), time.Since(opened), rate, during)
	close(stop)
	clients.Wait()
	for _, s := range servers {
		require.NoError(t, s.node.Close(context.Background()))
	}
	damaged.open(t, vfs.OS)
	saved, err := damaged.log.Load()
	require.NoError(t, err)
	require.Empty(t, saved.Lost)
	require.NoError(t, damaged.log.Close())
}
