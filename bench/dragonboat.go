package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	dclient "github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	transport "github.com/lni/dragonboat/v4/plugin/chan"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/lni/vfs"
)

// dragonboatPeer is github.com/lni/dragonboat, as one shard per host.
type dragonboatPeer struct {
	name  string
	modes []Mode
	store string
	logs  config.LogDBFactory // nil for the default, pebble
}

// The peers on dragonboat differ in where they keep the log.
var (
	dragonboatPebble = dragonboatPeer{name: "dragonboat", modes: []Mode{disk, memory}, store: "pebble, the default"}
	dragonboatTan    = dragonboatPeer{name: "dragonboat-tan", modes: []Mode{disk}, store: "tan, its own", logs: tan.Factory}
)

func (p dragonboatPeer) Name() string  { return p.name }
func (p dragonboatPeer) Modes() []Mode { return p.modes }

func (p dragonboatPeer) Settings(mode Mode) string {
	s := "dragonboat v4.0.0-20240618143154-6a1623140f27 with the log in " + p.store + ", in default settings.\n" +
		"One shard per host, PreVote and CheckQuorum on, a concurrent state machine, which is given batches,\n" +
		"a session without deduplication (as everywhere here), no snapshots, no log output.\n" +
		"What it syncs can't be counted from outside."
	if mode == memory {
		return s + "\nThe log on a file system in memory (it has no other log in memory), its channel transport."
	}
	return s
}

const (
	dragonboatShard = 1
	dragonboatTicks = 10 // the election timeout in round trips, its unit; a heartbeat every one
	// dragonboatTimeout is what a proposal must be given; it is never reached.
	dragonboatTimeout = time.Minute
	// dragonboatClose bounds how long a host may take to stop.
	dragonboatClose = 30 * time.Second
)

// Start starts three hosts.
func (p dragonboatPeer) Start(ctx context.Context, o Options) (_ Cluster, err error) {
	c := &dragonboatCluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	members, err := dragonboatMembers(o.Mode)
	if err != nil {
		return nil, err
	}
	for id := uint64(1); id <= servers; id++ {
		if err := c.startHost(id, p, o, members); err != nil {
			return nil, err
		}
	}
	return c, waitForLeader(ctx, o.Election, func() bool {
		for _, h := range c.hosts {
			leader, _, known, err := h.GetLeaderID(dragonboatShard)
			if err == nil && known {
				c.leader = c.hosts[leader-1]
				c.session = c.leader.GetNoOPSession(dragonboatShard)
				return true
			}
		}
		return false
	})
}

// dragonboatRun numbers the clusters of the process, whose addresses in memory must differ.
var dragonboatRun atomic.Uint64

// dragonboatMembers returns an address for each member. The library wants to know a port before it
// listens, so the system is asked for free ones.
func dragonboatMembers(mode Mode) (map[uint64]dragonboat.Target, error) {
	members := make(map[uint64]dragonboat.Target)
	run := dragonboatRun.Add(1)
	for id := uint64(1); id <= servers; id++ {
		if mode == memory {
			members[id] = fmt.Sprintf("memory-%d-%d:1", run, id)
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all are open at once, so that all differ
		members[id] = l.Addr().String()
	}
	return members, nil
}

// dragonboatCluster is three hosts.
type dragonboatCluster struct {
	hosts   []*dragonboat.NodeHost
	leader  *dragonboat.NodeHost
	session *dclient.Session
}

// startHost starts one host and its replica.
func (c *dragonboatCluster) startHost(id uint64, p dragonboatPeer, o Options, members map[uint64]dragonboat.Target) error {
	host := config.NodeHostConfig{
		NodeHostDir:    filepath.Join(o.Dir, fmt.Sprint(id)),
		RTTMillisecond: uint64(o.Election.Milliseconds()) / dragonboatTicks,
		RaftAddress:    members[id],
		Expert:         config.ExpertConfig{LogDBFactory: p.logs},
	}
	if o.Mode == memory {
		host.Expert.FS = vfs.NewMem()
		host.Expert.TransportFactory = new(dragonboatMemory)
	}
	h, err := dragonboat.NewNodeHost(host)
	if err != nil {
		return err
	}
	c.hosts = append(c.hosts, h)
	machine := func(uint64, uint64) statemachine.IConcurrentStateMachine { return dragonboatMachine{o.Machines[id-1]} }
	return h.StartConcurrentReplica(members, false, machine, config.Config{
		ReplicaID: id, ShardID: dragonboatShard,
		CheckQuorum: true, PreVote: true,
		ElectionRTT: dragonboatTicks, HeartbeatRTT: 1,
	})
}

// Propose gives the command as it is: the library copies it.
func (c *dragonboatCluster) Propose(ctx context.Context, _ int, command []byte) (uint64, error) {
	request, err := c.leader.Propose(c.session, command, dragonboatTimeout)
	if err != nil {
		return 0, err
	}
	select {
	case answer := <-request.ResultC():
		if !answer.Completed() {
			return 0, errors.New("the proposal was not completed")
		}
		result := answer.GetResult().Value
		request.Release()
		return result, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (c *dragonboatCluster) Syncs() (uint64, bool) { return 0, false }

// Close closes all hosts at once.
func (c *dragonboatCluster) Close() error {
	closed := make(chan struct{}, len(c.hosts))
	for _, h := range c.hosts {
		go func() {
			h.Close()
			closed <- struct{}{}
		}()
	}
	timeout := time.NewTimer(dragonboatClose)
	defer timeout.Stop()
	for range c.hosts {
		select {
		case <-closed:
		case <-timeout.C:
			return fmt.Errorf("a host has not stopped after %v", dragonboatClose)
		}
	}
	return nil
}

// dragonboatMachine applies batches to a machine.
type dragonboatMachine struct{ machine *Machine }

func (m dragonboatMachine) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	for i := range entries {
		entries[i].Result.Value = m.machine.Apply(entries[i].Cmd)
	}
	return entries, nil
}

func (dragonboatMachine) Lookup(any) (any, error)       { return nil, nil }
func (dragonboatMachine) PrepareSnapshot() (any, error) { return nil, errNoSnapshots }
func (dragonboatMachine) SaveSnapshot(any, io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return errNoSnapshots
}
func (dragonboatMachine) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return errNoSnapshots
}
func (dragonboatMachine) Close() error { return nil }

// dragonboatMemory is the transport in memory, to which every address is as good as another.
type dragonboatMemory struct{ transport.ChanTransportFactory }

func (*dragonboatMemory) Validate(string) bool { return true }

// dragonboatSilence is a logger that says nothing, and panics when the library means to.
type dragonboatSilence struct{}

func (dragonboatSilence) SetLevel(logger.LogLevel)  {}
func (dragonboatSilence) Debugf(string, ...any)     {}
func (dragonboatSilence) Infof(string, ...any)      {}
func (dragonboatSilence) Warningf(string, ...any)   {}
func (dragonboatSilence) Errorf(string, ...any)     {}
func (dragonboatSilence) Panicf(f string, a ...any) { panic(fmt.Errorf(f, a...)) }

// The library is told to be quiet here, and pebble below it, which has no other place to be told: in
// memory it complains at each compaction that it can't learn how full the disk is.
func init() {
	log.SetOutput(io.Discard)
	logger.SetLoggerFactory(func(string) logger.ILogger { return dragonboatSilence{} })
}
