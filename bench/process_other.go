//go:build !unix

package main

import "errors"

var errNoSignals = errors.New("processes can't be stopped on this system")

// freeze stops the process, where that is possible.
func (*process) freeze() error { return errNoSignals }

// thaw lets it go on.
func (*process) thaw() error { return errNoSignals }
