// Package vfs is the seam between the write-ahead log and the file system: the few calls that the
// log makes, each with the promise that the log relies on. OS is the file system of the operating
// system. The package rafttest/simfs has one in memory, which loses, tears and rots the bytes that
// weren't synced.
package vfs

import (
	"errors"
	"io"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("vfs: locked")

// FS is a file system. Its methods may be called from several goroutines at once. Errors are those
// of package os: fs.ErrNotExist for a file that must exist and doesn't, fs.ErrExist for a file that
// must not exist and does.
type FS interface {
	// MkdirAll creates a directory, and the directories above it that don't exist yet. All of them
	// are durable when it returns.
	MkdirAll(dir string) error

	// Create creates a file for reading and writing. The file must not exist yet. Its name is
	// durable after SyncDir.
	Create(name string) (File, error)

	// Open opens a file that exists, for reading and writing.
	Open(name string) (File, error)

	// Rename gives a file another name, atomically. A file that had this name is replaced. Neither
	// file may be open. The change is durable after SyncDir.
	Rename(oldName, newName string) error

	// Remove removes a file. The change is durable after SyncDir.
	Remove(name string) error

	// List returns the names of the files in a directory, without the directory's own name and in
	// alphabetical order. It leaves out directories.
	List(dir string) ([]string, error)

	// SyncDir makes the names in a directory durable: which files it holds.
	SyncDir(dir string) error

	// Lock takes a lock, and returns a Closer that releases it. The lock ends with the process at
	// the latest. While somebody else holds it, in this process or another, Lock fails with
	// ErrLocked.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	// ReadAt reads as io.ReaderAt defines it.
	io.ReaderAt

	// WriteAt writes as io.WriterAt defines it. A write past the end makes the file longer. The
	// bytes are durable after Sync; before that, a power cut may keep them, lose them, or keep some
	// of their sectors.
	io.WriterAt

	// Truncate makes the file shorter, and takes no room for that. The length is durable after Sync.
	Truncate(size int64) error

	// Size returns the length of the file in bytes.
	Size() (int64, error)

	// Sync makes durable what was written to the file, and its length. After an error nobody knows
	// what the disk holds of the writes since the last Sync that succeeded, even if a later Sync
	// succeeds.
	Sync() error

	// Close closes the file. It syncs nothing.
	Close() error
}
