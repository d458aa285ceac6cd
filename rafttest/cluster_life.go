package rafttest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/hash"
	"github.com/e17579a5/raft/wire"
)

// A clusterLife is a server between one start and the end that follows it.
type clusterLife[M raft.StateMachine] struct {
	power *power
	runs  runner     // the node, or the host
	host  *raft.Host // nil for a node

	mu      sync.Mutex
	members map[raft.GroupID]clusterMember[M] // the latest of each group; that of a node is the one of ""
}

// A clusterMember is one server's part in a group.
type clusterMember[M raft.StateMachine] struct {
	machine M
	node    *raft.Node
}

// A runner is a node or a host.
type runner interface {
	Close(ctx context.Context) error
	Err() error
}

// member returns the latest node of a group, and its state machine.
func (l *clusterLife[M]) member(group raft.GroupID) clusterMember[M] {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[group]
	if l.host == nil {
		return m
	}
	for id, node := range l.host.Groups() {
		if id == group {
			m.node = node
			l.members[group] = m
		}
	}
	return m
}

// startGroup starts a group, if it doesn't run.
func (l *clusterLife[M]) startGroup(group raft.GroupID) error {
	node, err := l.host.Group(group)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[group] = clusterMember[M]{l.members[group].machine, node}
	return nil
}

// failure returns why the server, or one of its groups, has stopped by itself.
func (l *clusterLife[M]) failure() error {
	failures := []error{l.runs.Err()}
	if l.host != nil {
		for _, g := range l.host.Status().Groups {
			if g.Err != nil {
				failures = append(failures, fmt.Errorf("group %q: %w", g.Group, g.Err))
			}
		}
	}
	return errors.Join(failures...)
}

// A hangWatch notices calls of the state machines of a server that hang. While the server starts, that
// fails the start. Later it fails the test and ends the server, as a crash does, since callers might
// wait for it for ever.
type hangWatch[M raft.StateMachine] struct {
	c        *Cluster[M]
	server   raft.ServerID
	starting *watch
	started  atomic.Pointer[runner]
}

func (w *hangWatch[M]) call(call string, f func()) {
	late := timed(callPatience, call, f, func(late error) {
		runs := w.started.Load()
		if runs == nil {
			w.starting.hung <- late
			return
		}
		w.c.t.Errorf("rafttest: server %s: %v", w.server, late)
		closeNow(*runs)
	})
	if late != nil && w.started.Load() == nil {
		runtime.Goexit() // nobody waits for the node that is being started
	}
}

// config has the calls of a state machine watched.
func (w *hangWatch[M]) config(config *raft.Config, machine M) {
	config.Machine = watchMachine(config.Machine, w.call)
	if config.Durable != nil {
		durable := watched{fmt.Sprintf("%T", machine), w.call}.durable(*config.Durable)
		config.Durable = &durable
	}
}

// run starts what is to run.
func (w *hangWatch[M]) run(life *clusterLife[M], start func() (runner, error)) error {
	var err error
	if hung := w.starting.run(func() { life.runs, err = start() }); hung != nil {
		return hung
	}
	if err == nil {
		w.started.Store(&life.runs)
	}
	return err
}

// founders are all servers.
func (c *Cluster[M]) founders() (founders []raft.Server) {
	for _, s := range c.servers {
		founders = append(founders, s.Server)
	}
	return founders
}

// startNode starts the node of a life.
func (c *Cluster[M]) startNode(s *clusterServer[M], life *clusterLife[M]) error {
	storage, err := s.disk.Open()
	if err != nil {
		return fmt.Errorf("open the disk of server %s: %w", s.ID, err)
	}
	machine := c.newMachine()
	config := raft.Config{
		ID: s.ID, Machine: machine, Storage: storage, Transport: life.power, Bootstrap: c.founders(),
		Seed: mixSeed(c.options.Network.Seed, s.number), Logger: slog.New(slog.DiscardHandler),
	}
	if c.options.Config != nil {
		c.options.Config(s.number, &config)
	}
	c.election = max(c.election, config.ElectionTimeout)
	w := &hangWatch[M]{c: c, server: s.ID, starting: newWatch()}
	w.config(&config, machine)
	return w.run(life, func() (runner, error) {
		node, err := raft.Start(config)
		life.members[""] = clusterMember[M]{machine, node}
		return node, err
	})
}

// startHost starts the host of a life, with the groups that it is to serve.
func (c *Cluster[M]) startHost(s *clusterServer[M], life *clusterLife[M]) error {
	storage, err := s.shared.Open()
	if err != nil {
		return fmt.Errorf("open the disk of server %s: %w", s.ID, err)
	}
	w := &hangWatch[M]{c: c, server: s.ID, starting: newWatch()}
	config := raft.HostConfig{
		ID: s.ID, Address: s.Address, Storage: storage, Transport: life.power, Logger: slog.New(slog.DiscardHandler),
	}
	if c.options.HostConfig != nil {
		c.options.HostConfig(s.number, &config)
	}
	c.election = max(c.election, config.ElectionTimeout)
	config.Group = func(group raft.GroupID) raft.Config { return c.groupConfig(s, life, w, group) }
	return w.run(life, func() (runner, error) {
		host, err := raft.StartHost(config)
		if err != nil {
			return nil, err
		}
		life.mu.Lock()
		life.host = host
		life.mu.Unlock()
		for _, group := range c.options.Groups {
			if err := life.startGroup(group); err != nil && !s.isAway(group) {
				return host, fmt.Errorf("group %q: %w", group, err)
			}
		}
		return host, nil
	})
}

// groupConfig says what a group is made of at a server, if it runs there.
func (c *Cluster[M]) groupConfig(s *clusterServer[M], life *clusterLife[M], w *hangWatch[M], group raft.GroupID) raft.Config {
	if s.isAway(group) {
		return raft.Config{}
	}
	c.making.Lock()
	defer c.making.Unlock()
	machine := c.newMachine()
	config := raft.Config{
		Machine: machine, Bootstrap: c.founders(), Seed: mixSeed(c.options.Network.Seed, s.number) ^ hash.String(0, group)<<1,
	}
	if c.options.GroupConfig != nil {
		c.options.GroupConfig(s.number, group, &config)
	}
	w.config(&config, machine)
	life.mu.Lock()
	defer life.mu.Unlock()
	life.members[group] = clusterMember[M]{machine, life.members[group].node}
	return config
}

// closeNow closes a node or a host as a process ends that dies: it hands its leaderships to nobody.
func closeNow(runs runner) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	runs.Close(now)
}

// A power is a transport that neither sends nor receives once it is switched off.
type power struct {
	raft.Transport
	off atomic.Bool
}

// Start implements raft.Transport.
func (p *power) Start(self raft.Server, handler raft.Handler) error {
	return p.Transport.Start(self, &powerHandler{handler, p})
}

// Send implements raft.Transport.
func (p *power) Send(m wire.Message) {
	if !p.off.Load() {
		p.Transport.Send(m)
	}
}

// A powerHandler drops the messages that arrive after the power was switched off.
type powerHandler struct {
	raft.Handler
	power *power
}

// Receive implements raft.Handler.
func (h *powerHandler) Receive(m wire.Message) {
	if !h.power.off.Load() {
		h.Handler.Receive(m)
	}
}
