// Package vfs is the seam between the write-ahead log and the file system: the few calls that the log
// makes, each with the promise that the log relies on. OS is the operating system's file system;
// rafttest/simfs is one in memory that loses, tears and rots what was not synced.
package vfs

import (
	"errors"
	"io"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("vfs: locked")

// FS is a file system. Its methods may be called from several goroutines at once. Errors are those
// of package os: a file that isn't there is fs.ErrNotExist, one that mustn't be there fs.ErrExist.
type FS interface {
	// MkdirAll creates a directory and those above it that don't exist yet, and makes them durable.
	MkdirAll(dir string) error

	// Create creates a file that doesn't exist yet, for reading and writing. Its name is durable after
	// SyncDir.
	Create(name string) (File, error)

	// Open opens a file that exists, for reading and writing.
	Open(name string) (File, error)

	// Rename gives a file another name, atomically. A file that had this name is replaced. Neither may be
	// open. It is durable after SyncDir.
	Rename(oldName, newName string) error

	// Remove removes a file. It is durable after SyncDir.
	Remove(name string) error

	// List returns the names of the files in a directory, without the directory, in the order of the
	// alphabet.
	List(dir string) ([]string, error)

	// SyncDir makes durable which files a directory holds.
	SyncDir(dir string) error

	// Lock takes a lock that ends with the process at the latest, and returns what releases it. It is
	// ErrLocked while somebody else holds it, in this process or another.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	// ReadAt reads as io.ReaderAt defines it.
	io.ReaderAt

	// WriteAt writes as io.WriterAt defines it. A write past the end makes the file longer. It is
	// durable after Sync; until then a power cut may keep it, lose it, or keep some of its sectors.
	io.WriterAt

	// Size returns the length of the file in bytes.
	Size() (int64, error)

	// Sync makes durable what was written to the file, and its length. After an error nothing is known
	// about what was written since the last Sync that succeeded, even if a later one succeeds.
	Sync() error

	// Close closes the file. It syncs nothing.
	Close() error
}
