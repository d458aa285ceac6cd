package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
		name: "hashicorp-boltdb", modes: []Mode{disk}, open: openBolt, syncsPerStore: 2,
		store: "raft-boltdb/v2 v2.3.1 for log and stable store, freelist neither synced nor an array\n" +
			"(what HashiCorp's own products set), 1 GiB mapped at once so that growth remaps nothing.\n" +
			"A write is a transaction of bbolt and counts as its two syncs, of the pages and of the meta page.",
	}
	hashicorpWAL = hashicorpPeer{
		name: "hashicorp-wal", modes: []Mode{disk}, open: openWAL, syncsPerStore: 1,
		store: "raft-wal v0.4.2 for log and stable store, default segments of 64 MiB.\n" +
			"A write is an append and counts as its one sync.",
	}
	hashicorpMemory = hashicorpPeer{
		name: "hashicorp-memory", modes: []Mode{memory}, open: openMemory,
		store: "InmemStore for log and stable store, InmemTransport.",
	}
)

// hashicorpAppendEntries is how many entries a batch may have. The default, 64, costs half of
// the throughput from some hundred clients on; one client doesn't notice.
const hashicorpAppendEntries = 1024

// hashicorpPeer is github.com/hashicorp/raft.
type hashicorpPeer struct {
	name          string
	modes         []Mode
	store         string // about its store
	open          func(dir string) (hashicorpStore, error)
	syncsPerStore uint64
}

// hashicorpStore is what the stores have in common.
type hashicorpStore interface {
	hraft.LogStore
	hraft.StableStore
}

func (p hashicorpPeer) Name() string  { return p.name }
func (p hashicorpPeer) Modes() []Mode { return p.modes }

