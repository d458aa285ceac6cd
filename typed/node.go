package typed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// A Node is a raft.Node whose commands and results have types. It has all other methods of a raft.Node,
// too: Status, Snapshot, WhileLeader, AddServer and so on.
type Node[C, R any] struct {
	*raftNode
	machine *StateMachine[C, R]
	options Options[C, R]
	boxes   sync.Pool
	stop    context.CancelFunc
	told    chan struct{} // closed when the server has told its level, or won't
}

// A raftNode is embedded by this name, so that nobody reaches its Propose by mistake.
type raftNode = raft.Node

// Raft returns the raft.Node, for functions that take one. What is proposed there as bytes must come
// from Options.Encode: the servers stop at a command that they don't know.
func (n *Node[C, R]) Raft() *raft.Node { return n.raftNode }

// A box holds what one call works on, and is used again.
type box[C, R any] struct {
	command C
	result  R
	bytes   []byte
}

// keepBox is how many bytes of a command have room in memory that is used again.
const keepBox = 64 << 10

// Start is Options.Start with zero Options.
func Start[C, R any](machine Machine[C, R], config raft.Config) (*Node[C, R], error) {
	return Options[C, R]{}.Start(machine, config)
}

// Encode is Options.Encode with zero Options.
func Encode[C any](command C) ([]byte, error) { return Options[C, struct{}]{}.Encode(command) }

