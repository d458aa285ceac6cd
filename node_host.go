package raft

// The goroutines of a host, beside those of its transport:
//
//	goroutine    owns                        waits for                       ends when
//	───────────  ──────────────────────────  ──────────────────────────────  ────────────────────
//	shard.run    the loops of some groups;   their inboxes and deadlines     the host is closed
//	             as many as processors
//	writeLane    SharedStorage.WriteGroups   writes of all groups            the host is closed
//	openLane     nothing                     groups that others speak of     none is asked for
//	fetchLane    Storage.Entries of a group  nothing                         the group reads nothing
//	applyLane    a group's state machine     nothing                         it has nothing to apply
//	look         SharedStorage.Holders       nothing                         it has asked the holders
//
// A group that rests has none of its own. What a group's state machine, its reads or its snapshots
// take, they take in goroutines of that group: so they hold up nobody else.

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Host runs many groups in one process, and each of them is a Node: with a log, a leader and a
// state machine of its own. They share the disk, the connections and the goroutines. What happens to
// one group (a panic, a broken contract, damage) ends that group alone; a disk that fails ends all.
//
// Any goroutine may call its methods, any number of them at a time. Group and Remove must not be
// called by HostConfig.Group.
type Host struct {
	config HostConfig
	logger diary
	clock  clock
	// settings are those that all groups have.
	settings  CoreConfig
	common    commonConfig
	pools     pools
	shards    []*shard
	book      hostBook
	link      hostLink
	scrub     hostScrub
	disk      hostDisk
	snapshots hostSnapshots
	commands  hostMemory // those of all groups that callers wait for
	messages  hostMemory // those of all groups that wait
	tails     hostMemory // the entries that are in memory for servers which lag behind
	opener    hostOpener
	life      hostLife

	mu     sync.RWMutex
	groups map[GroupID]*seat
	closed error // why no group is started any more
}

// A seat is the place of a group in its host.
type seat struct {
	// mu is held while the group is started, and while it is removed.
	mu sync.Mutex
	// These are guarded by the Host's mu. node is nil before the first start that went well, and failed
	// is why the last start has failed; nil if it hasn't, or if there is no such group. users are the
	// calls that have the seat: the last one takes a seat away that nothing is known of.
	node   *Node
	failed error
	users  int
}

// commonConfig is the config that the cores of groups have in common.
type commonConfig struct {
	mu   sync.Mutex
	last *CoreConfig
}

// share returns the config of the core before, if that is equal.
func (c *commonConfig) share(config *CoreConfig) *CoreConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || !reflect.DeepEqual(c.last, config) {
		c.last = config
	}
	return c.last
}

// A hostLife follows a host from its start to its end.
type hostLife struct {
	goroutines sync.WaitGroup
	done       chan struct{} // closed when no group runs any more
	failed     error         // set before done is closed: the failure, or nil after Close
	released   chan struct{} // closed when everything is given back
	closing    error         // set before released is closed
	end        sync.Once
}

// StartHost starts a server of many groups, with those that the storage holds. It returns when they
// run; they may not know their leaders yet. From the call on, the storage and the transport belong to
// the host: Close closes them, and a StartHost that fails closes them too.
//
// A group that can't be started is left out, and the log says why; Host.Group tries it again and
// returns the error. The error of StartHost is ErrConfig if the config can't be used. Otherwise it
// wraps what the storage or the transport returned.
func StartHost(config HostConfig) (*Host, error) {
	h, err := newHost(config)
	if err == nil {
		err = h.open()
	}
	switch {
	case err == nil:
		return h, nil
	case h != nil:
		h.stop(errClose)
		<-h.life.released
		return nil, errors.Join(err, h.life.closing)
	}
	if config.Transport != nil {
		err = errors.Join(err, guard("transport", config.Transport.Close))
	}
	if config.Storage != nil {
		err = errors.Join(err, guard("storage", config.Storage.Close))
	}
	return nil, err
}

