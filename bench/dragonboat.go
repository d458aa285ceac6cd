package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
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
	logs  config.LogDBFactory // nil for pebble, the default
}

// The peers on dragonboat differ in where they keep the log.
var (
	dragonboatPebble = dragonboatPeer{name: "dragonboat", modes: []Mode{onDisk, inMemory}, store: "pebble, the default"}
	dragonboatTan    = dragonboatPeer{name: "dragonboat-tan", modes: []Mode{onDisk}, store: "tan, its own", logs: tan.Factory}
)

func (p dragonboatPeer) Name() string  { return p.name }
func (p dragonboatPeer) Modes() []Mode { return p.modes }

func (p dragonboatPeer) Settings(mode Mode) string {
	s := "dragonboat v4.0.0-20240618143154-6a1623140f27 with the log in " + p.store + ", in default settings.\n" +
		"One shard per host, PreVote and CheckQuorum on, a concurrent state machine, which is given batches,\n" +
		"a session without deduplication (as everywhere here), snapshots when a cell asks for them, no log output.\n" +
		"Its syncs can't be counted from outside. A server of many groups is one host with a shard for each of them, with\n" +
		"Quiesce on, and a timeout of 5 s for each request."
	if mode == inMemory {
		return s + "\nThe log on a file system in memory (the library has no other log in memory), its channel transport."
	}
	return s
}

const (
	dragonboatShard = 1
	dragonboatTicks = 10 // the election timeout in round trips, its unit; each has a heartbeat
	// dragonboatTimeout is the timeout that the library demands for each request. It is long enough
	// never to be reached.
	dragonboatTimeout = time.Minute
	// dragonboatClose bounds how long a host may take to stop.
	dragonboatClose = 30 * time.Second
)

func (dragonboatPeer) Lacks(Ability) string { return "" }

// dragonboatRun counts the clusters of the process, whose addresses in memory must differ.
var dragonboatRun atomic.Uint64

// New returns a cluster. Its members have numbers from 1 on.
func (p dragonboatPeer) New(o Options) (Cluster, error) {
	c := &dragonboatCluster{peer: p, options: o, members: make(map[uint64]dragonboat.Target)}
	run := dragonboatRun.Add(1)
	for i := range o.servers() {
		if o.Mode == inMemory {
			c.members[uint64(i+1)] = fmt.Sprintf("memory-%d-%d:1", run, i)
		} else {
			c.members[uint64(i+1)] = o.Addresses[i]
		}
	}
	return c, nil
}

// dragonboatCluster is what the hosts share.
type dragonboatCluster struct {
	peer    dragonboatPeer
	options Options
	members map[uint64]dragonboat.Target
}

