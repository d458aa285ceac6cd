package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// raftPeer is this library.
type raftPeer struct{}

func (raftPeer) Name() string  { return "raft" }
func (raftPeer) Modes() []Mode { return []Mode{onDisk, inMemory} }

func (raftPeer) Settings(mode Mode) string {
	s := "This library in default settings, with which it takes a snapshot after each 64 MiB of log. The election timeout is that of\n" +
		"all peers here. In restart, in snapshots, and where each server is a process, it takes none by itself.\n" +
		"A server of many groups is one host on one log and one transport, and takes snapshots as by default.\n"
	if mode == inMemory {
		return s + "Package memory, without faults."
	}
	return s + "Its wal, with default segments, and its tcp. All syncs of files are counted, whatever they are for."
}

func (raftPeer) Lacks(Ability) string { return "" }

// New returns a cluster. In mode memory the cluster has a network.
func (raftPeer) New(o Options) (Cluster, error) {
	c := &raftCluster{options: o, network: memory.NewNetwork(memory.Options{})}
	for i := range o.servers() {
		s := raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: fmt.Sprint(i)}
		if o.Mode == onDisk {
			s.Address = o.Addresses[i]
		}
		c.founders = append(c.founders, s)
	}
	return c, nil
}

// raftCluster is what the nodes share.
type raftCluster struct {
	options  Options
	network  *memory.Network // of mode memory
	founders []raft.Server
	syncs    atomic.Uint64
}

// raftNoSnapshots is more bytes than any run logs: a node takes no snapshot unless it is asked for
// one.
const raftNoSnapshots = 1 << 50

// Start starts a node.
func (c *raftCluster) Start(i int) (Server, error) {
	storage, transport, err := c.open(i)
	if err != nil {
		return nil, err
	}
	config := raft.Config{
		ID:              c.founders[i].ID,
		Machine:         &raftMachine{machine: c.options.Machines[i]},
		Storage:         storage,
		Transport:       transport,
		Bootstrap:       c.founders,
		ElectionTimeout: c.options.Election,
		Heartbeat:       c.options.Election / 10,
		Logger:          slog.New(slog.DiscardHandler),
	}
	if !c.options.Compacts {
		config.SnapshotMinBytes = raftNoSnapshots
	}
	node, err := raft.Start(config)
	if err != nil { // storage and transport are closed
		return nil, err
	}
	return &raftServer{node}, nil
}

// open opens the storage and the transport of a node. The node owns them as soon as it is started.
func (c *raftCluster) open(i int) (raft.Storage, raft.Transport, error) {
	if c.options.Mode == inMemory {
		return memory.NewStorage(), c.network.Join(c.founders[i].ID), nil
	}
	files := countingFiles{FS: vfs.OS, syncs: &c.syncs, stall: c.options.stall(i)}
	log, err := wal.Open(filepath.Join(c.options.Dir, fmt.Sprint(i)), wal.Options{FS: files})
	if err != nil {
		return nil, nil, err
	}
	transport, err := tcp.Listen(c.founders[i].Address, tcp.Options{})
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return log, transport, nil
}

func (c *raftCluster) Syncs() (uint64, bool) { return c.syncs.Load(), c.options.Mode == onDisk }

func (c *raftCluster) Close() error { return nil }

// countingFiles is a file system that counts the syncs of its files, and may hold them up.
type countingFiles struct {
	vfs.FS
	syncs *atomic.Uint64
	stall *stall
}

func (f countingFiles) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return countingFile{file, f.syncs, f.stall}, err
}

func (f countingFiles) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return countingFile{file, f.syncs, f.stall}, err
}

func (f countingFiles) SyncDir(dir string) error {
	f.stall.hold()
	return f.FS.SyncDir(dir)
}

// countingFile is a file of countingFiles.
type countingFile struct {
	vfs.File
	syncs *atomic.Uint64
	stall *stall
}

func (f countingFile) Sync() error {
	f.syncs.Add(1)
	f.stall.hold()
	return f.File.Sync()
}

// raftServer is a node.
type raftServer struct{ node *raft.Node }

func (s *raftServer) Leads() bool { return s.node.Status().Role == "leader" }

// errRaftResult says that a result isn't 8 bytes long.
var errRaftResult = errors.New("malformed result")

// Propose hands the command itself over: the library copies it.
func (s *raftServer) Propose(ctx context.Context, _ int, command []byte) (uint64, error) {
	result, err := s.node.Propose(ctx, command)
	if err != nil {
		return 0, err
	}
	if len(result) != 8 {
		return 0, errRaftResult
	}
	return binary.LittleEndian.Uint64(result), nil
}

func (s *raftServer) Read(ctx context.Context, _ int) error { return s.node.Read(ctx) }

func (s *raftServer) Snapshot(ctx context.Context) error {
	_, err := s.node.Snapshot(ctx)
	return err
}

// HandOver does nothing: Close itself does what a leader does for the others before it goes.
func (s *raftServer) HandOver(context.Context) error { return nil }

// raftClose bounds how long a node may take to stop.
const raftClose = 30 * time.Second

func (s *raftServer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), raftClose)
	defer cancel()
	return s.node.Close(ctx)
}

// raftMachine applies batches to a machine. The results of a batch lie in one buffer, which the
// next batch uses again.
type raftMachine struct {
	machine *Machine
	results []byte
}

func (m *raftMachine) Apply(entries []raft.Entry, results [][]byte) {
	m.machine.beginBatch()
	m.results = m.results[:0]
	for i := range entries {
		m.results = m.machine.AppendResult(m.results, entries[i].Data)
	}
	for i := range results {
		results[i] = m.results[8*i : 8*i+8]
	}
}

func (m *raftMachine) Snapshot() (io.WriterTo, error) { return m.machine.capture(), nil }
func (m *raftMachine) Restore(r io.Reader) error      { return m.machine.restore(r) }
