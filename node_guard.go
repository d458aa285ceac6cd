package raft

import (
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic that was caught, in this package or in a value that it was given.
//
// It stops the node, with two exceptions. A panic of Config.Validate is the error of the call,
// inside a CallError. A panic while a snapshot is written, sent or received ends that, and is
// logged and tried again like any other failure of it.
type PanicError struct {
	// Where is "core", "storage", "state machine", "snapshot", "transport", "storage or transport",
	// "trace" or "Validate".
	Where string
	Value any // the argument of panic; nil when runtime.Goexit ended the goroutine
	Stack []byte
}

// Error tells where the panic was and its value. The stack is for the log.
func (e *PanicError) Error() string { return fmt.Sprintf("raft: %s panicked: %v", e.Where, e.Value) }

// Unwrap returns the value if it is an error, and nil otherwise.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// guard calls f, and returns a panic of f as an error. It doesn't return if f ends the goroutine.
func guard(where string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Where: where, Value: r, Stack: debug.Stack()}
		}
	}()
	return f()
}
