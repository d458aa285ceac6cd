package shard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
)

// Options say what a Host is made of. Shards, Replicas, Moves and Logger may be left at their zero values,
// which stand for the default in parentheses.
type Options struct {
	// Self is this server. Its Address is the one that the Transport listens at, or is found at.
	Self Server
	// Founders are the servers that found the store together, the same on each of them. A server that joins
	// a store has none: it waits until a Register at another server has made it known.
	Founders []raft.Server
	// Shards and Replicas are how many shards the store is founded with, 1 to MaxShards (1,000), and how
	// many servers have each of them (3, at most the number of Founders). They are ignored ever after.
	Shards, Replicas int
	// Moves is how many shards move at a time while this server leads the table's group (16).
	Moves int
	// Storage and Transport belong to the host from Start on.
	Storage   raft.SharedStorage
	Transport raft.Transport
	// Group returns what the group of a shard is made of: an empty Machine, and limits. The rest is the
	// host's.
	Group func(shard int) raft.Config
	// Logger is told what goes wrong (slog.Default()).
	Logger *slog.Logger
}

// tableGroup is the group of the table.
const tableGroup = raft.GroupID("table")

// name returns the group of a shard, and number is its inverse.
func name(shard int) raft.GroupID { return raft.GroupID("shard/" + strconv.Itoa(shard)) }

func number(group raft.GroupID) (shard int, ok bool) {
	text, found := strings.CutPrefix(string(group), "shard/")
	shard, err := strconv.Atoi(text)
	return shard, found && err == nil && shard >= 0 && name(shard) == group
}

// A Host is one server of a sharded store. Its methods may be called by any goroutines.
type Host struct {
	options Options
	raft    *raft.Host
	table   *machine
	node    *raft.Node // of the table's group
	reports chan Step  // what duties have done
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	left    chan struct{}
	// current says that the table is at least as new as it was anywhere when this process started. Until
	// then nothing is begun or forgotten by it.
	current atomic.Bool

	mu       sync.Mutex
	asked    bool                      // the table's machine was given away
	stored   map[int]bool              // the groups that the storage held at the start
	machines map[int]raft.StateMachine // the latest one of each group
	founding map[int]bool              // whether its group was started with a Bootstrap list
	prepared map[int]uint64            // the latest move of a shard to here of which that was reported

	duties map[int]*duty // only the goroutine that follows the table uses it
}

