package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/e17579a5/raft"
)

// raftPeer is this library.
type raftPeer struct{}

func (raftPeer) Name() string  { return "raft" }
func (raftPeer) Modes() []Mode { return []Mode{memory} }

func (raftPeer) Settings(mode Mode) string {
	s := "This library in default settings; only the election timeout is that of everybody here.\n"
	if mode == memory {
		return s + "MemoryStorage and Network without faults."
	}
	return s
}

// Start starts three nodes.
func (raftPeer) Start(ctx context.Context, o Options) (_ Cluster, err error) {
	c := &raftCluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	network := raft.NewNetwork(raft.NetworkConfig{})
	var founders []raft.Server
	for i := range servers {
		founders = append(founders, raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: fmt.Sprint(i)})
	}
	for i := range servers {
		node, err := raft.Start(raft.Config{
			ID:              founders[i].ID,
			Machine:         &raftMachine{machine: o.Machines[i]},
			Storage:         raft.NewMemoryStorage(),
			Transport:       network.Join(founders[i].ID),
			Bootstrap:       founders,
			ElectionTimeout: o.Election,
			Heartbeat:       o.Election / 10,
			Logger:          slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
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

// raftCluster is three nodes.
type raftCluster struct {
	nodes  []*raft.Node
	leader *raft.Node
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

func (c *raftCluster) Syncs() (uint64, bool) { return 0, false }

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