// Start starts a server, as raft.Start does. The config has neither a Machine nor a Validate. An
// error wraps raft.ErrConfig if the Machine, the config or the Options can't be used; the storage and
// the transport are closed then.
func (o Options[C, R]) Start(machine Machine[C, R], config raft.Config) (*Node[C, R], error) {
	s, err := o.StateMachine(machine)
	switch {
	case config.Machine != nil:
		err = fmt.Errorf("%w: the config has a Machine beside that of Start", raft.ErrConfig)
	case config.Validate != nil:
		err = fmt.Errorf("%w: the config has Validate: Options.Validate takes its place", raft.ErrConfig)
	}
	if err != nil {
		if config.Transport != nil {
			err = errors.Join(err, config.Transport.Close())
		}
		if config.Storage != nil {
			err = errors.Join(err, config.Storage.Close())
		}
		return nil, err
	}
	config.Machine = s
	if config.Durable != nil {
		durable := s.Durable(*config.Durable)
		config.Durable = &durable
	}
	node, err := raft.Start(config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &Node[C, R]{raftNode: node, machine: s, options: o.complete(), stop: stop, told: make(chan struct{})}
	n.boxes.New = func() any { return new(box[C, R]) }
	go n.tell(ctx, config.ID)
	return n, nil
}

// Propose replicates a command and returns what Apply has returned for it, as raft.Node.Propose does:
// at any server, applied at most once. The error is one of three:
//
//   - a *Refusal, which is the error of Apply: the command was applied, and that is its result
//   - raft.ErrNotApplied, with the reasons of raft.Node.Propose, or because Validate or the codec
//     refuses the command, or with raft.ErrNotInForce because not all servers know its Level
//   - raft.ErrOutcomeUnknown, or a *ResultError: the command may have been applied, or was, and
//     nobody can be told its result. A Session finds out more.
func (n *Node[C, R]) Propose(ctx context.Context, command C) (R, error) {
	b := n.boxes.Get().(*box[C, R])
	defer n.put(b)
	if err := n.encode(ctx, command, b); err != nil {
		return b.result, notApplied(err)
	}
	answer, err := n.raftNode.Propose(ctx, b.bytes)
	if err != nil {
		return b.result, err
	}
	return n.machine.read(answer, b)
}

// ProposeInSession is Propose for a command of a session: however often it is sent under one number,
// it is applied once, and every answer is the one of that time, a Refusal too. The rest is as for
// raft.Node.ProposeInSession.
func (n *Node[C, R]) ProposeInSession(ctx context.Context, number raft.SessionCommand, command C) (R, error) {
	b := n.boxes.Get().(*box[C, R])
	defer n.put(b)
	if err := n.encode(ctx, command, b); err != nil {
		return b.result, notApplied(err)
	}
	answer, err := n.raftNode.ProposeInSession(ctx, number, b.bytes)
	if err != nil {
		return b.result, err
	}
	return n.machine.read(answer, b)
}

// encode puts the bytes of a command into a box, and sees to it that its level is in force.
func (n *Node[C, R]) encode(ctx context.Context, command C, b *box[C, R]) error {
	b.command = command
	if err := n.options.encode(b); err != nil || n.options.LevelOf == nil {
		return err
	}
	return n.require(ctx, command)
}

// put gives a box back.
func (n *Node[C, R]) put(b *box[C, R]) {
	b.command, b.result = none[C](), none[R]()
	if cap(b.bytes) <= keepBox {
		n.boxes.Put(b)
	}
}

// require sees to it that the level which a command needs is in force.
func (n *Node[C, R]) require(ctx context.Context, command C) error {
	level, err := n.options.level(command)
	if err != nil || level <= n.machine.levels.force() {
		return err
	}
	if err := n.raftNode.Read(ctx); err != nil {
		return err
	}
	if level <= n.machine.levels.force() { // this server had only not heard of it
		return nil
	}
	var members []raft.ServerID
	for _, member := range n.Status().Members {
		members = append(members, member.ID)
	}
	result, err := n.raftNode.Propose(ctx, raise(level, members))
	if err != nil { // whatever became of that, the command wasn't proposed
		return errors.Join(fmt.Errorf("put level %d in force: %v", level, err), ctx.Err())
	}
	lacking, err := readRaised(result)
	if err == nil && len(lacking) > 0 {
		err = fmt.Errorf("%w: level %d of the commands, by %q", raft.ErrNotInForce, level, lacking)
	}
	return err
}

// tellAgain is how long a server waits until it tries again to tell the level that it knows.
const tellAgain = time.Second

// tell lets the others know which level this server knows, unless they know it.
func (n *Node[C, R]) tell(ctx context.Context, id raft.ServerID) {
	defer close(n.told)
	for {
		err := n.raftNode.Read(ctx)
		if err == nil && n.machine.knownOf(id) != n.options.Level {
			_, err = n.raftNode.Propose(ctx, tell(id, n.options.Level))
		}
		if err == nil {
			return
		}
		pause := time.NewTimer(tellAgain)
		select {
		case <-pause.C:
			continue
		case <-n.Done():
		case <-ctx.Done():
		}
		pause.Stop()
		return
	}
}

func (s *StateMachine[C, R]) knownOf(id raft.ServerID) Level {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.levels.known[id]
}

// Read makes a read linearizable, as raft.Node.Read does, and then calls view, which reads the
// Machine. Nothing is applied while view runs, so it should be short; several run at a time, so it
// must not change the Machine. view isn't called if there is an error.
func (n *Node[C, R]) Read(ctx context.Context, view func()) error {
	if err := n.raftNode.Read(ctx); err != nil {
		return err
	}
	n.machine.view(view)
	return nil
}

// LeaseRead is Read by raft.Node.LeaseRead.
func (n *Node[C, R]) LeaseRead(ctx context.Context, view func()) error {
	if err := n.raftNode.LeaseRead(ctx); err != nil {
		return err
	}
	n.machine.view(view)
	return nil
}

// StaleRead is Read by raft.Node.StaleRead: the state may be as old as maxAge.
func (n *Node[C, R]) StaleRead(ctx context.Context, maxAge time.Duration, view func()) (age time.Duration, err error) {
	if age, err = n.raftNode.StaleRead(ctx, maxAge); err != nil {
		return 0, err
	}
	n.machine.view(view)
	return age, nil
}

func (s *StateMachine[C, R]) view(view func()) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	view()
}

// Close stops the server, as raft.Node.Close does.
func (n *Node[C, R]) Close(ctx context.Context) error {
	n.stop()
	err := n.raftNode.Close(ctx)
	select {
	case <-n.told:
	case <-ctx.Done():
	}
	return err
}
