//go:build !linux

package vfs

import "os"

// syncData is fsync: F_FULLFSYNC on darwin, FlushFileBuffers on Windows, as os.File.Sync does it.
func syncData(f *os.File) error { return f.Sync() }