// Start starts a host and its replica.
func (c *dragonboatCluster) Start(i int) (Server, error) {
	id := uint64(i + 1)
	settings := config.NodeHostConfig{
		NodeHostDir:    filepath.Join(c.options.Dir, fmt.Sprint(id)),
		RTTMillisecond: uint64(c.options.Election.Milliseconds()) / dragonboatTicks,
		RaftAddress:    c.members[id],
		Expert:         config.ExpertConfig{LogDBFactory: c.peer.logs},
	}
	if stall := c.options.stall(i); stall != nil {
		settings.Expert.FS = vfs.Wrap(dragonboatFiles{vfs.Default, stall}, dragonboatStall{stall})
	}
	if c.options.Mode == inMemory {
		settings.Expert.FS = vfs.NewMem()
		settings.Expert.TransportFactory = new(dragonboatMemory)
	}
	host, err := dragonboat.NewNodeHost(settings)
	if err != nil {
		return nil, err
	}
	s := &dragonboatServer{id: id, members: uint64(len(c.members)), host: host, session: host.GetNoOPSession(dragonboatShard), timeout: dragonboatTimeout}
	machine := func(uint64, uint64) statemachine.IConcurrentStateMachine {
		return dragonboatMachine{c.options.Machines[i]}
	}
	err = host.StartConcurrentReplica(c.members, false, machine, config.Config{
		ReplicaID: id, ShardID: dragonboatShard,
		CheckQuorum: true, PreVote: true,
		ElectionRTT: dragonboatTicks, HeartbeatRTT: 1,
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (c *dragonboatCluster) Syncs() (uint64, bool) { return 0, false }

func (c *dragonboatCluster) Close() error { return nil }

// dragonboatServer is a host with one replica.
type dragonboatServer struct {
	id, members uint64
	host        *dragonboat.NodeHost
	session     *dclient.Session
	timeout     time.Duration
}

func (s *dragonboatServer) Leads() bool {
	leader, _, known, err := s.host.GetLeaderID(dragonboatShard)
	return err == nil && known && leader == s.id
}

// Propose hands the command itself over: the library copies it.
func (s *dragonboatServer) Propose(ctx context.Context, _ int, command []byte) (uint64, error) {
	return s.propose(ctx, s.session, command)
}

// propose proposes a command in a session, until it isn't dropped.
func (s *dragonboatServer) propose(ctx context.Context, session *dclient.Session, command []byte) (uint64, error) {
	for {
		request, err := s.host.Propose(session, command, s.timeout)
		if err != nil {
			return 0, err
		}
		answer, err := awaitDragonboat(ctx, request)
		if err != nil {
			return 0, err
		}
		result := answer.GetResult().Value
		request.Release()
		if answer.Completed() {
			return result, nil
		}
	}
}

func (s *dragonboatServer) Read(ctx context.Context, _ int) error {
	for {
		request, err := s.host.ReadIndex(dragonboatShard, dragonboatTimeout)
		if err != nil {
			return err
		}
		answer, err := awaitDragonboat(ctx, request)
		if err != nil {
			return err
		}
		if answer.Completed() {
			_, err = s.host.ReadLocalNode(request, nil)
			request.Release()
			return err
		}
		request.Release()
	}
}

// dragonboatRetry is how long a client waits before it makes a dropped request again.
const dragonboatRetry = time.Millisecond

// awaitDragonboat waits for the end of a request. A request that was dropped had no effect, and the
// library wants it to be made again. awaitDragonboat then waits for dragonboatRetry, and its caller
// makes the request again.
func awaitDragonboat(ctx context.Context, request *dragonboat.RequestState) (answer dragonboat.RequestResult, err error) {
	select {
	case answer = <-request.ResultC():
	case <-ctx.Done():
		return answer, ctx.Err()
	}
	switch {
	case answer.Completed():
		return answer, nil
	case answer.Dropped():
		return answer, wait(ctx, dragonboatRetry)
	case answer.Timeout():
		return answer, errors.New("the request timed out")
	case answer.Terminated():
		return answer, errors.New("the host is closing")
	}
	return answer, errors.New("the request was refused")
}

// Snapshot takes a snapshot, unless there is already one of the same state.
func (s *dragonboatServer) Snapshot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dragonboatTimeout)
	defer cancel()
	_, err := s.host.SyncRequestSnapshot(ctx, dragonboatShard, dragonboat.SnapshotOption{
		OverrideCompactionOverhead: true, CompactionOverhead: snapshotKeeps,
	})
	if errors.Is(err, dragonboat.ErrRejected) {
		return nil
	}
	return err
}

// HandOver asks for another leader and waits until there is one.
func (s *dragonboatServer) HandOver(ctx context.Context) error {
	if err := s.host.RequestLeaderTransfer(dragonboatShard, s.id%s.members+1); err != nil {
		return err
	}
	return poll(ctx, func() bool {
		leader, _, known, err := s.host.GetLeaderID(dragonboatShard)
		return err == nil && known && leader != s.id
	})
}

// Close closes the host. It gives up after dragonboatClose.
func (s *dragonboatServer) Close() error {
	closed := make(chan struct{})
	go func() {
		s.host.Close()
		close(closed)
	}()
	timeout := time.NewTimer(dragonboatClose)
	defer timeout.Stop()
	select {
	case <-closed:
		return nil
	case <-timeout.C:
		return fmt.Errorf("a host has not stopped after %v", dragonboatClose)
	}
}

// dragonboatMachine applies batches to a machine.
type dragonboatMachine struct{ machine *Machine }

func (m dragonboatMachine) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	m.machine.beginBatch()
	for i := range entries {
		entries[i].Result.Value = m.machine.Apply(entries[i].Cmd)
	}
	return entries, nil
}

func (dragonboatMachine) Lookup(any) (any, error)         { return nil, nil } // a read looks at nothing, for any peer
func (m dragonboatMachine) PrepareSnapshot() (any, error) { return m.machine.capture(), nil }
func (dragonboatMachine) SaveSnapshot(captured any, w io.Writer, _ statemachine.ISnapshotFileCollection, _ <-chan struct{}) error {
	state, ok := captured.(*machineState)
	if !ok {
		return fmt.Errorf("%T is not the state of a machine", captured)
	}
	_, err := state.WriteTo(w)
	return err
}
func (m dragonboatMachine) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, _ <-chan struct{}) error {
	return m.machine.restore(r)
}
func (dragonboatMachine) Close() error { return nil }

// dragonboatStall holds up syncs. It stands where the library's file system can inject errors.
type dragonboatStall struct{ stall *stall }

func (s dragonboatStall) MaybeError(op vfs.Op) error {
	if op == vfs.OpSync {
		s.stall.hold()
	}
	return nil
}

// dragonboatFiles is the file system below. It holds up the syncs of files that are used again,
// which the library's wrapper of a file system forgets.
type dragonboatFiles struct {
	vfs.FS
	stall *stall
}

func (f dragonboatFiles) ReuseForWrite(old, name string) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(old, name)
	if err != nil {
		return nil, err
	}
	return vfs.WrapFile(file, dragonboatStall{f.stall}), nil
}

// dragonboatMemory is the transport in memory. It accepts every address.
type dragonboatMemory struct{ transport.ChanTransportFactory }

func (*dragonboatMemory) Validate(string) bool { return true }

// dragonboatSilence is a logger that says nothing. It panics when the library wants it to.
type dragonboatSilence struct{}

func (dragonboatSilence) SetLevel(logger.LogLevel)  {}
func (dragonboatSilence) Debugf(string, ...any)     {}
func (dragonboatSilence) Infof(string, ...any)      {}
func (dragonboatSilence) Warningf(string, ...any)   {}
func (dragonboatSilence) Errorf(string, ...any)     {}
func (dragonboatSilence) Panicf(f string, a ...any) { panic(fmt.Errorf(f, a...)) }

// init makes the library quiet, and pebble below it. Pebble can only be quietened through package
// log; in memory it complains at each compaction that it can't learn how full the disk is.
func init() {
	log.SetOutput(io.Discard)
	logger.SetLoggerFactory(func(string) logger.ILogger { return dragonboatSilence{} })
}
