//go:build !unix

package main

import "time"

// processCPU returns false: there is no getrusage here.
func processCPU() (time.Duration, bool) { return 0, false }
