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

// warnOfMemoryFiles writes a warning when the files are in memory. A sync costs nothing there, and
// so the figures of mode disk wouldn't be figures of a disk.
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
		fmt.Fprintf(log, "warning: %s is in memory, where a sync costs nothing: name a directory on a disk with -dir\n", dir)
	}
}

// datasync makes the data of a file durable.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// A sleeper sleeps with a precision of some microseconds, and takes no thread meanwhile. (A timer
// of the runtime is up to a millisecond late when nothing else goes on.)
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

// endWithParent makes a process end when the thread that started it ends, and so with this process.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// sectorSize is the unit of /proc/diskstats, whatever the sectors of the disk are.
const sectorSize = 512

// writtenBytes returns how many bytes the disk of a directory has written, for all processes. (The
// file io of proc(5) counts whole pages of a file's page cache where these are larger: a megabyte
// for a write of a sector.)
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
	const written = 9 // the field of a line that counts the sectors written
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > written && f[0] == fmt.Sprint(unix.Major(stat.Dev)) && f[1] == fmt.Sprint(unix.Minor(stat.Dev)) {
			n, err := strconv.ParseUint(f[written], 10, 64)
			return n * sectorSize, err == nil
		}
	}
	return 0, false
}

// writeCalls returns how many write calls the process has made, to files and connections.
func writeCalls() (uint64, bool) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "syscw: "); found {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// residentBytes returns how much memory of the machine the process has.
func residentBytes() (uint64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err == nil
}

// openFiles returns how many descriptors of the process are open, besides the one by which it looks,
// and on how many ports it listens.
func openFiles() (descriptors, ports int, known bool) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0, false
	}
	own := make(map[string]bool)
	for _, e := range entries {
		if target, err := os.Readlink(dir + "/" + e.Name()); err == nil { // the one by which it looked is closed
			own[target], descriptors = true, descriptors+1
		}
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue // there may be no IPv6
		}
		const state, listens, inode = 3, "0A", 9 // the fields of a line (proc_net_tcp)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > inode && f[state] == listens && own["socket:["+f[inode]+"]"] {
				ports++
			}
		}
	}
	return descriptors, ports, true
}
