//go:build !linux

package main

import "io"

// warnOfMemoryFiles can't tell here what a directory is on.
func warnOfMemoryFiles(io.Writer, runConfig) {}
