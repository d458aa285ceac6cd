package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"sync/atomic"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	eraft "go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// etcdPeer is go.etcd.io/raft/v3 with etcd's write-ahead log. The library is a core: the goroutines, the log in
// memory, the waiters and the transport around it are written here, as well as we can.
type etcdPeer struct {
	name string
	// yields says whether a server's loop, once woken, first lets run who is ready to run. Clients that have
	// just been answered then propose before it takes what has gathered, and batches grow several
	// times, without a timer. It is what a driver may do, not what the library does; so there is one
	// peer with it, the faster by far, and one without, which is closer to what most users have.
	yields bool
}

// The peers on etcd's library differ in their driver.
var (
	etcdYielding = etcdPeer{name: "etcd", yields: true}
	etcdPlain    = etcdPeer{name: "etcd-plain"}
)

func (p etcdPeer) Name() string { return p.name }
func (etcdPeer) Modes() []Mode  { return []Mode{disk, memory} }

func (p etcdPeer) Settings(mode Mode) string {
	s := "etcd-io/raft v3.7.0, RawNode with AsyncStorageWrites, driven by one goroutine per server that steps\n" +
		"all that has gathered, proposals as one message, and hands writes and applies to goroutines of their own.\n" +
		"PreVote and CheckQuorum on, messages up to 1 MiB and 512 in flight (both as in etcd's server).\n" +
		fmt.Sprintf("The log in memory is compacted to %d entries every %d.\n", etcdKeepEntries, etcdCompactEvery)
	if p.yields {
		s += "The loop yields the processor once before it takes what has gathered: batches grow, faster by far.\n"
	} else {
		s += "The loop takes what has gathered as soon as it is woken.\n"
	}
	if mode == memory {
		return s + "MemoryStorage alone; messages are handed over as pointers, all of a turn at once."
	}
	return s + "WAL of etcd's server v3.7.3, segments of 64 MB: all writes that have gathered are saved and synced at once.\n" +
		"(Counted are the saves that sync, not what a new segment costs.)\n" +
		"TCP with one connection per direction, all that has gathered in one write, messages in protobuf."
}

const (
	// etcdTicks is the election timeout in ticks; a heartbeat is sent at each tick.
	etcdTicks = 10
	// etcdMessageSize and etcdInFlight are those of etcd's server.
	etcdMessageSize = 1 << 20
	etcdInFlight    = 512
	// etcdApplySize bounds the committed entries that are being applied. Applying is quick here.
	etcdApplySize = 64 << 20
	// etcdCompactEvery and etcdKeepEntries bound the log in memory.
	etcdCompactEvery = 50_000
	etcdKeepEntries  = 10_000
)

// Start starts three servers, whose logs begin after a first snapshot that names them all.
func (p etcdPeer) Start(ctx context.Context, o Options) (_ Cluster, err error) {
	c := &etcdCluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for i := range servers {
		n, err := newEtcdNode(uint64(i+1), o)
		if err != nil {
			return nil, err
		}
		n.yields = p.yields
		c.nodes = append(c.nodes, n)
	}
	if o.Mode == memory {
		connectEtcdInMemory(c.nodes)
	} else if err := connectEtcdOverTCP(c.nodes); err != nil {
		return nil, err
	}
	for _, n := range c.nodes {
		n.start(o.Election / etcdTicks)
	}
	return c, waitForLeader(ctx, o.Election, func() bool {
		for _, n := range c.nodes {
			if n.leads.Load() {
				c.leader = n
				return true
			}
		}
		return false
	})
}

// newEtcdNode creates a server that doesn't run yet.
func newEtcdNode(id uint64, o Options) (*etcdNode, error) {
	n := &etcdNode{
		id:      id,
		machine: o.Machines[id-1],
		storage: eraft.NewMemoryStorage(),
		inbox:   newEtcdInbox(),
		appends: newQueue[*pb.Message](),
		applies: newQueue[*pb.Message](),
		waiters: make([]etcdWaiter, o.Clients),
		stop:    make(chan struct{}),
		failed:  make(chan struct{}),
	}
	for i := range n.waiters {
		n.waiters[i].answer = make(chan etcdAnswer, 1)
	}
	members := &pb.ConfState{}
	for i := range servers {
		members.Voters = append(members.Voters, uint64(i+1))
	}
	first, term := uint64(1), uint64(1)
	snapshot := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: members, Index: &first, Term: &term}}
	state := &pb.HardState{Term: &term, Vote: new(uint64(0)), Commit: &first}
	if o.Mode == disk {
		var err error
		if n.wal, err = wal.Create(nil, filepath.Join(o.Dir, fmt.Sprint(id)), nil); err != nil {
			return nil, err
		}
		if err := n.wal.SaveSnapshot(&walpb.Snapshot{Index: &first, Term: &term, ConfState: members}); err != nil {
			return nil, errors.Join(err, n.wal.Close())
		}
		if err := n.wal.Save(state, nil); err != nil {
			return nil, errors.Join(err, n.wal.Close())
		}
		n.saved = state
	}
	err := n.storage.ApplySnapshot(snapshot)
	if err == nil {
		err = n.storage.SetHardState(state)
	}
	if err == nil {
		n.raw, err = eraft.NewRawNode(&eraft.Config{
			ID:                        id,
			ElectionTick:              etcdTicks,
			HeartbeatTick:             1,
			Storage:                   n.storage,
			Applied:                   first,
			AsyncStorageWrites:        true,
			MaxSizePerMsg:             etcdMessageSize,
			MaxCommittedSizePerReady:  etcdApplySize,
			MaxInflightMsgs:           etcdInFlight,
			CheckQuorum:               true,
			PreVote:                   true,
			DisableProposalForwarding: true,
			Logger:                    &eraft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		})
	}
	if err != nil && n.wal != nil {
		err = errors.Join(err, n.wal.Close())
	}
	return n, err
}

// etcdCluster is three servers.
type etcdCluster struct {
	nodes  []*etcdNode
	leader *etcdNode
}

// An etcdWaiter is where a client waits.
type etcdWaiter struct {
	number atomic.Uint64 // of the command that it waits for
	answer chan etcdAnswer
	_      [48]byte // waiters share no cache line
}

// An etcdAnswer ends a wait.
type etcdAnswer struct {
	result uint64
	err    error
}

// An entry's data is an 8-byte tag and the command. The tag names the server (8 bits), the client at it (16) and the
// number of the client's command (40).
const (
	etcdTag         = 8
	etcdNumberBits  = 40
	etcdNumberMask  = 1<<etcdNumberBits - 1
	etcdServerShift = 56
)

// errNotLeading says that the leader has lost its leadership, or failed.
var errNotLeading = errors.New("the leader leads no more")

// Propose copies the command behind its tag and waits for the answer.
func (c *etcdCluster) Propose(ctx context.Context, client int, command []byte) (uint64, error) {
	n := c.leader
	w := &n.waiters[client]
	number := w.number.Add(1)
	data := make([]byte, etcdTag, etcdTag+len(command))
	binary.LittleEndian.PutUint64(data, n.id<<etcdServerShift|uint64(client)<<etcdNumberBits|number&etcdNumberMask)
	n.inbox.propose(append(data, command...))
	select {
	case a := <-w.answer:
		return a.result, a.err
	case <-n.failed:
		return 0, errors.Join(errNotLeading, n.err)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (c *etcdCluster) Syncs() (uint64, bool) {
	var total uint64
	for _, n := range c.nodes {
		total += n.syncs.Load()
	}
	return total, c.nodes[0].wal != nil
}

func (c *etcdCluster) Close() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.close())
	}
	return errors.Join(errs...)
}
