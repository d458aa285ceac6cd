package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A HostPeer is a Peer that can serve many groups in one process. Each group has a log, a leader and
// a state machine of its own.
type HostPeer interface {
	Peer
	// NewHosts returns servers of many groups, none of which runs yet.
	NewHosts(HostOptions) (Hosts, error)
}

// HostOptions describe servers of many groups and their surroundings.
type HostOptions struct {
	Mode      Mode
	Dir       string // for the files; a server that finds files of its own there goes on with them
	Election  time.Duration
	Groups    int      // the groups have the numbers from 0 to Groups-1
	Clients   int      // the clients of a server have the numbers from 0 to Clients-1
	Addresses []string // of the servers, in mode disk
	// Machines are the state machines of each server, one for each group.
	Machines [][]Machine `json:"-"`
}

// Hosts are what the servers in this process share.
type Hosts interface {
	// Start starts a server. It serves no groups before it is asked to, but may begin to serve those
	// of which it has files.
	Start(server int) (HostServer, error)
	// Syncs is that of a Cluster.
	Syncs() (uint64, bool)
	// Close releases what the servers shared.
	Close() error
}

// A HostServer is a running server of many groups.
type HostServer interface {
	// Serve starts a group here, and does nothing if it runs.
	Serve(group int) error
	// Leader returns the leader of a group and its term, as far as this server knows; the leader is
	// -1 while it knows none.
	Leader(group int) (server int, term uint64)
	// Propose proposes a command at this server, whether it leads the group or not, and returns the
	// result of its application. The caller may change the command as soon as Propose has returned,
	// and makes no other call for this client meanwhile.
	Propose(ctx context.Context, client, group int, command []byte) (uint64, error)
	// NotApplied says that a command with this error was not applied and never will be.
	NotApplied(err error) bool
	// Messages returns how many messages were sent to other servers so far, and false when that can't
	// be counted.
	Messages() (uint64, bool)
	// HandOver does what the library's users do before they close a server that leads these groups.
	HandOver(ctx context.Context, groups []int) error
	// Close stops the server. No command is applied after it has returned.
	Close() error
}

// newMachines returns the machines of a server. What a process holds in them is made before anything
// else, so that it isn't counted as memory of the library.
func newMachines(groups int) []Machine {
	machines, extras := make([]Machine, groups), make([]machineExtras, groups)
	for g := range machines {
		machines[g].more.Store(&extras[g])
	}
	return machines
}

// A tally counts the commands of a group that were answered, and sums up what machines sum up.
type tally struct{ answered, sum, acrossSum atomic.Uint64 }

// add counts a command that was answered.
func (t *tally) add(command []byte, result uint64) {
	t.answered.Add(1)
	t.sum.Add(result)
	t.acrossSum.Add(across(command))
}

// A hostSet is servers of many groups that all run in this process.
type hostSet struct {
	options HostOptions
	hosts   Hosts
	servers []HostServer // nil for a server that was stopped
	leaders []int        // the server that led each group when awaitLeaders looked
	tallies []tally
	clients atomic.Int64 // how many had a number so far
}

// hostPatience is how long servers may take to settle, and hostPatiencePerGroup is added to that for
// each of their groups.
const (
	hostPatience         = 60 * time.Second
	hostPatiencePerGroup = 5 * time.Millisecond
)

// patience returns how long servers of so many groups may take to settle.
func patience(groups int) time.Duration {
	return hostPatience + time.Duration(groups)*hostPatiencePerGroup
}

// withHosts starts servers that serve no groups yet, calls f, and stops them. It returns an error
// unless all machines have then applied exactly what was answered.
func withHosts(ctx context.Context, p Peer, c runConfig, f func(context.Context, *hostSet) error) error {
	peer, ok := p.(HostPeer)
	if !ok {
		return fmt.Errorf("%s has no hosts", p.Name())
	}
	return inDirectory(c.dir, func(dir string) (err error) {
		h := &hostSet{
			options: HostOptions{Mode: c.mode, Dir: dir, Election: c.election, Groups: c.groups, Clients: max(c.load.clients, fleetClients)},
			servers: make([]HostServer, c.servers), leaders: make([]int, c.groups), tallies: make([]tally, c.groups),
		}
		for range c.servers {
			h.options.Machines = append(h.options.Machines, newMachines(c.groups))
		}
		if c.mode == onDisk {
			if h.options.Addresses, err = freeAddresses(c.servers); err != nil {
				return err
			}
		}
		if h.hosts, err = peer.NewHosts(h.options); err != nil {
			return err
		}
		for i := range h.servers {
			if err == nil {
				err = h.start(i)
			}
		}
		if err == nil {
			err = f(ctx, h)
		}
		if err == nil {
			err = h.awaitApplied(ctx)
		}
		if closed := h.close(); err == nil {
			err = closed
		}
		if err == nil {
			err = h.check()
		}
		return err
	})
}

