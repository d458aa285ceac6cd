package sim

import (
	"errors"
	"io"

	"github.com/e17579a5/raft"
)

// errBroken is the failure of what fails for no reason.
var errBroken = errors.New("out of order")

// A closedStore can't be opened.
type closedStore struct{}

func (closedStore) Open() (raft.StateMachine, raft.DurableMachine, error) {
	return nil, raft.DurableMachine{}, errBroken
}

func (closedStore) Crash() {}

// An oddStore opens with what it is made of.
type oddStore struct {
	machine raft.StateMachine
	durable raft.DurableMachine
}

func (s oddStore) Open() (raft.StateMachine, raft.DurableMachine, error) {
	return s.machine, s.durable, nil
}

func (oddStore) Crash() {}

// An illiterate machine can't be restored.
type illiterate struct{ chainMachine }

func (*illiterate) Restore(io.Reader) error { return errBroken }
