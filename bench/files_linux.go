package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// Magic numbers of file systems that keep files in memory (statfs(2)).
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// warnOfMemoryFiles says so when the files are on no disk, where a sync costs nothing and the
// figures of mode disk would be nothing of the kind.
func warnOfMemoryFiles(log io.Writer, c runConfig) {
	dir := c.dir
	if dir == "" {
		dir = os.TempDir()
	}
	var s syscall.Statfs_t
	if c.mode != disk || syscall.Statfs(dir, &s) != nil {
		return
	}
	if t := uint32(s.Type); t == tmpfsMagic || t == ramfsMagic {
		fmt.Fprintf(log, "warning: %s is in memory: a sync costs nothing there; use -dir\n", dir)
	}
}

// datasync makes the data of a file durable.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