// Start starts a server. It returns when the server runs; it may not know the table yet. From the call on,
// the storage and the transport belong to the host.
func Start(o Options) (*Host, error) {
	o.Shards, o.Replicas, o.Moves = cmp.Or(o.Shards, 1000), cmp.Or(o.Replicas, 3), cmp.Or(o.Moves, 16)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	h := &Host{
		options: o, table: newMachine(), left: make(chan struct{}), reports: make(chan Step),
		stored: map[int]bool{}, machines: map[int]raft.StateMachine{}, founding: map[int]bool{}, prepared: map[int]uint64{}, duties: map[int]*duty{},
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	groups, err := o.Storage.Groups()
	if err != nil {
		return nil, errors.Join(err, o.Transport.Close(), o.Storage.Close())
	}
	for _, group := range groups {
		if shard, ok := number(group); ok {
			h.stored[shard] = true
		}
	}
	h.raft, err = raft.StartHost(raft.HostConfig{
		ID: o.Self.ID, Address: o.Self.Address, Storage: o.Storage, Transport: o.Transport, Group: h.config, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	if h.node, err = h.raft.Group(tableGroup); err != nil {
		return nil, errors.Join(err, h.raft.Close(context.Background()))
	}
	for _, work := range []func(){h.follow, h.report, h.register, h.watch, h.leadShards, h.leadServers} {
		h.running.Go(work)
	}
	return h, nil
}

// Close stops the server. It hands over what it leads. The error is that of raft.Host.Close.
func (h *Host) Close(ctx context.Context) error {
	h.stop()
	h.running.Wait()
	return h.raft.Close(ctx)
}

// Done returns a channel that is closed when the server has stopped, by Close or because its disk has
// failed, and Err the failure.
func (h *Host) Done() <-chan struct{} { return h.raft.Done() }

// Err is nil while the server runs, and after Close.
func (h *Host) Err() error { return h.raft.Err() }

// Left returns a channel that is closed when the server was taken out of the store, and may end.
func (h *Host) Left() <-chan struct{} { return h.left }

// TableNode returns the node of the table's group, which says whether the server is well.
func (h *Host) TableNode() *raft.Node { return h.node }

// Table returns the table as this server knows it, which may be a little old.
func (h *Host) Table() *Table {
	t, _ := h.table.latest()
	return t
}

// Fresh returns a table that is as new as any was when Fresh was called.
func (h *Host) Fresh(ctx context.Context) (*Table, error) {
	if err := h.node.Read(ctx); err != nil {
		return nil, err
	}
	return h.Table(), nil
}

// Local returns the node and the state machine of a shard, if this server is one of its members. The state
// of the machine is the newest once a Read of the node, after that call, has returned nil: if the group was
// started anew in between, the machine is the new one, and the old node refuses the read.
func (h *Host) Local(shard int) (*raft.Node, raft.StateMachine, bool) {
	t := h.Table()
	if shard < 0 || shard >= len(t.Shards) || !slices.Contains(t.Shards[shard].Members, h.options.Self.ID) {
		return nil, nil, false
	}
	node, err := h.raft.Group(name(shard))
	if err != nil {
		return nil, nil, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return node, h.machines[shard], true
}

// Others returns the other servers that serve a shard, as this server knows.
func (h *Host) Others(shard int) (others []Server) {
	t := h.Table()
	if shard < 0 || shard >= len(t.Shards) {
		return nil
	}
	for _, id := range t.Shards[shard].Members {
		if s := t.Server(id); s != nil && id != h.options.Self.ID {
			others = append(others, *s)
		}
	}
	return others
}

// Register makes a server known, so that shards move to it. It can be called at any other server, as often
// as one likes. The error is a *Refusal, or one of raft.Node.Propose.
func (h *Host) Register(ctx context.Context, s Server) error {
	return h.change(ctx, &Change{Register: &s})
}

// Leave begins to take a server out: its shards move to others. When none is left, the server is forgotten
// (Table.Servers). The server may have ended for good before. The error is as for Register.
func (h *Host) Leave(ctx context.Context, id raft.ServerID) error {
	return h.change(ctx, &Change{Leave: id})
}

// Place begins to move a shard by hand, or lets it be moved by itself again (Placing). Whether the move is done, the
// table says. The error is as for Register.
func (h *Host) Place(ctx context.Context, p Placing) error { return h.change(ctx, &Change{Place: &p}) }

// change proposes a change of the table.
func (h *Host) change(ctx context.Context, c *Change) error {
	result, err := h.node.Propose(ctx, encode(c))
	if err != nil || len(result) == 0 {
		return err
	}
	refusal := new(Refusal)
	if err := json.Unmarshal(result, refusal); err != nil {
		return fmt.Errorf("shard: the result of a change: %w", err)
	}
	return refusal
}

// config says what a group is made of.
func (h *Host) config(group raft.GroupID) raft.Config {
	h.mu.Lock()
	defer h.mu.Unlock()
	if group == tableGroup && !h.asked {
		h.asked = true
		return raft.Config{Machine: h.table, Bootstrap: h.options.Founders}
	}
	shard, ok := number(group)
	if !ok {
		return raft.Config{}
	}
	var founders []raft.Server
	if h.current.Load() {
		t := h.Table()
		if shard >= len(t.Shards) || !t.Shards[shard].Has(h.options.Self.ID) {
			return raft.Config{}
		}
		if !t.Shards[shard].Founded {
			founders = t.Raft(t.Shards[shard].Members)
		}
	} else if !h.stored[shard] {
		return raft.Config{}
	}
	config := h.options.Group(shard)
	config.Bootstrap = founders
	h.machines[shard], h.founding[shard] = config.Machine, len(founders) > 0
	return config
}

// pause waits before something is tried again. It returns false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryAfter is how long the host waits before it tries again what has failed.
const retryAfter = 200 * time.Millisecond

// again calls f until it returns nil, or ctx ends.
func again(ctx context.Context, f func(ctx context.Context) error) {
	for ctx.Err() == nil && f(ctx) != nil {
		pause(ctx, retryAfter)
	}
}

// register makes this server known to the others, also if it has another Client than before.
func (h *Host) register() {
	again(h.ctx, func(ctx context.Context) error {
		refusal := new(Refusal)
		err := h.change(ctx, &Change{Register: &h.options.Self})
		if errors.As(err, &refusal) {
			h.options.Logger.Error("shard: this server is refused", "node", h.options.Self.ID, "err", err)
			return nil
		}
		return err
	})
}

// watch finds out when this server was taken out.
func (h *Host) watch() {
	for event := range h.node.Events(h.ctx) {
		if trouble, ok := event.(raft.Trouble); ok && errors.Is(trouble.Err, raft.ErrRemoved) {
			close(h.left)
			return
		}
	}
}
