//go:build unix

package main

import "syscall"

// freeze stops the process: it does nothing any more, and its connections stay open.
func (p *process) freeze() error { return p.command.Process.Signal(syscall.SIGSTOP) }

// thaw lets the process go on.
func (p *process) thaw() error { return p.command.Process.Signal(syscall.SIGCONT) }
