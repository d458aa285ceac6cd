//go:build !linux

package main

import (
	"io"
	"os"
)

// warnOfMemoryFiles can't tell here what a directory is on.
func warnOfMemoryFiles(io.Writer, runConfig) {}

// datasync makes the data of a file durable.
func datasync(f *os.File) error { return f.Sync() }
