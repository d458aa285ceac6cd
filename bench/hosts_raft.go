package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// NewHosts returns servers of many groups. In mode memory they have a network.
func (p raftPeer) NewHosts(o HostOptions) (Hosts, error) {
	h := &raftHosts{options: o, network: memory.NewNetwork(memory.Options{})}
	for i := range o.Machines {
		s := raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: fmt.Sprint(i)}
		if o.Mode == onDisk {
			s.Address = o.Addresses[i]
		}
		h.founders = append(h.founders, s)
		h.machines = append(h.machines, make([]raftMachine, o.Groups))
		h.disks = append(h.disks, memory.NewStorage())
	}
	return h, nil
}

// raftHosts is what the hosts share.
type raftHosts struct {
	options  HostOptions
	network  *memory.Network   // of mode memory
	disks    []*memory.Storage // of mode memory
	founders []raft.Server
	machines [][]raftMachine
	syncs    atomic.Uint64
}

// Start starts a host.
func (h *raftHosts) Start(i int) (HostServer, error) {
	s := &raftHost{nodes: make([]atomic.Pointer[raft.Node], h.options.Groups)}
	config := raft.HostConfig{
		ID:              h.founders[i].ID,
		Address:         h.founders[i].Address,
		ElectionTimeout: h.options.Election,
		Heartbeat:       h.options.Election / 10,
		Logger:          slog.New(slog.DiscardHandler),
		Group: func(id raft.GroupID) raft.Config {
			g, err := strconv.Atoi(string(id))
			if err != nil || g < 0 || g >= h.options.Groups {
				return raft.Config{}
			}
			h.machines[i][g].machine = &h.options.Machines[i][g]
			return raft.Config{Machine: &h.machines[i][g], Bootstrap: h.founders}
		},
	}
	if h.options.Mode == inMemory {
		h.disks[i] = h.disks[i].Reopen()
		config.Storage, config.Transport = h.disks[i], h.network.Join(h.founders[i].ID)
	} else {
		files := countingFiles{FS: vfs.OS, syncs: &h.syncs}
		log, err := wal.Open(filepath.Join(h.options.Dir, fmt.Sprint(i)), wal.Options{FS: files, Logger: config.Logger})
		if err != nil {
			return nil, err
		}
		if s.transport, err = tcp.Listen(h.founders[i].Address, tcp.Options{Logger: config.Logger}); err != nil {
			return nil, errors.Join(err, log.Close())
		}
		config.Storage, config.Transport = log, s.transport
	}
	var err error
	if s.host, err = raft.StartHost(config); err != nil { // storage and transport are closed
		return nil, err
	}
	return s, nil
}

func (h *raftHosts) Syncs() (uint64, bool) { return h.syncs.Load(), h.options.Mode == onDisk }

func (h *raftHosts) Close() error { return nil }

// raftHost is a host.
type raftHost struct {
	host      *raft.Host
	transport *tcp.Transport // nil in mode memory
	nodes     []atomic.Pointer[raft.Node]
}

func (s *raftHost) Serve(group int) error {
	node, err := s.host.Group(raft.GroupID(strconv.Itoa(group)))
	if err == nil {
		s.nodes[group].Store(node)
	}
	return err
}

func (s *raftHost) Leader(group int) (server int, term uint64) {
	node := s.nodes[group].Load()
	if node == nil {
		return -1, 0
	}
	l := node.Leadership()
	server, err := strconv.Atoi(string(l.Leader))
	if err != nil {
		return -1, uint64(l.Term)
	}
	return server, uint64(l.Term)
}

// Propose hands the command itself over: the library copies it.
func (s *raftHost) Propose(ctx context.Context, _, group int, command []byte) (uint64, error) {
	result, err := s.nodes[group].Load().Propose(ctx, command)
	if err != nil {
		return 0, err
	}
	if len(result) != 8 {
		return 0, errRaftResult
	}
	return binary.LittleEndian.Uint64(result), nil
}

func (s *raftHost) NotApplied(err error) bool { return errors.Is(err, raft.ErrNotApplied) }

func (s *raftHost) Messages() (sent uint64, known bool) {
	if s.transport == nil {
		return 0, false
	}
	for _, m := range s.transport.Stats().Members {
		sent += m.SentMessages
	}
	return sent, true
}

// HandOver does nothing: Close itself does what a leader does for the others before it goes.
func (s *raftHost) HandOver(context.Context, []int) error { return nil }

func (s *raftHost) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), raftClose)
	defer cancel()
	return s.host.Close(ctx)
}
