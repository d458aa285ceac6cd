package raft

import (
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic that was caught, in this package or in a value that it was given.
//
// It stops the node, with three exceptions. A panic of Config.Validate, or of what package typed
// calls with a command or a result, is the error of the call. A panic while a snapshot is written,
// sent or received ends that, and is logged and tried again like any other failure of it. For package
// tcp, a panic of what it was given is a failure like any other: of Listen, or of a connection.
type PanicError struct {
	// Where is "core", "storage", "state machine", "snapshot", "transport", "storage or transport",
	// "trace", "heartbeats" (of a host), "Validate" or "HostConfig.Group"; in package typed "Validate,
	// LevelOf or a codec"; and in package tcp "tcp: Listen", "tcp: Listener", "tcp: Dial", "tcp: Conn",
	// "tcp: TLS", "tcp: Handler" or "tcp: Conn, TLS or Handler".
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
