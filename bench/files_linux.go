package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	if c.mode != onDisk || syscall.Statfs(dir, &s) != nil {
		return
	}
	if t := uint32(s.Type); t == tmpfsMagic || t == ramfsMagic {
		fmt.Fprintf(log, "warning: %s is in memory: a sync costs nothing there; use -dir\n", dir)
	}
}

// datasync makes the data of a file durable.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// A sleeper sleeps to some microseconds precisely, and takes no thread meanwhile. (A timer of the runtime is up to a
// millisecond late when nothing else goes on.)
type sleeper struct {
	fd    int
	timer *os.File
}

func newSleeper() (*sleeper, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &sleeper{fd, os.NewFile(uintptr(fd), "timer")}, nil
}

// sleep returns after d.
func (s *sleeper) sleep(d time.Duration) error {
	setting := unix.ItimerSpec{Value: unix.NsecToTimespec(max(d.Nanoseconds(), 1))}
	if err := unix.TimerfdSettime(s.fd, 0, &setting, nil); err != nil {
		return err
	}
	var expirations [8]byte
	_, err := s.timer.Read(expirations[:])
	return err
}

func (s *sleeper) close() { _ = s.timer.Close() }

// endWithParent makes a process end with this one.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// sectorSize is the unit of /proc/diskstats, whatever the disk's own is.
const sectorSize = 512

// writtenBytes returns how many bytes the disk below a directory has written, for whomever. (What proc(5) has in io counts
// pages where a file's page cache is in larger pieces: a megabyte for a write of a sector.)
func writtenBytes(dir string) (uint64, bool) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	text, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, false
	}
	const written = 9 // of a line's fields
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > written && f[0] == fmt.Sprint(unix.Major(stat.Dev)) && f[1] == fmt.Sprint(unix.Minor(stat.Dev)) {
			n, err := strconv.ParseUint(f[written], 10, 64)
			return n * sectorSize, err == nil
		}
	}
	return 0, false
}
