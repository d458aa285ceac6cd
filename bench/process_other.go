//go:build !unix

package main

import "errors"

var errNoSignals = errors.New("processes can't be stopped on this system")

// freeze fails: a process can't be stopped on this system.
func (*process) freeze() error { return errNoSignals }

// thaw fails likewise.
func (*process) thaw() error { return errNoSignals }
