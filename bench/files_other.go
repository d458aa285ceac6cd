//go:build !linux

package main

import (
	"io"
	"os"
	"syscall"
	"time"
)

// warnOfMemoryFiles does nothing: it can't tell on this system what a directory is on.
func warnOfMemoryFiles(io.Writer, runConfig) {}

// datasync makes the data of a file durable.
func datasync(f *os.File) error { return f.Sync() }

// A sleeper sleeps by the runtime's timers.
type sleeper struct{}

func newSleeper() (sleeper, error) { return sleeper{}, nil }

// sleep returns after d.
func (sleeper) sleep(d time.Duration) error { time.Sleep(d); return nil }

func (sleeper) close() {}

// endWithParent does nothing on this system. A server ends anyway when its input ends, and so with
// this process, unless it is stopped.
func endWithParent(*syscall.SysProcAttr) {}

// writtenBytes returns false: this system doesn't say how much was written.
func writtenBytes(string) (uint64, bool) { return 0, false }

// writeCalls, residentBytes and openFiles return false: this system doesn't say it in a way that is
// known here.
func writeCalls() (uint64, bool)    { return 0, false }
func residentBytes() (uint64, bool) { return 0, false }
func openFiles() (int, int, bool)   { return 0, 0, false }
