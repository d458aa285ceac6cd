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

// etcdPeer is go.etcd.io/raft/v3 with etcd's write-ahead log. The library is a core alone: the
// goroutines, the log in memory, the waiters and the transport around it are written here, as well
// as we can.
type etcdPeer struct {
	name string
	// yields says whether a server's loop, once it is woken, first lets other goroutines run that
	// are ready. Clients that have just been answered then propose before the loop takes what has
	// gathered: batches grow several times, without a timer. A driver may do this; the library
	// doesn't. So one peer does it, which is faster by far, and one peer doesn't, which is closer
	// to what most users have.
	yields bool
}

// The peers on etcd's library differ in their driver.
var (
	etcdYielding = etcdPeer{name: "etcd", yields: true}
	etcdPlain    = etcdPeer{name: "etcd-plain"}
)

func (p etcdPeer) Name() string { return p.name }
func (etcdPeer) Modes() []Mode  { return []Mode{onDisk, inMemory} }

func (p etcdPeer) Settings(mode Mode) string {
	s := "etcd-io/raft v3.7.0, RawNode with AsyncStorageWrites, driven by one goroutine per server, which steps\n" +
		"everything that has gathered, proposals as one message, and hands writes and applies to goroutines of their own.\n" +
		"PreVote and CheckQuorum on, messages up to 1 MiB and 512 in flight (both as in etcd's server).\n" +
		fmt.Sprintf("The log in memory is compacted to %d entries every %d.\n", etcdKeepEntries, etcdCompactEvery)
	if p.yields {
		s += "The loop yields the processor once before it takes what has gathered: batches grow, which is faster by far.\n"
	} else {
		s += "The loop takes what has gathered as soon as it is woken.\n"
	}
	if mode == inMemory {
		return s + "MemoryStorage alone; messages are handed over as pointers, all messages of a turn at once."
	}
	return s + "WAL of etcd's server v3.7.3, segments of 64 MB; all writes that have gathered are saved and synced at once.\n" +
		"(Saves that sync are counted; the syncs of a new segment aren't.)\n" +
		"TCP with one connection per direction; messages in protobuf, all that have gathered in one write."
}

const (
	// etcdTicks is the election timeout in ticks; a heartbeat is sent at each tick.
	etcdTicks = 10
	// etcdMessageSize and etcdInFlight are the values of etcd's server.
	etcdMessageSize = 1 << 20
	etcdInFlight    = 512
	// etcdApplySize bounds the committed entries that are being applied. Applying is quick here.
	etcdApplySize = 64 << 20
	// etcdCompactEvery and etcdKeepEntries bound the log in memory.
	etcdCompactEvery = 50_000
	etcdKeepEntries  = 10_000
)

// Lacks says that the peer has no snapshots. They are the business of the driver, so a measurement
// of them would be one of our own code.
func (etcdPeer) Lacks(a Ability) string {
	switch a {
	case snapshots:
		return "the library neither takes nor sends snapshots: that is the business of its driver"
	case hosting:
		return "the library has no servers of many groups: that is the business of its driver, and the one here has one group"
	}
	return ""
}

// New returns a cluster. In mode memory, the servers find each other in it.
func (p etcdPeer) New(o Options) (Cluster, error) { return &etcdCluster{peer: p, options: o}, nil }

// etcdCluster is what the servers share.
type etcdCluster struct {
	peer    etcdPeer
	options Options
	nodes   []*etcdNode // the servers that were started
}

// Start starts a server. Its log begins after a first snapshot that names all members.
func (c *etcdCluster) Start(i int) (_ Server, err error) {
	n, err := newEtcdNode(uint64(i+1), c.options)
	if err != nil {
		return nil, err
	}
	n.yields = c.peer.yields
	if c.options.Mode == inMemory {
		for _, other := range c.nodes {
			n.link(other.id, etcdMemoryLink{other.inbox})
			other.link(n.id, etcdMemoryLink{n.inbox})
		}
	} else if err := n.connect(c.options.Addresses); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	c.nodes = append(c.nodes, n)
	n.start(c.options.Election / etcdTicks)
	return n, nil
}

