//go:build !unix

package main

import "time"

var processBegun = time.Now()

// cpuTime returns how long the process has run. That is no less than the CPU time of one thread.
func cpuTime() time.Duration { return time.Since(processBegun) }
