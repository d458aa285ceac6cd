package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// ReadOnly returns a file system through which nothing can be changed. A call that would change
// something fails with fs.ErrPermission, also on an open file. On OS, Lock takes a lock only if the
// file of the lock exists: whoever holds a lock has created its file.
func ReadOnly(files FS) FS { return readOnly{files} }

type readOnly struct{ files FS }

type readOnlyFile struct{ File }

func (readOnly) MkdirAll(dir string) error              { return refused("mkdir", dir) }
func (readOnly) Create(name string) (File, error)       { return nil, refused("create", name) }
func (readOnly) Rename(oldName, _ string) error         { return refused("rename", oldName) }
func (readOnly) Remove(name string) error               { return refused("remove", name) }
func (readOnly) SyncDir(dir string) error               { return refused("sync", dir) }
func (r readOnly) List(dir string) ([]string, error)    { return r.files.List(dir) }
func (readOnlyFile) WriteAt([]byte, int64) (int, error) { return 0, refused("write", "an open file") }
func (readOnlyFile) Truncate(int64) error               { return refused("truncate", "an open file") }
func (readOnlyFile) Sync() error                        { return refused("sync", "an open file") }

func refused(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission} }

// Open opens a file for reading. On OS, that needs no right to write the file.
func (r readOnly) Open(name string) (File, error) {
	if r.files == OS {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		return readOnlyFile{osFile{f}}, nil
	}
	f, err := r.files.Open(name)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f}, nil
}

func (r readOnly) Lock(name string) (io.Closer, error) {
	if r.files != OS {
		return r.files.Lock(name)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return noLock{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// noLock is the lock when its file doesn't exist.
type noLock struct{}

func (noLock) Close() error { return nil }
