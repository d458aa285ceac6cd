package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	hraft "github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"go.etcd.io/bbolt"
)

// The peers on hashicorp/raft differ in where they keep the log.
var (
	hashicorpBolt = hashicorpPeer{
		name: "hashicorp-boltdb", modes: []Mode{onDisk}, open: openBolt, syncsPerStore: 2,
		store: "raft-boltdb/v2 v2.3.1 for log and stable store, freelist neither synced nor an array\n" +
			"(as HashiCorp's own products set it), 1 GiB mapped at once, so that nothing is remapped when the file grows.\n" +
			"A write is a transaction of bbolt, and counts as two syncs: one of the pages, one of the meta page.",
	}
	hashicorpWAL = hashicorpPeer{
		name: "hashicorp-wal", modes: []Mode{onDisk}, open: openWAL, syncsPerStore: 1,
		store: "raft-wal v0.4.2 for log and stable store, default segments of 64 MiB.\n" +
			"A write is an append, and counts as one sync.",
	}
	hashicorpMemory = hashicorpPeer{
		name: "hashicorp-memory", modes: []Mode{inMemory}, open: openMemory,
		store: "InmemStore for log and stable store, InmemTransport.",
	}
)

// hashicorpAppendEntries is how many entries a batch may have. The default of 64 halves the
// throughput from some hundred clients on; a single client sees no difference.
const hashicorpAppendEntries = 1024

// hashicorpPeer is github.com/hashicorp/raft.
type hashicorpPeer struct {
	name          string
	modes         []Mode
	store         string // what Settings says of the store
	open          func(dir string) (hashicorpStore, error)
	syncsPerStore uint64
}

// hashicorpStore is the interface that all of these stores have.
type hashicorpStore interface {
	hraft.LogStore
	hraft.StableStore
}

func (p hashicorpPeer) Name() string  { return p.name }
func (p hashicorpPeer) Modes() []Mode { return p.modes }

func (p hashicorpPeer) Settings(Mode) string {
	return "hashicorp/raft v1.7.3 with " + p.store + "\n" +
		fmt.Sprintf("MaxAppendEntries %d instead of 64, and BatchApplyCh: larger batches, faster with many clients.\n", hashicorpAppendEntries) +
		"LogCache above the store, as HashiCorp's products have it, large enough for all entries in flight.\n" +
		"NetworkTransport over TCP with the default of 2 requests in flight, which its authors recommend.\n" +
		"A BatchingFSM, Apply without a timeout (and so without a timer), no log output. Snapshots are taken when a cell asks\n" +
		fmt.Sprintf("for them, into a FileSnapshotStore of two; TrailingLogs is then %d instead of 10240: a follower soon needs a snapshot.", snapshotKeeps)
}

func openBolt(dir string) (hashicorpStore, error) {
	return boltdb.New(boltdb.Options{
		Path: filepath.Join(dir, "raft.db"),
		BoltOptions: &bbolt.Options{
			NoFreelistSync:  true,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: 1 << 30,
		},
	})
}

func openWAL(dir string) (hashicorpStore, error) {
	return wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()))
}

func openMemory(string) (hashicorpStore, error) { return hraft.NewInmemStore(), nil }

func (hashicorpPeer) Lacks(a Ability) string {
	if a == hosting {
		return "the library has no servers of many groups: each would be a server with a port, files and goroutines of its own"
	}
	return ""
}

// New returns a cluster. In mode memory it also makes the transports, which must be linked before
// any server starts.
func (p hashicorpPeer) New(o Options) (Cluster, error) {
	c := &hashicorpCluster{peer: p, options: o}
	for i := range o.servers() {
		var address hraft.ServerAddress
		if o.Mode == inMemory {
			_, t := hraft.NewInmemTransport("")
			c.inMemory = append(c.inMemory, t)
			address = t.LocalAddr()
		} else {
			address = hraft.ServerAddress(o.Addresses[i])
		}
		c.configuration.Servers = append(c.configuration.Servers, hraft.Server{ID: hraft.ServerID(fmt.Sprint(i)), Address: address})
	}
	for _, from := range c.inMemory {
		for _, to := range c.inMemory {
			if from != to {
				from.Connect(to.LocalAddr(), to)
			}
		}
	}
	return c, nil
}

