//go:build !linux

package vfs

import "os"

// syncData is fsync, F_FULLFSYNC on darwin and FlushFileBuffers on Windows, as os.File.Sync knows them.
func syncData(f *os.File) error { return f.Sync() }
