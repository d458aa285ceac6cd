package vfs

import (
	"errors"
	"os"
	"syscall"
)

// syncData is fdatasync. Unlike fsync, it leaves out the times of the file. For a file whose blocks
// are allocated and written already, it thereby leaves out the journal too.
func syncData(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			failed = syscall.Fdatasync(int(fd))
			if !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}
