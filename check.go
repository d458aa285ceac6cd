package raft

import "fmt"

// An InvariantError says which invariant of the protocol doesn't hold. It means a bug in this
// package, or in the driver of the Core. A node that meets one stops.
type InvariantError struct {
	Name   string // as in Figure 3, or as the function says that asserts it
	Detail string
}

// Error names the invariant.
func (e *InvariantError) Error() string {
	if e.Detail == "" {
		return "raft: broken invariant: " + e.Name
	}
	return "raft: broken invariant: " + e.Name + ": " + e.Detail
}

// assert panics with an InvariantError unless the condition holds. It is for what this package
// itself guarantees, and never for input.
func assert(condition bool, name string) {
	if !condition {
		panic(&InvariantError{Name: name})
	}
}

// Check verifies those invariants that cost too much to assert at each change. It returns an
// InvariantError for the first one that doesn't hold, or nil.
func (c *Core) Check() error {
	c.wake()
	if err := c.log.check(c.state.Term); err != nil {
		return err
	}
	if err := c.role.check(c); err != nil {
		return err
	}
	if err := c.out.check(c.state.Term); err != nil {
		return err
	}
	if err := c.checkConfigurations(); err != nil {
		return err
	}
	if err := c.snapshots.check(&c.log); err != nil {
		return err
	}
	return c.incoming.check()
}

// broken returns an InvariantError.
func broken(name, format string, args ...any) error {
	return &InvariantError{Name: name, Detail: fmt.Sprintf(format, args...)}
}
