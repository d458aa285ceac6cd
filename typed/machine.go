package typed

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/codec"
)

// A Machine is the user's state, to which commands of the type C are applied with results of the type
// R. As a raft.StateMachine it must be deterministic.
//
// The state goes into snapshots in one of three ways:
//
//   - A Machine with the methods Snapshot and Restore of raft.StateMachine uses these. It is the way
//     for a large state, since Snapshot only captures it, and for one on disk (raft.Config.Durable;
//     see the example of Start, and examples/durable for databases).
//   - Otherwise a Machine with the methods AppendBinary and UnmarshalBinary (packages encoding) is
//     written by the first and read by the second one. They are called while nothing is applied.
//   - Otherwise the Machine itself is written as JSON, while nothing is applied. Start refuses it if
//     JSON would lose something. Fields of a struct with the tag `json:"-"` are no part of the state:
//     the Machine keeps its own when it is restored.
type Machine[C, R any] interface {
	// Apply applies a command. An error is a result like any other: Propose returns it as a *Refusal.
	// What Apply has changed before it returns an error stays changed. The memory of the command
	// belongs to the Machine, if the Codec doesn't share it.
	Apply(command C) (R, error)
}

// A StateMachine is the raft.StateMachine that a Machine makes together with Options.
type StateMachine[C, R any] struct {
	machine  Machine[C, R]
	commands Codec[C]
	results  Codec[R]
	errors   []known
	capture  func() (io.WriterTo, error)
	restore  func(io.Reader) error

	mu     sync.RWMutex // held while something is applied; readers of the state share it
	levels levels
	// These are used again for the next command. No result outlives the next call.
	command C
	result  R
	arena   []byte
}

// keepArena is how many bytes of results have room in memory that is used again.
const keepArena = 1 << 20

// The first byte of a result says what it is.
const (
	isResult  = 0
	isRefusal = 1
	isLost    = 2 // what follows says why there are no bytes
	isLevels  = 3
)

// Apply implements raft.StateMachine. It panics with an *UnknownCommandError, which stops the server.
func (s *StateMachine[C, R]) Apply(entries []raft.Entry, results [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arena := s.arena[:0]
	for i := range entries {
		begun := len(arena)
		var err error
		if arena, err = s.apply(entries[i].Data, arena); err != nil {
			panic(&UnknownCommandError{Index: entries[i].Index, Err: err})
		}
		results[i] = arena[begun:len(arena):len(arena)]
	}
	if s.arena = arena; cap(arena) > keepArena {
		s.arena = nil
	}
}

// apply applies one command and appends its result. An error says that the command is unknown, and
// then nothing has changed.
func (s *StateMachine[C, R]) apply(data, arena []byte) ([]byte, error) {
	level, rest, err := splitLevel(data)
	if err != nil {
		return nil, err
	}
	if level == noLevel {
		return s.levels.apply(rest, append(arena, isLevels))
	}
	if level > s.levels.own {
		return nil, fmt.Errorf("%w: level %d, and the server knows level %d", raft.ErrOutdated, level, s.levels.own)
	}
	if err := s.commands.Decode(rest, &s.command); err != nil {
		return nil, err
	}
	result, err := s.machine.Apply(s.command)
	s.command = none[C]()
	written := arena
	if err != nil {
		written, err = appendRefusal(append(arena, isRefusal), s.errors, err)
	} else {
		s.result = result
		written, err = s.results.Append(append(arena, isResult), &s.result)
		s.result = none[R]()
	}
	if err != nil { // the same on every server, since the result is
		written = append(append(arena, isLost), err.Error()...)
	}
	return written, nil
}

func none[T any]() (zero T) { return zero }

// read returns the result or the error that apply has written.
func (s *StateMachine[C, R]) read(answer []byte, b *box[C, R]) (R, error) {
	if err := s.readInto(answer, &b.result); err != nil {
		return none[R](), err
	}
	return b.result, nil
}

func (s *StateMachine[C, R]) readInto(answer []byte, result *R) error {
	if len(answer) == 0 {
		return &ResultError{fmt.Errorf("%w: no bytes", codec.ErrMalformed)}
	}
	switch what, rest := answer[0], answer[1:]; what {
	case isResult:
		if err := s.decodeResult(rest, result); err != nil {
			return &ResultError{err}
		}
		return nil
	case isRefusal:
		refusal, err := readRefusal(rest, s.errors)
		if err != nil {
			return &ResultError{err}
		}
		return refusal
	case isLost:
		return &ResultError{errors.New(string(rest))}
	default:
		return &ResultError{fmt.Errorf("%w: a result of the kind %d", codec.ErrMalformed, what)}
	}
}

func (s *StateMachine[C, R]) decodeResult(b []byte, result *R) (err error) {
	defer caught(&err)
	return s.results.Decode(b, result)
}

// Snapshot implements raft.StateMachine.
func (s *StateMachine[C, R]) Snapshot() (io.WriterTo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	state, err := s.capture()
	if err != nil || state == nil {
		return nil, err
	}
	return &capture{s.levels.append([]byte{snapshotVersion}), state}, nil
}

// Restore implements raft.StateMachine. A state in which a level is in force that this server doesn't
// know is an error that wraps an *UnknownCommandError.
func (s *StateMachine[C, R]) Restore(from io.Reader) error {
	r := bufio.NewReader(from)
	levels, err := s.levels.read(r)
	if err != nil {
		return fmt.Errorf("typed: restore: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.restore(r); err != nil {
		return fmt.Errorf("typed: restore: %w", err)
	}
	s.levels.become(levels)
	return nil
}