// hashicorpCluster is what the servers share.
type hashicorpCluster struct {
	peer          hashicorpPeer
	options       Options
	configuration hraft.Configuration // the first configuration
	inMemory      []*hraft.InmemTransport
	stored        atomic.Uint64
}

// Start starts a server. A server without state is given the first configuration.
func (c *hashicorpCluster) Start(i int) (_ Server, err error) {
	s := &hashicorpServer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.open(c, i); err != nil {
		return nil, err
	}
	config := hraft.DefaultConfig()
	config.LocalID = c.configuration.Servers[i].ID
	config.Logger = hclog.NewNullLogger()
	config.HeartbeatTimeout = c.options.Election
	config.ElectionTimeout = c.options.Election
	config.LeaderLeaseTimeout = c.options.Election / 2
	config.MaxAppendEntries = hashicorpAppendEntries
	config.BatchApplyCh = true
	config.SnapshotThreshold = 1 << 40
	config.NoLegacyTelemetry = true

	store := &countingStore{hashicorpStore: s.store, stored: &c.stored, stall: c.options.stall(i), compacts: c.options.Snapshots}
	logs, err := hraft.NewLogCache(16*hashicorpAppendEntries, store)
	if err != nil {
		return nil, err
	}
	var snapshots hraft.SnapshotStore = hraft.NewDiscardSnapshotStore()
	if c.options.Snapshots {
		config.TrailingLogs = snapshotKeeps
		if snapshots, err = hraft.NewFileSnapshotStoreWithLogger(c.directory(i), 2, hclog.NewNullLogger()); err != nil {
			return nil, err
		}
	}
	started, err := hraft.HasExistingState(logs, s.store, snapshots)
	if err == nil && !started {
		err = hraft.BootstrapCluster(config, logs, s.store, snapshots, s.transport, c.configuration)
	}
	if err != nil {
		return nil, err
	}
	s.raft, err = hraft.NewRaft(config, hashicorpFSM{c.options.Machines[i]}, logs, &s.stable, snapshots, s.transport)
	return s, err
}

func (c *hashicorpCluster) Syncs() (uint64, bool) {
	return c.stored.Load() * c.peer.syncsPerStore, c.peer.syncsPerStore > 0
}

func (c *hashicorpCluster) Close() error { return nil }

// hashicorpServer is a server with its store and transport.
type hashicorpServer struct {
	raft      *hraft.Raft
	store     hashicorpStore
	stable    stableStore // the store, as the library sees it
	transport hraft.Transport
}

// directory returns the directory in which a server has its files.
func (c *hashicorpCluster) directory(i int) string {
	return filepath.Join(c.options.Dir, fmt.Sprint(i))
}

// open opens the store and the transport of a server. After an error, s has what was opened before.
func (s *hashicorpServer) open(c *hashicorpCluster, i int) (err error) {
	dir := c.directory(i)
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.store, err = c.peer.open(dir); err != nil {
		return err
	}
	s.stable.StableStore = s.store
	if c.options.Mode == inMemory {
		s.transport = c.inMemory[i]
		return nil
	}
	s.transport, err = hraft.NewTCPTransportWithConfig(c.options.Addresses[i], nil, &hraft.NetworkTransportConfig{
		Logger: hclog.NewNullLogger(), MaxPool: 3, Timeout: 10 * time.Second,
	})
	return err
}

func (s *hashicorpServer) Leads() bool { return s.raft.State() == hraft.Leader }

// Propose gives the library a copy, since the library keeps the command.
func (s *hashicorpServer) Propose(_ context.Context, _ int, command []byte) (uint64, error) {
	future := s.raft.Apply(append([]byte(nil), command...), 0)
	if err := future.Error(); err != nil {
		return 0, err
	}
	result, ok := future.Response().(uint64)
	if !ok {
		return 0, fmt.Errorf("response %v is not the result of a command", future.Response())
	}
	return result, nil
}

// Read verifies the leadership. This leader has applied everything that it has answered, and it
// applied everything that its predecessors had answered before it applied its own first command. So
// its state machine is then at least as new as the call.
func (s *hashicorpServer) Read(context.Context, int) error { return s.raft.VerifyLeader().Error() }

