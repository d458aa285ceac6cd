package typed

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/codec"
)

// Options say how commands, results and errors are carried. Every field may be left at its zero
// value. All servers of a cluster have the same ones, but for what a new version adds.
type Options[C, R any] struct {
	Commands Codec[C] // of the commands (JSON)
	Results  Codec[R] // of the results (JSON)
	Errors   Errors   // that come back from Apply as more than a text (none)

	// Validate, when not nil, judges each command that is proposed at this server before anything
	// else knows of it. Its error is that of Propose, with raft.ErrNotApplied. It is called by the
	// callers' goroutines, several at a time, and judges by the command alone.
	Validate func(C) error

	// Level is the highest level of commands that this version knows (0). LevelOf returns the level
	// that a command needs, at most Level; nil stands for 0 always.
	Level   Level
	LevelOf func(C) Level
}

// complete returns the options with their defaults.
func (o Options[C, R]) complete() Options[C, R] {
	if o.Commands == nil {
		o.Commands = JSON[C]()
	}
	if o.Results == nil {
		o.Results = JSON[R]()
	}
	return o
}

// StateMachine returns the raft.StateMachine that a Machine makes with these Options, for
// rafttest.Check and for drivers. The error wraps raft.ErrConfig if that isn't possible.
func (o Options[C, R]) StateMachine(machine Machine[C, R]) (*StateMachine[C, R], error) {
	o = o.complete()
	if machine == nil {
		return nil, fmt.Errorf("%w: no Machine", raft.ErrConfig)
	}
	s := &StateMachine[C, R]{machine: machine, commands: o.Commands, results: o.Results}
	s.levels.own = o.Level
	var err error
	if s.capture, s.restore, err = snapshotsOf(machine); err != nil {
		return nil, fmt.Errorf("%w: %w", raft.ErrConfig, err)
	}
	if s.errors, err = o.Errors.compile(); err != nil {
		return nil, fmt.Errorf("%w: Errors: %w", raft.ErrConfig, err)
	}
	if err := errors.Join(check("Commands", o.Commands), check("Results", o.Results)); err != nil {
		return nil, fmt.Errorf("%w: %w", raft.ErrConfig, err)
	}
	if o.Level > MaxLevel {
		return nil, fmt.Errorf("%w: Level is %d, more than %d", raft.ErrConfig, o.Level, MaxLevel)
	}
	return s, nil
}

// Encode returns the bytes that stand for a command in the log, for tests. The error is one of
// Validate or of the codec.
func (o Options[C, R]) Encode(command C) ([]byte, error) {
	o = o.complete()
	if err := check("Commands", o.Commands); err != nil {
		return nil, fmt.Errorf("%w: %w", raft.ErrConfig, err)
	}
	b := &box[C, R]{command: command}
	if err := o.encode(b); err != nil {
		return nil, err
	}
	return b.bytes, nil
}

// level returns the level that a command needs.
func (o *Options[C, R]) level(command C) (Level, error) {
	if o.LevelOf == nil {
		return 0, nil
	}
	level := o.LevelOf(command)
	if level > o.Level {
		return 0, fmt.Errorf("the command is of level %d, and Options.Level is %d", level, o.Level)
	}
	return level, nil
}

// encode puts the bytes of the command in a box into the box.
func (o *Options[C, R]) encode(b *box[C, R]) (err error) {
	defer caught(&err)
	if o.Validate != nil {
		if err := o.Validate(b.command); err != nil {
			return err
		}
	}
	level, err := o.level(b.command)
	if err != nil {
		return err
	}
	bytes, err := o.Commands.Append(codec.AppendUvarint(b.bytes[:0], uint64(level)+1), &b.command)
	if err != nil {
		return fmt.Errorf("typed: encode the command: %w", err)
	}
	b.bytes = bytes
	return nil
}

// caught makes a panic of the user's functions the error of the call, as raft.Node.Propose does.
func caught(err *error) {
	if r := recover(); r != nil {
		*err = &raft.PanicError{Where: "Validate, LevelOf or a codec", Value: r, Stack: debug.Stack()}
	}
}