func newHost(config HostConfig) (*Host, error) {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	settings, err := config.settings()
	if err != nil {
		return nil, err
	}
	h := &Host{config: config, settings: settings, clock: clock{time.Now()}, groups: make(map[GroupID]*seat)}
	h.commands.max.Store(int64(config.MaxBytes / 2))
	h.messages.max.Store(int64(config.MaxBytes / 2))
	h.tails.max.Store(int64(config.TailBytes))
	h.snapshots.init(h)
	h.messages.join(&h.opener.account)
	h.logger = newHostDiary(&h.config)
	h.life.done, h.life.released = make(chan struct{}), make(chan struct{})
	h.link.init(h)
	h.opener.host, h.opener.queue = h, newShortQueue[GroupID](h.opener.begin)
	h.opener.asked = make(map[GroupID]asked)
	h.disk.host, h.disk.queue = h, newQueue[diskTask]()
	for range runtime.GOMAXPROCS(0) {
		s := newShard(h.clock)
		s.left = 1 // the host itself, so that the shard outlives its groups
		h.shards = append(h.shards, s)
	}
	return h, nil
}

// open starts the goroutines, and the groups that the storage holds.
func (h *Host) open() error {
	for _, s := range h.shards {
		h.life.goroutines.Go(s.run)
	}
	h.life.goroutines.Go(h.disk.run)
	var groups []GroupID
	err := guard("storage", func() (err error) {
		if err = h.begin(); err != nil {
			return err
		}
		groups, err = h.config.Storage.Groups()
		return err
	})
	if err != nil {
		return because(errors.New("raft: start host"), err)
	}
	h.book.init(h)
	err = guard("transport", func() error {
		return h.config.Transport.Start(Server{ID: h.config.ID, Address: h.config.Address}, &h.link)
	})
	if err != nil {
		return because(errors.New("raft: start transport"), err)
	}
	h.startAll(groups)
	h.scrub.start(h)
	return nil
}

// startAll starts groups that are stored.
func (h *Host) startAll(groups []GroupID) {
	var starting sync.WaitGroup
	for i := range h.shards {
		starting.Go(func() {
			for at := i; at < len(groups); at += len(h.shards) {
				if groups[at] == "" {
					continue // the host's own
				}
				if _, err := h.Group(groups[at]); err != nil {
					h.logger.Error("raft: group not started", "group", groups[at], "err", err)
				}
			}
		})
	}
	starting.Wait()
}

