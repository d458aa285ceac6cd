package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lni/dragonboat/v4"
	dclient "github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/lni/vfs"
)

// dragonboatHostTimeout is the timeout of a request where there are many groups. A request whose leader
// is lost may end only by its timeout.
const dragonboatHostTimeout = 5 * time.Second

// NewHosts returns servers of many shards. A shard in which nothing happens is quiescent, an ability
// that the library calls experimental.
func (p dragonboatPeer) NewHosts(o HostOptions) (Hosts, error) {
	h := &dragonboatHosts{peer: p, options: o, members: make(map[uint64]dragonboat.Target)}
	run := dragonboatRun.Add(1)
	for i := range o.Machines {
		if o.Mode == inMemory {
			h.members[uint64(i+1)] = fmt.Sprintf("memory-%d-%d:1", run, i)
			h.memory = append(h.memory, vfs.NewMem())
		} else {
			h.members[uint64(i+1)] = o.Addresses[i]
		}
	}
	return h, nil
}

// dragonboatHosts is what the hosts share.
type dragonboatHosts struct {
	peer    dragonboatPeer
	options HostOptions
	members map[uint64]dragonboat.Target
	memory  []vfs.FS // of mode memory
}

// Start starts a host without shards.
func (h *dragonboatHosts) Start(i int) (HostServer, error) {
	id := uint64(i + 1)
	settings := config.NodeHostConfig{
		NodeHostDir:    filepath.Join(h.options.Dir, fmt.Sprint(id)),
		RTTMillisecond: uint64(h.options.Election.Milliseconds()) / dragonboatTicks,
		RaftAddress:    h.members[id],
		Expert:         config.ExpertConfig{LogDBFactory: h.peer.logs},
	}
	if h.options.Mode == inMemory {
		settings.Expert.FS = h.memory[i]
		settings.Expert.TransportFactory = new(dragonboatMemory)
	}
	host, err := dragonboat.NewNodeHost(settings)
	if err != nil {
		return nil, err
	}
	return &dragonboatHost{
		dragonboatServer: dragonboatServer{id: id, members: uint64(len(h.members)), host: host, timeout: dragonboatHostTimeout},
		hosts:            h, machines: h.options.Machines[i], sessions: make([]*dclient.Session, h.options.Groups),
	}, nil
}

func (h *dragonboatHosts) Syncs() (uint64, bool) { return 0, false }

func (h *dragonboatHosts) Close() error { return nil }

// dragonboatHost is a host with a replica of each shard. The number of a shard is that of the group
// and one more.
type dragonboatHost struct {
	dragonboatServer
	hosts    *dragonboatHosts
	machines []Machine
	sessions []*dclient.Session // of the shards that run here
}

func (s *dragonboatHost) Serve(group int) error {
	if s.sessions[group] != nil {
		return nil
	}
	shard := uint64(group + 1)
	machine := func(uint64, uint64) statemachine.IConcurrentStateMachine {
		return dragonboatMachine{&s.machines[group]}
	}
	err := s.host.StartConcurrentReplica(s.hosts.members, false, machine, config.Config{
		ReplicaID: s.id, ShardID: shard,
		CheckQuorum: true, PreVote: true, Quiesce: true,
		ElectionRTT: dragonboatTicks, HeartbeatRTT: 1,
	})
	if err == nil {
		s.sessions[group] = s.host.GetNoOPSession(shard)
	}
	return err
}

func (s *dragonboatHost) Leader(group int) (server int, term uint64) {
	leader, term, known, err := s.host.GetLeaderID(uint64(group + 1))
	if err != nil || !known {
		return -1, term
	}
	return int(leader) - 1, term
}

// Propose hands the command itself over: the library copies it.
func (s *dragonboatHost) Propose(ctx context.Context, _, group int, command []byte) (uint64, error) {
	return s.propose(ctx, s.sessions[group], command)
}

// NotApplied knows the errors with which a host doesn't take a command at all.
func (s *dragonboatHost) NotApplied(err error) bool {
	for _, refusal := range []error{
		dragonboat.ErrClosed, dragonboat.ErrShardClosed, dragonboat.ErrShardNotFound, dragonboat.ErrShardNotReady, dragonboat.ErrSystemBusy,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

func (s *dragonboatHost) Messages() (uint64, bool) { return 0, false }

// HandOver asks for another leader of each shard, and waits until all have one.
func (s *dragonboatHost) HandOver(ctx context.Context, groups []int) error {
	for _, g := range groups {
		if err := s.host.RequestLeaderTransfer(uint64(g+1), s.id%s.members+1); err != nil {
			return err
		}
	}
	return poll(ctx, func() bool {
		for len(groups) > 0 {
			if leader, _ := s.Leader(groups[0]); leader < 0 || leader == int(s.id)-1 {
				return false
			}
			groups = groups[1:]
		}
		return true
	})
}