// newEtcdNode creates a server that doesn't run yet. If it has files already, it begins with what
// they hold.
func newEtcdNode(id uint64, o Options) (*etcdNode, error) {
	n := &etcdNode{
		id:      id,
		machine: o.Machines[id-1],
		stall:   o.stall(int(id - 1)),
		storage: eraft.NewMemoryStorage(),
		inbox:   newEtcdInbox(),
		appends: newQueue[*pb.Message](),
		applies: newQueue[etcdApply](),
		links:   make([]atomic.Pointer[etcdLink], o.servers()),
		waiters: make([]etcdWaiter, o.Clients),
		sole:    o.servers() == 1,
		stop:    make(chan struct{}),
		failed:  make(chan struct{}),
	}
	for i := range n.waiters {
		n.waiters[i].answer = make(chan etcdAnswer, 1)
	}
	members := &pb.ConfState{}
	for i := range o.servers() {
		members.Voters = append(members.Voters, uint64(i+1))
	}
	first, term := uint64(1), uint64(1)
	snapshot := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: members, Index: &first, Term: &term}}
	n.saved = &pb.HardState{Term: &term, Vote: new(uint64(0)), Commit: &first}
	var entries []*pb.Entry
	var err error
	if o.Mode == onDisk {
		entries, err = n.openWAL(filepath.Join(o.Dir, fmt.Sprint(id)), &walpb.Snapshot{Index: &first, Term: &term, ConfState: members})
	}
	if err == nil {
		err = n.storage.ApplySnapshot(snapshot)
	}
	if err == nil {
		err = n.storage.SetHardState(n.saved)
	}
	if err == nil {
		err = n.storage.Append(entries)
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

// openWAL creates the log with its first records, or opens the log that is there and returns its
// entries.
func (n *etcdNode) openWAL(dir string, first *walpb.Snapshot) (entries []*pb.Entry, err error) {
	if wal.Exist(dir) {
		if n.wal, err = wal.Open(nil, dir, first); err != nil {
			return nil, err
		}
		_, state, entries, err := n.wal.ReadAll()
		if state != nil && state.GetTerm() > 0 {
			n.saved = state
		}
		return entries, err
	}
	if n.wal, err = wal.Create(nil, dir, nil); err != nil {
		return nil, err
	}
	if err := n.wal.SaveSnapshot(first); err != nil {
		return nil, err
	}
	return nil, n.wal.Save(n.saved, nil)
}

func (c *etcdCluster) Syncs() (uint64, bool) {
	var total uint64
	for _, n := range c.nodes {
		total += n.syncs.Load()
	}
	return total, c.options.Mode == onDisk
}

func (c *etcdCluster) Close() error { return nil }

// An etcdWaiter is the place at which a client waits for its answer.
type etcdWaiter struct {
	number atomic.Uint64 // the number of the request whose answer the client waits for
	answer chan etcdAnswer
	_      [48]byte // waiters share no cache line
}

// An etcdAnswer ends the wait of a client.
type etcdAnswer struct {
	result uint64
	err    error
}

// The data of an entry are an 8-byte tag and the command. The tag names the server (8 bits), the
// client at this server (16 bits) and the client's request (the low 40 bits of its number).
const (
	etcdTag         = 8
	etcdNumberBits  = 40
	etcdNumberMask  = 1<<etcdNumberBits - 1
	etcdServerShift = 56
)

// errNotLeading says that the server doesn't lead, or doesn't lead any more.
var errNotLeading = errors.New("the server doesn't lead")

func (n *etcdNode) Leads() bool { return n.leading.Load() != nil }

// Propose copies the command behind its tag, hands it to the loop, and waits for the answer.
func (n *etcdNode) Propose(ctx context.Context, client int, command []byte) (uint64, error) {
	w := &n.waiters[client]
	number := w.begin()
	data := make([]byte, etcdTag, etcdTag+len(command))
	binary.LittleEndian.PutUint64(data, n.id<<etcdServerShift|uint64(client)<<etcdNumberBits|number&etcdNumberMask)
	return n.await(ctx, w, func() { n.inbox.propose(append(data, command...)) })
}

// Read waits for a round of the library's read index protocol that began after the call.
func (n *etcdNode) Read(ctx context.Context, client int) error {
	w := &n.waiters[client]
	number := w.begin()
	_, err := n.await(ctx, w, func() { n.inbox.read(etcdRead{client: client, number: number}) })
	return err
}

// await hands a request to the loop if this server leads, and waits for the answer. It gives up
// when the server stops leading.
func (n *etcdNode) await(ctx context.Context, w *etcdWaiter, request func()) (uint64, error) {
	leading := n.leading.Load()
	if leading == nil {
		return 0, errNotLeading
	}
	request()
	select {
	case a := <-w.answer:
		return a.result, a.err
	case <-*leading:
		return 0, errNotLeading
	case <-n.failed:
		return 0, n.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// begin begins a wait. It drops an answer that came after the client had given up an earlier wait.
func (w *etcdWaiter) begin() uint64 {
	number := w.number.Add(1)
	select {
	case <-w.answer:
	default:
	}
	return number
}

// errEtcdSnapshot says that the driver takes no snapshots.
var errEtcdSnapshot = errors.New("the driver of etcd/raft here takes no snapshots")

// Snapshot fails: the driver takes no snapshots.
func (n *etcdNode) Snapshot(context.Context) error { return errEtcdSnapshot }

// HandOver asks for another leader and waits until there is one, as etcd's server does before it
// stops.
func (n *etcdNode) HandOver(ctx context.Context) error {
	n.inbox.handOver()
	return poll(ctx, func() bool {
		leader := n.leader.Load()
		return leader != 0 && leader != n.id
	})
}
