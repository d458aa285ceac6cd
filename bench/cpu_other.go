//go:build !unix

package main

import "time"

// processSwitches returns false likewise.
func processSwitches() (uint64, bool) { return 0, false }

// processCPU returns false: there is no getrusage here.
func processCPU() (time.Duration, bool) { return 0, false }
