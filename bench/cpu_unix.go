//go:build unix

package main

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time that the process has used, in user and system mode.
func processCPU() (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}

// processSwitches returns how often a thread of the process has waited for something (voluntary
// context switches).
func processSwitches() (uint64, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return uint64(u.Nvcsw), true
}
