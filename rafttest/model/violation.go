package model

import (
	"fmt"
)

// A Violation says which invariant doesn't hold. Its name is the one in rafttest/sim.
type Violation struct {
	Name   string
	Detail string
	Server int // from 0
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s at server %d: %s", v.Name, v.Server+1, v.Detail)
}

func violated(name string, server int, format string, args ...any) *Violation {
	return &Violation{name, fmt.Sprintf(format, args...), server}
}