func (p hashicorpPeer) Settings(Mode) string {
	return "hashicorp/raft v1.7.3 with " + p.store + "\n" +
		fmt.Sprintf("MaxAppendEntries %d instead of 64, and BatchApplyCh: larger batches, faster with many clients.\n", hashicorpAppendEntries) +
		"LogCache above the store, as HashiCorp's products have it, large enough for what is in flight.\n" +
		"NetworkTransport over TCP with the default of 2 requests in flight, which its authors recommend.\n" +
		"A BatchingFSM, Apply without a timeout (no timer), snapshots off during the run, no log output."
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

// Start starts three servers, and gives the same configuration to each.
func (p hashicorpPeer) Start(ctx context.Context, o Options) (_ Cluster, err error) {
	c := &hashicorpCluster{syncsPerStore: p.syncsPerStore}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	transports, configuration, err := hashicorpTransports(o.Mode)
	c.transports = transports
	if err != nil {
		return nil, err
	}
	for i := range servers {
		dir := filepath.Join(o.Dir, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		store, err := p.open(dir)
		if err != nil {
			return nil, err
		}
		c.stores = append(c.stores, store)
		if err := c.startServer(i, o, configuration); err != nil {
			return nil, err
		}
	}
	return c, waitForLeader(ctx, o.Election, func() bool {
		for _, r := range c.servers {
			if r.State() == hraft.Leader {
				c.leader = r
				return true
			}
		}
		return false
	})
}

// hashicorpTransports returns a transport for each server and the configuration with their addresses.
func hashicorpTransports(mode Mode) (transports []hraft.Transport, configuration hraft.Configuration, err error) {
	var inMemory []*hraft.InmemTransport
	for i := range servers {
		var transport hraft.Transport
		if mode == memory {
			_, t := hraft.NewInmemTransport("")
			inMemory = append(inMemory, t)
			transport = t
		} else {
			t, err := hraft.NewTCPTransportWithConfig("127.0.0.1:0", nil, &hraft.NetworkTransportConfig{
				Logger: hclog.NewNullLogger(), MaxPool: 3, Timeout: 10 * time.Second,
			})
			if err != nil {
				return transports, configuration, err
			}
			transport = t
		}
		transports = append(transports, transport)
		configuration.Servers = append(configuration.Servers, hraft.Server{
			ID: hraft.ServerID(fmt.Sprint(i)), Address: transport.LocalAddr(),
		})
	}
	for _, from := range inMemory {
		for _, to := range inMemory {
			if from != to {
				from.Connect(to.LocalAddr(), to)
			}
		}
	}
	return transports, configuration, nil
}

// hashicorpCluster is three servers.
type hashicorpCluster struct {
	transports    []hraft.Transport
	stores        []hashicorpStore
	servers       []*hraft.Raft
	leader        *hraft.Raft
	stored        atomic.Uint64
	syncsPerStore uint64
}

// startServer starts server i on its store and transport.
func (c *hashicorpCluster) startServer(i int, o Options, configuration hraft.Configuration) error {
	config := hraft.DefaultConfig()
	config.LocalID = configuration.Servers[i].ID
	config.Logger = hclog.NewNullLogger()
	config.HeartbeatTimeout = o.Election
	config.ElectionTimeout = o.Election
	config.LeaderLeaseTimeout = o.Election / 2
	config.MaxAppendEntries = hashicorpAppendEntries
	config.BatchApplyCh = true
	config.SnapshotThreshold = 1 << 40
	config.NoLegacyTelemetry = true

	logs, err := hraft.NewLogCache(16*hashicorpAppendEntries, &countingStore{hashicorpStore: c.stores[i], stored: &c.stored})
	if err != nil {
		return err
	}
	snapshots := hraft.NewDiscardSnapshotStore()
	if err := hraft.BootstrapCluster(config, logs, c.stores[i], snapshots, c.transports[i], configuration); err != nil {
		return err
	}
	r, err := hraft.NewRaft(config, hashicorpFSM{o.Machines[i]}, logs, c.stores[i], snapshots, c.transports[i])
	if err != nil {
		return err
	}
	c.servers = append(c.servers, r)
	return nil
}

// Propose gives the library a copy, since it keeps the command.
func (c *hashicorpCluster) Propose(_ context.Context, _ int, command []byte) (uint64, error) {
	future := c.leader.Apply(append([]byte(nil), command...), 0)
	if err := future.Error(); err != nil {
		return 0, err
	}
	result, ok := future.Response().(uint64)
	if !ok {
		return 0, fmt.Errorf("response %v is no result", future.Response())
	}
	return result, nil
}

func (c *hashicorpCluster) Syncs() (uint64, bool) {
	return c.stored.Load() * c.syncsPerStore, c.syncsPerStore > 0
}

func (c *hashicorpCluster) Close() error {
	var errs []error
	var shutdowns []hraft.Future
	for _, r := range c.servers {
		shutdowns = append(shutdowns, r.Shutdown())
	}
	for _, s := range shutdowns {
		errs = append(errs, s.Error())
	}
	for _, t := range c.transports {
		if t, ok := t.(hraft.WithClose); ok {
			errs = append(errs, t.Close())
		}
	}
	for _, s := range c.stores {
		if s, ok := s.(interface{ Close() error }); ok {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// countingStore counts the writes of a store.
type countingStore struct {
	hashicorpStore
	stored *atomic.Uint64
}

func (s *countingStore) StoreLogs(logs []*hraft.Log) error {
	s.stored.Add(1)
	return s.hashicorpStore.StoreLogs(logs)
}

// IsMonotonic passes on whether the store wants its entries without gaps, which the library asks by a
// type assertion.
func (s *countingStore) IsMonotonic() bool {
	m, ok := s.hashicorpStore.(hraft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// hashicorpFSM applies batches to a machine.
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

// errNoSnapshots says that a server was asked for a snapshot, which no run does.
var errNoSnapshots = errors.New("runs take no snapshots")

func (hashicorpFSM) Snapshot() (hraft.FSMSnapshot, error) { return nil, errNoSnapshots }
func (hashicorpFSM) Restore(snapshot io.ReadCloser) error {
	return errors.Join(errNoSnapshots, snapshot.Close())
}