// Group returns the node of a group, and starts it if it doesn't run. A node that has stopped, by a
// failure or by its Close, is started anew. The error is ErrConfig if HostConfig.Group says that there
// is no such group, or what else can't be used; ErrCorrupt if the group's part of the storage is
// damaged; ErrClosed after Close; or whatever else Start returns.
//
// The node belongs to the host. It may be closed; then its group is served here no longer until Group
// is called for it again.
func (h *Host) Group(group GroupID) (*Node, error) {
	if node := h.node(group); node != nil && !node.inbox.resigned() {
		return node, nil
	}
	s, err := h.seat(group)
	if err != nil {
		return nil, err
	}
	defer h.leave(group, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if node := h.node(group); node != nil {
		if !node.inbox.resigned() {
			return node, nil
		}
		<-node.life.released.wait()
	}
	node, err := h.start(group)
	if err != nil {
		h.notStarted(s, err)
		return nil, err
	}
	return node, nil
}

// notStarted notes that a group couldn't be started.
func (h *Host) notStarted(s *seat, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.failed = err; errors.Is(err, errNoGroup) || errors.Is(err, ErrClosed) {
		s.failed = nil
	}
}

// seat returns the seat of a group, and makes one if there is none. The caller gives it back (leave).
func (h *Host) seat(group GroupID) (*seat, error) {
	if group == "" {
		return nil, fmt.Errorf("%w: an empty group ID", ErrConfig)
	}
	if len(group) > wire.MaxGroupID {
		return nil, fmt.Errorf("%w: a group ID of %d bytes, more than %d", ErrConfig, len(group), wire.MaxGroupID)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return nil, h.closed
	}
	s := h.groups[group]
	if s == nil {
		s = new(seat)
		h.groups[group] = s
	}
	s.users++
	return s, nil
}

// leave gives back what seat has returned. Others may speak of any number of groups that there aren't,
// so nothing stays of them.
func (h *Host) leave(group GroupID, s *seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.users--; s.users == 0 && s.node == nil && s.failed == nil {
		delete(h.groups, group)
	}
}

// node returns the node that was last started for a group, or nil.
func (h *Host) node(group GroupID) *Node {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s := h.groups[group]; s != nil {
		return s.node
	}
	return nil
}

// start starts a group. The caller holds the mutex of its seat.
func (h *Host) start(group GroupID) (*Node, error) {
	var config Config
	err := guard("HostConfig.Group", func() error {
		config = h.config.Group(group)
		return nil
	})
	if err == nil && config.Machine == nil {
		err = fmt.Errorf("%w: HostConfig.Group has no Machine for %q", errNoGroup, group)
	}
	if err == nil {
		config, err = h.config.groupConfig(config)
	}
	if err != nil {
		return nil, err
	}
	var storage Storage
	err = guard("storage", func() (err error) {
		storage, err = h.config.Storage.Group(group)
		return err
	})
	if err != nil {
		return nil, because(fmt.Errorf("raft: open group %q", group), err)
	}
	config.Storage = &groupStorage{storage, h, group}
	link := &groupLink{host: h, group: group}
	config.Transport = link
	n, l, err := newNode(config, group, h)
	if err != nil {
		return nil, errors.Join(err, guard("storage", storage.Close))
	}
	h.mu.Lock()
	if h.closed != nil {
		err = h.closed
	} else {
		s := h.groups[group]
		s.node, s.failed = n, nil
	}
	h.mu.Unlock()
	if err != nil {
		l.desk = newDesk()
		n.ended(l, errClose, false)
		return nil, err
	}
	n.startMoves()
	shard := h.shardFor()
	h.tails.join(&l.tail)
	l.host, l.coalesced = h, NewCoalesced(l.core, group, shard, h.book.book, &h.book.mu)
	h.found(l, link, config.Bootstrap)
	h.shards[shard].add(l)
	return n, nil
}

// shardFor returns the number of the shard with the fewest loops.
func (h *Host) shardFor() (least int) {
	for i := range h.shards {
		if h.shards[i].loops() < h.shards[least].loops() {
			least = i
		}
	}
	return least
}

// begin names this start of the process, in the part of the storage that belongs to no group.
func (h *Host) begin() error {
	own, err := h.config.Storage.Group("")
	if err != nil {
		return err
	}
	saved, err := own.Load()
	if err != nil {
		return err
	}
	s := &saved.State
	switch {
	case saved.Last > 0 || saved.State.Term > 0:
		return fmt.Errorf("%w: the storage is that of a server with one group", ErrConfig)
	case s.Server != "" && s.Server != h.config.ID:
		return fmt.Errorf("%w: the storage is that of server %q, not %q", ErrConfig, s.Server, h.config.ID)
	case s.Server == "":
		s.Server, s.Incarnation = h.config.ID, Incarnation(randomNumber())
	}
	s.Start = wire.NextStart(s.Start, uint32(randomNumber()))
	h.book.start = s.Start
	return own.Write(Write{Number: 1, State: *s})
}

// Groups returns the groups that run, with their nodes, in no particular order.
func (h *Host) Groups() iter.Seq2[GroupID, *Node] {
	return func(yield func(GroupID, *Node) bool) {
		for _, n := range h.nodes() {
			if !n.inbox.resigned() && !yield(n.group, n) {
				return
			}
		}
	}
}

// nodes returns the nodes of all groups.
func (h *Host) nodes() (nodes []*Node) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.groups {
		if s.node != nil {
			nodes = append(nodes, s.node)
		}
	}
	return nodes
}

// Remove closes the node of a group, as Node.Close does, and forgets all that is stored of the group.
// When it has returned nil, no later start finds anything of it. It doesn't change the members of the
// group: a server that is to leave a group is removed from it before (Node.RemoveServer). If another
// server still speaks of the group, HostConfig.Group is asked whether to make it anew.
//
// The error is that of Node.Close if ctx ended before the node was released, or what the storage
// returned.
func (h *Host) Remove(ctx context.Context, group GroupID) error {
	s, err := h.seat(group)
	if err != nil {
		return err
	}
	defer h.leave(group, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if node := h.node(group); node != nil {
		if err := node.Close(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	h.mu.Lock()
	s.node, s.failed = nil, nil
	h.mu.Unlock()
	if err := h.disk.do(func() error { return h.config.Storage.RemoveGroup(group) }); err != nil {
		return because(fmt.Errorf("raft: remove group %q", group), err)
	}
	return nil
}
