//go:build !linux

package tcp

import "syscall"

// limitUnsent does nothing where the system has no such limit, or another name for it.
func limitUnsent(_, _ string, _ syscall.RawConn) error { return nil }