func (s *hashicorpServer) Snapshot(context.Context) error {
	if err := s.raft.Snapshot().Error(); !errors.Is(err, hraft.ErrNothingNewToSnapshot) {
		return err
	}
	return nil
}

func (s *hashicorpServer) HandOver(context.Context) error { return s.raft.LeadershipTransfer().Error() }

func (s *hashicorpServer) Close() error {
	var errs []error
	if s.raft != nil {
		errs = append(errs, s.raft.Shutdown().Error())
	}
	if t, ok := s.transport.(hraft.WithClose); ok {
		errs = append(errs, t.Close())
	}
	s.stable.end()
	if c, ok := s.store.(interface{ Close() error }); ok {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// stableStore is a store of terms and votes that may end. The library's Shutdown doesn't wait for
// the connection on which a heartbeat has just come in. The heartbeat may be the first one of a new
// leader, whose term is then written; and the library panics when that fails. After the end whoever
// writes ends as well, as in a process that is gone: the heartbeat is answered by nobody, or with a
// refusal.
type stableStore struct {
	hraft.StableStore
	mu    sync.RWMutex // held by all who write
	ended bool
}

func (s *stableStore) Set(key, value []byte) error {
	s.begin()
	defer s.mu.RUnlock()
	return s.StableStore.Set(key, value)
}

func (s *stableStore) SetUint64(key []byte, value uint64) error {
	s.begin()
	defer s.mu.RUnlock()
	return s.StableStore.SetUint64(key, value)
}

// begin begins a write, or ends the goroutine.
func (s *stableStore) begin() {
	s.mu.RLock()
	if s.ended {
		s.mu.RUnlock()
		runtime.Goexit()
	}
}

// end waits for the writes that have begun, and lets no other begin.
func (s *stableStore) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// countingStore counts the writes of a store, and may hold them up. Each write ends with a sync.
type countingStore struct {
	hashicorpStore
	stored *atomic.Uint64
	stall  *stall
	// compacts says that the run takes snapshots, after which entries are deleted.
	compacts bool
}

func (s *countingStore) StoreLogs(logs []*hraft.Log) error {
	s.stored.Add(1)
	s.stall.hold()
	return s.hashicorpStore.StoreLogs(logs)
}

// GetLog returns no entry that was deleted. raft-wal itself still returns it as long as it is in
// the last segment; a follower that needs it would then never be sent a snapshot.
func (s *countingStore) GetLog(index uint64, log *hraft.Log) error {
	if s.compacts {
		if first, err := s.FirstIndex(); err != nil || index < first {
			return cmp.Or(err, hraft.ErrLogNotFound) // not wrapped: the library compares it with ==
		}
	}
	return s.hashicorpStore.GetLog(index, log)
}

// IsMonotonic passes on whether the store wants its entries without gaps. The library asks this by
// a type assertion, which an embedded interface doesn't answer.
func (s *countingStore) IsMonotonic() bool {
	m, ok := s.hashicorpStore.(hraft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// hashicorpFSM applies commands, one at a time or in batches, to a machine.
type hashicorpFSM struct{ machine *Machine }

func (f hashicorpFSM) Apply(l *hraft.Log) any { return f.machine.Apply(l.Data) }

func (f hashicorpFSM) ApplyBatch(logs []*hraft.Log) []any {
	results := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == hraft.LogCommand {
			results[i] = f.machine.Apply(l.Data)
		}
	}
	return results
}

func (f hashicorpFSM) Snapshot() (hraft.FSMSnapshot, error) {
	return hashicorpSnapshot{f.machine.capture()}, nil
}

func (f hashicorpFSM) Restore(snapshot io.ReadCloser) error {
	return errors.Join(f.machine.restore(snapshot), snapshot.Close())
}

// hashicorpSnapshot is the captured state of a machine, to be written.
type hashicorpSnapshot struct{ state *machineState }

func (s hashicorpSnapshot) Persist(sink hraft.SnapshotSink) error {
	_, err := s.state.WriteTo(sink)
	return err // the library closes the sink, or cancels it
}

func (hashicorpSnapshot) Release() {}
