//go:build !linux

package main

import (
	"io"
	"os"
	"syscall"
	"time"
)

// warnOfMemoryFiles can't tell here what a directory is on.
func warnOfMemoryFiles(io.Writer, runConfig) {}

// datasync makes the data of a file durable.
func datasync(f *os.File) error { return f.Sync() }

// A sleeper sleeps.
type sleeper struct{}

func newSleeper() (sleeper, error) { return sleeper{}, nil }

// sleep returns after d.
func (sleeper) sleep(d time.Duration) error { time.Sleep(d); return nil }

func (sleeper) close() {}

// endWithParent can't be asked for here; who starts processes also ends them.
func endWithParent(*syscall.SysProcAttr) {}

// writtenBytes can't be counted here.
func writtenBytes(string) (uint64, bool) { return 0, false }
