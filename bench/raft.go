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
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// raftPeer is this library.
type raftPeer struct{}

func (raftPeer) Name() string  { return "raft" }
func (raftPeer) Modes() []Mode { return []Mode{disk, memory} }

func (raftPeer) Settings(mode Mode) string {
	s := "This library in default settings; only the election timeout is that of everybody here.\n"
	if mode == memory {
		return s + "MemoryStorage and Network without faults."
	}
	return s + "Its wal, with default segments, and its tcp. Counted are the syncs of files, whatever for."
}

// Start starts three nodes.
func (raftPeer) Start(ctx context.Context, o Options) (_ Cluster, err error) {
	c := &raftCluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	ports, founders, err := c.openPorts(o)
	if err != nil {
		return nil, errors.Join(err, closePorts(ports))
	}
	for i := range servers {
		node, err := raft.Start(raft.Config{
			ID:              founders[i].ID,
			Machine:         &raftMachine{machine: o.Machines[i]},
			Storage:         ports[i].storage,
			Transport:       ports[i].transport,
			Bootstrap:       founders,
			ElectionTimeout: o.Election,
			Heartbeat:       o.Election / 10,
			Logger:          slog.New(slog.DiscardHandler),
		})
		if err != nil { // which has closed its own
			return nil, errors.Join(err, closePorts(ports[i+1:]))
		}
		c.nodes = append(c.nodes, node)
	}
	return c, waitForLeader(ctx, o.Election, func() bool {
		for _, n := range c.nodes {
			if n.Status().Role == "leader" {
				c.leader = n
				return true
			}
		}
		return false
	})
}

// raftPorts are what a node stands on. A node that was started closes them.
type raftPorts struct {
	storage   raft.Storage
	transport raft.Transport
}

// openPorts opens those of all servers, as far as it gets, and lists the servers with their addresses.
func (c *raftCluster) openPorts(o Options) (ports []raftPorts, founders []raft.Server, err error) {
	if o.Mode == memory {
		network := raft.NewNetwork(raft.NetworkConfig{})
		for i := range servers {
			id := raft.ServerID(fmt.Sprint(i))
			founders = append(founders, raft.Server{ID: id, Address: string(id)})
			ports = append(ports, raftPorts{raft.NewMemoryStorage(), network.Join(id)})
		}
		return ports, founders, nil
	}
	for i := range servers {
		id := fmt.Sprint(i)
		files := countingFiles{FS: vfs.OS, syncs: &c.syncs}
		log, err := wal.Open(filepath.Join(o.Dir, id), wal.Options{FS: files})
		if err != nil {
			return ports, nil, err
		}
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
		if err != nil {
			return ports, nil, errors.Join(err, log.Close())
		}
		ports = append(ports, raftPorts{log, transport})
		founders = append(founders, raft.Server{ID: raft.ServerID(id), Address: transport.Addr().String()})
	}
	c.counts = true
	return ports, founders, nil
}

// closePorts closes ports whose node was never started.
func closePorts(ports []raftPorts) error {
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.storage.Close(), p.transport.Close())
	}
	return errors.Join(errs...)
}

// countingFiles is a file system that counts the syncs of its files.
type countingFiles struct {
	vfs.FS
	syncs *atomic.Uint64
}

func (f countingFiles) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return countingFile{file, f.syncs}, err
}

func (f countingFiles) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return countingFile{file, f.syncs}, err
}

// countingFile is one of its files.
type countingFile struct {
	vfs.File
	syncs *atomic.Uint64
}

func (f countingFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

// raftCluster is three nodes.
type raftCluster struct {
	nodes  []*raft.Node
	leader *raft.Node
	syncs  atomic.Uint64
	counts bool // whether syncs counts
}

// errRaftResult says that a result isn't 8 bytes long.
var errRaftResult = errors.New("malformed result")

// Propose gives the command as it is: the library copies it.
func (c *raftCluster) Propose(ctx context.Context, _ int, command []byte) (uint64, error) {
	result, err := c.leader.Propose(ctx, command)
	if err != nil {
		return 0, err
	}
	if len(result) != 8 {
		return 0, errRaftResult
	}
	return binary.LittleEndian.Uint64(result), nil
}

func (c *raftCluster) Syncs() (uint64, bool) { return c.syncs.Load(), c.counts }

// raftClose bounds how long a node may take to stop.
const raftClose = 30 * time.Second

func (c *raftCluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), raftClose)
	defer cancel()
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Close(ctx))
	}
	return errors.Join(errs...)
}

// raftMachine applies batches to a machine. The results of a batch lie in one buffer, which the next
// batch uses again.
type raftMachine struct {
	machine *Machine
	results []byte
}

func (m *raftMachine) Apply(entries []raft.Entry, results [][]byte) {
	m.results = m.results[:0]
	for i := range entries {
		m.results = m.machine.AppendResult(m.results, entries[i].Data)
	}
	for i := range results {
		results[i] = m.results[8*i : 8*i+8]
	}
}

func (*raftMachine) Snapshot() (io.WriterTo, error) { return nil, errNoSnapshots }
func (*raftMachine) Restore(io.Reader) error        { return errNoSnapshots }