// start starts a server.
func (h *hostSet) start(i int) (err error) {
	if h.servers[i], err = h.hosts.Start(i); err != nil {
		h.servers[i] = nil
		return fmt.Errorf("start server %d: %w", i, err)
	}
	return nil
}

// stop closes a server.
func (h *hostSet) stop(i int) error {
	s := h.servers[i]
	h.servers[i] = nil
	return s.Close()
}

// close stops all servers at once.
func (h *hostSet) close() error {
	errs := make([]error, len(h.servers)+1)
	var closing sync.WaitGroup
	for i, s := range h.servers {
		if s != nil {
			closing.Go(func() { errs[i] = s.Close() })
		}
	}
	closing.Wait()
	errs[len(h.servers)] = h.hosts.Close()
	return errors.Join(errs...)
}

// serve starts all groups at a server.
func (h *hostSet) serve(i int) error { return serveAll(h.servers[i], h.options.Groups) }

// serveAll starts the groups from 0 to groups-1 at a server.
func serveAll(s HostServer, groups int) error {
	for g := range groups {
		if err := s.Serve(g); err != nil {
			return fmt.Errorf("serve group %d: %w", g, err)
		}
	}
	return nil
}

// serveEverywhere starts all groups at all servers at once, and returns when all groups have a leader.
func (h *hostSet) serveEverywhere(ctx context.Context) error {
	errs := make([]error, len(h.servers))
	var starting sync.WaitGroup
	for i := range h.servers {
		starting.Go(func() { errs[i] = h.serve(i) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return h.awaitLeaders(ctx)
}

// awaitLeaders waits until each group has a server that knows itself as its leader.
func (h *hostSet) awaitLeaders(ctx context.Context) error {
	g := 0
	return h.await(ctx, "groups with a leader", &g, func() bool {
		for i, s := range h.servers {
			if s == nil {
				continue
			}
			if leader, _ := s.Leader(g); leader == i {
				h.leaders[g] = i
				return true
			}
		}
		return false
	})
}

// awaitPart waits until a server knows the leader of each group and has applied all that was answered.
func (h *hostSet) awaitPart(ctx context.Context, i int) error {
	g := 0
	return h.await(ctx, fmt.Sprintf("groups in which server %d takes part", i), &g, func() bool {
		leader, _ := h.servers[i].Leader(g)
		return leader >= 0 && h.applied(i, g)
	})
}

// awaitApplied waits until all servers have applied all that was answered.
func (h *hostSet) awaitApplied(ctx context.Context) error {
	for i := range h.servers {
		g := 0
		if err := h.await(ctx, fmt.Sprintf("groups of which server %d has applied everything", i), &g, func() bool { return h.applied(i, g) }); err != nil {
			return fmt.Errorf("%w: %w", errWrongState, err)
		}
	}
	return nil
}

// applied says whether a server has applied all commands of a group that were answered.
func (h *hostSet) applied(i, g int) bool {
	return h.options.Machines[i][g].count.Load() >= h.tallies[g].answered.Load()
}

// await waits until done is true of each group: g goes from the first to the last one.
func (h *hostSet) await(ctx context.Context, of string, g *int, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience(h.options.Groups))
	defer cancel()
	err := poll(ctx, func() bool {
		for *g < h.options.Groups && done() {
			*g++
		}
		return *g == h.options.Groups
	})
	if err != nil {
		return fmt.Errorf("%d of %d %s: %w", *g, h.options.Groups, of, err)
	}
	return nil
}

// check returns an error unless every machine of every group has applied exactly the commands that
// were answered, each once and all in the same order. The servers must be closed.
func (h *hostSet) check() error {
	for g := range h.tallies {
		answered, sum := h.tallies[g].answered.Load(), h.tallies[g].sum.Load()
		first := &h.options.Machines[0][g]
		for i := range h.options.Machines {
			switch m := &h.options.Machines[i][g]; {
			case m.count.Load() != answered:
				return fmt.Errorf("%w: group %d: server %d has applied %d commands, %d were answered", errWrongState, g, i, m.count.Load(), answered)
			case m.sum != sum:
				return fmt.Errorf("%w: group %d: server %d has applied other commands than those that were answered", errWrongState, g, i)
			case m.chain != first.chain:
				return fmt.Errorf("%w: group %d: server %d has applied the commands in another order than server 0", errWrongState, g, i)
			}
		}
	}
	return nil
}
