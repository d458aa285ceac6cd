package raft

import (
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic that was caught, in this package or in what it was given. It stops the
// node, but for one of Config.Validate, which is the caller's.
type PanicError struct {
	Where string // "core", "storage", "state machine", "transport", "trace" or "Validate"
	Value any    // what was panicked with; nil when the goroutine was ended by runtime.Goexit
	Stack []byte
}

// Error tells the value; the stack is for the log.
func (e *PanicError) Error() string { return fmt.Sprintf("raft: %s panicked: %v", e.Where, e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// guard calls f and returns its panic as an error. It doesn't return when f ends the goroutine.
func guard(where string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Where: where, Value: r, Stack: debug.Stack()}
		}
	}()
	return f()
}
