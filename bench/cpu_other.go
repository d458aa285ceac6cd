//go:build !unix

package main

import "time"

// processSwitches returns false: this system doesn't say how often the process waited.
func processSwitches() (uint64, bool) { return 0, false }

// processCPU returns false: this system has no getrusage.
func processCPU() (time.Duration, bool) { return 0, false }
